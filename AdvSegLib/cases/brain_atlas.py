"""The anatomy brain phantoms start from: tissue maps of a template that is installed, or of an analytic brain.

The template (ICBM152 2009a, inside nilearn's wheel) is read where the user installed it; no volume derived from it
is shipped. Both atlases are centred on the brain, in mm, LPS, array axes (S, P, L), and cached for the process.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AdvSegLib.cases.brain_shapes import analytic_tissues
from AdvSegLib.cases.smooth_noise import axis_mm
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import FloatArray, Grid

ATLAS_MM = 2.0
ANALYTIC_VARIANTS = 4
"""How many differently folded analytic brains there are."""


@dataclass(frozen=True, eq=False)
class BrainAtlas:
    """Tissue maps ``(*spatial)`` float32 on a grid whose middle is the middle of the brain.

    ``csf``, ``grey`` and ``white`` are fractions that add up to 1 everywhere (outside the brain all is CSF).
    ``depth`` is the distance below the brain's surface in mm (negative outside), ``ventricle`` the distance to the
    ventricles in mm. ``average`` tells that the maps are a mean of many people, whose cortex is washed out.
    """

    grid: Grid
    csf: FloatArray
    grey: FloatArray
    white: FloatArray
    depth: FloatArray
    ventricle: FloatArray
    average: bool


def brain_atlas(template: bool | None = None, variant: int = 0) -> BrainAtlas:
    """Return the template's atlas, or the ``variant``-th analytic one.

    ``template=None`` takes the template where it is installed. BadRequest where it is asked for and missing.
    """
    folder = template_folder() if template is not False else None
    if folder is not None:
        return _template_atlas(folder)
    if template:
        raise BadRequest("the ICBM152 template is not installed: pip install nilearn, or pass template=False")
    return _analytic_atlas(variant % ANALYTIC_VARIANTS)


def template_folder() -> Path | None:
    """Return the folder where nilearn keeps the template, None where there is none; imports nothing heavy."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "datasets" / "data"
    return folder if all(_template_file(folder, kind).is_file() for kind in ("t1", "gm", "wm")) else None


def _template_file(folder: Path, kind: str) -> Path:
    return folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"


@lru_cache(maxsize=1)
def _template_atlas(folder: Path) -> BrainAtlas:
    head, grey, white = (_read_halved(_template_file(folder, kind)) for kind in ("t1", "gm", "wm"))
    # The wheel's maps are 8 bit, 255 for certainty; its T1 is zero outside the brain.
    inside = ndimage.binary_fill_holes(head > 20)
    box = ndimage.find_objects(inside.astype(np.int8))[0]
    inside, grey, white = (np.pad(volume[box], 4) for volume in (inside, grey / 255, white / 255))
    return _finish(inside, grey, white, average=True)


def _read_halved(path: Path) -> FloatArray:
    """Read a volume of 1 mm voxels in (S, P, L) order and average it down to 2 mm."""
    import SimpleITK

    volume = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat32), "LPS")
    array: FloatArray = SimpleITK.GetArrayFromImage(SimpleITK.BinShrink(volume, [2, 2, 2]))
    return array


@lru_cache(maxsize=ANALYTIC_VARIANTS)
def _analytic_atlas(variant: int) -> BrainAtlas:
    inside, grey, white = analytic_tissues(np.random.default_rng(variant), ATLAS_MM)
    return _finish(inside, grey, white, average=False)


def _finish(inside: NDArray[np.bool_], grey: FloatArray, white: FloatArray, *, average: bool) -> BrainAtlas:
    """Complete an atlas from its brain mask, grey and white matter."""
    total = np.maximum(grey + white, 1.0)
    grey, white = (np.where(inside, tissue / total, 0).astype(np.float32) for tissue in (grey, white))
    csf = (1 - grey - white).astype(np.float32)
    inner = ndimage.distance_transform_edt(inside, sampling=ATLAS_MM)
    outer = ndimage.distance_transform_edt(~inside, sampling=ATLAS_MM)
    depth = np.where(inside, inner - ATLAS_MM / 2, ATLAS_MM / 2 - outer).astype(np.float32)
    grid = Grid.regular(inside.shape, ATLAS_MM)
    ventricle = _ventricle_distance(grid, csf, depth)
    return BrainAtlas(grid, csf, grey, white, depth, ventricle, average)


def _ventricle_distance(grid: Grid, csf: FloatArray, depth: FloatArray) -> FloatArray:
    """Return mm to the lateral ventricles: the fluid well below the surface, off the base and the back."""
    superior, posterior, left = (
        a.reshape(s) for a, s in zip(axis_mm(grid), ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
    )
    centre = (superior > -16) & (superior < 32) & (abs(posterior) < 58) & (abs(left) > 1) & (abs(left) < 38)
    fluid = (csf > 0.5) & (depth > 22) & centre
    blobs, count = ndimage.label(fluid)
    sizes = np.bincount(blobs.ravel(), minlength=count + 1)
    sizes[0] = 0
    # Sulci deep in the fissures are fluid too, but small.
    fluid = sizes[blobs] * ATLAS_MM**3 > 1000
    distance: FloatArray = ndimage.distance_transform_edt(~fluid, sampling=ATLAS_MM).astype(np.float32)
    return distance
