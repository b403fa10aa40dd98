"""Bones, airways and vessels of a drawn chest as tubes: curves in space with a cross-section, seen from behind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.cases.chest_anatomy import SIDES, Chest, Curve, smooth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tube:
    """A curve of ``n`` points with an elliptic cross-section, projected on the film.

    ``first`` and ``second`` are the ellipse's half axes as they show on the film, ``(n, 2)`` mm; an axis that points
    along the ray shows as zero. ``area`` is the true cross-section ``(n,)`` mm², ``length`` the true way each point
    stands for ``(n,)`` mm, longer than it shows where the curve runs along the ray.
    """

    centre: Curve
    first: Curve
    second: Curve
    area: Array
    length: Array


def flat_tube(path: Curve, radius: Array | float, depth: float = 1.0) -> Tube:
    """Return a tube lying in the film's plane; ``depth`` is its half axis along the ray over ``radius``."""
    radius = np.broadcast_to(np.asarray(radius, dtype=np.float64), path.shape[:-1])
    along = np.gradient(path, axis=-2)
    length = np.linalg.norm(along, axis=-1)
    normal = np.stack([-along[..., 1], along[..., 0]], axis=-1) / np.maximum(length, 1e-9)[..., None]
    first = normal * radius[..., None]
    flat = [part.reshape(-1, 2) for part in (path, first, np.zeros_like(first))]
    return Tube(flat[0], flat[1], flat[2], (np.pi * depth * radius**2).ravel(), length.ravel())


@dataclass(frozen=True)
class Shoulder:
    """Scapular borders, crest and humeral shaft as tubes, the blade's outline, the humeral head's centre (mm)."""

    tubes: list[Tube]
    blade: Curve
    head: tuple[float, float]


def ribs(rng: np.random.Generator, chest: Chest, step: float) -> list[Tube]:
    """Return eleven pairs of ribs: out from the spine, round the wall, forward and down to their cartilage."""
    tubes = []
    pitch, steep = float(rng.uniform(19.5, 22.5)), float(rng.uniform(0.85, 1.2))
    for side in SIDES:
        for number in range(11):
            head = chest.apex + 5.0 + pitch * number + 0.3 * number**2 + float(rng.normal(0, 1.0))
            drop = steep * (38.0 + 11.5 * min(number, 7)) + float(rng.normal(0, 2.5))
            tubes.append(_rib(rng, chest, side, number, (head, drop), step))
    return tubes


def _rib(
    rng: np.random.Generator, chest: Chest, side: int, number: int, place: tuple[float, float], step: float
) -> Tube:
    """Draw one rib from its ``(head, drop)``: y at the spine and mm it descends to its front end."""
    head, drop = place
    cage = chest.cages[side]
    cage = cage[int(np.argmin(cage[:, 1])) :]
    reach = float(np.interp(head + 0.5 * drop, cage[:, 1], np.abs(cage[:, 0]))) + 1.0
    end = np.pi - np.arcsin(min(0.95, (38.0 + 6.0 * max(number - 3, 0)) / reach)) if number < 9 else 0.62 * np.pi
    angle = np.linspace(0.14, end, max(24, int(330.0 / step)))
    lift = float(rng.uniform(3, 8)) * np.exp(-(((angle - 0.5) / 0.4) ** 2))
    y = head + drop * ((1 - np.cos(angle)) / 2) ** 1.15 - lift
    # Each rib keeps to the wall on its way down, so that the wall is one line and not a row of loops.
    wall = np.interp(np.maximum(y, chest.apex + 14.0), cage[:, 1], np.abs(cage[:, 0])) + 1.0
    x = wall * np.sin(angle) ** 0.75 * (0.9 if number == 0 else 1.0)
    z = -0.75 * reach * np.cos(angle)
    length = np.linalg.norm(np.gradient(np.stack([x, y, z]), axis=1), axis=0)
    along = np.column_stack([np.gradient(x), np.gradient(y)])
    slope = along[:, 1] / np.maximum(length, 1e-9)
    # The flat of a rib faces outwards: the thin axis is radial, the tall one leans with the rib's own descent.
    tall = (5.2 + 1.0 * np.cos(angle) + 0.12 * number) * (0.8 if number == 0 else 1.0)
    thin = 3.0 + 0.6 * np.cos(angle)
    second = np.column_stack([side * thin * np.sin(angle), np.zeros_like(x)])
    first = np.column_stack(
        [side * -slope * np.cos(angle) * tall, tall * np.sqrt(1 - np.clip(slope, -0.95, 0.95) ** 2)]
    )
    fade = np.clip((end - angle) / 0.08, 0.0, 1.0) * (1.0 if number < 8 else 0.6)
    return Tube(np.column_stack([side * x, y]), first, second, np.pi * tall * thin * fade, length)


def shoulder(rng: np.random.Generator, chest: Chest, side: int, step: float) -> Shoulder:
    """Draw one shoulder: blade, its borders and crest, and the upper arm."""
    count = max(60, int(140.0 / step))
    x = chest.half_width + float(rng.uniform(8, 22))
    y = chest.apex + float(rng.uniform(22, 36))
    inner = x - float(rng.uniform(44, 62))
    tip = (inner + 14.0, y + float(rng.uniform(86, 104)))
    top = (inner + 4.0, y - 2.0)
    outer = smooth([(side * (x + 2), y + 4), (side * (x - 14), y + 36), (side * (tip[0] + 6), tip[1])], count)
    spine = smooth([(side * (inner + 2), y + 26), (side * (x - 18), y - 2), (side * (x + 16), y - 16)], count)
    inside = smooth([(side * top[0], top[1]), (side * (inner - 2), y + 40), (side * tip[0], tip[1])], count)
    shaft = smooth([(side * (x + 27), y + 10), (side * (x + 33), y + 40), (side * (x + 42), y + 150)], count)
    down = np.linspace(0.0, 1.0, count)
    arm = flat_tube(shaft, np.interp(down, (0.0, 0.16, 1.0), (17.0, 11.5, 10.5)))
    arm = replace(arm, area=arm.area * np.clip(down / 0.14, 0.0, 1.0))
    widths = np.linspace(5.0, 2.5, count)
    tubes = [flat_tube(outer, widths), flat_tube(spine, 3.4), flat_tube(inside, 1.5), arm]
    return Shoulder(tubes, np.vstack([inside, outer[::-1]]), (side * (x + 25.0), y + 6.0))


def airways(rng: np.random.Generator, chest: Chest, step: float) -> list[Tube]:
    """Return windpipe and main bronchi."""
    count = max(60, int(160.0 / step))
    carina = chest.hilum - float(rng.uniform(16, 26))
    lean, radius = float(rng.uniform(-6, 1)), float(rng.uniform(7.0, 9.5))
    trunk = smooth([(0.0, -200.0), (0.5 * lean, chest.apex + 10), (lean - 1.0, carina - 25), (lean, carina)], count)
    right = smooth([(lean, carina - 6), (lean - 14, carina + 12), (lean - 34, carina + 24)], count)
    left = smooth([(lean, carina - 6), (lean + 20, carina + 13), (lean + 46, carina + 22)], count)
    branches = [flat_tube(right, np.linspace(6.5, 4.0, count)), flat_tube(left, np.linspace(5.5, 3.5, count))]
    return [flat_tube(trunk, radius), *branches]


def vessels(rng: np.random.Generator, chest: Chest, strength: float, step: float) -> list[Tube]:
    """Return both lungs' vessel trees, one tube a generation: from the hila, forking and tapering outwards."""
    start, heading = _roots(rng, chest)
    radius = strength * rng.uniform(2.4, 5.4, len(start))
    reach = rng.uniform(18, 30, len(start))
    tubes = []
    for _ in range(7):
        bend = rng.normal(0, 0.28, len(start))
        middle = start + 0.5 * reach[:, None] * _arrow(heading)
        end = middle + 0.5 * reach[:, None] * _arrow(heading + bend)
        t = np.linspace(0.0, 1.0, max(6, int(30.0 / step)))[:, None]
        path = ((1 - t) ** 2) * start[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * end[:, None]
        tubes.append(flat_tube(path, radius[:, None] * np.linspace(1.0, 0.86, t.size)))
        fork = rng.uniform(0.18, 0.62, (2, len(end))) * np.array([[1.0], [-1.0]])
        keep = rng.random((2, len(end))) < 0.9
        heading = (heading + bend + fork)[keep]
        start, reach = np.stack([end, end])[keep], (reach * rng.uniform(0.62, 0.98, (2, len(end))))[keep]
        radius = np.maximum(radius * rng.uniform(0.6, 0.88, (2, len(end))), 0.5)[keep]
    return tubes


def _roots(rng: np.random.Generator, chest: Chest) -> tuple[Curve, Array]:
    """Return where the great branches leave the hila and in which direction (radians, x towards y)."""
    starts, headings = [], []
    for side in SIDES:
        outward = np.array([-1.5, -1.3, -1.05, -0.8, -0.5, -0.2, 0.1, 0.35, 0.6, 0.8, 1.0, 1.15, 1.3, 1.45])
        angle = outward + rng.normal(0, 0.12, outward.size)
        hilum = np.array([side * 30.0, chest.hilum - (6.0 if side > 0 else -4.0)])
        starts.append(
            hilum + rng.normal(0, 4, (angle.size, 2)) + np.column_stack([np.zeros(angle.size), 14 * np.sin(angle)])
        )
        headings.append(angle if side > 0 else np.pi - angle)
    return np.vstack(starts), np.concatenate(headings)


def _arrow(angle: Array) -> Curve:
    return np.column_stack([np.cos(angle), np.sin(angle)])
