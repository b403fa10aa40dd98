"""Pictures of a case under an arm: the image, outlines of what was segmented and of what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.labels import LabelScheme
from AdvSegLib.reports.planes import Plane, planes
from AdvSegLib.reports.png import data_uri, encode
from AdvSegLib.volumes import MARK, Image, LabelMap

Bytes = NDArray[np.uint8]
SIDE = 256
"""Pixels of a picture's longer side."""
GREY = (205, 205, 205)
"""Outline of the truth or target, as in paper 003's figures."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One slice, ready to be drawn: bytes ``(rows, columns[, 3])``, labels found and compared with."""

    pixels: Bytes
    found: NDArray[np.int32]
    reference: NDArray[np.int32]
    colours: Mapping[int, tuple[int, int, int]]
    marked: bool
    noise: Bytes | None = None


def snapshot(changed: Image, clean: Image, found: LabelMap, reference: LabelMap, scheme: LabelScheme) -> Snapshot:
    """Return the slice with most of what was found or is compared with; windows are those of the clean image."""
    either = (found.array > 0).astype(np.int64) + (reference.array > 0)
    axes = range(either.ndim)
    counts = tuple(either.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes)
    plane = planes(clean.grid, counts)[0]
    moved = not np.array_equal(changed.array, clean.array)
    return Snapshot(
        _bytes(changed, clean, plane), plane.cut(found.array), plane.cut(reference.array), scheme.colors, moved,
        _noise(changed, clean, plane) if moved else None,
    )  # fmt: skip


def _bytes(image: Image, window: Image, plane: Plane) -> Bytes:
    """Return the slice as bytes: colours as they are, else the channel in the middle (of MR contrasts, the last)."""
    if tuple(name.lower() for name in image.names) == ("red", "green", "blue"):
        return np.stack([_scaled(plane.cut(channel), 0.0, 255.0) for channel in image.array], axis=-1)
    index = _channel(image)
    low, high = (float(value) for value in np.percentile(window.array[index], (0.5, 99.7)))
    return _scaled(plane.cut(image.array[index]), low, max(high, low + 1e-6))


def _channel(image: Image) -> int:
    return len(image.names) - 1 if "flair" in image.names else len(image.names) // 2


def _noise(changed: Image, clean: Image, plane: Plane) -> Bytes:
    """Return the change, grey where there is none, over its own range."""
    index = 1 if len(clean.names) == 3 else _channel(clean)
    change = changed.array[index] - clean.array[index]
    top = float(np.abs(change).max()) or 1.0
    return _scaled(plane.cut(change), -top, top)


def _scaled(values: NDArray[np.float32], low: float, high: float) -> Bytes:
    return np.asarray(np.clip(255.0 * (values - low) / (high - low), 0, 255), np.uint8)


def as_uri(shot: Snapshot, noise: bool = False, outlines: bool = True) -> str:
    """Return a picture as a ``data:`` address, outlines drawn; adversarial ones carry the mark in the file."""
    source = shot.noise if noise and shot.noise is not None else shot.pixels
    factor = max(1, -(-SIDE // max(source.shape[:2])))
    picture = np.kron(source, np.ones((factor, factor, *[1] * (source.ndim - 2)), np.uint8))
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=-1)
    if outlines:
        thick = max(1, round(max(picture.shape[:2]) / SIDE))
        for labels, colours in ((shot.reference, None), (shot.found, shot.colours)):
            for value in np.unique(labels[labels != 0]):
                colour = GREY if colours is None else colours.get(int(value), (255, 0, 255))
                picture[_outline(labels == value, factor, thick, thick if colours is None else 0)] = colour
    return data_uri(encode(picture, mark=MARK if shot.marked else ""))


def _outline(mask: NDArray[np.bool_], factor: int, thick: int, wider: int) -> NDArray[np.bool_]:
    """Return a line inside the border of a mask enlarged smoothly, ``thick`` pixels; ``wider`` more on its outside."""
    from scipy import ndimage

    fine = ndimage.zoom(
        np.pad(mask, 1, mode="edge").astype(np.float32), factor, order=1, grid_mode=True, mode="nearest"
    )
    inside = fine[factor:-factor, factor:-factor] > 0.5
    grown = ndimage.binary_dilation(inside, iterations=wider) if wider else inside
    line: NDArray[np.bool_] = grown & ~ndimage.binary_erosion(inside, border_value=1, iterations=thick)
    return line
