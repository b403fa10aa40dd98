"""What there is to choose from: the library's registries, as a panel lists them. Light: no torch, no process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import AdvSegLib.attacks
from AdvSegLib.errors import BadRequest
from AdvSegLib.regions import describe_regions
from AdvSegLib.segmenters.bundle import read_metadata
from AdvSegLib.segmenters.catalogue import model_folder, shipped_models
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.target_maps import describe_target_maps
from AdvSegRobustnessLib.AttackRequest import ROI, SEGMENT, UNTARGETED, WHOLE

NODE_GOALS = ("drawn", "other-case")
"""Target maps that come from a segmentation node, in place of the library's file."""
SEGMENTATION, MARKUPS_ROI = "vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode"
CARD = Path("docs", "README.md")


def models() -> list[dict[str, Any]]:
    """Return the models: ``ModelInfo.describe()`` with ``folder`` and ``card`` (Markdown, "" where none)."""
    return [{**info.describe(), "folder": str(info.folder), "card": _card(info.folder)}
            for info in shipped_models().values()]  # fmt: skip


def attacks() -> list[dict[str, Any]]:
    """Return the attacks: name, summary, source, aim, default_epsilon, parameters."""
    return AdvSegLib.attacks.describe()


def goals() -> list[dict[str, Any]]:
    """Return ``untargeted`` and the target maps: name, summary, source, parameters, and whether they take a node."""
    leave = {"name": UNTARGETED, "summary": "Away from the truth, or from the clean prediction", "source": ""}
    maps = [{**kind, "parameters": _withoutFile(kind), "node": kind["name"] in NODE_GOALS}
            for kind in describe_target_maps()]  # fmt: skip
    for parameter in next(kind for kind in maps if kind["name"] == "drawn")["parameters"]:
        if parameter["name"] == "replace":
            parameter["default"] = "everything"  # what is drawn here began as the whole prediction
    return [{**leave, "parameters": [], "node": False}, *maps]


def regions() -> list[dict[str, Any]]:
    """Return where noise may go: name, summary, source, parameters, and the class of node it takes, or ""."""
    own = [
        (WHOLE, "Everywhere in the image", ""),
        (SEGMENT, "A segment", SEGMENTATION),
        (ROI, "A Markups region of interest", MARKUPS_ROI),
    ]
    return [
        *({"name": name, "summary": summary, "source": "", "parameters": [], "node": node}
          for name, summary, node in own),
        *({**copy.deepcopy(kind), "node": ""} for kind in describe_regions()),
    ]  # fmt: skip


def modelSpec(model: str | Path) -> Spec:
    """Return what a model sees and says; BadRequest for an unknown name, or a folder that is no bundle."""
    if not str(model).strip():
        raise BadRequest("no model chosen: name one, or a bundle's folder")
    folder = model_folder(model)
    metadata = read_metadata(folder)
    if not isinstance(metadata.get("advseg"), dict):
        raise BadRequest(f"{folder}: the bundle does not say what its model sees (metadata without 'advseg')")
    return Spec.from_dict(metadata["advseg"])


def _withoutFile(kind: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(item) for item in kind["parameters"] if not (kind["name"] in NODE_GOALS and item["name"] == "file")]


def _card(folder: Path) -> str:
    """Return a bundle's card; one that cannot be read must not hide the model."""
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
