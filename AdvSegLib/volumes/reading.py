"""Files into images and label maps: what is read, what is refused, and in which words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes.grid import Grid
from AdvSegLib.volumes.image import Image, LabelMap, PathLike, channel_names
from AdvSegLib.volumes.intact import check_intact, quiet, reason_unread
from AdvSegLib.volumes.itk import RASTER_SUFFIXES, from_sitk, load_itk
from AdvSegLib.volumes.marks import MARK, has_mark
from AdvSegLib.volumes.segments import segments_of

if TYPE_CHECKING:
    import SimpleITK

LARGEST = 1e30
"""Intensities beyond this overflow float32 as soon as anything is computed of them."""
LABEL_LIMIT = 4096
"""Above this many distinct values a file is taken for intensities, not for labels."""


def read_image(paths: PathLike | Sequence[PathLike], names: Sequence[str] = ()) -> Image:
    """Read one image; several files become its channels, resampled onto the first one's grid.

    A path is a file SimpleITK reads (NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, one DICOM file) or a folder with one
    DICOM series. RGB files give three channels, 4-D files one channel a time point; a file that carries
    :data:`MARK` gives a marked image. Raises BadRequest, naming the file, for anything that is not a finite image, or
    that lies nowhere near the first channel. Raster files have no place in space: as channels of one image they must
    have the same number of pixels.
    """
    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not files:
        raise BadRequest("no image file given")
    first = _read_channels(Path(files[0]))
    planes = list(first.array)
    mark = first.mark
    for name in files[1:]:
        path = Path(name)
        more = _read_channels(path)
        more = replace(more, grid=_pixelwise(more.grid, first.grid, path))
        mark = mark or more.mark
        try:
            planes.extend(more.onto(first.grid).array)
        except BadRequest as error:
            raise BadRequest(f"{path}: {error}") from error
    if names and len(names) != len(planes):
        raise BadRequest(f"{len(planes)} channels read, but {len(names)} expected: {', '.join(names)}")
    return Image(np.stack(planes), first.grid, tuple(names) or _names_of(files, len(planes)), mark)


def read_labels(path: PathLike, grid: Grid | None = None) -> LabelMap:
    """Read a label map (any image file, or ``.seg.nrrd`` with its segment names), onto ``grid`` where given.

    A raster mask has no place in space: it is laid pixel on pixel, and must have as many pixels as ``grid``. Raises
    BadRequest for values that are not whole numbers, for a map with no labelled voxel at all, and for one that does
    not overlap ``grid``.
    """
    source = Path(path)
    picture = _read(source)
    labels = _labels_from(picture, source)
    if not labels.values:
        raise BadRequest(f"{source}: label map is empty (every voxel is 0)")
    if grid is None:
        return labels
    own = _pixelwise(labels.grid, grid, source)
    try:
        placed = LabelMap(labels.array.reshape(own.shape), own, labels.names).onto(grid)
    except BadRequest as error:
        raise BadRequest(f"{source}: {error}") from error
    if not placed.values:
        raise BadRequest(f"{source}: no labelled voxel falls on the image's grid")
    return placed


def _read_channels(path: Path) -> Image:
    picture = _read(path)
    array, grid = from_sitk(picture)
    raster = path.suffix.lower() in RASTER_SUFFIXES
    if array.shape[0] in (2, 4) and raster:
        array = array[:-1]  # the last channel is opacity, not intensity
    if path.suffix.lower() == ".bmp" and (array == array[:1]).all():
        array = array[:1]  # ITK gives a grey BMP as RGB
    with np.errstate(over="ignore"):
        intensities = array.astype(np.float32)
    bad = int(array.size - (np.abs(intensities) <= LARGEST).sum())
    if bad:
        raise BadRequest(f"{path}: {bad} NaN, infinite or enormous voxels; repair the file before use")
    notes = (picture.GetMetaData(key) for key in ("ITK_FileNotes", "descrip") if picture.HasMetaDataKey(key))
    marked = has_mark(path) if raster else any(MARK in note for note in notes)
    return Image(intensities, grid, channel_names(array.shape[0]), MARK if marked else "")


def _pixelwise(own: Grid, grid: Grid, path: Path) -> Grid:
    """Return ``grid`` for a raster file, whose spacing is a print resolution; ``own`` for a scan."""
    if path.suffix.lower() not in RASTER_SUFFIXES:
        return own
    if own.lifted().shape != grid.lifted().shape:
        sizes = ["x".join(str(n) for n in shape) for shape in (own.shape, grid.shape)]
        raise BadRequest(f"{path}: {sizes[0]} pixels, but the image has {sizes[1]}; a picture file must match it")
    return grid


def _names_of(files: Sequence[PathLike], count: int) -> tuple[str, ...]:
    if len(files) == count and count > 1:
        stems = [Path(name).name.split(".")[0] for name in files]
        if len(set(stems)) == count:
            return tuple(stems)
    if len(files) == 1 and count == 3 and Path(files[0]).suffix.lower() in RASTER_SUFFIXES:
        return ("red", "green", "blue")
    return channel_names(count)


def _read(path: Path) -> SimpleITK.Image:
    itk = load_itk()
    if not path.exists():
        raise BadRequest(f"{path}: no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise BadRequest(f"{path}: neither a file nor a folder")
    if not os.access(path, os.R_OK):
        raise BadRequest(f"{path}: permission denied")
    files = _series_files(path) if path.is_dir() else []
    if not files:
        check_intact(path)
    try:
        with quiet():
            picture = _read_series(files, path) if files else itk.ReadImage(str(path))
    except RuntimeError as error:
        raise BadRequest(f"{path}: {reason_unread(path, str(error))}") from error
    if "complex" in picture.GetPixelIDTypeAsString():
        raise BadRequest(f"{path}: voxels are complex numbers; save their magnitude first")
    vector = picture.GetNumberOfComponentsPerPixel() > 1
    if picture.GetDimension() > 4 or (picture.GetDimension() == 4 and vector):
        raise BadRequest(f"{path}: {picture.GetDimension()} axes{' of vectors' * vector}; 2-D, 3-D and 4-D are read")
    return picture


def _series_files(folder: Path) -> list[str]:
    reader = load_itk().ImageSeriesReader
    with quiet():
        series = reader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise BadRequest(f"{folder}: folder holds no DICOM series")
    if len(series) > 1:
        raise BadRequest(f"{folder}: folder holds {len(series)} DICOM series; keep one a folder ({', '.join(series)})")
    return list(reader.GetGDCMSeriesFileNames(str(folder), series[0]))


def _read_series(files: Sequence[str], folder: Path) -> SimpleITK.Image:
    """Read a stack of DICOM slices; BadRequest where slices are missing, doubled or sheared (a tilted gantry)."""
    reader = load_itk().ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    picture = reader.Execute()
    key = "0020|0032"
    places = [reader.GetMetaData(i, key) for i in range(len(files)) if reader.HasMetaDataKey(i, key)]
    if len(places) == len(files) > 2 and picture.GetDimension() == 3:
        steps = np.diff([[float(n) for n in place.split("\\")] for place in places], axis=0)
        normal = np.array(picture.GetDirection()).reshape(3, 3)[:, 2]
        gaps = steps @ normal
        if np.ptp(gaps) > 0.1 * abs(np.median(gaps)):
            low, high = abs(gaps).min(), abs(gaps).max()
            raise BadRequest(f"{folder}: slices missing or doubled (steps from {low:.4g} to {high:.4g} mm)")
        if np.linalg.norm(steps - gaps[:, None] * normal, axis=1).max() > 0.01 * abs(np.median(gaps)):
            raise BadRequest(f"{folder}: slices are sheared (tilted gantry); resample to a straight stack first")
    return picture


def _labels_from(picture: SimpleITK.Image, path: Path) -> LabelMap:
    array, grid = from_sitk(picture)
    fields = {key: picture.GetMetaData(key) for key in picture.GetMetaDataKeys()}
    segments = segments_of(fields)
    if segments:
        return _flattensegments_of(array, grid, segments)
    if array.shape[0] != 1:
        if not (array == array[:1]).all():
            raise BadRequest(
                f"{path}: label map has {array.shape[0]} different channels (colours?); save one, of values"
            )
        array = array[:1]
    plane = array[0]
    if not (np.abs(plane.astype(np.float64)) < 2**31).all() or (plane != np.rint(plane)).any():
        raise BadRequest(f"{path}: label map holds values that are not whole numbers of 31 bits; is it an image?")
    labels = LabelMap(plane.astype(np.int32), grid)
    if len(labels.values) > LABEL_LIMIT:
        raise BadRequest(f"{path}: {len(labels.values)} distinct values; this is an image, not a label map")
    return labels


def _flattensegments_of(array: NDArray[Any], grid: Grid, segments: Sequence[tuple[str, int, int]]) -> LabelMap:
    """Merge the layers of a segmentation; where segments overlap the later one wins, as in Slicer's export."""
    values = [value for _, value, _ in segments]
    unique = len(set(values)) == len(values)
    labels = np.zeros(grid.shape, np.int32)
    names = {}
    for order, (name, value, layer) in enumerate(segments, start=1):
        label = value if unique else order
        labels[array[min(layer, array.shape[0] - 1)] == value] = label
        names[label] = name
    return LabelMap(labels, grid, names)
