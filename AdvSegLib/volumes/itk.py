"""Between our arrays and SimpleITK's images: conversion, resampling, writing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.volumes.grid import Grid
from AdvSegLib.volumes.intact import NIFTI_SUFFIXES, check_intact, quiet

if TYPE_CHECKING:
    import SimpleITK

RASTER_TYPES = {
    ".png": ("uint8", "uint16"),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".tif": ("uint8", "uint16", "float32"),
    ".tiff": ("uint8", "uint16", "float32"),
    ".bmp": ("uint8",),
}
"""Number types each raster format holds."""

RASTER_SUFFIXES = tuple(RASTER_TYPES)
SCAN_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def load_itk() -> Any:
    """Import SimpleITK, its warnings off."""
    import SimpleITK

    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    return SimpleITK


def from_sitk(picture: SimpleITK.Image) -> tuple[NDArray[Any], Grid]:
    """Return ``(C, *spatial)`` and its grid; 4-D becomes channels."""
    itk = load_itk()
    array = itk.GetArrayFromImage(picture)
    vector = picture.GetNumberOfComponentsPerPixel() > 1
    rank = picture.GetDimension()
    if vector:
        array = np.moveaxis(array, -1, 0)
    elif rank < 4:
        array = array[None]
    rank = min(rank, 3)
    spacing = np.array(picture.GetSpacing()[:rank])
    full = picture.GetDimension()
    direction = np.array(picture.GetDirection()).reshape(full, full)[:rank, :rank]
    affine = np.eye(rank + 1)
    affine[:rank, :rank] = (direction * spacing)[:, ::-1]
    affine[:rank, rank] = picture.GetOrigin()[:rank]
    return array, Grid(array.shape[1:], affine)


def to_sitk(array: NDArray[Any], grid: Grid) -> SimpleITK.Image:
    """Return ``(C, *spatial)`` as a SimpleITK image on ``grid``; a 2-D array is lifted to a 3-D grid's slice."""
    itk = load_itk()
    array = array.reshape(array.shape[0], *grid.shape)
    if array.shape[0] == 1:
        picture = itk.GetImageFromArray(array[0])
    else:
        picture = itk.GetImageFromArray(np.moveaxis(array, 0, -1), isVector=True)
    rank = grid.rank
    matrix = grid.affine[:rank, :rank][:, ::-1]
    spacing = np.linalg.norm(matrix, axis=0)
    cosines = matrix / spacing
    if np.abs(cosines.T @ cosines - np.eye(rank)).max() > 1e-3:
        raise BadRequest("axes of the grid are not perpendicular (sheared affine); files and ITK cannot hold it")
    picture.SetSpacing(spacing.tolist())
    picture.SetDirection(cosines.ravel().tolist())
    picture.SetOrigin(grid.affine[:rank, rank].tolist())
    return picture


def check_format(path: Path, grid: Grid, channels: int, dtype: str) -> bool:
    """Tell whether the suffix is a raster format's; BadRequest where its format cannot hold such an image."""
    suffix = path.suffix.lower()
    if suffix not in RASTER_TYPES:
        if not path.name.lower().endswith(SCAN_SUFFIXES):
            known = ", ".join((*SCAN_SUFFIXES, *RASTER_TYPES))
            raise BadRequest(f"{path}: unknown image format '{suffix}'; known: {known}")
        return False
    if dtype not in RASTER_TYPES[suffix]:
        raise BadRequest(f"{path}: {suffix} cannot hold {dtype}; it holds {', '.join(RASTER_TYPES[suffix])} (dtype=)")
    if channels not in (1, 3):
        raise BadRequest(f"{path}: {suffix} holds 1 or 3 channels, not {channels}; write NIfTI or NRRD")
    if grid.rank == 3 and not suffix.startswith(".tif"):
        raise BadRequest(f"{path}: {suffix} holds one slice, not {grid.shape[0]}; write NIfTI, NRRD or slices")
    return True


def write_picture(picture: SimpleITK.Image, path: Path) -> Path:
    """Write a SimpleITK image and return the path; AdvSegError, and no new file left, where that fails."""
    new = not path.exists()
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise AdvSegError(f"{path}: cannot write ({error.strerror})") from error
    try:
        with quiet():
            load_itk().WriteImage(picture, str(path), True)
        _check_written(path)
    except (RuntimeError, BadRequest, OSError) as error:
        if new:
            path.unlink(missing_ok=True)
        reason = str(error).strip().splitlines()[-1]
        raise AdvSegError(f"{path}: cannot write ({reason})") from error
    return path


def _check_written(path: Path) -> None:
    """Raise where a file is not what was written: on a full disk ITK cuts compressed files short in silence."""
    if path.stat().st_size == 0:
        raise OSError("no space left on device")
    check_intact(path)
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        with quiet():
            load_itk().ReadImage(str(path))


def resample(plane: NDArray[Any], source: Grid, target: Grid, *, linear: bool, outside: float) -> NDArray[Any]:
    """Resample ``(*spatial)`` from one grid to another; BadRequest where no target voxel lies in the source."""
    itk = load_itk()
    if source.rank != target.rank:
        lifted = resample(plane[None] if source.rank == 2 else plane, source.lifted(), target.lifted(),
                           linear=linear, outside=outside)  # fmt: skip
        return cast(NDArray[Any], lifted.reshape(target.shape))
    reference = to_sitk(np.zeros((1, *target.shape), np.uint8), target)

    def onto(picture: SimpleITK.Image, interpolator: int, default: float) -> NDArray[Any]:
        moved = itk.Resample(picture, reference, itk.Transform(), interpolator, default, picture.GetPixelID())
        return cast(NDArray[Any], itk.GetArrayFromImage(moved))

    inside = onto(to_sitk(np.ones((1, *source.shape), np.uint8), source), itk.sitkNearestNeighbor, 0.0)
    if not inside.any():
        raise BadRequest(
            "does not overlap the image in physical space; check that both belong to one patient and frame"
        )
    return onto(to_sitk(plane[None], source), itk.sitkLinear if linear else itk.sitkNearestNeighbor, outside)
