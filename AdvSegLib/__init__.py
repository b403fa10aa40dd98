"""Adversarial robustness of medical-image segmentation. Heavy libraries load only when something uses them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from AdvSegLib.attacks import make_attack
    from AdvSegLib.budgets import Budget
    from AdvSegLib.cases.registry import open_cases
    from AdvSegLib.crafting import craft
    from AdvSegLib.job_request import Job
    from AdvSegLib.jobs import run_job
    from AdvSegLib.labels import LabelScheme
    from AdvSegLib.regions import make_region
    from AdvSegLib.segmenters.catalogue import load_model
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.segmenters.spec import Intensity, Spec, Windows
    from AdvSegLib.target_maps import make_target_map
    from AdvSegLib.targets import Goal, Targeted, Untargeted
    from AdvSegLib.volumes import Image, LabelMap, read_image, read_labels

_HOMES = {
    "Budget": "budgets",
    "Goal": "targets",
    "Image": "volumes",
    "Intensity": "segmenters.spec",
    "Job": "job_request",
    "LabelMap": "volumes",
    "LabelScheme": "labels",
    "Segmenter": "segmenters.segmenter",
    "Spec": "segmenters.spec",
    "Targeted": "targets",
    "Untargeted": "targets",
    "Windows": "segmenters.spec",
    "craft": "crafting",
    "load_model": "segmenters.catalogue",
    "make_attack": "attacks",
    "make_region": "regions",
    "make_target_map": "target_maps",
    "open_cases": "cases.registry",
    "read_image": "volumes",
    "read_labels": "volumes",
    "run_job": "jobs",
}

__all__ = [
    "Budget",
    "Goal",
    "Image",
    "Intensity",
    "Job",
    "LabelMap",
    "LabelScheme",
    "Segmenter",
    "Spec",
    "Targeted",
    "Untargeted",
    "Windows",
    "craft",
    "load_model",
    "make_attack",
    "make_region",
    "make_target_map",
    "open_cases",
    "read_image",
    "read_labels",
    "run_job",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name in _HOMES:
        return getattr(import_module(f"AdvSegLib.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'AdvSegLib' has no attribute {name!r}")
