"""Snapshots: a training's state on disk, whole or not at all, and refused where it is another training's."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from AdvSegLib.errors import BadRequest
from AdvSegLib.training.recipe import Recipe

WORDS = ("title", "description", "notes")
"""Fields of a recipe that change nothing in its training."""


def training_folder(out: Path) -> Path:
    """Return the folder beside ``out`` that an unfinished training lives in."""
    out = Path(out).resolve()
    return out.with_name(f"{out.name}.training")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file such that after a crash there is the old one or the new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, must outlive a power cut
    finally:
        os.close(folder)


def identity(recipe: Recipe, models: Mapping[str, str]) -> dict[str, Any]:
    """Return what a training is: its recipe without words and pace of snapshots, and the models it learns from."""
    said = {key: value for key, value in recipe.to_dict().items() if key not in WORDS}
    plain: dict[str, Any] = json.loads(json.dumps(said))
    del plain["optimisation"]["snapshot_every"]
    return {**plain, "models": dict(models)}


def save_snapshot(path: Path, training: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the state of a training; its identity and a checksum of the state come with it."""
    body = io.BytesIO()
    torch.save(dict(state), body)
    content = body.getvalue()
    whole = io.BytesIO()
    digest = hashlib.sha256(content).hexdigest()
    torch.save({"training": json.dumps(training), "sha256": digest, "state": content}, whole)
    write_whole(path, whole.getvalue())


def load_snapshot(path: Path, training: Mapping[str, Any]) -> dict[str, Any]:
    """Read the state that :func:`save_snapshot` wrote; BadRequest for another training's, or a damaged file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        theirs, content = json.loads(found["training"]), found["state"]
        intact = hashlib.sha256(content).hexdigest() == found["sha256"]
    except Exception as error:  # torch's own readers fail in many ways on a damaged file
        raise BadRequest(
            f"{path}: not a readable snapshot ({type(error).__name__}); remove it to start over"
        ) from error
    if not intact:
        raise BadRequest(f"{path}: snapshot is damaged; remove it to start over")
    changed = differences(theirs, training)
    if changed:
        shown = "; ".join(changed[:3]) + ("; …" if len(changed) > 3 else "")
        raise BadRequest(f"{path}: snapshot of another training ({shown}); resume with its recipe, or remove it")
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def differences(theirs: Any, ours: Any, at: str = "") -> list[str]:
    """Return where two JSON values differ, as ``place: theirs -> ours``.

    >>> differences({"seed": 1, "data": {"size": 64}}, {"seed": 1, "data": {"size": 96}})
    ['data.size: 64 -> 96']
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        keys = [*theirs, *(key for key in ours if key not in theirs)]
        return [
            line for key in keys for line in differences(theirs.get(key), ours.get(key), f"{at}.{key}" if at else key)
        ]
    return [] if theirs == ours else [f"{at}: {theirs} -> {ours}"]
