"""The organs of one abdominal slice, drawn from a stream of chance; z in mm from the slice asked for.

Coordinates are the board's: half the field of view is 1 (190 mm), x to the patient's left (the image's right), y to
the back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.cases.drawing import Board, Plane, Points, curve, waves

LARGE_BOWEL, SMALL_BOWEL, STOMACH = 1, 2, 3
HALF_FIELD_MM = 190.0


@dataclass(frozen=True, eq=False)
class Hollow:
    """A hollow organ: its depth below the outer surface, its wall's thickness, the signal of its content."""

    label: int
    depth: Plane
    wall: float
    content: Plane


@dataclass(eq=False)
class Organs:
    """What a slice cuts: tissues as (name, depth, softness of the border), hollow organs, and the label map."""

    body: Plane
    tissues: list[tuple[str, Plane, float]] = field(default_factory=list)
    hollows: list[Hollow] = field(default_factory=list)
    labels: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))


def draw_organs(seed: np.random.SeedSequence, board: Board, level: float, z_mm: float) -> Organs:
    """Draw the slice at ``level`` (0 under the diaphragm, 1 at the pelvis), ``z_mm`` further down."""
    frame, solids, stomach, small, large, contents = np.random.default_rng(seed).spawn(6)
    z = z_mm / HALF_FIELD_MM
    wide, deep = float(frame.uniform(0.80, 0.93)), float(frame.uniform(0.56, 0.72))
    body = _ellipse(board, (0.0, 0.0), wide, deep)
    organs = Organs(body)
    rind = float(frame.uniform(0.05, 0.13))
    organs.tissues += [("fat", body, 0.015), ("muscle", body - rind, 0.015), ("fat", body - rind - 0.055, 0.03)]
    _spine(organs, board, deep, solids)
    _solid_organs(organs, board, level, wide, deep, solids, z)
    cavity = body - rind - 0.06
    _large_bowel(organs, board, large, contents, level, wide, deep, z)
    _stomach(organs, board, stomach, contents, level, wide, deep, z)
    _small_bowel(organs, board, small, contents, level, wide, deep, z)
    return _settled(organs, cavity)


def _ellipse(board: Board, centre: tuple[float, float], wide: float, deep: float) -> Plane:
    """Return the depth below an ellipse's border, exact along its shorter axis."""
    x, y = board.places
    return np.asarray((1.0 - np.hypot((x - centre[0]) / wide, (y - centre[1]) / deep)) * min(wide, deep))


def _spine(organs: Organs, board: Board, deep: float, rng: np.random.Generator) -> None:
    size = float(rng.uniform(0.11, 0.14))
    back = deep - 0.30
    organs.tissues += [
        ("muscle", _ellipse(board, (-0.22, back + 0.10), 0.15, 0.13), 0.02),
        ("muscle", _ellipse(board, (0.22, back + 0.10), 0.15, 0.13), 0.02),
        ("bone", _ellipse(board, (0.0, back), size, 0.85 * size), 0.015),
        ("kidney", _ellipse(board, (0.0, back + 1.35 * size), 0.05, 0.04), 0.015),
        ("vessel", _ellipse(board, (0.05, back - size - 0.05), 0.05, 0.05), 0.012),
        ("vessel", _ellipse(board, (-0.09, back - size - 0.05), 0.055, 0.04), 0.012),
    ]


def _solid_organs(
    organs: Organs, board: Board, level: float, wide: float, deep: float, rng: np.random.Generator, z: float
) -> None:
    """Place liver, spleen and kidneys where the slice's height meets them."""
    liver = (0.62 - level) * 0.9 + 0.08 - z
    if liver > 0.06:
        centre = np.array([-0.50 * wide, -0.10 * deep])
        organs.tissues.append(("liver", board.star(centre, 0.55 * liver + 0.16, waves(rng, 3, 0.10), 1.1), 0.015))
    spleen = 0.34 - 0.6 * level - z
    if spleen > 0.04:
        organs.tissues.append(
            ("spleen", _ellipse(board, (0.66 * wide, 0.22 * deep), 0.16, 0.16 + 0.3 * spleen), 0.015)
        )
    kidney = 0.17 - 0.55 * abs(level - 0.42)
    if kidney > 0.05:
        for side in (-1.0, 1.0):
            place = np.array([side * 0.40, 0.42 * deep + float(rng.uniform(-0.03, 0.03))])
            organs.tissues.append(("kidney", board.star(place, kidney, waves(rng, 3, 0.05), 0.85), 0.012))


def _stomach(
    organs: Organs, board: Board, rng: np.random.Generator, filling: np.random.Generator, level: float, wide: float,
    deep: float, z: float,
) -> None:  # fmt: skip
    """Draw the stomach: wide on the left under the diaphragm, reaching over the midline further down."""
    size = 0.31 - 0.30 * level - 0.5 * z + float(rng.uniform(-0.03, 0.05))
    if size < 0.07:
        return
    knots = np.array([
        [0.58 * wide, 0.02], [0.48 * wide, -0.14], [0.26 * wide, -0.24], [0.02, -0.26 + 0.1 * level],
    ]) * [1.0, deep / 0.57] + rng.normal(0, 0.035, (4, 2))  # fmt: skip
    path = curve(knots, 50)
    radii = size * np.interp(np.linspace(0, 1, 50), (0, 0.25, 0.6, 1.0), (0.75, 1.0, 0.72, 0.4))
    radii *= 1.0 + 0.05 * np.sin(np.linspace(0, rng.uniform(14, 24), 50) + rng.uniform(0, 6) + 8 * z)
    depth = board.tube(path, radii)
    fluid, air = float(filling.uniform(0.45, 1.05)), float(filling.uniform(0.04, 0.14))
    top = float(np.min(path[:, 1] - radii))
    surface = top + float(filling.uniform(0.0, 0.75)) * float(np.ptp(path[:, 1]) + 2 * radii.max())
    _, y = board.places
    food = fluid * (1 + 0.22 * board.texture(filling, 0.6))
    organs.hollows.append(Hollow(STOMACH, depth, 0.022, np.where(y < surface, air, food)))


def _large_bowel(
    organs: Organs, board: Board, rng: np.random.Generator, filling: np.random.Generator, level: float, wide: float,
    deep: float, z: float,
) -> None:  # fmt: skip
    """Draw ascending and descending colon at the flanks, and the transverse one in front in some slices."""
    flank = 0.70 * wide
    for side, size in ((-1.0, rng.uniform(0.09, 0.15)), (1.0, rng.uniform(0.07, 0.12))):
        shown = level > (0.30 if side < 0 else 0.16)
        place = np.array([side * flank + rng.normal(0, 0.03), 0.12 * deep + rng.normal(0, 0.05)])
        bumps = waves(rng, 5, 0.09) * np.cos(12 * z + rng.uniform(0, 6))
        if shown:
            depth = board.star(place, float(size), bumps, float(rng.uniform(0.85, 1.2)))
            organs.hollows.append(Hollow(LARGE_BOWEL, depth, 0.018, _stool(board, filling)))
    if rng.random() < 0.75 - abs(level - 0.45):
        height = -0.60 * deep + float(rng.uniform(-0.02, 0.08))
        reach = (float(rng.uniform(0.30, 0.62)) * wide, float(rng.uniform(0.0, 0.60)) * wide)
        knots = np.array([[-reach[0], height + 0.10], [-0.4 * reach[0], height], [0.4 * reach[1], height],
                          [reach[1], height + 0.12]]) + rng.normal(0, 0.02, (4, 2))  # fmt: skip
        radii = float(rng.uniform(0.06, 0.095)) * (1 + 0.16 * np.sin(np.linspace(0, rng.uniform(20, 34), 80) + 14 * z))
        organs.hollows.append(Hollow(LARGE_BOWEL, board.tube(curve(knots, 80), radii), 0.016, _stool(board, filling)))


def _stool(board: Board, rng: np.random.Generator) -> Plane:
    """Return the colon's content: mottled, or gas above it."""
    mottled = float(rng.uniform(0.22, 0.62)) * (1 + 0.3 * board.texture(rng, 0.4))
    _, y = board.places
    gas = float(rng.uniform(-0.6, 0.45))
    return np.asarray(np.where((y < gas) & (rng.random() < 0.5), 0.05, mottled))


def _small_bowel(
    organs: Organs, board: Board, rng: np.random.Generator, filling: np.random.Generator, level: float, wide: float,
    deep: float, z: float,
) -> None:  # fmt: skip
    """Draw loops that fill the middle, more of them further down."""
    for _ in range(2 + int(7 * level + rng.uniform(0, 3))):
        start = np.array([rng.uniform(-0.46, 0.52) * wide, rng.uniform(-0.46, 0.10) * deep])
        way, turn = rng.uniform(0, 2 * np.pi), rng.normal(0, 1.4)
        steps = np.linspace(0, float(rng.uniform(0.16, 0.42)), 5)
        angles = way + turn * steps / 0.3
        knots: Points = start + np.cumsum(
            np.stack([np.cos(angles), np.sin(angles)], 1) * np.gradient(steps)[:, None], 0
        )
        drift = rng.normal(0, 0.5, 2) * z
        folds = 1 + 0.10 * np.sin(np.linspace(0, rng.uniform(16, 40), 40) + 10 * z)
        radii = float(rng.uniform(0.045, 0.072)) * folds
        content = float(filling.uniform(0.40, 0.95)) * (1 + 0.25 * board.texture(filling, 0.3))
        organs.hollows.append(Hollow(SMALL_BOWEL, board.tube(curve(knots + drift, 40), radii), 0.016, content))


def _settled(organs: Organs, cavity: Plane) -> Organs:
    """Keep hollow organs inside the abdomen and apart: whoever was there first stays, and paint the labels."""
    labels = np.zeros(cavity.shape, np.int32)
    bones = np.max([depth for name, depth, _ in organs.tissues if name in ("bone", "kidney", "spleen")], axis=0)
    free = np.minimum(cavity, -bones)
    kept = []
    for hollow in organs.hollows:
        depth = np.minimum(hollow.depth, free)
        inside = depth > 0
        if inside.sum() * (2.0 / len(labels)) ** 2 < 0.004:
            continue  # less than about 1.4 cm² of it is left
        kept.append(Hollow(hollow.label, depth, hollow.wall, hollow.content))
        labels[inside] = hollow.label
        free = np.minimum(free, -depth)
    organs.hollows, organs.labels = kept, labels
    return organs
