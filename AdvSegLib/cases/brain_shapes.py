"""An analytic brain: ellipsoids for its lobes, folded sheets for its sulci, capsules for its ventricles.

It stands in where no template is installed. Lengths are mm, points are (superior, posterior, left) about the middle
of the brain. Shapes are given by their signed distance, positive inside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AdvSegLib.cases.smooth_noise import axis_mm, smooth_noise
from AdvSegLib.volumes import FloatArray, Grid

Point = tuple[float, float, float]

EXTENT_MM = (160.0, 190.0, 156.0)
CORTEX_MM = 3.2
SULCUS_MM = 18.0
"""How deep the deepest folds go."""

HORNS: tuple[tuple[Point, Point, float, float], ...] = (
    ((4.0, -38.0, 11.0), (14.0, -14.0, 7.0), 3.5, 5.0),  # frontal horn
    ((14.0, -14.0, 7.0), (18.0, 16.0, 10.0), 5.0, 5.0),  # body
    ((18.0, 16.0, 10.0), (7.0, 36.0, 24.0), 5.0, 6.5),  # to the atrium
    ((7.0, 36.0, 24.0), (4.0, 56.0, 23.0), 6.0, 2.5),  # occipital horn
    ((7.0, 36.0, 24.0), (-16.0, 6.0, 31.0), 5.0, 2.5),  # temporal horn
)
"""The left lateral ventricle: start, end, and the radius at either."""


def analytic_tissues(rng: np.random.Generator, step: float) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Return brain mask, grey- and white-matter fractions ``(*spatial)`` on voxels of ``step`` mm."""
    grid = Grid.regular([round(extent / step) for extent in EXTENT_MM], step)
    axes = axis_mm(grid)
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    cerebrum, cerebellum, stem = _cerebrum(points), _cerebellum(points), _stem(points)
    outline = np.maximum(np.maximum(cerebrum, cerebellum), stem)
    pial = _pial_distance(rng, grid, points, cerebrum)
    grey = _ramp(CORTEX_MM - pial)
    deep = _deep_grey(points)
    grey = np.where(_callosum(points) > 0, 0, np.maximum(grey, 0.75 * _ramp(deep)))
    # Thin folia: leaves 6 mm apart around a white core.
    folia = 0.5 + 0.5 * np.cos(2 * np.pi * (points[0] + 0.35 * points[1] + 2 * smooth_noise(rng, grid, 18.0)) / 6.0)
    below = (cerebellum > cerebrum) & (cerebellum > stem)
    grey = np.where(below, _ramp(11 + 6 * folia - cerebellum, 5) * 0.9, grey)
    grey = np.where((stem > cerebrum) & (stem > cerebellum), 0.3, grey)
    fluid = 1 - _ramp(np.where(below, cerebellum - 1.5 * folia, np.where(stem > cerebrum, stem, pial)))
    fluid = np.maximum(fluid, _ramp(_ventricles(points)))
    fluid, grey = ndimage.gaussian_filter(fluid, 0.4), ndimage.gaussian_filter(grey * (1 - fluid), 0.4)
    # The mask keeps a rim of the fluid around the brain, as skull stripping does, and closes over the sulci.
    inside = ndimage.binary_fill_holes(outline > -1.0)
    return inside, grey.astype(np.float32), np.clip(1 - fluid - grey, 0, 1).astype(np.float32)


def _ramp(distance: FloatArray, width: float = 1.6) -> FloatArray:
    """Return 0 outside, 1 inside and a linear step of ``width`` mm between: the partial volume."""
    ramp: FloatArray = np.clip(distance / width + 0.5, 0, 1)
    return ramp


def _ellipsoid(points: FloatArray, centre: Point, axes: Point, tilt_deg: float = 0.0) -> FloatArray:
    """Return an ellipsoid's approximate signed distance; ``tilt_deg`` turns its front upwards about left."""
    c, s = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
    x, y, z = (points[axis] - centre[axis] for axis in range(3))
    x, y = c * x + s * y, c * y - s * x
    first = np.sqrt((x / axes[0]) ** 2 + (y / axes[1]) ** 2 + (z / axes[2]) ** 2) + 1e-6
    second = np.sqrt((x / axes[0] ** 2) ** 2 + (y / axes[1] ** 2) ** 2 + (z / axes[2] ** 2) ** 2) + 1e-6
    distance: FloatArray = first * (1 - first) / second
    return distance


def _joined(one: FloatArray, other: FloatArray, softness: float) -> FloatArray:
    """Return the union of two shapes with the seam rounded over ``softness`` mm."""
    blend = np.clip(0.5 + (one - other) / (2 * softness), 0, 1)
    union: FloatArray = other + (one - other) * blend + softness * blend * (1 - blend)
    return union


def _folded(points: FloatArray) -> FloatArray:
    """Return the points with the right half laid onto the left."""
    return np.stack([points[0], points[1], np.abs(points[2])])


def _cerebrum(points: FloatArray) -> FloatArray:
    """A dome with a flat base, broadest behind the middle, and the temporal lobes below it."""
    # Narrower towards the front, like an egg.
    egg = np.stack([points[0], points[1], points[2] / (1 + 0.0022 * points[1])])
    dome = _ellipsoid(egg, (9, 0, 0), (65, 87, 68))
    base = points[0] + 24 + 0.06 * points[1]
    temporal = _ellipsoid(_folded(points), (-22, 0, 37), (24, 39, 28), tilt_deg=-8)
    return _joined(-_joined(-dome, -base, 10), temporal, 7)


def _cerebellum(points: FloatArray) -> FloatArray:
    half = _folded(points)
    return _joined(_ellipsoid(half, (-39, 46, 20), (23, 34, 32)), _ellipsoid(half, (-38, 43, 0), (20, 28, 14)), 4)


def _stem(points: FloatArray) -> FloatArray:
    pons = _ellipsoid(points, (-40, 12, 0), (16, 14, 17))
    return _joined(pons, _capsule(points, (-18, 8, 0), (-78, 28, 0), 14, 8), 5)


def _callosum(points: FloatArray) -> FloatArray:
    """The white bridge over the ventricles."""
    arch = _ellipsoid(points, (2, 0, 0), (27, 44, 60))
    bridge: FloatArray = np.minimum(np.minimum(arch, 7 - arch), np.minimum(14 - np.abs(points[2]), points[0] + 4))
    return bridge


def _deep_grey(points: FloatArray) -> FloatArray:
    """Thalamus, lentiform nucleus and the caudate's head."""
    half = _folded(points)
    thalamus = _ellipsoid(half, (3, 14, 11), (8, 14, 8))
    lentiform = _ellipsoid(half, (0, -6, 25), (10, 17, 7))
    caudate = _ellipsoid(half, (7, -24, 15), (9, 10, 5))
    nuclei: FloatArray = np.maximum(np.maximum(thalamus, lentiform), caudate)
    return nuclei


def _ventricles(points: FloatArray) -> FloatArray:
    """Both lateral ventricles, the third and the fourth."""
    half = _folded(points)
    lateral = np.max([_capsule(half, *horn) for horn in HORNS], axis=0)
    lateral = np.minimum(lateral, half[2] - 1.0)
    third = _ellipsoid(points, (-4, 4, 0), (11, 14, 2.5))
    fourth = _ellipsoid(points, (-40, 31, 0), (9, 5, 6))
    fluid: FloatArray = np.max([lateral, third, fourth], axis=0)
    return fluid


def _capsule(points: FloatArray, start: Point, end: Point, first: float, last: float) -> FloatArray:
    """Return the signed distance of a rod whose radius runs from ``first`` to ``last``."""
    a, b = np.array(start, np.float32), np.array(end, np.float32)
    offset = points - a[:, None, None, None]
    along = np.clip(np.tensordot(b - a, offset, axes=1) / ((b - a) ** 2).sum(), 0, 1)
    distance: FloatArray = (
        first + (last - first) * along - np.linalg.norm(offset - (b - a)[:, None, None, None] * along, axis=0)
    )
    return distance


def _pial_distance(rng: np.random.Generator, grid: Grid, points: FloatArray, cerebrum: FloatArray) -> FloatArray:
    """Return mm to the nearest cerebral surface, the walls of fissures and sulci included."""
    depth = SULCUS_MM + 4 * smooth_noise(rng, grid, 20.0)
    sulci = np.maximum(_fold_distance(rng, grid, points), cerebrum - depth)
    # The fissure between the hemispheres ends above the callosum, where they are joined.
    joined = _ellipsoid(points, (0, 0, 0), (33, 52, 60))
    fissure = np.maximum(np.abs(points[2]) - 1.2, joined - 4)
    # The Sylvian fissure parts the temporal lobe from the rest.
    pial: FloatArray = np.minimum(np.minimum(cerebrum, sulci), np.minimum(fissure, _sylvian(points)))
    return pial


def _fold_distance(rng: np.random.Generator, grid: Grid, points: FloatArray) -> FloatArray:
    """Return mm to the nearest of many winding sheets that stand upright on the cortex, as sulci do.

    Noise looked up on a shell around a hemisphere's middle is the same all the way along a ray; the sheets are where
    it vanishes. The shell is shaken a little, or the sheets would be flat.
    """
    side = 26 * np.sign(points[2])
    centre = np.stack([np.zeros_like(side), np.full_like(side, 4), side])
    ray = points - centre
    shaken = 2.0 * np.stack([smooth_noise(rng, grid, 14.0) for _ in range(3)])
    shell = centre + ray * (42 / (np.linalg.norm(ray, axis=0) + 1.0)) + shaken
    index = shell / grid.spacing[0] + (np.array(grid.shape)[:, None, None, None] - 1) / 2
    noise = ndimage.map_coordinates(smooth_noise(rng, grid, 4.4), index, order=1, mode="nearest")
    slope = np.linalg.norm(np.gradient(noise, grid.spacing[0]), axis=0) + 0.02
    width = 0.6 + 0.5 * smooth_noise(rng, grid, 25.0)
    distance: FloatArray = np.abs(noise) / slope - width
    return distance


def _sylvian(points: FloatArray) -> FloatArray:
    """Return mm to the Sylvian fissure: a slit from the side down to the insula, rising backwards."""
    half = _folded(points)
    slit = np.abs(half[0] + 8 - 0.25 * half[1]) - 0.9
    lateral = 36 - half[2]
    ends = np.abs(half[1] + 4) - 28
    distance: FloatArray = np.maximum(np.maximum(slit, lateral), ends)
    return distance
