"""Where voxels lie: a shape and an affine from array index to LPS millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest

Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie: a shape and the affine from array index to LPS millimetres.

    >>> grid = Grid((4, 5, 6), np.diag([2.0, 1.0, 1.0, 1.0]))
    >>> grid.spacing, grid.voxel_ml
    ((2.0, 1.0, 1.0), 0.002)
    """

    shape: tuple[int, ...]
    affine: Affine

    def __post_init__(self) -> None:
        """Refuse an affine that does not fit the shape or collapses space."""
        affine = np.asarray(self.affine, dtype=np.float64)
        rank = len(self.shape)
        if rank not in (2, 3) or affine.shape != (rank + 1, rank + 1):
            raise BadRequest(f"a grid of shape {self.shape} needs a {rank + 1}x{rank + 1} affine, got {affine.shape}")
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:rank, :rank])) < 1e-12:
            raise BadRequest(f"affine is not invertible: {affine.tolist()}")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    @classmethod
    def regular(cls, shape: Sequence[int], spacing: Sequence[float] | float = 1.0) -> Grid:
        """Return an axis-aligned grid (array axes to z, y, x) with its first voxel at the LPS origin."""
        rank = len(shape)
        steps = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (rank,))
        affine = np.zeros((rank + 1, rank + 1))
        affine[rank, rank] = 1.0
        for axis, step in enumerate(steps):
            affine[rank - 1 - axis, axis] = step
        return cls(tuple(shape), affine)

    @property
    def rank(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.shape)

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm along each array axis."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[: self.rank, : self.rank], axis=0))

    @cached_property
    def cosines(self) -> Affine:
        """Unit directions of the array axes in LPS, as columns ``(rank, rank)``."""
        cosines: Affine = self.affine[: self.rank, : self.rank] / np.asarray(self.spacing)
        return cosines

    @cached_property
    def closest_axes(self) -> tuple[int, ...]:
        """For each patient axis (L, P, S), the array axis nearest to it, no axis twice; 3-D only."""
        return max(
            permutations(range(3)), key=lambda axes: sum(abs(self.cosines[row, axis]) for row, axis in enumerate(axes))
        )

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres (in 2-D: of a pixel 1 mm thick)."""
        return float(np.prod(self.spacing)) / 1000.0

    def matches(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Tell whether both grids have the same voxels, to ``tolerance`` of a voxel at every corner."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(self.rank, -1)
        corners = np.vstack([corners, np.ones(corners.shape[1])])
        gap = np.abs((self.affine - other.affine) @ corners).max()
        return bool(gap <= tolerance * min(self.spacing))

    def lifted(self) -> Grid:
        """Return this grid as one slice in 3-D (a 3-D grid as it is); the slice is 1 mm thick."""
        if self.rank == 3:
            return self
        affine = np.zeros((4, 4))
        affine[3, 3] = 1.0
        affine[:2, 1:3] = self.affine[:2, :2]
        affine[:3, 0] = (0.0, 0.0, 1.0)
        affine[:2, 3] = self.affine[:2, 2]
        return Grid((1, *self.shape), affine)
