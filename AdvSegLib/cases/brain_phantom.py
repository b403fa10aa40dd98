"""Brain phantoms: four MR contrasts of a head with a glioma, and the truth, all from a seed.

They stand in for BraTS cases where no patient data may go: skull-stripped, raw intensities, labels 1, 2 and 4.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.brain_anatomy import anatomy_at, brain_mask, individual, random_pose
from AdvSegLib.cases.brain_atlas import brain_atlas
from AdvSegLib.cases.brain_tumour import grow_tumour, plan_tumour
from AdvSegLib.cases.brain_variation import BrainVariation
from AdvSegLib.cases.mr_contrast import CHANNELS, render
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Grid, Image, LabelMap

__all__ = ["FIELD_OF_VIEW_MM", "BrainVariation", "brain_cases", "brain_phantom", "case_seed"]

FIELD_OF_VIEW_MM = 192.0
SKULL_MM = 12.0
"""Over this depth below the surface the brain gives way to a tumour's push."""
DEFAULTS = BrainVariation()


def brain_phantom(
    seed: int,
    shape: int | tuple[int, int, int] = 64,
    spacing: float | None = None,
    template: bool | None = None,
    variation: BrainVariation = DEFAULTS,
) -> tuple[Image, LabelMap]:
    """Draw a head with a glioma: channels t1, t1gd, t2, flair, and labels 1, 2, 4 of :meth:`LabelScheme.brats`.

    ``shape`` counts voxels along (superior, posterior, left), one number for a cube; ``spacing`` is in mm and by
    default such that each axis spans 192 mm. ``template`` chooses the ICBM152 anatomy (True; needs nilearn), the
    analytic one (False), or whichever is there (None); the two give different cases for one seed. Intensities are
    raw and differ in scale from case to case; they are 0 outside the brain and positive inside. The middle of the
    volume is the LPS origin. A seed draws the same head and tumour at any voxel size, but for the finest detail.

    Raises BadRequest for impossible shapes or spacings and for a template that is not installed.
    """
    grid = _grid(shape, spacing)
    if seed < 0:
        raise BadRequest(f"seed must not be negative, got {seed}")
    posing, folding, planning, growing, scanning = np.random.default_rng(seed).spawn(5)
    atlas = brain_atlas(template, variant=seed)
    pose = random_pose(posing, grid, variation)
    before = anatomy_at(atlas, grid, pose)
    plan = plan_tumour(planning, before, variation)
    hold = np.clip(1 - before.depth / SKULL_MM, 0, 1)
    after = anatomy_at(atlas, grid, pose.pushed(plan.centre, plan.radius, plan.push_mm, hold))
    anatomy = individual(folding, after, atlas.average, variation)
    mask = brain_mask(folding, anatomy, variation)
    tumour = grow_tumour(growing, plan, anatomy, mask)
    image = render(scanning, anatomy, tumour, mask, variation)
    return Image(image, grid, CHANNELS), LabelMap(tumour.labels, grid, LabelScheme.brats().names)


def brain_cases(
    count: int,
    seed: int = 0,
    shape: int | tuple[int, int, int] = 64,
    spacing: float | None = None,
    template: bool | None = None,
    variation: BrainVariation = DEFAULTS,
) -> list[Case]:
    """Return ``count`` phantoms ``brain-0000``, … that are drawn when asked for; the arguments of `brain_phantom`.

    Sets of different ``seed`` share no case, so one can train and the other test.
    """
    if count < 0:
        raise BadRequest(f"count must not be negative, got {count}")
    scheme = LabelScheme.brats()
    cases = []
    for index in range(count):
        pair = partial(_drawn, case_seed(seed, index), shape, spacing, template, variation)
        cases.append(Case(f"brain-{index:04d}", scheme, partial(_image, pair), partial(_truth, pair)))
    return cases


def case_seed(seed: int, index: int) -> int:
    """Return the seed of `brain_phantom` behind the ``index``-th case of ``brain_cases(seed=seed)``."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])


# Image and truth are asked for one after the other: draw them once.
@lru_cache(maxsize=2)
def _drawn(
    seed: int,
    shape: int | tuple[int, int, int],
    spacing: float | None,
    template: bool | None,
    variation: BrainVariation,
) -> tuple[Image, LabelMap]:
    return brain_phantom(seed, shape, spacing, template, variation)


def _image(pair: partial[tuple[Image, LabelMap]]) -> Image:
    image = pair()[0]
    return image.with_array(image.array.copy())


def _truth(pair: partial[tuple[Image, LabelMap]]) -> LabelMap:
    truth = pair()[1]
    return LabelMap(truth.array.copy(), truth.grid, truth.names)


def _grid(shape: int | tuple[int, int, int], spacing: float | None) -> Grid:
    """Return the case's grid; BadRequest for shapes and spacings no brain fits."""
    sizes = (shape,) * 3 if isinstance(shape, int) else tuple(shape)
    if len(sizes) != 3 or min(sizes) < 8:
        raise BadRequest(f"a brain needs three axes of at least 8 voxels, got {shape}")
    if spacing is not None and not 0 < spacing <= 24:
        raise BadRequest(f"spacing must lie in 0 to 24 mm, got {spacing}")
    grid = Grid.regular(sizes, [FIELD_OF_VIEW_MM / size for size in sizes] if spacing is None else spacing)
    affine = grid.affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ (np.array(sizes) - 1) / 2
    return Grid(grid.shape, affine)
