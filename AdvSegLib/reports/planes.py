"""Which way a scan lies: its slices as a radiologist hangs them, whatever the order and direction of array axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.volumes import Grid

NAMES = ("sagittal", "coronal", "axial")
"""Plane across patient axis 0 (L), 1 (P), 2 (S)."""
LETTERS = {"sagittal": ("A", "P", "S", "I"), "coronal": ("R", "L", "S", "I"), "axial": ("R", "L", "A", "P")}
"""What stands at the left, right, top and bottom border."""
SIDES = (("R", "L"), ("A", "P"), ("I", "S"))
"""Negative and positive end of each LPS axis."""


@dataclass(frozen=True)
class Plane:
    """One slice of a grid, turned to be looked at; ``letters`` are left, right, top, bottom (empty for pictures).

    ``height`` and ``width`` are its size in mm (or in the unit of a picture's spacing).
    """

    name: str
    axis: int
    index: int
    count: int
    order: tuple[int, int]
    flips: tuple[bool, bool]
    height: float
    width: float
    place: str = ""
    tilt: float = 0.0

    @property
    def letters(self) -> tuple[str, ...]:
        """Border letters: left, right, top, bottom."""
        return LETTERS.get(self.name, ())

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return this slice of ``(*spatial)`` as ``(row, column)``, first row on top."""
        if array.ndim == 2:
            return array
        face = np.take(array, self.index, axis=self.axis)
        rows, columns = self.order
        face = face if rows < columns else face.T
        down, across = (-1 if flip else 1 for flip in self.flips)
        return np.asarray(face[::down, ::across])


@dataclass(frozen=True)
class Bearings:
    """For each patient axis (L, P, S): the array axis closest to it, and whether that one runs against it."""

    axes: tuple[int, int, int]
    against: tuple[bool, bool, bool]
    tilts: tuple[float, float, float]


def bearings(grid: Grid) -> Bearings:
    """Return how array axes lie in the patient; oblique ones go to the closest axis, each to another one."""
    best = grid.closest_axes
    along = [float(grid.cosines[row, axis]) for row, axis in enumerate(best)]
    tilts = [float(np.degrees(np.arccos(min(1.0, abs(c))))) for c in along]
    return Bearings(
        (best[0], best[1], best[2]),
        (along[0] < 0, along[1] < 0, along[2] < 0),
        (tilts[0], tilts[1], tilts[2]),
    )


def planes(grid: Grid, scores: tuple[NDArray[Any], ...]) -> list[Plane]:
    """Return the slice to show along each axis, axial first: the one of the highest score, the middle where all tie.

    ``scores`` has one array an array axis. A picture is one plane; of a volume of a single slice only that is shown.
    """
    if grid.rank == 2:
        height, width = (n * s for n, s in zip(grid.shape, grid.spacing, strict=True))
        return [Plane("image", 0, 0, 1, (0, 1), (False, False), height, width)]
    lie = bearings(grid)
    shown = [patient for patient in (2, 1, 0) if grid.shape[lie.axes[patient]] == 1] or [2, 1, 0]
    return [_plane(grid, lie, patient, best_index(scores[lie.axes[patient]])) for patient in shown]


def best_index(scores: NDArray[Any]) -> int:
    """Return the place of the highest score, of equals the closest to the middle.

    >>> best_index(np.zeros(5)), best_index(np.array([0, 3, 0, 3, 9]))
    (2, 4)
    """
    top = np.flatnonzero(scores == scores.max())
    return int(top[np.abs(top - (len(scores) - 1) / 2).argmin()])


def _plane(grid: Grid, lie: Bearings, patient: int, index: int) -> Plane:
    """Return the slice across one patient axis: rows run P or down (I), columns run L or (sagittal) P."""
    row, column = {2: (1, 0), 1: (2, 0), 0: (2, 1)}[patient]
    rows, columns, axis = lie.axes[row], lie.axes[column], lie.axes[patient]
    height, width = (grid.shape[a] * grid.spacing[a] for a in (rows, columns))
    down = row == 2
    return Plane(
        NAMES[patient], axis, index, grid.shape[axis], (rows, columns),
        (lie.against[row] != down, lie.against[column]), height, width,
        _place(grid, axis, index, patient), max(lie.tilts),
    )  # fmt: skip


def _place(grid: Grid, axis: int, index: int, patient: int) -> str:
    """Return where the slice's centre lies, as ``L 12.5 mm``."""
    centre = np.array([*((n - 1) / 2 for n in grid.shape), 1.0])
    centre[axis] = index
    where = float((grid.affine @ centre)[patient])
    return f"{SIDES[patient][where >= 0]} {abs(where):.1f} mm"
