"""Picture layers of one slice as PNG: intensities, magnified noise, label overlays. No patient geometry here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.reports.png import as_bytes, data_uri, encode

Colour = tuple[int, int, int]
Slice = NDArray[Any]

NOISE_STOPS = (
    (150, 225, 255),
    (60, 150, 235),
    (22, 62, 120),
    (12, 13, 15),
    (125, 50, 14),
    (240, 135, 45),
    (255, 222, 140),
)
"""Diverging colours from the most negative to the most positive noise; nothing is nearly black, as around a scan."""
FILL, EDGE = 84, 255
"""Opacity of a structure and of its outline."""
SLOTS = 126
"""Structures a palette holds; further ones share colours."""
OVERLAY_SIDE = 640
"""Label overlays are drawn about this large, so that outlines stay fine on coarse grids."""
LEVELS = 127
"""Steps of the noise palette either side of zero."""


def thin(face: Slice, limit: int, how: str = "mean") -> Slice:
    """Return ``(row, column)`` reduced by whole steps to at most ``limit`` a side.

    ``how`` joins the pixels of a block: ``mean``, ``peak`` (of largest size, signed) or ``pick`` (its middle).
    """
    steps = [max(1, math.ceil(n / limit)) for n in face.shape]
    if steps == [1, 1]:
        return face
    if how == "pick":
        return face[steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]]
    padding = [(0, -n % s) for n, s in zip(face.shape, steps, strict=True)]
    padded = np.pad(face, padding, mode="edge")
    blocks = padded.reshape(padded.shape[0] // steps[0], steps[0], padded.shape[1] // steps[1], steps[1])
    if how == "mean":
        return np.asarray(blocks.mean(axis=(1, 3)))
    high, low = blocks.max(axis=(1, 3)), blocks.min(axis=(1, 3))
    return np.asarray(np.where(-low > high, low, high))


def intensity_layer(faces: Sequence[Slice], windows: Sequence[tuple[float, float]], limit: int, mark: str = "") -> str:
    """Return one slice as grey, or three as red, green and blue, each within its window."""
    channels = [
        as_bytes(255 * (thin(np.asarray(face, np.float64), limit) - low) / (high - low))
        for face, (low, high) in zip(faces, windows, strict=True)
    ]
    return data_uri(encode(np.stack(channels, axis=-1) if len(channels) == 3 else channels[0], mark=mark))


def noise_layer(noise: Slice, largest: float, limit: int) -> str:
    """Return noise in diverging colours, ``-largest`` to ``+largest``; exactly zero stays dark."""
    shown = thin(np.asarray(noise, np.float64), limit, "peak")
    levels = shown / largest * LEVELS if largest > 0 else np.zeros_like(shown)
    return data_uri(encode(as_bytes(np.clip(levels, -LEVELS, LEVELS) + LEVELS), _noise_palette()))


def noise_gradient() -> str:
    """Return the CSS colour stops of the noise scale, left to right."""
    return ", ".join(f"rgb({r} {g} {b})" for r, g, b in NOISE_STOPS)


def label_layer(labels: Slice, colours: Mapping[int, Colour], size: tuple[float, float], limit: int) -> str:
    """Return a label slice as translucent colour with outlines; ``size`` is its height and width in space.

    Values without a colour are drawn grey, so that nothing is hidden.
    """
    slots = _slots(thin(labels, limit, "pick"), colours)
    scale = OVERLAY_SIDE / max(size)
    for axis in (0, 1):
        slots = np.repeat(slots, max(1, round(size[axis] * scale / slots.shape[axis])), axis=axis)
    outline = np.where(_inner_edge(slots, max(1, max(slots.shape) // 320)), slots, 0)
    return data_uri(
        encode(np.where(outline > 0, outline + SLOTS + 1, slots).astype(np.uint8), _label_palette(colours))
    )


def _slots(labels: Slice, colours: Mapping[int, Colour]) -> NDArray[np.uint8]:
    """Return 0 for background, 1 … for known values, the last slot for unknown ones."""
    slots = np.where(labels != 0, SLOTS + 1, 0).astype(np.uint8)
    for index, value in enumerate(colours):
        slots[labels == value] = index % SLOTS + 1
    return slots


def _inner_edge(slots: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Return structure pixels within ``width`` of another structure or the background, not of the border."""
    edge = np.zeros(slots.shape, bool)
    for step in range(1, width + 1):
        for ahead, behind in ((np.s_[step:, :], np.s_[:-step, :]), (np.s_[:, step:], np.s_[:, :-step])):
            differs = slots[ahead] != slots[behind]
            edge[ahead] |= differs
            edge[behind] |= differs
    return edge


def _label_palette(colours: Mapping[int, Colour]) -> NDArray[np.uint8]:
    """Return RGBA of 0, the fills 1 … SLOTS + 1, and their outlines."""
    palette = np.zeros((2 * SLOTS + 3, 4), np.uint8)
    palette[:, :3] = 160
    for index, colour in enumerate(list(colours.values())[:SLOTS]):
        palette[[index + 1, index + 2 + SLOTS], :3] = colour
    palette[1 : SLOTS + 2, 3], palette[SLOTS + 2 :, 3] = FILL, EDGE
    palette[0] = 0
    return palette


def _noise_palette() -> NDArray[np.uint8]:
    """Return RGBA of noise levels -LEVELS … LEVELS."""
    places = np.linspace(0, 2 * LEVELS, len(NOISE_STOPS))
    levels = np.arange(2 * LEVELS + 1)
    colour = [np.interp(levels, places, [stop[c] for stop in NOISE_STOPS]) for c in range(3)]
    return as_bytes(np.stack([*colour, np.full(levels.shape, 255.0)], axis=1))
