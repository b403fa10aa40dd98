"""A film to draw on: outlines filled, tubes projected by their volume, distances, blurs, and noise like anatomy's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AdvSegLib.cases.chest_anatomy import Curve
from AdvSegLib.cases.chest_skeleton import Tube

FILM_MM = 350.0
Plane = NDArray[np.float64]
"""One number a pixel, ``(rows, columns)``."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Canvas:
    """A film of ``size`` x ``size`` pixels and how the patient stands before it."""

    size: int
    turn: float
    """Rotation in radians."""
    scale: float
    shift: tuple[float, float]
    """mm to the image's right and down."""

    @property
    def pixel(self) -> float:
        """Pixel width in mm of the patient."""
        return FILM_MM / self.size / self.scale

    @cached_property
    def _matrix(self) -> Plane:
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        return self.scale * np.array([[cosine, -sine], [sine, cosine]])

    def to_pixels(self, points: Plane) -> Plane:
        """Turn patient (x, y) mm, ``(..., 2)``, into (row, column)."""
        moved = points @ self._matrix.T + np.array(self.shift) + FILM_MM / 2
        return np.asarray(moved[..., ::-1] * (self.size / FILM_MM) - 0.5)

    @cached_property
    def places(self) -> tuple[Plane, Plane]:
        """Patient x and y in mm of each pixel's centre."""
        film = (np.arange(self.size) + 0.5) * (FILM_MM / self.size) - FILM_MM / 2
        x, y = film[None, :] - self.shift[0], film[:, None] - self.shift[1]
        inverse = np.linalg.inv(self._matrix)
        return inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y

    def inside(self, outline: Curve) -> Mask:
        """Return the pixels inside a closed outline."""
        row, column = self.to_pixels(outline).T
        after, rows = np.roll(row, -1), np.arange(self.size)[:, None]
        where, edge = np.nonzero((row <= rows) != (after <= rows))
        slope = (np.roll(column, -1) - column)[edge] / (after - row)[edge]
        crossing = np.ceil(column[edge] + slope * (where - row[edge]))
        index = where * (self.size + 1) + np.clip(crossing, 0, self.size).astype(np.int64)
        flips = np.bincount(index, minlength=self.size * (self.size + 1)).reshape(self.size, self.size + 1)
        return np.asarray(np.cumsum(flips[:, :-1], axis=1) % 2 == 1)

    def depth(self, mask: Mask) -> Plane:
        """Return each pixel's distance in mm to the border of ``mask``, 0 outside; the film's edge is no border."""
        return np.asarray(ndimage.distance_transform_edt(mask) * self.pixel)

    def blur(self, plane: Plane, sigma_mm: float) -> Plane:
        """Smooth by a Gaussian of ``sigma_mm``, wide ones on a coarser film."""
        step = max(1, min(8, int(sigma_mm / self.pixel / 3)))
        if step == 1 or self.size % step:
            return np.asarray(ndimage.gaussian_filter(plane, sigma_mm / self.pixel, mode="nearest", truncate=3.0))
        n = self.size // step
        small = plane.reshape(n, step, n, step).mean(axis=(1, 3))
        small = ndimage.gaussian_filter(small, sigma_mm / self.pixel / step, mode="nearest", truncate=3.0)
        return enlarge(small, self.size)

    def deposit(self, tubes: list[Tube], core: float = 1.0, samples: int = 24) -> Plane:
        """Return the tubes' thickness along the ray in cm; ``core`` is the density of their inner half.

        The volume of each stretch is dropped on the film at ``samples`` points of its cross-section, so that a
        curve that runs along the ray shows as dense as it is. The points shift by an irrational step
        from one stretch to the next, else they would draw lines.
        """
        across, other, weight = _sections(sum(len(tube.centre) for tube in tubes), samples, core)
        centre, first, second = (
            np.vstack([getattr(tube, name) for tube in tubes]) for name in ("centre", "first", "second")
        )
        starts, firsts, seconds = self.to_pixels(centre), self._turned(first), self._turned(second)
        row, column = (
            starts[:, axis, None] + across * firsts[:, axis, None] + other * seconds[:, axis, None] for axis in (0, 1)
        )
        volume = np.concatenate([tube.area * tube.length for tube in tubes])[:, None] * weight
        plane = self._drop(row.ravel(), column.ravel(), volume.ravel()) / (10.0 * self.pixel**2)
        return self.blur(plane, 0.45 * self.pixel)

    def _turned(self, axes: Plane) -> Plane:
        """Turn directions in mm, ``(..., 2)``, into pixels of (row, column)."""
        return np.asarray((axes @ self._matrix.T)[..., ::-1] * (self.size / FILM_MM))

    def _drop(self, row: Plane, column: Plane, volume: Plane) -> Plane:
        """Sum volumes by pixel, counted on a film twice as fine."""
        side = 2 * self.size
        row, column = np.rint(2.0 * row + 0.5), np.rint(2.0 * column + 0.5)
        keep = (row >= 0) & (row < side) & (column >= 0) & (column < side)
        index = (row * side + column)[keep].astype(np.int64)
        plane = np.bincount(index, volume[keep], minlength=side * side)
        return np.asarray(plane.reshape(self.size, 2, self.size, 2).sum(axis=(1, 3)))


def enlarge(small: Plane, size: int) -> Plane:
    """Enlarge a square plane to ``size`` x ``size``, linearly between pixel centres."""
    n = small.shape[0]
    place = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    low = np.minimum(place.astype(int), n - 2)
    part = place - low
    rows = small[low] * (1 - part)[:, None] + small[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def _sections(count: int, samples: int, core: float) -> tuple[Plane, Plane, Plane]:
    """Return points over ``count`` unit discs, along each half axis, and their weights, each ``(count, samples)``."""
    # 89 steps of the golden ratio come back to where they began, so the pattern repeats without a seam.
    stretch, number = np.arange(89)[:, None], np.arange(samples)[None, :]
    across = 2.0 * (number + np.mod(0.6180339887 * stretch, 1.0)) / samples - 1.0
    chord = np.sqrt(1.0 - across**2)
    other = chord * (2.0 * np.mod(0.7548776662 * number + 0.5698402910 * stretch, 1.0) - 1.0)
    density = np.where(across**2 + other**2 > 0.6, 1.0, core)
    weight = density * chord * (4.0 / np.pi / samples)
    across, other, weight = (np.resize(part, (count, samples)) for part in (across, other, weight))
    return across, other, weight


def bulge(depth: Plane, reach: float | Plane) -> Plane:
    """Return a round body's relative thickness, 0 to 1, at ``depth`` mm inside its border, full from ``reach`` mm."""
    rest = 1.0 - np.minimum(depth / reach, 1.0)
    return np.asarray(np.sqrt(1.0 - rest**2))


def mottle(rng: np.random.Generator, size: int, steepness: float) -> Plane:
    """Return noise like that of anatomy, of standard deviation about 1: octaves that grow with their wavelength."""
    total, power = np.zeros((size, size)), 0.0
    for cells in (6, 12, 24, 48, 96, 192):
        weight = cells**-steepness
        total += weight * enlarge(rng.normal(size=(cells, cells)), size)
        power += weight**2
    scaled: NDArray[np.float64] = total / np.sqrt(power)
    return scaled
