"""Distances between surfaces of masks: HD95 and surface Dice, by MONAI, in millimetres.

The policy for absent structures is that of :mod:`AdvSegLib.metrics.overlap` as far as a distance allows: None where
neither mask holds the structure; where only one does, surface Dice is 0 and HD95 has no value (None), for no distance
is right: BraTS writes 374 mm, the diagonal of its grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest

Mask = NDArray[np.bool_]
TOLERANCE_MM = 2.0
"""Surface Dice counts surfaces nearer than this as the same; the Decathlon's tolerances are 1 to 7 mm."""


def hd95(reference: Mask, prediction: Mask, spacing: Sequence[float]) -> float | None:
    """Return the larger of both directed 95th percentiles of surface distances in mm; None where a mask is empty.

    >>> a, b = np.zeros((2, 9, 9), bool)
    >>> a[2:5, 2:5], b[2:5, 4:7] = True, True
    >>> hd95(a, b, (1.0, 3.0))
    6.0
    """
    if not _comparable(reference, prediction, spacing):
        return None
    from monai.metrics import compute_hausdorff_distance

    first, second = _cropped(reference, prediction)
    with _quietly():
        found = compute_hausdorff_distance(
            _batch(second), _batch(first), include_background=True, percentile=95, spacing=list(spacing)
        )
    return float(found[0, 0])


def surface_dice(
    reference: Mask, prediction: Mask, spacing: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> float | None:
    """Return the share of both surfaces that lies within ``tolerance_mm`` of the other (Nikolov et al. 2021).

    0 where only one mask holds the structure, None where neither does. Raises BadRequest for a negative tolerance.
    """
    if tolerance_mm < 0:
        raise BadRequest(f"tolerance must not be negative, got {tolerance_mm} mm")
    if not _comparable(reference, prediction, spacing):
        return 0.0 if reference.any() or prediction.any() else None
    from monai.metrics import compute_surface_dice

    first, second = _cropped(reference, prediction)
    with _quietly():
        found = compute_surface_dice(
            _batch(second), _batch(first), [tolerance_mm], include_background=True, spacing=list(spacing)
        )
    return float(found[0, 0])


def _comparable(reference: Mask, prediction: Mask, spacing: Sequence[float]) -> bool:
    """Tell whether both masks have a surface; BadRequest where they do not belong together."""
    if reference.shape != prediction.shape or len(spacing) != reference.ndim:
        raise BadRequest(f"masks of {reference.shape} and {prediction.shape} and spacing {tuple(spacing)} do not fit")
    return bool(reference.any() and prediction.any())


def _cropped(reference: Mask, prediction: Mask) -> tuple[Mask, Mask]:
    """Cut both masks to the box of their union and a voxel more: distances are the same, and much cheaper.

    The border is background, so that a structure that touches the image's edge has a surface there.
    """
    places = np.argwhere(reference | prediction)
    box = tuple(slice(low, high + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
    first, second = (np.pad(mask[box], 1) for mask in (reference, prediction))
    return first, second


@contextmanager
def _quietly() -> Iterator[None]:
    """Hold back what MONAI warns of its own inner calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _batch(mask: Mask) -> object:
    import torch

    return torch.from_numpy(np.ascontiguousarray(mask))[None, None]
