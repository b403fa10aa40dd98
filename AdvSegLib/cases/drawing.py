"""What drawn photographs and slices share: a board of any size, soft shapes by their depth, curves with a thickness.

Places are (x, y) with x to the right, y downwards, the board's shorter half side 1: the same drawing at any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from AdvSegLib.cases.chest_canvas import enlarge, mottle
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import FloatArray

Plane = NDArray[np.float64]
"""One number a pixel, ``(rows, columns)``."""
Points = NDArray[np.float64]
"""Places ``(n, 2)``."""
Range = tuple[float, float]
SMALLEST = 32
MARGIN = 0.1
"""How far beyond a tube its depth is told."""


@dataclass(frozen=True)
class Board:
    """A square board of ``size`` x ``size`` pixels."""

    size: int

    def __post_init__(self) -> None:
        """Refuse a board on which nothing could be told apart."""
        if self.size < SMALLEST:
            raise BadRequest(f"a drawn image needs at least {SMALLEST} pixels a side, got {self.size}")

    @property
    def pixel(self) -> float:
        """Width of a pixel."""
        return 2.0 / self.size

    @cached_property
    def places(self) -> tuple[Plane, Plane]:
        """x and y of each pixel's centre."""
        line = (np.arange(self.size) + 0.5) * self.pixel - 1.0
        return np.broadcast_to(line[None, :], (self.size, self.size)), np.broadcast_to(line[:, None], (self.size,) * 2)

    def tube(self, points: Points, radii: Plane) -> Plane:
        """Return the depth below the surface of a tube, positive inside; ``radii`` ``(n,)`` belong to the points.

        Further than :data:`MARGIN` from the tube the depth is minus infinity.
        """
        depth = np.full((self.size, self.size), -np.inf)
        line = (np.arange(self.size) + 0.5) * self.pixel - 1.0
        for (px, py), radius in zip(points, radii, strict=True):
            reach = radius + MARGIN
            columns, rows = (slice(*np.searchsorted(line, (p - reach, p + reach))) for p in (px, py))
            near = depth[rows, columns]
            np.maximum(near, radius - np.hypot(line[None, columns] - px, line[rows, None] - py), out=near)
        return depth

    def star(self, centre: Points, radius: float, waves: Plane, aspect: float = 1.0, turn: float = 0.0) -> Plane:
        """Return the depth of a star-shaped blob whose radius varies by ``waves`` ``(k, 2)``, cosines and sines."""
        x, y = self.places
        cosine, sine = np.cos(turn), np.sin(turn)
        dx, dy = x - centre[0], y - centre[1]
        u, v = (cosine * dx + sine * dy) * aspect, (cosine * dy - sine * dx) / aspect
        angle = np.arctan2(v, u)
        reach = np.ones_like(angle)
        for order, (even, odd) in enumerate(waves, start=2):
            reach += even * np.cos(order * angle) + odd * np.sin(order * angle)
        return np.asarray(radius * reach - np.hypot(u, v))

    def blurred(self, plane: Plane, sigma: float) -> Plane:
        """Smooth by a Gaussian of ``sigma`` board units."""
        return np.asarray(ndimage.gaussian_filter(plane, sigma / self.pixel, mode="nearest"))

    def texture(self, rng: np.random.Generator, steepness: float) -> Plane:
        """Return uneven texture of standard deviation about 1."""
        return mottle(rng, self.size, steepness)

    def patches(self, rng: np.random.Generator, cells: int) -> Plane:
        """Return smooth patches, ``cells`` across the board, of standard deviation about 1."""
        return enlarge(rng.normal(size=(cells, cells)), self.size)


def soft(depth: Plane, width: float) -> Plane:
    """Return 0 outside to 1 inside a shape, over a border of about ``width``."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(depth / max(width, 1e-6) * 2.2, -40.0, 40.0))))


def uniform(rng: np.random.Generator, bounds: Range) -> float:
    """Draw a number from a range."""
    return float(rng.uniform(*bounds))


def curve(knots: Points, count: int) -> Points:
    """Return ``count`` points of the smooth curve through ``knots``."""
    return np.asarray(CubicSpline(np.linspace(0, 1, len(knots)), knots)(np.linspace(0, 1, count)), np.float64)


def waves(rng: np.random.Generator, orders: int, strength: float) -> Plane:
    """Draw the irregularity of a blob: cosines and sines of orders 2, 3, …, weaker with the order."""
    return np.asarray(rng.normal(size=(orders, 2)) * strength / np.arange(2, orders + 2)[:, None])


def over(base: FloatArray | Plane, colour: NDArray[np.float64], share: Plane) -> Plane:
    """Lay a colour ``(C,)`` or picture ``(C, rows, columns)`` over a picture, by its share at each pixel."""
    paint = colour[:, None, None] if colour.ndim == 1 else colour
    return np.asarray(base + (paint - base) * share)


def as_file(picture: Plane, top: float = 255.0) -> FloatArray:
    """Return a picture as a file holds it: whole numbers of 0 to ``top``."""
    return np.clip(np.rint(picture), 0, top).astype(np.float32)
