"""A glioma in three compartments: where it grows, how far, and what each voxel holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from AdvSegLib.cases.brain_anatomy import Anatomy
from AdvSegLib.cases.brain_variation import BrainVariation
from AdvSegLib.cases.smooth_noise import axis_mm, smooth_noise
from AdvSegLib.volumes import FloatArray, LabelArray

EDGE_MM = 1.2
"""Over this distance one compartment gives way to the next."""
MIDLINE_MM = 12.0
CANDIDATES = 4000


@dataclass(frozen=True)
class TumourPlan:
    """The numbers a tumour is drawn from: volumes in ml, lengths in mm, ``centre`` in the case's mm."""

    centre: FloatArray
    whole_ml: float
    core_ml: float
    grade: str
    rim_mm: float
    rim_gaps: float
    push_mm: float

    @property
    def radius(self) -> float:
        """Radius in mm of a ball of the core's volume."""
        return float(np.cbrt(self.core_ml * 1000 * 3 / (4 * np.pi)))


@dataclass(frozen=True, eq=False)
class Tumour:
    """How much of each voxel ``(*spatial)`` each compartment holds, 0 to 1, and the truth (0, 1, 2, 4)."""

    necrosis: FloatArray
    oedema: FloatArray
    enhancing: FloatArray
    labels: LabelArray


def plan_tumour(rng: np.random.Generator, anatomy: Anatomy, variation: BrainVariation) -> TumourPlan:
    """Draw place, size and kind of a tumour; the place is in white matter of a hemisphere, inside the volume."""
    whole = float(np.exp(rng.uniform(*np.log(variation.whole_ml))))
    brain_ml = float((anatomy.depth > 0).sum()) * anatomy.grid.voxel_ml
    whole = min(whole, 0.15 * brain_ml)
    grade = "low" if rng.random() < variation.low_grade_probability else "high"
    if grade == "high" and rng.random() < variation.solid_probability:
        grade = "solid"
    fraction = rng.uniform(*variation.core_fraction)
    core = whole * (min(fraction * 1.5, 0.9) if grade == "low" else fraction)
    radius = np.cbrt(core * 1000 * 3 / (4 * np.pi))
    rim = float(np.clip(radius * rng.uniform(*variation.rim_fraction), 2.5, 9.0))
    push = float(min(radius * rng.uniform(*variation.mass_effect), 9.0))
    centre = _place(rng, anatomy, radius)
    return TumourPlan(centre, whole, core, grade, rim, float(rng.uniform(*variation.rim_gaps)), push)


def _place(rng: np.random.Generator, anatomy: Anatomy, radius: float) -> FloatArray:
    """Return the centre, mm: by the odds of white matter, off the midline, the surface, stem and cerebellum."""
    superior, posterior, left = anatomy.place
    forebrain = (superior > -12) | ((superior > -35) & (posterior < 10) & (abs(left) > 25))
    odds = (anatomy.white + 0.15 * anatomy.grey) * (anatomy.depth > min(radius, 14) * 0.6)
    odds = odds * forebrain * (abs(left) > MIDLINE_MM) * (anatomy.csf < 0.3)
    # A core cut by the edge of a thin volume would hardly show.
    for axis, positions in enumerate(axis_mm(anatomy.grid)):
        room = np.abs(positions) <= max(np.abs(positions).max() - radius, anatomy.grid.spacing[axis])
        odds = odds * room.reshape([-1 if a == axis else 1 for a in range(3)])
    # Candidates are drawn in mm, so that the place does not depend on the voxel size.
    places = rng.uniform(-0.5, 0.5, (CANDIDATES, 3)) * odds.shape * anatomy.grid.spacing
    index = np.floor(places / anatomy.grid.spacing + np.array(odds.shape) / 2).astype(int)
    lot = rng.gumbel(size=CANDIDATES) + np.log(np.maximum(odds[tuple(index.T)], 1e-9))
    centre: FloatArray = places[lot.argmax()].astype(np.float32)
    return centre


def grow_tumour(rng: np.random.Generator, plan: TumourPlan, anatomy: Anatomy, mask: NDArray[np.bool_]) -> Tumour:
    """Fill a plan's volumes with voxels of the brain, nearest first by distances that bend to the tissue."""
    near = _lobed_distance(rng, plan, anatomy)
    fluid = ndimage.gaussian_filter(anatomy.csf, 0.6)
    # Tumours cross to the other side through white matter mostly, and not far.
    other = np.clip(-_side(anatomy, plan) * anatomy.place[2], 0, None) * (1.4 - anatomy.white)
    core_edge, core = _filled(near + 2 * anatomy.grey + 14 * fluid + 2 * other, plan.core_ml, mask, anatomy)
    spread = near * 0.75 + 3.0 * smooth_noise(rng, anatomy.grid, 9.0) + 12 * anatomy.grey + 40 * fluid + 3 * other
    spread = np.where(core, spread.min(), spread)
    whole_edge, whole = _filled(spread, plan.whole_ml, mask, anatomy)
    core &= whole
    soft_core = _soft(core_edge) * ndimage.binary_dilation(core, iterations=2)
    soft_whole = _soft(whole_edge) * ndimage.binary_dilation(whole, iterations=2) * (1 - anatomy.csf)
    inner = _soft(core_edge - _rim(rng, plan, anatomy))
    necrosis = soft_core * inner
    enhancing = soft_core * (1 - inner)
    labels = np.where(whole, 2, 0)
    labels[core] = np.where(inner[core] > 0.5, 1, 4)
    oedema = np.maximum(soft_whole, whole) * (1 - soft_core)
    return Tumour(necrosis, oedema, enhancing, labels.astype(np.int32))


def _side(anatomy: Anatomy, plan: TumourPlan) -> float:
    """Return the side of the atlas the tumour began on, +1 or -1."""
    index = tuple(int(np.abs(axis - c).argmin()) for axis, c in zip(axis_mm(anatomy.grid), plan.centre, strict=True))
    return 1.0 if anatomy.place[2][index] > 0 else -1.0


def _lobed_distance(rng: np.random.Generator, plan: TumourPlan, anatomy: Anatomy) -> FloatArray:
    """Return mm from the centre ``(*spatial)`` for a stretched, lobed blob."""
    turn = Rotation.random(random_state=rng).as_matrix()
    stretch = turn @ np.diag(rng.uniform(0.75, 1.35, 3)) @ turn.T
    points = np.stack(np.meshgrid(*axis_mm(anatomy.grid), indexing="ij")) - plan.centre[:, None, None, None]
    distance = np.linalg.norm(np.tensordot(stretch.astype(np.float32), points, axes=1), axis=0)
    radius = plan.radius
    lobes = 0.34 * smooth_noise(rng, anatomy.grid, radius) + 0.16 * smooth_noise(rng, anatomy.grid, 0.5 * radius)
    lobed: FloatArray = distance + radius * lobes
    return lobed


def _filled(
    cost: FloatArray, volume_ml: float, mask: NDArray[np.bool_], anatomy: Anatomy
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return mm inside the edge ``(*spatial)`` and the piece of the cheapest voxels that make up a volume."""
    allowed = cost[mask]
    count = int(np.clip(round(volume_ml / anatomy.grid.voxel_ml), 1, allowed.size))
    limit = np.partition(allowed, count - 1)[count - 1]
    taken = (cost <= limit) & mask
    pieces, _ = ndimage.label(taken)
    piece = pieces == pieces[np.unravel_index(np.where(mask, cost, np.inf).argmin(), cost.shape)]
    return limit - cost, piece & taken


def _rim(rng: np.random.Generator, plan: TumourPlan, anatomy: Anatomy) -> FloatArray | float:
    """Return how thick the enhancing rim is, mm ``(*spatial)``; negative where it is missing."""
    if plan.grade == "low":
        return -1e3
    if plan.grade == "solid":
        return 1e3
    uneven = 0.8 * smooth_noise(rng, anatomy.grid, 16.0) + 0.4 * smooth_noise(rng, anatomy.grid, 7.0)
    return np.asarray(plan.rim_mm * (1 + 1.3 * plan.rim_gaps * uneven), np.float32)


def _soft(inside_mm: FloatArray) -> FloatArray:
    """Return 0 outside, 1 inside, and a smooth step of :data:`EDGE_MM` between."""
    step: FloatArray = 0.5 + 0.5 * np.tanh(inside_mm / EDGE_MM)
    return step
