"""Overlap of label maps: Dice and IoU by SimpleITK, pixel accuracy and IoU of paper 002, volumes.

One policy for absent labels: a label that neither map holds has no overlap (None in reports) and is left out of
means; a label that only one of them holds scores 0. The mean over no label is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme

Labels = NDArray[np.integer[Any]]


def dice_and_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return ``2 |A and B| / (|A| + |B|)`` and ``|A and B| / |A or B|`` of two masks; None where both are empty.

    >>> dice_and_iou(np.array([[True, True]]), np.array([[True, False]]))
    (0.6666666666666666, 0.5)
    """
    import SimpleITK

    if not (a.any() or b.any()):
        return None, None
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)))
    return overlap.GetDiceCoefficient(1), overlap.GetJaccardCoefficient(1)


def pixel_accuracy(a: Labels, b: Labels) -> float:
    """Return the share of voxels where both maps agree, background included (paper 002's PA)."""
    return float((a == b).mean())


def paper_iou(a: Labels, b: Labels) -> float | None:
    """Return paper 002's IoU: voxels that agree and are not both background, over voxels where either is foreground.

    On one label it is the usual IoU; on several it weighs labels by their size instead of averaging over them.
    """
    either = (a != 0) | (b != 0)
    return float(((a == b) & either).sum() / either.sum()) if either.any() else None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is not None; None where nothing is."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def compare(reference: Labels, prediction: Labels, scheme: LabelScheme) -> dict[str, Any]:
    """Return Dice and IoU per label, per region and as means over labels, pixel accuracy and paper 002's IoU."""
    if reference.shape != prediction.shape:
        raise BadRequest(f"label maps of shapes {reference.shape} and {prediction.shape} cannot be compared")
    labels = {item.name: dice_and_iou(reference == item.value, prediction == item.value) for item in scheme.labels}
    regions = {
        item.name: dice_and_iou(np.isin(reference, item.values), np.isin(prediction, item.values))
        for item in scheme.regions
    }
    result: dict[str, Any] = {}
    for index, name in enumerate(("dice", "iou")):
        scores = {label: pair[index] for label, pair in labels.items()}
        result[name] = {**scores, "mean": mean(list(scores.values()))}
        result[f"{name}_regions"] = {region: pair[index] for region, pair in regions.items()}
    return {
        **result,
        "pixel_accuracy": pixel_accuracy(reference, prediction),
        "paper_iou": paper_iou(reference, prediction),
    }


def volumes_ml(labels: Labels, scheme: LabelScheme, voxel_ml: float) -> dict[str, float]:
    """Return the volume of each label and region in millilitres."""
    single = {item.name: int((labels == item.value).sum()) * voxel_ml for item in scheme.labels}
    union = {item.name: int(np.isin(labels, item.values).sum()) * voxel_ml for item in scheme.regions}
    return {**single, **union}


def overlap_of_masks(prediction: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean Dice and mean IoU of each sample, ``(N,)`` float64 each, over labels.

    Both sides give one boolean ``(N, *spatial)`` a label. The same policy as :func:`compare`, on the tensors' device,
    without a sync; 1 where neither side has any label.
    """
    shared = torch.stack([_count(a & b) for a, b in zip(prediction, reference, strict=True)], 1).double()
    size = torch.stack([_count(a) + _count(b) for a, b in zip(prediction, reference, strict=True)], 1).double()
    present = size > 0
    count = present.sum(1)

    def over_present(scores: Tensor) -> Tensor:
        return torch.where(count > 0, torch.where(present, scores, 0.0).sum(1) / count.clamp_min(1), 1.0)

    return over_present(2 * shared / size.clamp_min(1)), over_present(shared / (size - shared).clamp_min(1))


def paper_iou_of_masks(prediction: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """Return :func:`paper_iou` of each sample ``(N,)`` float64, from boolean ``(N, *spatial)`` masks a label.

    1 where both sides are empty. The masks of one side are disjoint.
    """
    shared = torch.stack([_count(a & b) for a, b in zip(prediction, reference, strict=True)], 1).double().sum(1)
    either = _count(_union(prediction) | _union(reference)).double()
    return torch.where(either > 0, shared / either.clamp_min(1), 1.0)


def _union(masks: Sequence[Tensor]) -> Tensor:
    return reduce(torch.logical_or, masks)


def _count(mask: Tensor) -> Tensor:
    return mask.flatten(1).sum(1, dtype=torch.int32)
