"""Where things are and which way is up, in millimetres, whatever way the array is stored."""

from __future__ import annotations

import numpy as np

from AdvSegLib.target_maps.structures import BoolArray
from AdvSegLib.volumes import Affine, Grid

LEFT, POSTERIOR, SUPERIOR = np.eye(3)
OBLIQUE = 0.75
"""A patient axis further than about 40 degrees out of a film's plane does not serve as its up or right."""


def centre_of_mass(mask: BoolArray, grid: Grid) -> Affine:
    """Return the mean place of the mask's voxels in mm, ``(rank,)``."""
    index = np.argwhere(mask).mean(axis=0)
    place: Affine = grid.affine[: grid.rank, : grid.rank] @ index + grid.affine[: grid.rank, grid.rank]
    return place


def is_film(grid: Grid) -> bool:
    """Tell whether a grid is one picture: 2-D, or a volume of a single slice, as films are stored in DICOM."""
    return grid.rank == 2 or grid.shape.count(1) == 1


def film_axes(grid: Grid) -> tuple[Affine, Affine]:
    """Return which way is right and which is down on the displayed film, as unit vectors in mm space.

    A 2-D grid is displayed as stored: columns go right, rows down. A single slice of a volume is displayed as
    radiologists do: superior up where it can be, else anterior; the patient's left on the right, else posterior.
    """
    if grid.rank == 2:
        down, right = grid.cosines[:, 0], grid.cosines[:, 1]
        return _unit(right - (right @ down) * down), down
    normal = grid.cosines[:, grid.shape.index(1)]
    up = SUPERIOR if abs(normal[2]) < OBLIQUE else -POSTERIOR
    right = LEFT if abs(normal[0]) < OBLIQUE else POSTERIOR
    up = _unit(up - (up @ normal) * normal)
    right = right - (right @ normal) * normal
    return _unit(right - (right @ up) * up), -up


def _unit(vector: Affine) -> Affine:
    unit: Affine = vector / np.linalg.norm(vector)
    return unit
