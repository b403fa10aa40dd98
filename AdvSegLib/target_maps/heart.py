"""The heart symbol of paper 003, in the plane and, as Taubin's surface, in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.parameters import parameter
from AdvSegLib.target_maps.base import TargetMap, replaced
from AdvSegLib.target_maps.places import LEFT, POSTERIOR, SUPERIOR, centre_of_mass, film_axes, is_film
from AdvSegLib.target_maps.structures import BoolArray, OfStructure, find_label
from AdvSegLib.volumes import Affine, Grid, LabelArray, LabelMap

SIZES = {"small": 0.4, "large": 1.1}
"""Symbol over structure, in area."""
UNIT = {2: (3.6620, 0.2935), 3: (3.3451, 0.2835)}
"""Area or volume of the symbol of scale 1, and how high above the origin its centre of mass lies, by dimension."""
REACH = 1.3
"""No point of the symbol of scale 1 is further from its centre of mass."""
CLOSE = 0.002
"""Relative error of the size that is not worth a search."""
SEARCH = 16
"""Bisections of the scale; further ones move no voxel."""


@dataclass(frozen=True)
class HeartSymbol(OfStructure, TargetMap):
    """The structure becomes an upright heart symbol, point down, about the same centre of mass.

    In a volume it is Taubin's heart surface, which every coronal slice near its middle cuts in a heart symbol:
    superior is up and the patient's left is across, whatever way the array is stored. On a film up is row 0. The paper
    does not print its two sizes; ours are 0.4 and 1.1 of the structure's area (in volumes, of its volume). Overlaps in
    its Table 2 speak for 0.35 and 2.4, which ``advseg reproduce`` takes, by ``area``. Where the grid cuts the symbol
    off, the rest keeps its size.
    """

    name: ClassVar[str] = "heart-symbol"
    summary: ClassVar[str] = "A structure as an upright heart symbol"
    source: ClassVar[str] = "Bortsova et al. 2020, section 3.2"

    size: str = parameter("large", "0.4 (small) or 1.1 (large) times the structure's area", choices=tuple(SIZES))
    area: float | None = parameter(
        None, "size as a fraction of the structure's area or volume, in place of size", minimum=0.01, maximum=100.0
    )

    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Paint the symbol."""
        label = find_label(self.structure, scheme, "the heart symbol")
        mask = label.inside(base, "there is no place to put the symbol")
        fraction = SIZES[self.size] if self.area is None else self.area
        centre = centre_of_mass(mask, base.grid)
        symbol = heart_mask(base.grid, centre, fraction * int(mask.sum()))
        return replaced(base, label, np.where(symbol, np.int32(label.values[0]), np.int32(0)), self.name)


def heart_mask(grid: Grid, centre: Affine, voxels: float) -> BoolArray:
    """Return a heart symbol of so many voxels about ``centre`` (mm), cut where the grid ends.

    The voxels count those beyond the grid too; voxels that are symmetric to each other enter together, so the count
    can be a few off. Raises BadRequest for a symbol smaller than one voxel.
    """
    if voxels < 1:
        raise BadRequest("the heart symbol would be smaller than one voxel")
    low, symbol = _sized(grid, centre, voxels)
    mask = np.zeros(grid.shape, bool)
    first = np.maximum(low, 0)
    last = np.minimum(low + symbol.shape, grid.shape)
    if (last > first).all():
        inner = tuple(slice(a - o, b - o) for a, b, o in zip(first, last, low, strict=True))
        mask[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = symbol[inner]
    return mask


def _sized(grid: Grid, centre: Affine, voxels: float) -> tuple[Affine, BoolArray]:
    """Return the symbol nearest to ``voxels`` in size: first index of its box on the unbounded grid, and its mask."""
    dims = 2 if is_film(grid) else 3
    extent = float(np.prod([step for step, n in zip(grid.spacing, grid.shape, strict=True) if dims == 3 or n > 1]))
    scale = (voxels * extent / UNIT[dims][0]) ** (1 / dims)
    below, above = 0.0, 2 * scale + 2 * max(grid.spacing)
    best = tried = _symbol(grid, centre, scale)
    for _ in range(SEARCH):
        if _miss(best, voxels) <= CLOSE * voxels:
            break
        below, above = (scale, above) if tried[1].sum() < voxels else (below, scale)
        scale = (below + above) / 2
        tried = _symbol(grid, centre, scale)
        best = min(best, tried, key=lambda symbol: _miss(symbol, voxels))
    return best


def _miss(symbol: tuple[Affine, BoolArray], voxels: float) -> float:
    return abs(int(symbol[1].sum()) - voxels)


def _symbol(grid: Grid, centre: Affine, scale: float) -> tuple[Affine, BoolArray]:
    """Return the symbol of a scale (mm) on the unbounded grid: first index of its box, and its mask."""
    rank = grid.rank
    inverse = np.linalg.inv(grid.affine[:rank, :rank])
    index = inverse @ (centre - grid.affine[:rank, rank])
    reach = REACH * scale * np.linalg.norm(inverse, axis=1)
    low, high = np.floor(index - reach).astype(int), np.ceil(index + reach).astype(int)
    if rank == 3 and is_film(grid):
        axis = grid.shape.index(1)
        low[axis] = high[axis] = 0
    rows = _frame(grid) @ grid.affine[:rank, :rank] / scale
    rest = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low[1:], high[1:], strict=True)), indexing="ij"))
    offset = np.tensordot(rows[:, 1:], rest - index[1:].reshape(-1, *[1] * (rank - 1)), axes=1)
    planes = [
        in_heart(offset + (rows[:, 0] * (k - index[0])).reshape(-1, *[1] * (rank - 1)))
        for k in range(low[0], high[0] + 1)
    ]
    return low, np.stack(planes)


def _frame(grid: Grid) -> Affine:
    """Return the symbol's axes in mm space, as rows: across, up and, in a volume, depth."""
    if not is_film(grid):
        return np.stack([LEFT, SUPERIOR, POSTERIOR])
    right, down = film_axes(grid)
    return np.stack([right, -down])


def in_heart(point: Affine) -> BoolArray:
    """Tell which points ``(2 or 3, …)``, across, up, and depth from the centre of mass, lie in the unit symbol.

    Taubin's surface (x² + 9/4 y² + z² - 1)³ = x² z³ + 9/80 y² z³; at depth y = 0 it is the plane's heart curve.
    """
    x, z = point[0], point[1] + UNIT[len(point)][1]
    y = point[2] if len(point) == 3 else 0.0
    inside: BoolArray = (x**2 + 2.25 * y**2 + z**2 - 1) ** 3 <= (x**2 + 0.1125 * y**2) * z**3
    return inside
