"""Recorded iterations of a run folder into memory: ``iterations/index.json`` and the files it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegRobustnessLib.RunFolder import checkLabels, readJson
from AdvSegRobustnessLib.ScanNodes import Scan
from AdvSegRobustnessLib.VoxelFiles import readVoxels

ITERATIONS_SCHEMA = "advseg.iterations/1"
INDEX_FILE = Path("iterations") / "index.json"


@dataclass(frozen=True, eq=False)
class RecordedStep:
    """One recorded iteration: its number, ``(k, j, i)`` intensities a channel, label values, the loop's numbers."""

    step: int
    images: tuple[np.ndarray, ...]
    labels: np.ndarray
    numbers: dict[str, Any]


Recording = tuple[RecordedStep, ...]


def readRecording(runFolder: Path, scan: Scan, scheme: LabelScheme) -> Recording:
    """Return the recorded iterations in their order; BadRequest, naming the file, where they are damaged."""
    entries = _entries(Path(runFolder), len(scan.image.names))
    paths = [path for _, images, labels, _ in entries for path in (*images, labels)]
    files = iter(readVoxels(paths, scan.image.grid.lifted()))
    steps = []
    for step, images, _, numbers in entries:
        arrays = tuple(next(files).array for _ in images)
        labels = next(files)
        checkLabels(labels, scheme)
        steps.append(RecordedStep(step, arrays, labels.array, numbers))
    return tuple(steps)


def _entries(folder: Path, channels: int) -> list[tuple[int, list[Path], Path, dict[str, Any]]]:
    path = folder / INDEX_FILE
    index = readJson(path)
    try:
        if index["schema"] != ITERATIONS_SCHEMA:
            raise BadRequest(f"{path}: schema '{index['schema']}' is not {ITERATIONS_SCHEMA}")
        entries = [
            (
                int(entry["step"]), [_inside(folder, name) for name in entry["images"]],
                _inside(folder, entry["labels"]), dict(entry.get("numbers") or {}),
            )
            for entry in index["iterations"]
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"{path}: damaged ({error})") from error
    steps = [step for step, *_ in entries]
    if not entries or steps != sorted(set(steps)) or any(len(images) != channels for _, images, *_ in entries):
        raise BadRequest(f"{path}: needs at least one iteration, steps that grow, and {channels} images each")
    return entries


def _inside(folder: Path, name: str) -> Path:
    """Return a file of the run folder; BadRequest for a name that leads out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadRequest(f"{folder / INDEX_FILE}: '{name}' is not inside the run folder")
    return path
