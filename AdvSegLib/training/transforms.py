"""Random transforms of the papers that MONAI lacks, in MONAI's form. Heavy: imports MONAI."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import MapTransform, RandomizableTransform
from numpy.typing import NDArray

Item = Mapping[Hashable, Any]

PAPER_SIDE = 512
PAPER_REACH = 1000.0
PAPER_SIGMA = 100.0
"""Paper 003: U(-1000, 1000) smoothed by a Gaussian of 100 pixels, on films of 512 pixels a side."""


class RandomSmoothWarp(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Paper 003's elastic deformation of 2-D images, its lengths scaled from 512 pixels to the image's side.

    Smoothed, the displacements have a deviation of 1.6 of 512 pixels. Each key is interpolated by splines of its
    order (0: nearest neighbour); outside lies the edge. The first key must be there.
    """

    def __init__(
        self, keys: Sequence[str], orders: Sequence[int], prob: float = 0.5, *, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.orders = tuple(orders)

    def __call__(self, data: Item) -> dict[Hashable, Any]:
        """Warp arrays ``(C, H, W)``."""
        from scipy.ndimage import map_coordinates

        out = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return out
        shape = tuple(np.shape(out[self.keys[0]])[1:])
        places = np.indices(shape) + self._displacement(shape)
        for key, order in self.key_iterator(out, self.orders):
            planes = [map_coordinates(np.asarray(p), places, order=order, mode="nearest") for p in out[key]]
            out[key] = np.stack(planes)
        return out

    def _displacement(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw displacements in pixels, one field an axis."""
        from scipy.ndimage import gaussian_filter

        scale = float(np.mean(shape)) / PAPER_SIDE
        # smoothing over sigma divides the deviation by about sigma, so the reach goes with the square of the scale
        noise = self.R.uniform(-1, 1, (len(shape), *shape)) * PAPER_REACH * scale**2
        return np.stack([gaussian_filter(field, PAPER_SIGMA * scale) for field in noise])


class RandomTranspose(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Swaps the last two axes, those of an axial slice where the first spatial axis is axial (paper 001)."""

    def __init__(self, keys: Sequence[str], prob: float = 0.5, *, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Item) -> dict[Hashable, Any]:
        """Transpose arrays ``(C, *spatial)``."""
        out = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(out):
                out[key] = np.ascontiguousarray(np.swapaxes(np.asarray(out[key]), -1, -2))
        return out
