"""Which models there are: shipped bundles by name, and any folder. Light: loads no network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.segmenters.bundle import METADATA, load_bundle, read_metadata
from AdvSegLib.segmenters.spec import Spec

if TYPE_CHECKING:
    from AdvSegLib.segmenters.segmenter import Segmenter


@dataclass(frozen=True)
class ModelInfo:
    """A bundle in the catalogue, with its metadata."""

    name: str
    folder: Path
    metadata: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """Return what an interface lists of it, as JSON data."""
        spec = self.metadata["advseg"]
        return {
            "name": self.name,
            "title": self.metadata.get("name", self.name),
            "description": self.metadata.get("description", ""),
            "dims": spec.get("dims"),
            "channels": spec.get("channels", []),
            "labels": [
                {"value": label["value"], "name": label["name"]} for label in spec.get("labels", {}).get("labels", [])
            ],
            "results": self.metadata.get("results", {}),
        }


def model_folders() -> list[Path]:
    """Return the folders searched: those in ``ADVSEG_MODELS``, then the shipped one."""
    named = [Path(part) for part in os.environ.get("ADVSEG_MODELS", "").split(os.pathsep) if part]
    package = Path(__file__).resolve().parents[1]
    return [*named, package.parent / "Resources" / "Models", package / "Models"]


def shipped_models() -> dict[str, ModelInfo]:
    """Return the models of the catalogue by name; the first folder that has a name wins."""
    found: dict[str, ModelInfo] = {}
    for root in model_folders():
        for metadata in sorted(root.glob(f"*/{METADATA.as_posix()}")):
            folder = metadata.parents[1]
            if info := _readable(folder):
                found.setdefault(folder.name, info)
    return found


def _readable(folder: Path) -> ModelInfo | None:
    """Return a bundle that can be listed; one that cannot must not hide the others (asking for it says why)."""
    try:
        info = ModelInfo(folder.name, folder, read_metadata(folder))
        Spec.from_dict(info.metadata["advseg"])
    except (BadRequest, KeyError, TypeError, AttributeError):
        return None
    return info


def model_folder(name: str | Path) -> Path:
    """Return the folder of a shipped name, or the folder itself; BadRequest with the nearest name otherwise."""
    models = shipped_models()
    if str(name) in models:
        return models[str(name)].folder
    for folder in (Path(name), *(root / name for root in model_folders())):
        if folder.is_dir():
            return folder
    raise unknown_name("model", str(name), models)


def load_model(name: str | Path, device: str = "cpu") -> Segmenter:
    """Load a model by shipped name or folder."""
    return load_bundle(model_folder(name), device)
