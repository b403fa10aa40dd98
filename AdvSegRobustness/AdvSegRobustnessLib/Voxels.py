"""Between NumPy arrays and VTK's image data, without a copy where the numbers' type allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from AdvSegLib.errors import BadRequest

KEPT = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Number types that every volume format of Slicer holds."""


def scalarsOf(imageData: Any) -> np.ndarray:
    """Return an image's scalars as ``(k, j, i)``, or ``(k, j, i, components)``: a view, not a copy."""
    i, j, k = imageData.GetDimensions()
    scalars = imageData.GetPointData().GetScalars()
    components = scalars.GetNumberOfComponents()
    return vtk_to_numpy(scalars).reshape((k, j, i) if components == 1 else (k, j, i, components))


def storable(array: np.ndarray) -> np.ndarray:
    """Return an array in a type that Slicer holds: bool as uint8, float16 as float32, 64-bit integers as int32."""
    array = np.asarray(array)
    if array.dtype.name in KEPT:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    if array.dtype.kind in "iu" and (array.size == 0 or abs(array).max() < 2**31):
        return array.astype(np.int32)
    raise BadRequest(f"voxels of type {array.dtype} do not fit a volume node; convert them to float32")


def fill(imageData: Any, array: np.ndarray) -> Any:
    """Make ``(k, j, i)`` the scalars of a vtkImageData, which then holds the array alive; return the image."""
    array = np.ascontiguousarray(storable(array))
    if not array.flags.writeable:
        array = array.copy()
    k, j, i = array.shape
    imageData.SetDimensions(i, j, k)
    scalars = numpy_to_vtk(array.reshape(-1), deep=False)
    scalars.SetName("ImageScalars")
    imageData.GetPointData().SetScalars(scalars)
    return imageData


def imageDataOf(array: np.ndarray) -> Any:
    """Return ``(k, j, i)`` as a new vtkImageData."""
    return fill(vtk.vtkImageData(), array)
