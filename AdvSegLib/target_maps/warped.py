"""Targets that carry a structure elsewhere: resized about its centre of mass, or moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.parameters import parameter
from AdvSegLib.target_maps.base import TargetMap, replaced
from AdvSegLib.target_maps.places import centre_of_mass, film_axes, is_film
from AdvSegLib.target_maps.structures import BoolArray, OfStructure, find_structure
from AdvSegLib.volumes import Affine, Grid, LabelArray, LabelMap
from AdvSegLib.volumes.itk import load_itk, to_sitk


@dataclass(frozen=True)
class Resized(OfStructure, TargetMap):
    """The structure larger or smaller about its centre of mass, equally in every direction of space.

    ``factor`` multiplies lengths in mm, as a zoom does, so areas grow by its square and volumes by its cube. Paper 003
    (0.4 to 1.8) does not say which is meant; where it is read as one of areas, give its square root.
    """

    name: ClassVar[str] = "resized"
    summary: ClassVar[str] = "A structure shrunk or enlarged about its centre of mass"
    source: ClassVar[str] = "Bortsova et al. 2020, section 3.3"

    factor: float = parameter(
        0.6, "lengths are multiplied by it; the paper takes 0.4 to 1.8", minimum=0.05, maximum=5.0
    )

    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Zoom each label linearly: inside where all fill half a voxel, there the label that fills most."""
        wanted = find_structure(self.structure, scheme)
        mask = wanted.inside(base, "there is nothing to resize")
        rank = base.grid.rank
        zoom = load_itk().AffineTransform(rank)
        zoom.SetCenter(centre_of_mass(mask, base.grid).tolist())
        zoom.SetMatrix((np.eye(rank) / self.factor).ravel().tolist())
        shares = np.stack([_carried(base.array == value, base.grid, zoom) for value in wanted.values])
        values = np.asarray(wanted.values, np.int32)[shares.argmax(axis=0)]
        new: LabelArray = np.where(shares.sum(axis=0) > 0.5, values, 0).astype(np.int32)
        return replaced(base, wanted, new, f"{self.name} by {self.factor:g}")


@dataclass(frozen=True)
class Moved(OfStructure, TargetMap):
    """The structure elsewhere, its shape kept: it moves by the whole voxels nearest to the offset.

    In a volume offsets run along the patient's axes, whatever the array's. A film (2-D, or a volume of one slice) has
    no known patient axes: offsets run along the displayed picture, row 0 on top. Negative numbers go the other way.
    """

    name: ClassVar[str] = "moved"
    summary: ClassVar[str] = "A structure in another place, its shape kept"
    source: ClassVar[str] = "after Bortsova et al. 2020, section 3.3"

    left: float = parameter(0.0, "mm to the patient's left; volumes", minimum=-1e6, maximum=1e6)
    posterior: float = parameter(0.0, "mm to the patient's back; volumes", minimum=-1e6, maximum=1e6)
    superior: float = parameter(0.0, "mm to the patient's head; volumes", minimum=-1e6, maximum=1e6)
    image_right: float = parameter(0.0, "mm to the right of the displayed picture; films", minimum=-1e6, maximum=1e6)
    image_down: float = parameter(0.0, "mm down the displayed picture; films", minimum=-1e6, maximum=1e6)

    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Shift by whole voxels."""
        wanted = find_structure(self.structure, scheme)
        mask = wanted.inside(base, "there is nothing to move")
        steps = np.rint(self._steps(base.grid)).astype(int)
        if not steps.any():
            raise BadRequest(f"{self.name}: the offset is less than half a voxel ({_sizes(base.grid)} mm) every way")
        new = _shifted(np.where(mask, base.array, np.int32(0)), steps)
        return replaced(base, wanted, new, self.name)

    def _steps(self, grid: Grid) -> Affine:
        """Return the offset in voxels along each array axis."""
        offset = np.zeros(grid.rank)
        if self.image_right or self.image_down:
            if not is_film(grid):
                raise BadRequest(f"{self.name}: a volume is moved by left, posterior and superior, in mm")
            right, down = film_axes(grid)
            offset += self.image_right * right + self.image_down * down
        if self.left or self.posterior or self.superior:
            if grid.rank == 2:
                raise BadRequest(
                    f"{self.name}: a 2-D film has no patient axes; give image_right and image_down, in mm"
                )
            offset += (self.left, self.posterior, self.superior)
        return np.asarray(np.linalg.solve(grid.affine[: grid.rank, : grid.rank], offset), np.float64)


def _carried(mask: BoolArray, grid: Grid, transform: Any) -> NDArray[np.float32]:
    """Return the carried mask's share of each voxel, 0 to 1; ``transform`` maps new places in mm to old ones."""
    if not mask.any():
        return np.zeros(grid.shape, np.float32)
    itk = load_itk()
    reference = to_sitk(np.zeros((1, *grid.shape), np.uint8), grid)
    index = np.argwhere(mask)
    low, high = index.min(axis=0), index.max(axis=0) + 1
    box = np.pad(mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], 1).astype(np.float32)
    affine = grid.affine.copy()
    affine[: grid.rank, grid.rank] += grid.affine[: grid.rank, : grid.rank] @ (low - 1)
    picture = to_sitk(box[None], Grid(box.shape, affine))
    moved = itk.Resample(picture, reference, transform, itk.sitkLinear, 0.0, itk.sitkFloat32)
    share: NDArray[np.float32] = itk.GetArrayFromImage(moved)
    return share


def _shifted(labels: LabelArray, steps: NDArray[np.int_]) -> LabelArray:
    """Return labels moved by whole voxels; what leaves the grid is gone, what enters is 0."""
    from scipy import ndimage

    moved: LabelArray = ndimage.shift(labels, steps, order=0, mode="grid-constant", cval=0, prefilter=False)
    return moved


def _sizes(grid: Grid) -> str:
    return " x ".join(f"{step:g}" for step in grid.spacing)
