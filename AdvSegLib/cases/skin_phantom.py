"""Dermoscopy images that need no patient: a pigmented lesion on skin, under hairs and gel, from a seed.

They stand in for the ISIC images of paper 002 where those cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.drawing import Board, Plane, Range, as_file, curve, over, soft, uniform, waves
from AdvSegLib.cases.layouts import pixel_grid
from AdvSegLib.cases.photographs import RGB
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Image, LabelMap

SCHEME = LabelScheme.binary("lesion")


@dataclass(frozen=True)
class SkinVariation:
    """How lesions and images differ; lengths in half sides of the picture."""

    radius: Range = (0.22, 0.62)
    offset: Range = (-0.18, 0.18)
    irregularity: Range = (0.05, 0.30)
    contrast: Range = (0.35, 1.0)
    edge: Range = (0.03, 0.14)
    hairs: tuple[int, int] = (0, 14)
    corner_chance: float = 0.35
    """Chance that the dermoscope's round field shows."""


def skin_phantom(seed: int, size: int = 192, variation: SkinVariation | None = None) -> tuple[Image, LabelMap]:
    """Draw one image ``(3, size, size)``, whole numbers of 0 to 255, and its lesion (value 1).

    Raises BadRequest for a ``size`` below 32.
    """
    variation = variation or SkinVariation()
    board = Board(size)
    shape, surface, film = np.random.default_rng(seed).spawn(3)
    centre = np.array([uniform(shape, variation.offset), uniform(shape, variation.offset)])
    radius = uniform(shape, variation.radius)
    bumps = waves(shape, 9, uniform(shape, variation.irregularity))
    lesion = board.star(centre, radius, bumps, float(shape.uniform(0.82, 1.22)), float(shape.uniform(0, np.pi)))
    picture = _skin(surface, board)
    picture = _lesion(shape, board, picture, lesion, radius, variation)
    picture = _over_it(film, board, picture, variation)
    grid = pixel_grid((size, size))
    return Image(as_file(picture), grid, RGB), LabelMap((lesion > 0).astype(np.int32), grid, SCHEME.names)


def skin_cases_drawn(count: int, seed: int = 0, size: int = 192) -> list[Case]:
    """Return ``count`` cases ``skin-0000``…, drawn when asked for; case ``i`` is ``skin_phantom(seed + i)``."""
    return [
        Case(f"skin-{index:04d}", SCHEME, partial(_image, seed + index, size), partial(_truth, seed + index, size))
        for index in range(count)
    ]


def _image(seed: int, size: int) -> Image:
    return skin_phantom(seed, size)[0]


def _truth(seed: int, size: int) -> LabelMap:
    return skin_phantom(seed, size)[1]


def _skin(rng: np.random.Generator, board: Board) -> Plane:
    """Return skin of one tone, blotched, with pores and furrows."""
    tone = float(rng.uniform(0, 1))
    base = np.array([236.0, 188.0, 168.0]) * (1 - 0.28 * tone) + rng.normal(0, 6, 3)
    picture = np.broadcast_to(base[:, None, None], (3, board.size, board.size)).copy()
    blotches = 0.05 * board.patches(rng, 4) + 0.03 * board.patches(rng, 9) + 0.022 * board.texture(rng, 0.35)
    return np.asarray(picture * (1.0 + blotches * np.array([0.5, 1.0, 1.0])[:, None, None]))


def _lesion(
    rng: np.random.Generator, board: Board, picture: Plane, depth: Plane, radius: float, variation: SkinVariation
) -> Plane:
    """Paint pigment: a body, darker and lighter areas, a network of lines, globules, and in some a bluish veil."""
    contrast, edge = uniform(rng, variation.contrast), uniform(rng, variation.edge)
    pigment = np.array([rng.uniform(92, 150), rng.uniform(52, 92), rng.uniform(36, 74)])
    inside = soft(depth, edge)
    uneven = np.clip(1.0 + 0.22 * board.patches(rng, 7) + 0.12 * board.patches(rng, 15), 0.3, 1.3)
    picture = over(picture, pigment, np.clip(contrast * inside * uneven, 0, 0.96))
    lines = np.clip(1.4 * np.abs(board.patches(rng, 44)), 0, 1) * float(rng.uniform(0.0, 0.35))
    picture = picture * (1.0 - lines * inside * contrast)
    globules = soft(board.patches(rng, 36) - 1.55, 0.25) * float(rng.uniform(0.0, 0.7))
    picture = over(picture, 0.55 * pigment, globules * inside)
    if rng.random() < 0.35:
        veil = soft(board.patches(rng, 5) - 0.7, 0.5) * inside * 0.6
        picture = over(picture, np.array([104.0, 108.0, 124.0]), veil)
    if rng.random() < 0.3:
        pale = soft(board.patches(rng, 6) - 1.0, 0.4) * soft(depth - 0.15 * radius, edge) * 0.55
        picture = over(picture, np.array([214.0, 168.0, 150.0]), pale)
    return picture


def _over_it(rng: np.random.Generator, board: Board, picture: Plane, variation: SkinVariation) -> Plane:
    """Lay hairs, bubbles, uneven light, the field's round edge and the sensor's noise over it."""
    for _ in range(int(rng.integers(*variation.hairs))):
        ends = rng.uniform(-1.2, 1.2, (2, 2))
        knots = np.linspace(ends[0], ends[1], 4) + rng.normal(0, 0.10, (4, 2))
        hair = soft(board.tube(curve(knots, 160), np.full(160, 0.5 * float(rng.uniform(0.008, 0.018)))), 0.012)
        picture = over(picture, np.array([58.0, 42.0, 36.0]), 0.85 * hair)
    for _ in range(int(rng.integers(0, 5))):
        bubble = board.star(rng.uniform(-1, 1, 2), float(rng.uniform(0.02, 0.07)), np.zeros((1, 2)))
        picture = over(picture, np.array([250.0, 246.0, 240.0]), 0.5 * np.exp(-((bubble / 0.012) ** 2)))
    x, y = board.places
    lit = rng.uniform(-0.4, 0.4, 2)
    away = np.hypot(x - lit[0], y - lit[1])
    picture = picture * (float(rng.uniform(0.88, 1.06)) - float(rng.uniform(0.03, 0.16)) * np.clip(away, 0, 1.6) ** 2)
    if rng.random() < variation.corner_chance:
        picture = over(
            picture, np.array([16.0, 12.0, 12.0]), soft(np.hypot(x, y) - float(rng.uniform(1.02, 1.2)), 0.04)
        )
    picture = np.stack([board.blurred(plane, 0.007) for plane in picture])
    return np.asarray(picture + rng.normal(0, 2.2, picture.shape))
