"""The mark that adversarial pictures carry in their header, in formats where ITK writes no text (rule 4)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from AdvSegLib.errors import BadRequest

MARK = "ADVERSARIAL - NOT FOR CLINICAL USE"
"""Carried in the header of every adversarial image (rule 4 of the design)."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Raster formats that can carry a mark: PNG tEXt, JPEG comment, TIFF ImageDescription."""


def has_mark(path: Path) -> bool:
    """Tell whether a raster file carries :data:`MARK`."""
    return MARK.encode() in path.read_bytes()


def embed_mark(path: Path, mark: str) -> None:
    """Write ``mark`` (Latin-1) into the header of a PNG, JPEG or classic TIFF file; BadRequest for others."""
    text = mark.encode("latin-1", "replace")
    data = path.read_bytes()
    if data.startswith(b"\x89PNG"):
        data = _with_chunk(data, text)
    elif data.startswith(b"\xff\xd8"):
        data = data[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + data[2:]
    elif data[:4] in (b"II*\x00", b"MM\x00*"):
        data = _with_description(data, text)
    else:
        raise BadRequest(f"{path}: this format cannot carry the mark '{mark}'; write PNG, TIFF, NIfTI or NRRD")
    path.write_bytes(data)


def _with_chunk(data: bytes, text: bytes) -> bytes:
    """Insert a tEXt chunk behind PNG's first chunk (IHDR ends at byte 33)."""
    body = b"tEXt" + b"Comment\x00" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def _with_description(data: bytes, text: bytes) -> bytes:
    """Append a copy of TIFF's first directory that has the text as tag 270, and point the header at it."""
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack(order + "I", data[4:8])[0]
    count = struct.unpack(order + "H", data[start : start + 2])[0]
    entries = [data[start + 2 + 12 * index : start + 14 + 12 * index] for index in range(count)]
    following = data[start + 2 + 12 * count : start + 6 + 12 * count]
    text += b"\x00"
    data += b"\x00" * (len(data) % 2)
    entries = [entry for entry in entries if struct.unpack(order + "H", entry[:2])[0] != 270]
    entries.append(struct.pack(order + "HHII", 270, 2, len(text), len(data)))
    text += b"\x00" * (len(text) % 2)
    entries.sort(key=lambda entry: int(struct.unpack(order + "H", entry[:2])[0]))
    place = len(data) + len(text)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + following
    return data[:4] + struct.pack(order + "I", place) + data[8:] + text + directory
