"""Chest films that need no patient: a chest drawn from a seed, X-rayed by Beer-Lambert's law, developed and digitised.

They stand in for the JSRT films with SCR's outlines of paper 003 where those cannot be had. Everything follows from
the seed, and the same chest comes out at any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.chest_anatomy import SIDES, Chest, ChestVariation, draw_chest, uniform
from AdvSegLib.cases.chest_canvas import FILM_MM, Canvas, Mask, Plane
from AdvSegLib.cases.chest_projection import Outlines, attenuators, fill
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import chest_scheme
from AdvSegLib.volumes import Grid, Image, LabelArray, LabelMap

WATER_PER_CM = 0.172
"""Attenuation of soft tissue at about 120 kVp."""
BONE_PER_CM = 0.42
"""What a centimetre of mineral adds to the tissue it stands in."""
LUNGS = {1: 2, -1: 3}
CLAVICLES = {1: 4, -1: 5}
GLYPHS = {"L": ("1000", "1000", "1000", "1000", "1111"), "R": ("1110", "1001", "1110", "1010", "1001")}


def chest_phantom(seed: int, size: int = 256, variation: ChestVariation | None = None) -> tuple[Image, LabelMap]:
    """Draw one posterior-anterior chest film and its outlines.

    The film is ``(1, size, size)``, 350 mm wide, row 0 at the neck, the patient's left on the image's right, bone
    bright; whole numbers as read from a file of ``variation.bits``. Labels are those of
    :func:`~AdvSegLib.labels.chest_scheme`, drawn as SCR's: lungs where heart, mediastinum and diaphragm do not hide
    them, clavicles where they lie over the rib cage and painted over the lungs.

    Raises BadRequest for a ``size`` below 32.
    """
    if size < 32:
        raise BadRequest(f"a chest film needs at least 32 pixels a side, got {size}")
    variation = variation or ChestVariation()
    posed = _pose(seed, size, variation)
    return _film(posed, variation), _outlines(posed)


def chest_cases(count: int, seed: int = 0, size: int = 256) -> list[Case]:
    """Return ``count`` cases ``chest-0000``…, drawn when asked for.

    Case ``i`` is ``chest_phantom(seed + i, size)``; asking for its truth alone does not draw the film.
    """
    return [
        Case(
            f"chest-{index:04d}",
            chest_scheme(),
            partial(_read_image, seed + index, size),
            partial(_read_truth, seed + index, size),
        )
        for index in range(count)
    ]


@dataclass(frozen=True)
class _Posed:
    """One chest before one film, and the two streams of chance left for what the film shows."""

    chest: Chest
    canvas: Canvas
    outlines: Outlines
    inner: np.random.Generator
    film: np.random.Generator


def _pose(seed: int, size: int, variation: ChestVariation) -> _Posed:
    shape, stance, inner, film = np.random.default_rng(seed).spawn(4)
    chest = draw_chest(shape, variation)
    shift = (uniform(stance, variation.shift_mm), uniform(stance, variation.shift_mm))
    turn = float(np.deg2rad(uniform(stance, variation.rotation_deg)))
    canvas = Canvas(size, turn, uniform(stance, variation.scale), shift)
    return _Posed(chest, canvas, fill(chest, canvas), inner, film)


def _film(posed: _Posed, variation: ChestVariation) -> Image:
    canvas, outlines = posed.canvas, posed.outlines
    water, bone = attenuators(posed.inner, posed.chest, outlines, variation, canvas)
    grain, development = posed.film.spawn(2)
    exposure = _expose(grain, water, bone, variation, canvas)
    shown = _digitise(development, exposure, outlines.lungs[1] | outlines.lungs[-1], variation)
    return Image(shown[None].astype(np.float32), _grid(canvas), ("film",))


def _outlines(posed: _Posed) -> LabelMap:
    labels = _labels(posed.outlines)
    return LabelMap(labels, _grid(posed.canvas), chest_scheme().names)


def _grid(canvas: Canvas) -> Grid:
    """Return the film's place, its corner at the origin, so that films of any size lie on each other."""
    affine = Grid.regular((canvas.size, canvas.size), FILM_MM / canvas.size).affine
    affine[:2, 2] = 0.5 * FILM_MM / canvas.size
    return Grid((canvas.size, canvas.size), affine)


def _read_image(seed: int, size: int) -> Image:
    variation = ChestVariation()
    return _film(_pose(seed, size, variation), variation)


def _read_truth(seed: int, size: int) -> LabelMap:
    return _outlines(_pose(seed, size, ChestVariation()))


def _labels(outlines: Outlines) -> LabelArray:
    labels = np.zeros(outlines.heart.shape, np.int32)
    labels[outlines.heart] = 1
    for side in SIDES:
        labels[outlines.lungs[side]] = LUNGS[side]
    for side in SIDES:
        labels[outlines.clavicles[side]] = CLAVICLES[side]
    return labels


def _expose(rng: np.random.Generator, water: Plane, bone: Plane, variation: ChestVariation, canvas: Canvas) -> Plane:
    """Return the film's exposure over that of the open beam: attenuated, blurred, fogged by scatter, grainy."""
    primary = np.exp(-WATER_PER_CM * water - BONE_PER_CM * bone)
    sharp = uniform(rng, variation.unsharpness_mm)
    beam = np.minimum(primary, 0.3)
    scattered = uniform(rng, variation.scatter) * (0.5 * canvas.blur(beam, 18.0) + 0.5 * canvas.blur(beam, 55.0))
    exposure = canvas.blur(primary, sharp) + scattered
    quanta = uniform(rng, variation.quanta_per_mm2) * (FILM_MM / canvas.size) ** 2
    noise = canvas.blur(rng.normal(size=primary.shape), 0.6 * sharp) / np.sqrt(exposure * quanta)
    return np.asarray(exposure * np.exp(np.clip(noise, -1.0, 1.0)))


def _digitise(rng: np.random.Generator, exposure: Plane, lungs: Mask, variation: ChestVariation) -> Plane:
    """Return grey values: the film's characteristic curve, marks and borders, whole numbers."""
    span, lift = uniform(rng, variation.window_nepers), uniform(rng, variation.exposure_nepers)
    dark = -np.log(exposure)
    # The exposure meter sits behind the lungs: they come out alike whatever the patient's girth.
    density = (dark - dark[lungs].mean() + lift) / span - 0.34
    shown = 1.0 / (1.0 + np.exp(-3.9 * density))
    shown = np.asarray(shown ** uniform(rng, variation.gamma))
    _mark(rng, shown, variation)
    _border(rng, shown, variation)
    return np.asarray(np.rint(np.clip(shown, 0.0, 1.0) * (2**variation.bits - 1)))


def _mark(rng: np.random.Generator, shown: Plane, variation: ChestVariation) -> None:
    """Lay a lead letter beside the patient's shoulder, on the side it names."""
    present, letter = rng.random() < variation.marker_chance, "L" if rng.random() < 0.5 else "R"
    place, strength = rng.uniform(0.03, 0.1, 2), float(rng.uniform(0.3, 0.9))
    if not present:
        return
    size = shown.shape[0]
    cell = max(1, round(0.009 * size))
    glyph = np.kron(np.array([[int(c) for c in row] for row in GLYPHS[letter]]), np.ones((cell, cell)))
    row, column = (place * size).astype(int)
    column = size - column - glyph.shape[1] if letter == "L" else column
    patch = shown[row : row + glyph.shape[0], column : column + glyph.shape[1]]
    patch += strength * glyph * (1.0 - patch)


def _border(rng: np.random.Generator, shown: Plane, variation: ChestVariation) -> None:
    """Shut the beam's edge on some sides: the unexposed rim is white, or black where the reader's shutter cut it."""
    present, value = rng.random() < variation.border_chance, float(rng.choice([0.0, 0.97]))
    rims = rng.uniform(0.0, 0.03, 4) * (rng.random(4) < 0.5)
    if not present:
        return
    size = shown.shape[0]
    place = (np.arange(size) + 0.5) / size
    top, bottom, left, right = rims
    rows, columns = (place < top) | (place > 1 - bottom), (place < left) | (place > 1 - right)
    shown[rows] = value
    shown[:, columns] = value
