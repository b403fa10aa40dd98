"""Pictures as PNG bytes and ``data:`` addresses, by Pillow."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None, mark: str = "") -> bytes:
    """Return a PNG of ``(row, column)`` grey, ``(row, column, 3)`` RGB, or indices into a ``(n, 4)`` RGBA palette.

    ``mark`` is written as a text chunk, as :mod:`AdvSegLib.volumes.marks` does in files.
    """
    from PIL import Image, PngImagePlugin

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    options: dict[str, Any] = {"optimize": False, "compress_level": 6}
    if palette is not None:
        picture.putpalette(palette[:, :3].tobytes())
        options["transparency"] = palette[:, 3].tobytes()
    if mark:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Description", mark)
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


def data_uri(picture: bytes) -> str:
    """Return a PNG as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Round values of 0-255 to bytes, clipped."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)
