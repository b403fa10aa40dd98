"""Abdominal MR slices that need no patient: stomach, small and large bowel among liver, kidneys, spine and fat.

They stand in for the UW-Madison GI tract slices of paper 000 where those cannot be had: low-field, T2/T1-weighted,
without contrast. Everything follows from the seed; neighbouring slices show the same organs a little further on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from AdvSegLib.cases.abdomen_organs import LARGE_BOWEL, SMALL_BOWEL, STOMACH, Organs, draw_organs
from AdvSegLib.cases.base import Case
from AdvSegLib.cases.drawing import Board, Plane, Range, as_file, soft, uniform
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Grid, Image, LabelMap

SCHEME = LabelScheme.sigmoid("large bowel", "small bowel", "stomach")
"""As the reader of the real data set has it: values in the order of painting."""
SLICE_MM = 3.0
FIELD_MM = 380.0
TISSUE = {"fat": 1.0, "muscle": 0.30, "liver": 0.46, "spleen": 0.56, "kidney": 0.70, "bone": 0.52, "vessel": 0.16}
"""Signal over that of fat."""


@dataclass(frozen=True)
class AbdomenVariation:
    """How bodies and scans differ."""

    level: Range = (0.15, 0.85)
    """Height of the slice: 0 under the diaphragm, 1 at the pelvis."""
    contrast: Range = (0.6, 1.15)
    """How far organs stand out from each other."""
    noise: Range = (0.012, 0.04)
    """Standard deviation over fat's signal."""
    bias: Range = (0.05, 0.3)
    """Unevenness of the coil's sensitivity."""


def abdomen_phantom(
    seed: int, size: int = 128, slices: int = 3, variation: AbdomenVariation | None = None
) -> tuple[Image, LabelMap]:
    """Draw one axial slice with its ``slices`` - 1 neighbours, 3 mm apart, as channels, and the middle one's organs.

    The image is ``(slices, size, size)``, whole numbers as a 16-bit file holds them, the patient's left on the image's
    right. Labels are 1 large bowel, 2 small bowel, 3 stomach. Raises BadRequest for a ``size`` below 32 and an even
    number of slices.
    """
    if slices < 1 or slices % 2 == 0:
        raise BadRequest(f"an abdominal phantom has an odd number of slices, got {slices}")
    variation = variation or AbdomenVariation()
    board = Board(size)
    anatomy, scan = np.random.default_rng(seed).spawn(2)
    level = uniform(anatomy, variation.level)
    stack = [
        draw_organs(anatomy_seed(seed), board, level, z * SLICE_MM) for z in range(-(slices // 2), slices // 2 + 1)
    ]
    planes = _scanned(scan, board, stack, variation)
    grid = Grid.regular((size, size), FIELD_MM / size)
    names = tuple(f"slice{z:+d}" if z else "slice" for z in range(-(slices // 2), slices // 2 + 1))
    return Image(as_file(planes, 65535.0), grid, names), LabelMap(stack[slices // 2].labels, grid, SCHEME.names)


def anatomy_seed(seed: int) -> np.random.SeedSequence:
    """Return the stream of one body, the same for each of its slices."""
    return np.random.SeedSequence((seed, 71))


def abdomen_cases_drawn(count: int, seed: int = 0, size: int = 128, slices: int = 3) -> list[Case]:
    """Return ``count`` cases ``abdomen-0000``…, drawn when asked for; case ``i`` is ``abdomen_phantom(seed + i)``."""
    return [
        Case(
            f"abdomen-{index:04d}", SCHEME, partial(_image, seed + index, size, slices),
            partial(_truth, seed + index, size, slices),
        )
        for index in range(count)
    ]  # fmt: skip


def _image(seed: int, size: int, slices: int) -> Image:
    return abdomen_phantom(seed, size, slices)[0]


def _truth(seed: int, size: int, slices: int) -> LabelMap:
    return abdomen_phantom(seed, size, slices)[1]


def _scanned(rng: np.random.Generator, board: Board, stack: list[Organs], variation: AbdomenVariation) -> Plane:
    """Return the slices as scanned: one gain, one coil, one contrast, noise of their own."""
    contrast, spread = uniform(rng, variation.contrast), uniform(rng, variation.noise)
    gain, shading = float(rng.uniform(180, 900)), uniform(rng, variation.bias) * board.patches(rng, 4)
    grain = board.texture(rng, 0.5)
    planes = []
    for organs in stack:
        signal = _signal(organs, contrast) * (1.0 + 0.05 * grain)
        signal = board.blurred(signal * np.exp(shading), 0.006)
        real, imaginary = rng.normal(0, spread, (2, board.size, board.size))
        planes.append(gain * np.hypot(signal + real, imaginary))  # Rician, as magnitude images are
    return np.stack(planes)


def _signal(organs: Organs, contrast: float) -> Plane:
    """Return the signal of each tissue, organs painted in the order they lie over each other."""
    middle = 0.42
    signal = np.zeros_like(organs.body)
    for name, depth, edge in organs.tissues:
        value = middle + contrast * (TISSUE[name] - middle) if name != "fat" else TISSUE["fat"] * 0.8
        signal = signal + (value - signal) * soft(depth, edge)
    for hollow in organs.hollows:
        wall = soft(hollow.depth, 0.012)
        content = middle + contrast * (hollow.content - middle)
        signal = signal + (0.34 * contrast + 0.12 - signal) * wall
        signal = signal + (content - signal) * soft(hollow.depth - hollow.wall, 0.014)
    return np.asarray(np.clip(signal, 0.0, None))


ORGANS = {LARGE_BOWEL: "large bowel", SMALL_BOWEL: "small bowel", STOMACH: "stomach"}
