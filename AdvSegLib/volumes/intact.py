"""Guards around SimpleITK: damage it reads over in silence, what it prints, and what its errors mean.

ITK fills a NIfTI file that is cut short with zeros, replaces NaN by zero, and completes half a JPEG with grey. An
attack on such an image would be a measurement of nothing, so files are looked at before ITK reads them.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

import numpy as np

from AdvSegLib.errors import BadRequest

CHUNK = 1 << 22
NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img")
NIFTI_BYTES = {
    2: 1,
    4: 2,
    8: 4,
    16: 4,
    32: 8,
    64: 8,
    128: 3,
    256: 1,
    512: 2,
    768: 4,
    1024: 8,
    1280: 8,
    1792: 16,
    2304: 4,
}
"""Bytes of a voxel of each NIfTI datatype; a header's own bit count may lie."""
NIFTI_FLOATS = {16: "f4", 32: "f4", 64: "f8", 1792: "f8"}
MAGICS = (b"\x89PNG", b"\xff\xd8", b"II*\x00", b"MM\x00*", b"NRRD", b"ObjectType", b"BM")


@dataclass(frozen=True)
class _Layout:
    """Where a NIfTI file's voxels are: byte order, first byte, number of bytes, float type or ''."""

    order: str
    offset: int
    size: int
    floats: str


def check_intact(path: Path) -> None:
    """Raise BadRequest for a damaged file that SimpleITK would read without complaint."""
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        _check_nifti(path)
    elif name.endswith((".jpg", ".jpeg")):
        _check_jpeg(path)
    elif name.endswith(".bmp"):
        head = path.read_bytes()[:6]
        if head[:2] == b"BM" and struct.unpack("<I", head[2:6])[0] > path.stat().st_size:
            raise _damaged(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what C libraries print on stdout and stderr off the terminal, for all threads while any is inside."""
    with _Silence.lock:
        if _Silence.depth == 0:
            _Silence.saved = _redirect()
        _Silence.depth += 1
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.depth -= 1
            if _Silence.depth == 0:
                for stream, copy in _Silence.saved:
                    os.dup2(copy, stream)
                    os.close(copy)


class _Silence:
    """The process has one stdout and one stderr: the first to enter turns them away, the last to leave back."""

    lock = threading.Lock()
    depth = 0
    saved: ClassVar[list[tuple[int, int]]] = []


def _redirect() -> list[tuple[int, int]]:
    """Turn stdout and stderr to nowhere; return copies. Without a console (a windowed program) there is none."""
    saved = []
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            saved.append((stream, os.dup(stream)))
            os.dup2(sink, stream)
        os.close(sink)
    except OSError:
        pass
    return saved


def reason_unread(path: Path, message: str) -> str:
    """Say in words why SimpleITK could not read ``path``; ``message`` is its own complaint."""
    if "orthonormal" in message:
        return "axes are not perpendicular (sheared affine); resample it to a straight grid first"
    if path.is_dir():
        return "DICOM series is truncated, damaged, or of slices that differ in size"
    with open(path, "rb") as stream:
        head = stream.read(352)
    if head.startswith(b"\x89PNG") and len(head) > 25 and head[25] == 4:
        return "grey with opacity (alpha) cannot be read; save it as plain grey or RGB"
    if head[4:7] in (b"n+2", b"ni2"):
        return "NIfTI-2 is not supported; save it as NIfTI-1"
    known = head.startswith(MAGICS) or head[344:347] in (b"n+1", b"ni1") or head[128:132] == b"DICM"
    return "truncated or damaged" if known else "not an image SimpleITK can read"


def _damaged(path: Path) -> BadRequest:
    return BadRequest(f"{path}: truncated or damaged")


def _open(path: Path) -> BinaryIO:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else open(path, "rb")


def _check_nifti(path: Path) -> None:
    """Read the file through once, counting bytes (gzip checks its own sum) and voxels that are not finite."""
    header = path.with_suffix(".hdr") if path.suffix.lower() == ".img" else path
    voxels = path.with_suffix(".img") if path.suffix.lower() == ".hdr" else path
    if not header.exists() or not voxels.exists():
        return  # a pair without its other half: SimpleITK says so
    try:
        with _open(header) as stream:
            layout = _nifti_layout(stream.read(348))
        if layout is None:
            return
        with _open(voxels) as stream:
            stream.seek(layout.offset)
            count, bad = _scan(stream, layout)
            while stream.read(CHUNK):  # to the end, where gzip's check sum is
                pass
    except (EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
        raise _damaged(path) from error
    if count < layout.size:
        raise _damaged(path)
    if bad:
        raise BadRequest(f"{path}: {bad} NaN or infinite voxels; repair the file before use")


def _nifti_layout(head: bytes) -> _Layout | None:
    """Parse a NIfTI-1 or Analyze header; None where it is neither."""
    for order in "<>":
        if len(head) >= 348 and struct.unpack(order + "i", head[:4])[0] == 348:
            dims = struct.unpack(order + "8h", head[40:56])
            kind, bits = struct.unpack(order + "2h", head[70:74])
            offset = int(struct.unpack(order + "f", head[108:112])[0])
            voxels = math.prod(max(1, n) for n in dims[1 : 1 + min(7, max(0, dims[0]))])
            size = voxels * NIFTI_BYTES.get(kind, max(0, bits) // 8)
            return _Layout(order, max(0, offset), size, NIFTI_FLOATS.get(kind, ""))
    return None


def _scan(stream: BinaryIO, layout: _Layout) -> tuple[int, int]:
    """Return how many of the expected bytes are there, and how many numbers among them are not finite."""
    count = bad = 0
    while count < layout.size:
        chunk = _read_fully(stream, min(CHUNK, layout.size - count))
        if not chunk:
            break
        count += len(chunk)
        if layout.floats:
            kind = np.dtype(layout.order + layout.floats)
            numbers = np.frombuffer(chunk[: len(chunk) // kind.itemsize * kind.itemsize], kind)
            bad += int(numbers.size - np.isfinite(numbers).sum())
    return count, bad


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _check_jpeg(path: Path) -> None:
    """Look for the end-of-image marker after the first scan; thumbnails in the header have one of their own."""
    data = path.read_bytes()
    place = 2
    while data[:2] == b"\xff\xd8" and place + 4 <= len(data):
        if data[place] != 0xFF:
            break
        if data[place + 1] == 0xDA:
            if data.find(b"\xff\xd9", place) < 0:
                raise _damaged(path)
            return
        if data[place + 1] == 0xFF:
            place += 1  # fill byte
            continue
        place += 2 + int(struct.unpack(">H", data[place + 2 : place + 4])[0])
    if data[:2] == b"\xff\xd8":
        raise _damaged(path)
