"""One chest, drawn from a seed: outlines on the film in millimetres, before any X-ray passes through it.

Coordinates are (x, y) in mm from the middle of the film, x to the patient's left (the image's
right), y downwards. ``side`` is +1 for the patient's left and -1 for the right. Sizes follow adult films taken
standing, posterior-anterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

Curve = NDArray[np.float64]
"""Points ``(n, 2)``: x, y in mm."""
Range = tuple[float, float]
SIDES = (1, -1)


@dataclass(frozen=True)
class ChestVariation:
    """How chests and films differ. Pairs are ranges drawn evenly, ``*_chance`` probabilities, the rest as named."""

    half_width_mm: Range = (116.0, 136.0)
    """Half the inner width of the rib cage at its widest."""
    apex_mm: Range = (-136.0, -116.0)
    """Height of the lung apices (y, so negative)."""
    lung_height_mm: Range = (168.0, 206.0)
    """Apex to the right diaphragm's dome: how deep the breath is."""
    dome_step_mm: Range = (3.0, 18.0)
    """How much lower the left dome stands."""
    cardiothoracic_ratio: Range = (0.39, 0.55)
    """Heart width over the inner width of the chest."""
    chest_cm: Range = (18.5, 24.0)
    """Body thickness front to back."""
    rotation_deg: Range = (-3.0, 3.0)
    """Leaning of the patient, about the film's middle."""
    scale: Range = (0.93, 1.06)
    """Magnification of the whole chest."""
    shift_mm: Range = (-7.0, 7.0)
    """Placement on the film, each axis."""
    vessel_strength: Range = (0.9, 1.8)
    """Calibre of the pulmonary vessels over the usual."""
    rib_strength: Range = (0.8, 1.7)
    """Mineral of all bone over the usual."""
    texture: Range = (0.008, 0.026)
    """Unevenness of soft tissue and lung, as a fraction of their thickness."""
    quanta_per_mm2: Range = (2.0e5, 2.0e6)
    """Quanta before the body that one mm² of film counts, its grain included: fewer are noisier."""
    scatter: Range = (0.25, 0.8)
    """Scattered over primary radiation behind the body (what the grid lets through)."""
    unsharpness_mm: Range = (0.3, 0.8)
    """Standard deviation of the film-screen blur."""
    window_nepers: Range = (2.0, 3.1)
    """Attenuation shown between nearly black and nearly white: less is a harder film."""
    exposure_nepers: Range = (-0.15, 0.25)
    """Film lighter (positive) or darker than the usual."""
    gamma: Range = (0.7, 1.4)
    """Exponent on the finished grey values: above 1 darkens the middle greys."""
    breast_chance: float = 0.35
    """Breast shadows over the lower lungs."""
    stomach_chance: float = 0.6
    """Gas in the stomach, under the left dome."""
    marker_chance: float = 0.5
    """A lead letter, L or R, beside the neck."""
    border_chance: float = 0.25
    """Collimated rims, white or black, on some of the film's sides."""
    bits: int = 8
    """Depth of the file: intensities are whole numbers from 0 to ``2**bits - 1``."""


@dataclass(frozen=True)
class Chest:
    """The outlines of one chest. Pairs by side are dictionaries of +1 (left) and -1 (right)."""

    half_width: float
    apex: float
    hilum: float
    torso: Curve
    heart: Curve
    mediastinum: Curve
    cages: dict[int, Curve]
    """Outer border of each lung from apex down, ``(n, 2)`` with y rising; x is signed."""
    hulls: dict[int, Curve]
    """Closed space of each lung, what heart and diaphragm hide included."""
    domes: dict[int, Curve]
    """Diaphragm from the midline outwards, x ascending in |x|."""
    clavicles: dict[int, tuple[Curve, NDArray[np.float64]]]
    """Centre line ``(n, 2)`` and half height ``(n,)`` of each collar bone, sternum to shoulder."""
    sway: float
    """Sideways bend of the spine at its middle."""


def uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw one number evenly between ``limits``."""
    return float(rng.uniform(*limits))


def smooth(points: Sequence[tuple[float, float]], count: int = 120, *, closed: bool = False) -> Curve:
    """Return ``count`` points of a cubic spline through ``points``, spaced by chord length."""
    knots = np.asarray([*points, points[0]] if closed and isinstance(points, list) else points, dtype=np.float64)
    chord = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1) ** 0.7)]
    spline = CubicSpline(chord, knots, bc_type="periodic" if closed else "natural")
    return np.asarray(spline(np.linspace(0.0, chord[-1], count)), dtype=np.float64)


def draw_chest(rng: np.random.Generator, variation: ChestVariation) -> Chest:
    """Draw the outlines of one chest."""
    width, apex = uniform(rng, variation.half_width_mm), uniform(rng, variation.apex_mm)
    dome = {-1: apex + uniform(rng, variation.lung_height_mm)}
    dome[1] = dome[-1] + uniform(rng, variation.dome_step_mm)
    ratio = uniform(rng, variation.cardiothoracic_ratio)
    hilum = apex + 0.56 * (dome[-1] - apex) + float(rng.normal(0, 3))
    cages, hulls, domes = {}, {}, {}
    for side in SIDES:
        domes[side] = _diaphragm(rng, side, width, dome[side])
        cages[side] = _cage(rng, side, width, apex + float(rng.normal(0, 2)), float(domes[side][-1, 1]))
        hulls[side] = np.vstack([[(side * 4.0, cages[side][0, 1] + 30.0)], cages[side], [(side * 4.0, 190.0)]])
    return Chest(
        half_width=width,
        apex=apex,
        hilum=hilum,
        torso=_torso(rng, width, apex),
        heart=_heart(rng, 2 * width * ratio, hilum, dome[1]),
        mediastinum=_mediastinum(rng, apex, hilum),
        cages=cages,
        hulls=hulls,
        domes=domes,
        clavicles=_clavicles(rng, width, apex),
        sway=float(rng.normal(0, 3)),
    )


def _cage(rng: np.random.Generator, side: int, width: float, apex: float, angle: float) -> Curve:
    """Return a lung's outer border: over the apex, down the wall to the costophrenic angle and on, straight."""
    wobble = rng.normal(0, 0.01, 6)
    height = angle - apex
    shape = [
        (0.14, 0.11),
        (0.21, 0.03),
        (0.36, 0.0),
        (0.55, 0.045),
        (0.75, 0.15),
        (0.88, 0.30),
        (0.97, 0.56),
        (1.0, 1.0),
    ]
    bend = np.r_[0.0, 0.0, wobble]
    points = [(side * width * (x + b), apex + height * y) for (x, y), b in zip(shape, bend, strict=True)]
    wall = smooth(points)
    below = np.column_stack([np.full(8, wall[-1, 0]), np.linspace(angle + 4.0, 190.0, 8)])
    return np.vstack([wall, below])


def _diaphragm(rng: np.random.Generator, side: int, width: float, dome: float) -> Curve:
    """Return the diaphragm from the midline over the dome to the costophrenic angle and beyond."""
    depth, top = float(rng.uniform(30, 46)), float(rng.uniform(0.42, 0.54))
    x = np.array([0.0, 0.5 * top, top, 0.5 * (top + 1), 0.91, 1.0, 1.3])
    y = dome + np.array([12.0, 4.5, 0.0, 0.17 * depth, 0.60 * depth, depth, 1.9 * depth])
    fine = np.linspace(0.0, 1.3, 120)
    return np.column_stack([side * width * fine, PchipInterpolator(x, y)(fine)])[: 120 * 10 // 13 + 1]


def _heart(rng: np.random.Generator, width: float, hilum: float, dome: float) -> Curve:
    """Return the heart's silhouette: right atrium, pulmonary trunk, left ventricle, apex, on the diaphragm."""
    shape = np.array(
        [
            (0.02, 0.0), (0.19, 0.05), (0.33, 0.25), (0.50, 0.52), (0.625, 0.77), (0.645, 0.89), (0.55, 0.975),
            (0.25, 1.0), (-0.08, 0.99), (-0.27, 0.94), (-0.335, 0.72), (-0.315, 0.46), (-0.225, 0.2), (-0.12, 0.05),
        ]
    )  # fmt: skip
    shape[1:5, 0] += float(rng.normal(0, 0.025)) * np.array([0.3, 1.0, 1.0, 0.3])
    shape[9:13, 0] += float(rng.normal(0, 0.02)) * np.array([0.5, 1.0, 1.0, 0.5])
    shape[4:7, 1] += float(rng.normal(0, 0.025))
    shape += rng.normal(0, 0.006, shape.shape)
    shape[:, 0] *= 1.0 / np.ptp(shape[:, 0])
    shape[:, 0] += float(rng.normal(0, 0.03))
    top, bottom = hilum - float(rng.uniform(4, 14)), dome + float(rng.uniform(6, 14))
    points = np.column_stack([width * shape[:, 0], top + (bottom - top) * shape[:, 1]])
    return smooth([(float(x), float(y)) for x, y in points], 160, closed=True)


def _mediastinum(rng: np.random.Generator, apex: float, hilum: float) -> Curve:
    """Return what lies between the lungs: great vessels, aortic knob on the left, spine and gullet below."""
    knob, bulge = hilum - float(rng.uniform(38, 46)), float(rng.uniform(27, 37))
    left_top, right_top = rng.uniform(17, 24, 2)
    cava = float(rng.uniform(24, 33))
    left = [
        (20.0, -195.0), (left_top, apex + 10), (left_top + 2, knob - 22), (bulge - 4, knob - 11), (bulge, knob),
        (bulge - 2, knob + 9), (bulge - 5, knob + 19), (bulge - 3, hilum - 10), (bulge, hilum + 6), (24.0, hilum + 40),
        (22.0, 195.0),
    ]  # fmt: skip
    right = [
        (-20.0, 195.0), (-22.0, hilum + 40), (-cava - 1, hilum + 8), (-cava, hilum - 25), (-cava + 3, knob - 10),
        (-right_top, apex + 10), (-20.0, -195.0),
    ]  # fmt: skip
    return np.vstack([_down(left), _down(right)])


def _down(points: list[tuple[float, float]]) -> Curve:
    """Return a border that never overshoots between its points: x as a monotone function of y."""
    x, y = np.array(points).T
    order = 1 if y[-1] > y[0] else -1
    fine = np.linspace(y[0], y[-1], 160)
    return np.column_stack([PchipInterpolator(y[::order], x[::order])(fine), fine])


def _clavicles(rng: np.random.Generator, width: float, apex: float) -> dict[int, tuple[Curve, NDArray[np.float64]]]:
    """Return the collar bones: thick at the sternum, S-shaped, rising to the shoulder."""
    found = {}
    low, tilt, gap = float(rng.uniform(32, 50)), float(rng.uniform(14, 42)), float(rng.uniform(13, 19))
    size = float(rng.uniform(0.98, 1.22))
    for side in SIDES:
        y, rise = apex + low + float(rng.normal(0, 3)), tilt + float(rng.normal(0, 4))
        span = 0.98 * width + float(rng.normal(0, 3))
        shape = [(0.0, 0.0), (0.16, -0.10), (0.38, -0.52), (0.62, -0.90), (0.82, -1.02), (1.0, -0.96)]
        wobble = rng.normal(0, 0.025, len(shape))
        points = [(side * (gap + span * u), y + rise * (v + w)) for (u, v), w in zip(shape, wobble, strict=True)]
        along = np.linspace(0.0, 1.0, 400)
        half = np.interp(along, (0.0, 0.06, 0.25, 0.55, 0.8, 1.0), (4.0, 6.6, 4.8, 4.3, 5.2, 4.4))
        found[side] = (smooth(points, 400), size * half)
    return found


def _torso(rng: np.random.Generator, width: float, apex: float) -> Curve:
    """Return the skin: neck, shoulders, the arms where they leave the film, armpits, flanks."""
    neck, slope, fat = rng.uniform(46, 60), rng.uniform(-8, 12), rng.uniform(14, 30)
    halves = []
    for side in SIDES:
        armpit = float(rng.uniform(-30, 60))
        wall = width + fat
        half = [
            (neck - 4, -215.0), (neck, apex - 45), (neck + 14, apex - 34), (neck + 48, apex - 24 + 0.3 * slope),
            (neck + 92, apex - 15 + slope), (182.0, apex + 10 + slope), (214.0, apex + 70), (214.0, armpit - 20),
            (196.0, armpit + 30), (wall + 30, armpit + 4), (wall + 14, armpit + 20), (wall + 4, armpit + 62),
            (wall + 1, 150.0), (wall + 3, 215.0),
        ]  # fmt: skip
        halves.append(smooth([(side * float(x), float(y)) for x, y in half], 160))
    return np.vstack([halves[0], halves[1][::-1]])
