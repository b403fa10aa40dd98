"""Smooth random fields on a regular grid, drawn in millimetres so that they do not depend on the voxel size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.volumes import FloatArray, Grid


def axis_mm(grid: Grid) -> list[FloatArray]:
    """Return the voxel centres along each array axis in mm, 0 in the middle of the grid."""
    return [
        ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
        for n, step in zip(grid.shape, grid.spacing, strict=True)
    ]


def smooth_noise(rng: np.random.Generator, grid: Grid, length_mm: float) -> FloatArray:
    """Return a field ``(*spatial)`` of mean 0 and variance 1 that varies over about ``length_mm``.

    White noise on a lattice of that pitch under cubic B-splines. Lengths below the voxel size are raised to it.
    """
    pitch = max(length_mm, *grid.spacing)
    widths = np.multiply(grid.shape, grid.spacing)
    weights = [_spline_weights(*axis, pitch) for axis in zip(axis_mm(grid), widths, strict=True)]
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for axis, matrix in enumerate(weights):
        field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field, dtype=np.float32)


def _spline_weights(positions: FloatArray, width: float, pitch: float) -> NDArray[np.float32]:
    """Return cubic B-spline weights ``(positions, lattice points)`` whose noise has variance 1 on average."""
    # The lattice spans the width, not the voxel centres: the same field at any voxel size.
    reach = int(np.ceil(width / 2 / pitch - 1e-6)) + 2
    distance = np.abs(positions[:, None] / pitch - np.arange(-reach, reach + 1)[None, :])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, inner, outer)
    weights /= np.sqrt((weights**2).sum(axis=1).mean())
    single: FloatArray = weights.astype(np.float32)
    return single
