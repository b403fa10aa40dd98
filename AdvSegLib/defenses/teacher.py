"""Models that a training starts from or learns from: bundles of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from AdvSegLib.defenses.plan import Distillation
from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.bundle import load_bundle, read_metadata
from AdvSegLib.segmenters.catalogue import load_model, model_folder
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model and the temperature its metadata says it was trained at (1 where it says none)."""

    segmenter: Segmenter
    trained_at: float


def load_teacher(plan: Distillation, spec: Spec, device: str = "cpu") -> Teacher:
    """Load the teacher; BadRequest where it sees other channels or says other labels than the student."""
    folder = model_folder(plan.teacher)
    segmenter = load_bundle(folder, device)
    theirs = segmenter.spec
    same = (theirs.dims, theirs.channels) == (spec.dims, spec.channels)
    if not same or theirs.scheme.to_dict() != spec.scheme.to_dict():
        raise BadRequest(f"teacher '{plan.teacher}' has other channels or labels than the recipe")
    for weight in segmenter.network.parameters():
        weight.requires_grad_(False)
    return Teacher(segmenter, trained_temperature(read_metadata(folder)))


def trained_temperature(metadata: dict[str, Any]) -> float:
    """Return the temperature a bundle was trained at: 1, unless its ``defense`` says otherwise."""
    defense = metadata.get("results", {}).get("defense", {})
    return float(defense.get("temperature", 1.0)) if isinstance(defense, dict) else 1.0


def start_from(network: nn.Module, model: str) -> None:
    """Give ``network`` the weights of a bundle; BadRequest where it is of another architecture."""
    state = load_model(model).network.state_dict()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise BadRequest(f"cannot start from '{model}': its network is another one than the recipe's") from error
