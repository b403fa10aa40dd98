"""NIfTI files of a run folder into arrays: header by SimpleITK, voxels in one pass that also proves them whole.

ITK reads a file that is cut short as zeros, so ``AdvSegLib.volumes.intact`` reads every file twice. A run of four
channels has eight large files and somebody is waiting: here zlib unpacks each once, checks its sum, and several files
are unpacked at a time (zlib lets go of Python's lock).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Grid
from AdvSegLib.volumes.intact import quiet
from AdvSegLib.volumes.itk import load_itk

AT_A_TIME = 4
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
"""NumPy's name of each NIfTI datatype the library writes, and a few more."""
GZIP = 31
"""zlib's window size for a gzip stream with its header and check sum."""


@dataclass(frozen=True, eq=False)
class VoxelFile:
    """Voxels ``(k, j, i)`` in the type they are stored in, and where they are."""

    path: Path
    array: np.ndarray
    grid: Grid


def readVoxels(paths: Sequence[Path], grid: Grid) -> list[VoxelFile]:
    """Return the volumes of NIfTI files, which must be on ``grid`` (3-D, LPS).

    Raises BadRequest, naming the file, for one that is missing, truncated, no NIfTI, holds NaN, or lies elsewhere.
    """
    for path in paths:
        if not path.is_file():
            raise BadRequest(f"{path}: no such file; the run folder is not whole")
    load_itk()
    with quiet(), ThreadPoolExecutor(AT_A_TIME) as pool:  # quiet: ITK warns of what it would repair
        return list(pool.map(_reader(grid), paths))


def _reader(grid: Grid) -> Callable[[Path], VoxelFile]:
    def read(path: Path) -> VoxelFile:
        found = _read(path)
        if not found.grid.matches(grid):
            sizes = " x ".join(str(n) for n in found.grid.shape), " x ".join(str(n) for n in grid.shape)
            what = f"{sizes[0]} voxels, the scan {sizes[1]}" if sizes[0] != sizes[1] else "another place in space"
            raise BadRequest(f"{path}: not on the scan's grid ({what}); is the run of this scan?")
        return found

    return read


def _read(path: Path) -> VoxelFile:
    itk = load_itk()
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        facts = {key: reader.GetMetaData(key) for key in ("datatype", "vox_offset", "scl_slope", "scl_inter")}
        stored = np.dtype("<" + TYPES[int(facts["datatype"])])
        first = int(float(facts["vox_offset"]))
        plain = float(facts["scl_slope"]) in (0.0, 1.0) and float(facts["scl_inter"]) == 0.0
    except (RuntimeError, KeyError, ValueError) as error:
        raise BadRequest(f"{path}: truncated, damaged or no NIfTI file of the library's") from error
    shape, grid = _grid(reader, path)
    data = _unpacked(path)
    if not plain or data[:4] != b"\x5c\x01\x00\x00" or len(data) != first + stored.itemsize * int(np.prod(shape)):
        raise BadRequest(f"{path}: truncated or damaged")
    array = np.frombuffer(data, stored, offset=first).reshape(shape)
    if stored.kind == "f" and not np.isfinite(array).all():
        raise BadRequest(f"{path}: NaN or infinite voxels")
    return VoxelFile(path, array, grid)


def _grid(reader: object, path: Path) -> tuple[tuple[int, ...], Grid]:
    """Return size in array order and grid of a header; of two axes it becomes one slice."""
    size, rank = reader.GetSize(), reader.GetDimension()  # type: ignore[attr-defined]
    if rank not in (2, 3):
        raise BadRequest(f"{path}: {rank} axes; a run folder's volumes have three")
    affine = np.eye(rank + 1)
    direction = np.array(reader.GetDirection()).reshape(rank, rank)  # type: ignore[attr-defined]
    affine[:rank, :rank] = (direction * np.array(reader.GetSpacing()))[:, ::-1]  # type: ignore[attr-defined]
    affine[:rank, rank] = reader.GetOrigin()  # type: ignore[attr-defined]
    grid = Grid(tuple(size[::-1]), affine).lifted()
    return grid.shape, grid


def _unpacked(path: Path) -> bytearray:
    """Return a file's bytes, unpacked where it is gzipped; a stream must end as it should, with its check sum."""
    try:
        data = path.read_bytes()
        if data[:2] != b"\x1f\x8b":
            return bytearray(data)
        unpacker = zlib.decompressobj(GZIP)
        whole = bytearray(unpacker.decompress(data))
    except (OSError, zlib.error) as error:
        raise BadRequest(f"{path}: truncated or damaged") from error
    if not unpacker.eof:
        raise BadRequest(f"{path}: truncated or damaged")
    return whole
