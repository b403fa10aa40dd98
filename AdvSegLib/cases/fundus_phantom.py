"""Fundus photographs that need no patient: an optic disc with its cup and vessels on a mottled retina, from a seed.

They stand in for the RIM-ONE photographs with the optic disc of paper 002 where those cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.drawing import Board, Plane, Points, Range, as_file, curve, over, soft, uniform, waves
from AdvSegLib.cases.layouts import pixel_grid
from AdvSegLib.cases.photographs import RGB
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Image, LabelMap

SCHEME = LabelScheme.binary("optic disc")
BLOOD = np.array([0.62, 0.30, 0.42])
"""What a vessel leaves of red, green and blue."""


@dataclass(frozen=True)
class FundusVariation:
    """How eyes and photographs differ; lengths in half sides of the picture."""

    disc_radius: Range = (0.17, 0.40)
    disc_offset: Range = (-0.30, 0.30)
    disc_aspect: Range = (1.0, 1.12)
    """Height over width, square root."""
    cup_ratio: Range = (0.30, 0.75)
    contrast: Range = (0.35, 0.9)
    """Share of the disc's own colour: pale discs on pale retinas are hard to see."""
    edge: Range = (0.02, 0.07)
    vignette: Range = (0.25, 0.75)
    exposure: Range = (0.75, 1.15)


def fundus_phantom(seed: int, size: int = 192, variation: FundusVariation | None = None) -> tuple[Image, LabelMap]:
    """Draw one photograph ``(3, size, size)``, whole numbers of 0 to 255, and its optic disc (value 1).

    Raises BadRequest for a ``size`` below 32.
    """
    variation = variation or FundusVariation()
    board = Board(size)
    shape, vessels, film = np.random.default_rng(seed).spawn(3)
    centre = np.array([uniform(shape, variation.disc_offset), uniform(shape, variation.disc_offset)])
    radius, aspect = uniform(shape, variation.disc_radius), uniform(shape, variation.disc_aspect)
    disc = board.star(centre, radius, waves(shape, 4, 0.03), aspect, float(shape.uniform(-0.3, 0.3)))
    side = float(shape.choice([-1.0, 1.0]))
    picture = _retina(film, board, variation)
    picture = _halo(film, board, picture, disc, centre)
    picture = _disc(shape, board, picture, disc, centre, radius, variation)
    picture = _tree(vessels, board, picture, centre + np.array([0.18 * side * radius, 0.0]), radius, side)
    picture = _photographed(film, board, picture, variation)
    grid = pixel_grid((size, size))
    return Image(as_file(picture), grid, RGB), LabelMap((disc > 0).astype(np.int32), grid, SCHEME.names)


def fundus_cases_drawn(count: int, seed: int = 0, size: int = 192) -> list[Case]:
    """Return ``count`` cases ``fundus-0000``…, drawn when asked for; case ``i`` is ``fundus_phantom(seed + i)``."""
    return [
        Case(f"fundus-{index:04d}", SCHEME, partial(_image, seed + index, size), partial(_truth, seed + index, size))
        for index in range(count)
    ]


def _image(seed: int, size: int) -> Image:
    return fundus_phantom(seed, size)[0]


def _truth(seed: int, size: int) -> LabelMap:
    return fundus_phantom(seed, size)[1]


def _retina(rng: np.random.Generator, board: Board, variation: FundusVariation) -> Plane:
    """Return the pigmented background: an even glow, choroid that shows through, and dark flecks."""
    base = np.array([rng.uniform(150, 215), rng.uniform(38, 72), rng.uniform(8, 26)])
    picture = np.broadcast_to(base[:, None, None], (3, board.size, board.size)).copy()
    choroid = 0.07 * board.patches(rng, 5) + 0.05 * board.patches(rng, 11) + 0.035 * board.texture(rng, 0.7)
    picture *= 1.0 + choroid * np.array([0.8, 1.5, 1.2])[:, None, None]
    flecks = np.clip(board.patches(rng, 16) - 1.2, 0.0, 1.5) * rng.uniform(0.0, 0.25)
    return np.asarray(picture * (1.0 - flecks * np.array([0.7, 1.0, 1.0])[:, None, None]))


def _halo(rng: np.random.Generator, board: Board, picture: Plane, disc: Plane, centre: Points) -> Plane:
    """Lay the sheen of nerve fibres above and below the disc, and in some eyes a pale crescent beside it."""
    x, _ = board.places
    bundle = np.exp(-(((x - centre[0]) / 0.55) ** 2)) * np.exp(-((np.clip(-disc, 0, None) / 0.35) ** 2))
    picture = picture * (1.0 + 0.22 * float(rng.uniform(0.3, 1.0)) * bundle)
    shift = float(rng.uniform(-0.09, 0.09))
    pale = 0.35 * float(rng.random() < 0.4)
    crescent = soft(np.roll(disc, int(shift / board.pixel), axis=1) + 0.03, 0.04)
    return over(picture, np.array([205.0, 105.0, 55.0]), pale * crescent)


def _disc(
    rng: np.random.Generator, board: Board, picture: Plane, disc: Plane, centre: Points, radius: float,
    variation: FundusVariation,
) -> Plane:  # fmt: skip
    """Paint the disc's rim and its paler cup."""
    share, edge = uniform(rng, variation.contrast), uniform(rng, variation.edge)
    rim = np.array([rng.uniform(196, 232), rng.uniform(112, 158), rng.uniform(38, 78)])
    mottled = rim[:, None, None] * (1 + 0.05 * board.patches(rng, 24))
    picture = over(picture, mottled, share * soft(disc, edge))
    size = radius * uniform(rng, variation.cup_ratio)
    place = centre + rng.uniform(-0.12, 0.12, 2) * radius
    cup = board.star(place, size, waves(rng, 3, 0.05), float(rng.uniform(0.9, 1.1)))
    pale = rim + np.array([14.0, 38.0, 42.0])
    return over(picture, pale, 0.8 * share * soft(cup, 0.08))


def _tree(rng: np.random.Generator, board: Board, picture: Plane, hilum: Points, radius: float, side: float) -> Plane:
    """Draw arteries and veins: trunks that leave the disc above and below and arch to the temporal side."""
    loss = np.zeros((board.size, board.size))
    for up in (-1.0, 1.0):
        for calibre, darkness in ((0.030, 0.62), (0.042, 0.9)):
            for toward in (-side, side * 0.55):
                path = _trunk(rng, hilum, up, toward)
                width = calibre * float(rng.uniform(0.7, 1.15)) * (radius / 0.3) ** 0.5
                loss = np.maximum(loss, darkness * _vessel(board, path, width))
                for _ in range(int(rng.integers(1, 4))):
                    loss = np.maximum(loss, 0.75 * darkness * _vessel(board, _branch(rng, path), 0.5 * width))
    for _ in range(int(rng.integers(4, 9))):
        loss = np.maximum(loss, 0.5 * _vessel(board, _twig(rng, hilum, radius), 0.010))
    return over(picture, picture * BLOOD[:, None, None], np.clip(loss, 0, 1))


def _trunk(rng: np.random.Generator, hilum: Points, up: float, toward: float) -> Points:
    reach = float(rng.uniform(0.55, 1.25)) * toward
    knots = hilum + np.array([
        [0.0, 0.0], [0.10 * toward, 0.22 * up], [0.30 * toward + rng.normal(0, 0.05), 0.62 * up],
        [0.62 * reach + rng.normal(0, 0.1), 1.05 * up], [reach + rng.normal(0, 0.15), 1.6 * up],
    ])  # fmt: skip
    return curve(knots + rng.normal(0, 0.012, knots.shape), 120)


def _branch(rng: np.random.Generator, path: Points) -> Points:
    start = int(rng.integers(15, 70))
    ahead = path[start + 8] - path[start]
    turn = float(rng.choice([-1, 1]) * rng.uniform(0.4, 0.9))
    cosine, sine = np.cos(turn), np.sin(turn)
    way = np.array([[cosine, -sine], [sine, cosine]]) @ (ahead / np.linalg.norm(ahead))
    steps = np.linspace(0, float(rng.uniform(0.4, 1.1)), 5)[:, None]
    bend = np.array([-way[1], way[0]]) * (steps**2) * float(rng.normal(0, 0.5))
    return curve(path[start] + way * steps + bend + rng.normal(0, 0.01, (5, 2)), 60)


def _twig(rng: np.random.Generator, hilum: Points, radius: float) -> Points:
    angle = float(rng.uniform(0, 2 * np.pi))
    way = np.array([np.cos(angle), np.sin(angle)])
    steps = np.linspace(0.3 * radius, radius * float(rng.uniform(1.5, 3.0)), 5)[:, None]
    return curve(hilum + way * steps + rng.normal(0, 0.02, (5, 2)), 40)


def _vessel(board: Board, path: Points, width: float) -> Plane:
    """Return how much of a vessel lies on each pixel, tapering to its end."""
    inside = path[(np.abs(path) < 1.2).all(axis=1)]
    if len(inside) < 2:
        return np.zeros((board.size, board.size))
    radii = 0.5 * width * np.linspace(1.0, 0.45, len(inside))
    return soft(board.tube(inside, radii), max(0.012, board.pixel))


def _photographed(rng: np.random.Generator, board: Board, picture: Plane, variation: FundusVariation) -> Plane:
    """Light it unevenly, blur it, add the sensor's noise; some pictures show the dark edge of the field."""
    x, y = board.places
    off = rng.uniform(-0.35, 0.35, 2)
    away = np.hypot(x - off[0], y - off[1])
    light = uniform(rng, variation.exposure) * (
        1.0 - uniform(rng, variation.vignette) * 0.5 * np.clip(away, 0, 1.4) ** 2
    )
    picture = np.stack([board.blurred(plane, 0.008) for plane in picture]) * light
    if rng.random() < 0.3:
        picture = picture * (1.0 - 0.97 * (x < -1.0 + float(rng.uniform(0.02, 0.08))))
    return np.asarray(picture + rng.normal(0, 2.0, picture.shape))
