"""What a run measures: overlap, visibility, volumes, the budget used; all on the files as saved and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from AdvSegLib.metrics.difference import DIFFERENCE, difference_map
from AdvSegLib.metrics.image_quality import image_quality
from AdvSegLib.metrics.overlap import compare, mean, volumes_ml
from AdvSegLib.volumes import Image, LabelMap

if TYPE_CHECKING:
    from AdvSegLib.crafting import Crafted
    from AdvSegLib.job_request import Job
    from AdvSegLib.labels import LabelScheme

METRICS_SCHEMA = "advseg.metrics/1"


def measure(
    job: Job,
    clean: Image,
    adversarial: Image,
    clean_labels: LabelMap,
    adversarial_labels: LabelMap,
    truth: LabelMap | None,
    crafted: Crafted,
    scheme: LabelScheme,
) -> dict[str, Any]:
    """Return the content of ``metrics.json``; see docs/reference/run-folder.md."""
    before, after = clean_labels.array, adversarial_labels.array
    voxel = clean.grid.voxel_ml
    volumes = {"clean": volumes_ml(before, scheme, voxel), "adversarial": volumes_ml(after, scheme, voxel)}
    if truth is not None:
        volumes["truth"] = volumes_ml(truth.array, scheme, voxel)
    quality = image_quality(clean, adversarial)
    return {
        "schema": METRICS_SCHEMA,
        "model": job.model,
        "surrogate": job.surrogate,
        "attack": job.attack,
        "clean": None if truth is None else compare(truth.array, before, scheme),
        "adversarial": None if truth is None else compare(truth.array, after, scheme),
        "agreement": compare(before, after, scheme),
        "target": compare(crafted.goal.array, after, scheme) if crafted.targeted else None,
        "target_before": compare(crafted.goal.array, before, scheme) if crafted.targeted else None,
        "image": quality,
        "volumes_ml": volumes,
        "changed_voxels": {name: int((difference_map(clean_labels, adversarial_labels).array == value).sum())
                           for value, name in DIFFERENCE.items()},
        "budget": {**budget_asked_and_used(job, clean, quality), "region": _region(job, crafted)},
        "warnings": _warnings(clean_labels, truth, crafted, job),
    }  # fmt: skip


def budget_asked_and_used(job: Job, clean: Image, quality: Mapping[str, Any]) -> dict[str, Any]:
    """Return the budget asked and used: in percent of range, in source units, and on a [-1, 1] scale (paper 003's)."""
    epsilon = job.resolved().epsilon or 0.0
    asked: dict[str, Any] = {"epsilon": epsilon}
    used: dict[str, Any] = {"l2_of_range": _joint_l2(quality), "linf_percent": quality["linf_percent"]}
    if job.norm == "linf":
        ranges = {name: float(span) for name, span in zip(clean.names, clean.ranges, strict=True)}
        asked |= {
            "percent_of_range": 100 * epsilon,
            "on_minus_one_to_one": 2 * epsilon,
            "source_units": {name: epsilon * span for name, span in ranges.items()},
        }
        used["source_units"] = {name: scores["linf"] for name, scores in quality["channels"].items()}
    return {"norm": job.norm, "asked": asked, "used": used}


def _region(job: Job, crafted: Crafted) -> dict[str, Any] | None:
    """Return where noise was allowed: the kind asked for, and how much of the image it is."""
    if job.region is None or crafted.region is None:
        return None
    voxels = int(crafted.region.sum())
    return {"kind": job.region["kind"], "voxels": voxels, "percent": 100 * voxels / crafted.region.size}


def _warnings(clean_labels: LabelMap, truth: LabelMap | None, crafted: Crafted, job: Job) -> list[str]:
    notes = list(crafted.notes)
    if not clean_labels.values:
        notes.append("the model finds nothing on the clean image: agreement has nothing to lose")
    if truth is None and not crafted.targeted and not clean_labels.values:
        notes.append("untargeted without truth moves away from the clean prediction, which is empty here")
    if job.resolved().epsilon == 0:
        notes.append("epsilon is 0: the adversarial image is the clean one")
    return notes


def history_rows(crafted: Crafted, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row a step as the loop saw it, and a last row as measured on the saved image."""
    rows = [{**record.numbers(), "measured": "in loop"} for record in crafted.history]
    against = metrics["target"] or metrics["adversarial"] or metrics["agreement"]
    quality = metrics["image"]
    l2 = _joint_l2(quality)
    mean_square = l2**2 / crafted.image.array.size
    last = {
        "step": len(rows),
        "loss": "",
        **{name: _counted(against[name], crafted) for name in ("dice", "iou")},
        "linf": None if quality["linf_percent"] is None else quality["linf_percent"] / 100,
        "l2": l2,
        "psnr": -10 * math.log10(mean_square) if mean_square > 0 else float("inf"),
        "measured": "on the saved image",
    }
    return [*rows, last]


def _counted(scores: Mapping[str, Any], crafted: Crafted) -> float | None:
    """Return the mean over the structures that counted in the loop."""
    if not crafted.structures:
        return scores["mean"]  # type: ignore[no-any-return]
    return mean([scores[crafted.goal.names[value]] for value in crafted.structures])


def _joint_l2(quality: Mapping[str, Any]) -> float:
    """Return the norm of the whole change, channels divided by their ranges: what an L2 budget bounds."""
    return math.sqrt(sum((scores["l2_of_range"] or 0.0) ** 2 for scores in quality["channels"].values()))
