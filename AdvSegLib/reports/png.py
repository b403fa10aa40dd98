"""PNG files in memory: grey, colour and palette with opacity. A few lines instead of a dependency."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREY, COLOUR, PALETTE = 0, 2, 3


def encode(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None, mark: str = "") -> bytes:
    """Return a PNG of ``(row, column)`` grey, ``(row, column, 3)`` RGB, or indices into a ``(n, 4)`` RGBA palette.

    ``mark`` is written as a text chunk, as :mod:`AdvSegLib.volumes.marks` does in files.
    """
    height, width = pixels.shape[:2]
    kind = PALETTE if palette is not None else COLOUR if pixels.ndim == 3 else GREY
    body = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    if mark:
        body += _chunk(b"tEXt", b"Comment\x00" + mark.encode("latin-1", "replace"))
    if palette is not None:
        body += _chunk(b"PLTE", palette[:, :3].tobytes()) + _chunk(b"tRNS", palette[:, 3].tobytes())
    rows = _rows(pixels.reshape(height, -1), up=palette is None)
    return b"\x89PNG\r\n\x1a\n" + body + _chunk(b"IDAT", zlib.compress(rows, 7)) + _chunk(b"IEND", b"")


def data_uri(picture: bytes) -> str:
    """Return a PNG as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _rows(lines: NDArray[np.uint8], *, up: bool) -> bytes:
    """Return scan lines, each behind its filter; ``up`` stores the difference to the line above (smooth pictures)."""
    if up:
        lines = np.diff(lines, axis=0, prepend=np.zeros((1, lines.shape[1]), np.uint8))
    kind = np.full((lines.shape[0], 1), 2 if up else 0, np.uint8)
    return np.concatenate([kind, lines], axis=1).tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Round values of 0-255 to bytes, clipped."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)
