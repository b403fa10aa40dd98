"""Axial slices of brain phantoms, to train 2-D networks on: several of each head, most of them through its tumour."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from AdvSegLib.cases.brain_phantom import brain_phantom
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Grid, Image, LabelMap

SLICES = 8
"""Slices taken of a head; seeds that differ by less share it."""
THROUGH_TUMOUR = 0.8
"""Share of slices drawn among those with a labelled voxel, where there are any."""


def brain_slice(seed: int, size: int = 96) -> tuple[Image, LabelMap]:
    """Return one slice of the head ``seed // 8``: channels t1, t1gd, t2, flair ``(4, size, size)``, labels 1, 2, 4.

    Raises BadRequest as :func:`~AdvSegLib.cases.brain_phantom.brain_phantom` does.
    """
    if seed < 0:
        raise BadRequest(f"seed must not be negative, got {seed}")
    image, labels = _head(seed // SLICES, size)
    rng = np.random.default_rng((seed, 2))
    inside = np.flatnonzero((image.array[0] > 0).mean(axis=(1, 2)) > 0.05)
    tumour = np.flatnonzero((labels.array > 0).any(axis=(1, 2)))
    chosen = tumour if len(tumour) and rng.random() < THROUGH_TUMOUR else inside
    level = int(rng.choice(chosen))
    grid = Grid.regular((size, size), image.grid.spacing[1:])
    return Image(image.array[:, level], grid, image.names), LabelMap(labels.array[level], grid, labels.names)


@lru_cache(maxsize=2)
def _head(seed: int, size: int) -> tuple[Image, LabelMap]:
    return brain_phantom(seed, size)
