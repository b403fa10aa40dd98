"""Images and label maps with their place in space."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes.grid import Affine, Grid
from AdvSegLib.volumes.itk import check_format, resample, to_sitk, write_picture
from AdvSegLib.volumes.marks import PICTURE_SUFFIXES, embed_mark
from AdvSegLib.volumes.segments import segment_fields

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int32]
PathLike = str | os.PathLike[str]
IMAGE_TYPES = ("float32", "uint8", "int8", "uint16", "int16")


@dataclass(frozen=True, eq=False)
class Image:
    """Intensities ``(C, *spatial)`` float32 on a grid, with one name a channel.

    ``mark`` is written into file headers; adversarial images carry :data:`MARK`.
    """

    array: FloatArray
    grid: Grid
    names: tuple[str, ...]
    mark: str = ""

    def __post_init__(self) -> None:
        """Check that array, grid and names belong together."""
        array = np.ascontiguousarray(self.array, dtype=np.float32)
        if array.shape[1:] != self.grid.shape:
            raise BadRequest(f"image array {array.shape} does not fit a grid of {self.grid.shape}")
        if len(self.names) != array.shape[0]:
            raise BadRequest(f"{array.shape[0]} channels but {len(self.names)} names: {', '.join(self.names)}")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "names", tuple(self.names))

    @classmethod
    def from_array(
        cls, array: NDArray[Any], spacing: Sequence[float] | float = 1.0, names: Sequence[str] = ()
    ) -> Image:
        """Wrap a ``(C, *spatial)`` array on a regular grid."""
        return cls(array, Grid.regular(array.shape[1:], spacing), tuple(names) or channel_names(array.shape[0]))

    @property
    def affine(self) -> Affine:
        """The grid's affine, array index to LPS mm."""
        return self.grid.affine

    @cached_property
    def lows(self) -> NDArray[np.float64]:
        """Smallest intensity of each channel, ``(C,)``."""
        return np.asarray(self.array.reshape(len(self.names), -1).min(axis=1), np.float64)

    @cached_property
    def highs(self) -> NDArray[np.float64]:
        """Largest intensity of each channel, ``(C,)``."""
        return np.asarray(self.array.reshape(len(self.names), -1).max(axis=1), np.float64)

    @property
    def ranges(self) -> NDArray[np.float64]:
        """Intensity range (max - min) of each channel in source units, ``(C,)``: what epsilon is a fraction of."""
        return self.highs - self.lows

    def with_array(self, array: NDArray[Any], *, mark: str = "") -> Image:
        """Return an image of other intensities on the same grid, of the same channels."""
        return replace(self, array=np.asarray(array, dtype=np.float32), mark=mark)

    def channel(self, index: int) -> Image:
        """Return one channel as an image of its own."""
        return Image(self.array[index : index + 1], self.grid, (self.names[index],), self.mark)

    def onto(self, grid: Grid) -> Image:
        """Resample to ``grid`` by physical space, linearly; outside lies each channel's minimum.

        Raises BadRequest when the two do not overlap at all.
        """
        if self.grid.matches(grid):
            return replace(self, grid=grid)
        planes = [
            resample(plane, self.grid, grid, linear=True, outside=float(low))
            for plane, low in zip(self.array, self.lows, strict=True)
        ]
        return Image(np.stack(planes), grid, self.names, self.mark)

    def write(self, path: PathLike, *, dtype: str = "float32") -> Path:
        """Write to the format of the suffix, geometry and mark included, and return the path.

        A 2-D image becomes one slice in formats of scans. PNG and JPEG hold integers: name ``dtype`` (``uint8``,
        ``uint16``) and intensities are rounded and clipped to it. Raises BadRequest where a format cannot hold the
        number type, the channels, the slices or the mark; AdvSegError where the place cannot be written.
        """
        target = Path(path)
        if dtype not in IMAGE_TYPES:
            raise BadRequest(f"unknown dtype '{dtype}'; known: {', '.join(IMAGE_TYPES)}")
        raster = check_format(target, self.grid, len(self.names), dtype)
        if self.mark and raster and target.suffix.lower() not in PICTURE_SUFFIXES:
            raise BadRequest(f"{target}: {target.suffix} cannot carry the mark '{self.mark}'; write PNG or NIfTI")
        array: NDArray[Any] = self.array
        if dtype != "float32":
            info = np.iinfo(dtype)
            array = np.clip(np.rint(array), info.min, info.max).astype(dtype)
        picture = to_sitk(array, self.grid if raster else self.grid.lifted())
        if self.mark:
            picture.SetMetaData("ITK_FileNotes", self.mark)
        write_picture(picture, target)
        if self.mark and raster:
            embed_mark(target, self.mark)
        return target


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Integer labels ``(*spatial)`` int32 on a grid; ``names`` tells what values mean, where that is known."""

    array: LabelArray
    grid: Grid
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that array and grid belong together."""
        array = np.ascontiguousarray(self.array, dtype=np.int32)
        if array.shape != self.grid.shape:
            raise BadRequest(f"label array {array.shape} does not fit a grid of {self.grid.shape}")
        object.__setattr__(self, "array", array)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Distinct non-zero labels present, ascending."""
        return tuple(int(v) for v in np.unique(self.array) if v != 0)

    def onto(self, grid: Grid) -> LabelMap:
        """Resample to ``grid`` by physical space with nearest neighbour; outside lies background 0.

        Raises BadRequest when the two do not overlap at all.
        """
        if self.grid.matches(grid):
            return replace(self, grid=grid)
        return LabelMap(resample(self.array, self.grid, grid, linear=False, outside=0.0), grid, self.names)

    def relabelled(self, mapping: Mapping[int, int]) -> LabelMap:
        """Return a label map with values replaced, all at once (``{1: 2, 2: 1}`` swaps)."""
        array = self.array.copy()
        for old, new in mapping.items():
            array[self.array == old] = new
        names = {mapping.get(value, value): name for value, name in self.names.items()}
        return LabelMap(array, self.grid, names)

    def write(self, path: PathLike) -> Path:
        """Write to the format of the suffix; ``.seg.nrrd`` carries segment names for 3D Slicer.

        Raises BadRequest where a format cannot hold the values (JPEG never does: it blurs them).
        """
        target = Path(path)
        if target.suffix.lower() in (".jpg", ".jpeg"):
            raise BadRequest(f"{target}: JPEG blurs label values; write PNG")
        high = int(self.array.max(initial=0))
        if int(self.array.min(initial=0)) < 0:
            dtype = "int32"
        else:
            dtype = "uint8" if high < 256 else "uint16" if high < 65536 else "int32"
        raster = check_format(target, self.grid, 1, dtype)
        picture = to_sitk(self.array[None].astype(dtype), self.grid if raster else self.grid.lifted())
        if target.name.lower().endswith(".seg.nrrd"):
            for key, text in segment_fields(self.values, self.names).items():
                picture.SetMetaData(key, text)
        return write_picture(picture, target)


def channel_names(count: int) -> tuple[str, ...]:
    """Return names for channels nobody named.

    >>> channel_names(1), channel_names(3)
    (('image',), ('channel0', 'channel1', 'channel2'))
    """
    return ("image",) if count == 1 else tuple(f"channel{index}" for index in range(count))
