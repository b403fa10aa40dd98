"""What is measured of one case under one arm: a flat table of numbers, by dotted names.

``truth.``, ``target.`` and ``clean.`` compare the prediction with the truth, with the target, and the clean image's
prediction with the truth: ``dice.<structure>``, ``iou.<structure>`` (labels, regions, ``mean``, and ``but <label>``,
the mean over all others), ``dice1.mean`` (absent structures count 1), ``pa``, ``paper_iou``. ``diff.<name>`` is
(clean - attacked) / clean. ``image.`` holds psnr, ssim, rmse, l2, linf; ``volume.``, ``hd95.``, ``surface.`` and
``lesion.`` the clinical columns. What has no value is None.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.overlap import compare, mean
from AdvSegLib.volumes import Image, LabelMap

Scores = dict[str, float | None]
CLINICAL = ("volume", "hd95", "surface", "lesion")


def overlap_scores(reference: LabelMap, prediction: LabelMap, scheme: LabelScheme, prefix: str) -> Scores:
    """Return the overlap of a prediction with a reference, names beginning with ``prefix``."""
    found = compare(reference.array, prediction.array, scheme)
    scores: Scores = {f"{prefix}.pa": found["pixel_accuracy"], f"{prefix}.paper_iou": found["paper_iou"]}
    for kind in ("dice", "iou"):
        scores |= {f"{prefix}.{kind}.{name}": value for name, value in found[kind].items()}
        scores |= {f"{prefix}.{kind}.{name}": value for name, value in found[f"{kind}_regions"].items()}
        for label in scheme.labels:
            others = [found[kind][item.name] for item in scheme.labels if item.name != label.name]
            scores[f"{prefix}.{kind}.but {label.name}"] = mean(others)
        own = [1.0 if found[kind][item.name] is None else found[kind][item.name] for item in scheme.labels]
        scores[f"{prefix}.{kind}1.mean"] = mean(own)
    return scores


def relative_drops(scores: Mapping[str, float | None]) -> Scores:
    """Return ``diff.`` of every overlap that is there before and after: (clean - attacked) / clean."""
    drops: Scores = {}
    for name, after in scores.items():
        before = scores.get("clean" + name[5:]) if name.startswith("truth.") else None
        if before is not None and after is not None:
            drops["diff" + name[5:]] = None if before == 0 else (before - after) / before
    return drops


def change_scores(clean: Image, changed: Image, unit: float | None) -> Scores:
    """Return the size of the change: L2 over all channels and the largest, with ``unit`` (or each range) as one."""
    spans = np.full(len(clean.names), unit) if unit is not None else clean.ranges
    safe = np.where(spans > 0, spans, 1.0).reshape(-1, *[1] * clean.grid.rank)
    change = (changed.array.astype(np.float64) - clean.array) / safe
    psnr = [_psnr(part) for part in change]
    return {
        "image.l2": float(np.linalg.norm(change)),
        "image.linf": float(np.abs(change).max()),
        "image.rmse": float(np.mean([math.sqrt(float((part**2).mean())) for part in change])),
        "image.psnr": mean(psnr),
    }


def _psnr(change: NDArray[np.float64]) -> float | None:
    square = float((change**2).mean())
    return None if square == 0 else -10 * math.log10(square)


def similarity(clean: Image, changed: Image) -> Scores:
    """Return the mean SSIM over channels; None where nothing changed, as for PSNR."""
    if np.array_equal(clean.array, changed.array):
        return {"image.ssim": None}
    from AdvSegLib.metrics.image_quality import image_quality

    channels = image_quality(clean, changed)["channels"].values()
    return {"image.ssim": mean([item["ssim"] for item in channels])}


def clinical_scores(
    truth: LabelMap, before: LabelMap, after: LabelMap, scheme: LabelScheme, wanted: Collection[str]
) -> Scores:
    """Return volumes and their change, HD95, surface Dice and lesion-wise Dice of each label and region."""
    structures: dict[str, tuple[int, ...]] = {item.name: (item.value,) for item in scheme.labels}
    structures |= {item.name: item.values for item in scheme.regions}
    scores: Scores = {}
    for name, values in structures.items():
        masks = [np.isin(part.array, values) for part in (truth, before, after)]
        scores |= _structure_scores(name, masks, truth, wanted)
    return scores


def _structure_scores(name: str, masks: list[NDArray[np.bool_]], truth: LabelMap, wanted: Collection[str]) -> Scores:
    from AdvSegLib.metrics.lesions import lesion_wise
    from AdvSegLib.metrics.surface import hd95, surface_dice

    true, _, after = masks
    spacing, scores = truth.grid.spacing, Scores()
    if "volume" in wanted:
        sizes = [float(mask.sum()) * truth.grid.voxel_ml for mask in masks]
        scores[f"volume.{name}.ml"] = sizes[2]
        scores[f"volume.{name}.change ml"] = sizes[2] - sizes[1]
        scores[f"volume.{name}.change %"] = 100 * (sizes[2] - sizes[1]) / sizes[1] if sizes[1] else None
    if "hd95" in wanted:
        scores[f"hd95.{name}"] = hd95(true, after, spacing)
    if "surface" in wanted:
        scores[f"surface.{name}"] = surface_dice(true, after, spacing)
    if "lesion" in wanted and true.ndim == 3:
        scores[f"lesion.{name}"] = lesion_wise(true, after, spacing).dice
    return scores


def as_json(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return scores without what JSON cannot hold."""
    return {key: value if value is None or math.isfinite(value) else None for key, value in scores.items()}
