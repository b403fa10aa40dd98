"""From a drawn chest to what a ray meets on its way: centimetres of soft tissue and of bone for each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AdvSegLib.cases.chest_anatomy import SIDES, Chest, ChestVariation, Curve, uniform
from AdvSegLib.cases.chest_canvas import Canvas, Mask, Plane, bulge, mottle
from AdvSegLib.cases.chest_skeleton import airways, flat_tube, ribs, shoulder, vessels

LUNG_AIR = 0.74
"""Share of inflated lung that attenuates nothing."""


@dataclass(frozen=True)
class Outlines:
    """A chest's outlines filled in on one film."""

    heart: Mask
    lungs: dict[int, Mask]
    """The visible lung fields: not what heart, mediastinum and diaphragm hide (SCR's convention)."""
    clavicles: dict[int, Mask]
    """The part that lies over the rib cage (SCR's convention)."""
    cavity: Mask
    """Both lungs' whole space, hidden parts included."""
    mediastinum: Mask
    below: Plane
    """How many mm each pixel lies below the diaphragm (negative above)."""


def fill(chest: Chest, canvas: Canvas) -> Outlines:
    """Fill in the outlines of ``chest``."""
    hulls = {side: canvas.inside(chest.hulls[side]) for side in SIDES}
    heart, middle = canvas.inside(chest.heart), canvas.inside(chest.mediastinum)
    below, cavity = _below_diaphragm(chest, canvas), hulls[1] | hulls[-1]
    near = canvas.depth(~cavity) < 9.0
    return Outlines(
        heart=heart,
        lungs={side: hulls[side] & (below < 0) & ~heart & ~middle for side in SIDES},
        clavicles={side: canvas.inside(_outline(*chest.clavicles[side])) & near for side in SIDES},
        cavity=cavity,
        mediastinum=middle,
        below=below,
    )


def attenuators(
    rng: np.random.Generator, chest: Chest, outlines: Outlines, variation: ChestVariation, canvas: Canvas
) -> tuple[Plane, Plane]:
    """Return cm of water-like tissue and cm of mineral along each ray."""
    breath, flesh, grain, bones = rng.spawn(4)
    air = _air(breath, chest, outlines, canvas)
    water = _soft_tissue((flesh, grain), chest, outlines, variation, canvas, air)
    return water, uniform(bones, variation.rib_strength) * _bone(bones, chest, canvas)


def _outline(path: Curve, half: Plane) -> Curve:
    """Return the closed outline of a band of half height ``half`` about ``path``."""
    first = flat_tube(path, half).first
    return np.vstack([path + first, (path - first)[::-1]])


def _below_diaphragm(chest: Chest, canvas: Canvas) -> Plane:
    """Return how many mm each pixel lies below the diaphragm (negative above)."""
    x, y = canvas.places
    left, right = (np.interp(np.abs(x), np.abs(chest.domes[s][:, 0]), chest.domes[s][:, 1]) for s in SIDES)
    return np.asarray(y - np.where(x > 0, left, right))


def _air(rng: np.random.Generator, chest: Chest, outlines: Outlines, canvas: Canvas) -> Plane:
    """Return cm of lung along each ray: what heart, mediastinum and abdomen leave of the chest's depth."""
    _, y = canvas.places
    heart, below = outlines.heart, np.clip(outlines.below, 0.0, None)
    height = (y - chest.apex) / (chest.hilum - chest.apex)
    thick = np.interp(height, (0.0, 0.5, 1.0, 1.6), (8.5, 12.0, 14.5, 15.0)) * float(rng.uniform(0.9, 1.08))
    # Some lung reaches down behind the domes, so they do not end it at once, but little of it where the heart rests.
    reach = 2.0 + float(rng.uniform(8, 18)) * (1.0 - np.exp(-((canvas.depth(~heart) / 22.0) ** 2)))
    air = thick * bulge(canvas.depth(outlines.cavity), 42.0) * (1.0 - 0.98 * bulge(below, reach))
    # For the same reason the heart does not thin out towards the diaphragm.
    solid = np.where(heart, bulge(canvas.depth(heart | (below > 0)), 50.0), 0.0)
    air -= float(rng.uniform(11.0, 13.5)) * solid
    air -= 13.0 * _central(chest, canvas, canvas.depth(outlines.mediastinum))
    # A pixel on a border sees both sides of it.
    return canvas.blur(np.maximum(air, 0.0), 0.5 * canvas.pixel)


def _central(chest: Chest, canvas: Canvas, depth: Plane) -> Plane:
    """Return the relative thickness of the mediastinum: a firm border above, behind the heart a gradual one."""
    _, y = canvas.places
    behind = np.clip((y - chest.hilum) / 40.0 + 0.6, 0.0, 1.0)
    part = np.clip(depth / 25.0, 0.0, 1.0)
    return np.asarray((1.0 - behind) * bulge(depth, 18.0) + behind * part**2 * (3.0 - 2.0 * part))


def _soft_tissue(
    rngs: tuple[np.random.Generator, np.random.Generator],
    chest: Chest,
    outlines: Outlines,
    variation: ChestVariation,
    canvas: Canvas,
    air: Plane,
) -> Plane:
    """Return cm of water-like tissue along each ray."""
    rng, grain = rngs
    x, y = canvas.places
    body = _body(chest, canvas, uniform(rng, variation.chest_cm))
    air = np.minimum(air, np.maximum(body - 3.5, 0.0))
    strength, step = uniform(rng, variation.vessel_strength), 0.6 * canvas.pixel
    branches = canvas.deposit(vessels(rng, chest, strength, step), samples=8)
    roots = sum(
        np.exp(-(((x - side * 36.0) / 13.0) ** 2) - ((y - chest.hilum + 5 * side) / 17.0) ** 2) for side in SIDES
    )
    uneven = uniform(rng, variation.texture)
    water = body * (1.0 + uneven * mottle(grain, canvas.size, 0.9)) + _breasts(rng, chest, variation, canvas)
    water -= air * LUNG_AIR * (1.0 + 4.0 * uneven * mottle(grain, canvas.size, 0.35))
    # Blood takes the place of air, and of no more than there is.
    water += LUNG_AIR * np.minimum(2.2 * branches + float(rng.uniform(1.2, 3.0)) * roots, 0.55 * air)
    water -= 0.8 * canvas.deposit(airways(rng, chest, step), samples=48)
    water -= _gas(rng, chest, variation, canvas, outlines.below)
    return np.asarray(np.where(body > 0, np.maximum(water, 0.0), 0.0))


def _body(chest: Chest, canvas: Canvas, thickness: float) -> Plane:
    """Return the body's thickness front to back in cm."""
    x, y = canvas.places
    profile = np.interp(y, (-175, -135, -95, -40, 60, 175), (0.70, 0.76, 0.88, 1.0, 1.06, 1.12))
    arms = np.clip((np.abs(x) - 0.85 * chest.half_width) / 40.0, 0.0, 1.0) * np.clip((40.0 - y) / 80.0, 0.0, 1.0)
    depth = canvas.depth(canvas.inside(chest.torso))
    whole = thickness * profile * (1.0 - 0.12 * arms) * bulge(depth, 26.0)
    # Smoothing takes the ridges off the distance map; the skin keeps its edge.
    return np.where(depth > 0, canvas.blur(whole, 4.0), 0.0)


def _breasts(rng: np.random.Generator, chest: Chest, variation: ChestVariation, canvas: Canvas) -> Plane:
    """Return cm of breast: thick towards a rounded lower edge, fading upwards."""
    shown, size, drop = rng.random() < variation.breast_chance, rng.uniform(48, 66), rng.uniform(28, 60)
    thickness = float(rng.uniform(1.0, 2.8))
    x, y = canvas.places
    total = np.zeros_like(x)
    if not shown:
        return total
    for side in SIDES:
        up = (y - chest.hilum - drop) / size
        round_ = 1.0 - ((x - side * 0.56 * chest.half_width) / size) ** 2 - up**2
        total += thickness * np.sqrt(np.clip(round_, 0.0, None)) * np.clip(0.55 + 0.9 * up, 0.0, 1.0)
    return total


def _gas(rng: np.random.Generator, chest: Chest, variation: ChestVariation, canvas: Canvas, below: Plane) -> Plane:
    """Return cm of gas in the stomach, under the left dome, often with a fluid level."""
    shown = rng.random() < variation.stomach_chance
    wide, high, lift = rng.uniform(16, 34), rng.uniform(9, 20), rng.uniform(6, 12)
    thickness, level = float(rng.uniform(2.0, 6.0)), bool(rng.random() < 0.6)
    x, y = canvas.places
    if not shown:
        return np.zeros_like(x)
    centre = 0.48 * chest.half_width
    floor = float(np.interp(centre, chest.domes[1][:, 0], chest.domes[1][:, 1])) + lift + high
    bubble = np.clip(1.0 - ((x - centre) / wide) ** 2 - ((y - floor) / high) ** 2, 0.0, None)
    roof = np.clip((below - 0.6 * lift) / 4.0, 0.0, 1.0)
    return np.asarray(thickness * np.sqrt(bubble) * roof * np.where((y > floor) & level, 0.0, 1.0))


def _bone(rng: np.random.Generator, chest: Chest, canvas: Canvas) -> Plane:
    """Return cm of mineral, as if all bone were cortex."""
    step = 0.6 * canvas.pixel
    collar = [flat_tube(path, half) for path, half in chest.clavicles.values()]
    bone = 1.0 * canvas.deposit(ribs(rng, chest, step), core=0.12) + 1.45 * canvas.deposit(collar, core=0.4)
    x, y = canvas.places
    for side in SIDES:
        joint = shoulder(rng, chest, side, step)
        bone += 0.5 * canvas.deposit(joint.tubes, core=0.3, samples=48)
        bone += 0.12 * bulge(canvas.depth(canvas.inside(joint.blade)), 4.0)
        away = np.hypot(x - joint.head[0], y - joint.head[1])
        bone += 0.7 * bulge(np.clip(23.0 - away, 0.0, None), 12.0)
    return bone + _spine(rng, chest, canvas)


def _spine(rng: np.random.Generator, chest: Chest, canvas: Canvas) -> Plane:
    """Return cm of mineral in vertebral bodies, their pedicles and spinous processes, and in the manubrium."""
    x, y = canvas.places
    x = x - chest.sway * np.cos(y / 110.0)
    start, pitch = float(rng.uniform(-10, 10)), float(rng.uniform(19.5, 22.0))
    down = (y + 190.0 + start) / pitch - 0.0011 * (y + 190.0) ** 2 / pitch
    part = np.mod(down, 1.0) - 0.5
    half = np.interp(y, (-175, -120, 60, 175), (12.0, 14.0, 17.0, 20.0)) * (0.94 + 0.5 * part**2)
    across, along = _step(half - np.abs(x), 2.5), _step((0.40 - np.abs(part)) * pitch, 1.0)
    plates = np.exp(-((((0.37 - np.abs(part)) * pitch) / 1.5) ** 2)) * across
    rims = np.exp(-(((half - 1.5 - np.abs(x)) / 1.5) ** 2)) * along
    pedicles = np.exp(-(((np.hypot(np.abs(x) - 0.68 * half, pitch * (part + 0.12)) - 3.2) / 1.2) ** 2))
    spines = np.exp(-((x / 2.6) ** 2) - ((pitch * (part - 0.3)) / 6.0) ** 2)
    sternum = np.exp(-((x / 24.0) ** 4) - ((y - chest.apex - 62.0) / 24.0) ** 4)
    strength = float(rng.uniform(0.3, 0.6)) * np.interp(y, (-150, -90, 0, 80), (0.9, 1.2, 0.8, 0.5))
    return np.asarray(
        strength * (0.75 * across * along + 0.25 * plates + 0.25 * rims + 0.3 * pedicles + 0.4 * spines)
        + 0.15 * sternum
    )


def _step(distance: Plane, softness: float) -> Plane:
    return 1.0 / (1.0 + np.exp(-np.clip(distance / softness, -30.0, 30.0)))
