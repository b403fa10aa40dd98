"""Lesion-wise Dice by the rules of BraTS 2023 (glioma): each lesion is scored, missed and invented ones score 0.

True lesions whose neighbourhoods of 3 mm touch are one. A lesion is compared with all predicted components that touch
its neighbourhood; components that touch none are false positives. Lesions of at most 50 mm³ are left out. Rules and
constants: Saluja et al., github.com/rachitsaluja/BraTS-2023-Metrics. Their grids are 1 mm; here 3 mm are rounded to
whole voxels, one at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest

Mask = NDArray[np.bool_]
DILATION_MM = 3.0
SMALLEST_MM3 = 50.0


@dataclass(frozen=True)
class LesionScore:
    """The lesion-wise Dice of one region, and how many lesions were hit, missed and invented."""

    dice: float
    hit: int
    missed: int
    invented: int


def lesion_wise(
    truth: Mask, prediction: Mask, spacing: Sequence[float], *, dilation_mm: float = DILATION_MM,
    smallest_mm3: float = SMALLEST_MM3,
) -> LesionScore:  # fmt: skip
    """Return the lesion-wise Dice of two masks; 1 where there is no lesion to find and none was invented."""
    from scipy import ndimage

    if truth.shape != prediction.shape or len(spacing) != truth.ndim:
        raise BadRequest(f"masks of {truth.shape} and {prediction.shape} and spacing {tuple(spacing)} do not fit")
    around = ndimage.generate_binary_structure(truth.ndim, min(2, truth.ndim))
    everywhere = ndimage.generate_binary_structure(truth.ndim, truth.ndim)
    steps = max(1, round(dilation_mm / float(np.mean(spacing))))
    near = ndimage.binary_dilation(truth, around, iterations=steps)
    groups, count = ndimage.label(near, everywhere)
    parts, found = ndimage.label(prediction, everywhere)
    scores, hit, missed, touched = [], 0, 0, set[int]()
    for group in range(1, count + 1):
        lesion = truth & (groups == group)
        reach = ndimage.binary_dilation(lesion, around, iterations=steps)
        own = set(np.unique(parts[reach]).tolist()) - {0}
        touched |= own
        if lesion.sum() * float(np.prod(spacing)) <= smallest_mm3:
            continue
        matched = np.isin(parts, list(own))
        scores.append(2.0 * float((lesion & matched).sum()) / float(lesion.sum() + matched.sum()))
        hit, missed = hit + bool(own), missed + (not own)
    invented = found - len(touched)
    total = len(scores) + invented
    return LesionScore(sum(scores) / total if total else 1.0, hit, missed, invented)
