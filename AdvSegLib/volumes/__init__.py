"""Images and label maps with their place in space, and the files they live in.

Arrays are in SimpleITK's NumPy order: an image is ``(C, k, j, i)`` in 3-D and ``(C, row, column)`` in 2-D. A
:class:`Grid`'s affine maps an *array* index in that order to LPS millimetres, so ``affine @ (k, j, i, 1)`` is the
place of ``array[..., k, j, i]``. All file formats go through SimpleITK, loaded on first use.
"""

from AdvSegLib.volumes.grid import Affine, Grid
from AdvSegLib.volumes.image import FloatArray, Image, LabelArray, LabelMap, PathLike, channel_names
from AdvSegLib.volumes.itk import RASTER_SUFFIXES, SCAN_SUFFIXES
from AdvSegLib.volumes.marks import MARK
from AdvSegLib.volumes.reading import read_image, read_labels

__all__ = [
    "MARK",
    "RASTER_SUFFIXES",
    "SCAN_SUFFIXES",
    "Affine",
    "FloatArray",
    "Grid",
    "Image",
    "LabelArray",
    "LabelMap",
    "PathLike",
    "channel_names",
    "read_image",
    "read_labels",
]
