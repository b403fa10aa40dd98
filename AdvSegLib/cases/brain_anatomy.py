"""One person's brain: an atlas that is turned, warped, pushed aside by a tumour, and folded in its own way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from AdvSegLib.cases.brain_atlas import BrainAtlas
from AdvSegLib.cases.brain_variation import BrainVariation
from AdvSegLib.cases.smooth_noise import axis_mm, smooth_noise
from AdvSegLib.volumes import FloatArray, Grid


@dataclass(frozen=True, eq=False)
class Pose:
    """Where each voxel of the case comes from: ``points`` ``(3, *spatial)`` in mm, then ``matrix`` to the atlas."""

    points: FloatArray
    matrix: NDArray[np.float32]
    shift: NDArray[np.float32]

    def atlas_mm(self) -> FloatArray:
        """Return each voxel's place in the atlas, mm (superior, posterior, left) about its middle."""
        moved: FloatArray = np.tensordot(self.matrix, self.points, axes=1) + self.shift[:, None, None, None]
        return moved

    def pushed(self, centre: FloatArray, radius: float, push_mm: float, hold: FloatArray) -> Pose:
        """Return the pose after tissue at ``radius`` mm from ``centre`` was pushed outwards by ``push_mm``.

        The push fades beyond; ``hold`` ``(*spatial)`` in 0 to 1 keeps tissue in place (the skull does not give).
        """
        offset = self.points - centre[:, None, None, None]
        reach = np.linalg.norm(offset, axis=0) / radius
        fade = push_mm / radius * np.exp(0.5 * (1 - reach**2)) * (1 - hold)
        return Pose(self.points - fade * offset, self.matrix, self.shift)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Tissues of one case, each ``(*spatial)`` float32 on ``grid``: fractions of fluid, grey and white matter.

    ``depth`` and ``ventricle`` are the atlas's distances in mm; ``place`` ``(3, *spatial)`` the place in the atlas.
    """

    grid: Grid
    csf: FloatArray
    grey: FloatArray
    white: FloatArray
    depth: FloatArray
    ventricle: FloatArray
    place: FloatArray


def random_pose(rng: np.random.Generator, grid: Grid, variation: BrainVariation) -> Pose:
    """Draw head size, tilt, shift, mirroring and a smooth warp."""
    size = rng.uniform(*variation.scale) * (1 + 0.03 * rng.standard_normal(3).clip(-2, 2))
    tilt = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * variation.rotation_deg, degrees=True).as_matrix()
    mirror = np.diag([1.0, 1.0, rng.choice([-1.0, 1.0])])
    shift = rng.uniform(-1, 1, 3) * variation.shift_mm
    points = np.stack(np.meshgrid(*axis_mm(grid), indexing="ij"))
    for length, part in ((45.0, 0.9), (20.0, 0.4)):
        for axis in range(3):
            points[axis] += part * variation.warp_mm * smooth_noise(rng, grid, length)
    matrix = (mirror @ np.diag(1 / size) @ tilt).astype(np.float32)
    return Pose(points, matrix, shift.astype(np.float32))


def anatomy_at(atlas: BrainAtlas, grid: Grid, pose: Pose) -> Anatomy:
    """Sample the atlas at a pose; beyond the atlas lies fluid."""
    place = pose.atlas_mm()
    index = place / atlas.grid.spacing[0] + (np.array(atlas.grid.shape, np.float32)[:, None, None, None] - 1) / 2

    def at(volume: FloatArray, outside: float) -> FloatArray:
        sampled: FloatArray = ndimage.map_coordinates(volume, index, order=1, mode="constant", cval=outside)
        return sampled

    grey, white = at(atlas.grey, 0), at(atlas.white, 0)
    csf = np.clip(1 - grey - white, 0, 1)
    return Anatomy(grid, csf, grey, white, at(atlas.depth, -8), at(atlas.ventricle, 60), place)


def individual(rng: np.random.Generator, anatomy: Anatomy, average: bool, variation: BrainVariation) -> Anatomy:
    """Draw one person from the tissue fractions of many: sharper borders, own folds, own width of fluid spaces.

    Fractions become log odds, get smooth noise, and become fractions again.
    """
    sharpness, strength = (1.6, 1.0) if average else (1.2, 0.35)
    strength *= rng.uniform(*variation.individuality)
    atrophy = rng.uniform(*variation.atrophy)
    odds = [sharpness * np.log(tissue + 0.02) for tissue in (anatomy.csf, anatomy.grey, anatomy.white)]
    for tissue in odds:
        tissue += strength * (0.7 * smooth_noise(rng, anatomy.grid, 7.0) + 0.5 * smooth_noise(rng, anatomy.grid, 4.0))
    # Deep inside only the ventricles widen, at the surface the sulci.
    near = np.exp(-np.maximum(anatomy.ventricle - 1, 0) / 2.0)
    odds[0] += 2.2 * atrophy * (7.0 * near * rng.uniform(0.3, 1) + np.exp(-np.maximum(anatomy.depth, 0) / 12.0)) - 0.3
    top = np.maximum(np.maximum(odds[0], odds[1]), odds[2])
    weights = [np.exp(tissue - top) for tissue in odds]
    total = weights[0] + weights[1] + weights[2]
    csf, grey, white = (weight / total for weight in weights)
    return Anatomy(anatomy.grid, csf, grey, white, anatomy.depth, anatomy.ventricle, anatomy.place)


def brain_mask(rng: np.random.Generator, anatomy: Anatomy, variation: BrainVariation) -> NDArray[np.bool_]:
    """Return what skull stripping leaves: one piece without holes, cut unevenly deep."""
    cut = rng.uniform(*variation.strip_mm) + 0.7 * smooth_noise(rng, anatomy.grid, 25.0)
    mask = ndimage.binary_fill_holes(anatomy.depth > cut)
    return largest_piece(mask)


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected piece of a mask (itself where it is empty)."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    largest: NDArray[np.bool_] = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    return largest
