"""Small pictures of a case for reports: a slice with the labels over it, as PNG inside the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.reports.planes import Plane, planes
from AdvSegLib.reports.png import as_bytes, data_uri, encode
from AdvSegLib.volumes import Image, LabelMap

Bytes = NDArray[np.uint8]
SMALLEST = 384
"""Pictures are enlarged, whole pixels each, to at least about this many a side."""
LARGEST = 768
FILL = 0.28
"""Opacity of a label's colour inside its outline."""


@dataclass(frozen=True)
class Picture:
    """One slice as a ``data:`` address: title, note, width over height, whether it bears the adversarial mark."""

    title: str
    note: str
    uri: str
    ratio: float
    marked: bool


def slice_to_show(image: Image, *maps: LabelMap) -> Plane:
    """Return the slice where the label maps differ most, of those with something in them."""
    first = maps[0].array
    changed = np.any([other.array != first for other in maps[1:]], axis=0) if len(maps) > 1 else first != 0
    weight = changed.astype(np.float64) + 1e-3 * (first != 0)
    axes = range(first.ndim)
    return planes(image.grid, tuple(weight.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes))[0]


def picture(
    title: str, note: str, image: Image, labels: LabelMap, colors: Mapping[int, tuple[int, int, int]], plane: Plane,
    window: tuple[float, float], mark: str = "", fill: float = FILL,
) -> Picture:  # fmt: skip
    """Draw the first channel of ``image`` with ``labels`` over it; ``window`` is what is black and white.

    ``fill`` is the opacity of the colours inside their outlines.
    """
    low, high = window
    grey = np.clip((plane.cut(image.array[0]) - low) / max(high - low, 1e-12), 0, 1) * 255
    face = plane.cut(labels.array)
    step = max(1, -(-max(grey.shape) // LARGEST))
    times = max(1, round(SMALLEST / max(face[::step, ::step].shape)))
    rgb = _enlarged(np.repeat(grey[::step, ::step, None], 3, axis=2), times)
    drawn = _painted(rgb, _enlarged(face[::step, ::step], times), colors, fill)
    return Picture(title, note, data_uri(encode(as_bytes(drawn), mark=mark)), plane.width / plane.height, bool(mark))


def window_of(image: Image) -> tuple[float, float]:
    """Return the intensities of the first channel that become black and white."""
    low, high = np.percentile(image.array[0], [0.5, 99.7])
    return float(low), float(high)


def _painted(
    rgb: NDArray[np.float64], face: NDArray[np.int32], colors: Mapping[int, tuple[int, int, int]], fill: float
) -> NDArray[np.float64]:
    """Return a picture with each label filled thinly and outlined."""
    edge = _edges(face)
    for value, color in colors.items():
        inside = face == value
        rgb[inside] = (1 - fill) * rgb[inside] + fill * np.array(color)
        rgb[inside & edge] = color
    return rgb


def _edges(face: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return pixels next to another label."""
    padded = np.pad(face, 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray(np.any([middle != other for other in around], axis=0))


def _enlarged(pixels: NDArray[Any], times: int) -> NDArray[Any]:
    return pixels.repeat(times, axis=0).repeat(times, axis=1)
