"""Batches of a training: every draw is a function of the seed and the sample's number, on however many processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from AdvSegLib.defenses.strategies import Batch
from AdvSegLib.errors import BadRequest
from AdvSegLib.training.augmentation import Augmentation
from AdvSegLib.training.pool import Sample
from AdvSegLib.training.recipe import Recipe

SCALE_FREE = ("zscore", "range", "quantile")
"""Intensity mappings that ignore their input's scale and shift."""


def batches(
    recipe: Recipe, pool: Sequence[Sample], *, first: int = 0, places: Sequence[int] | None = None
) -> Iterator[Batch]:
    """Yield the batches from iteration ``first`` on; of each, the samples at ``places`` (default: all)."""
    plan, scheme = recipe.optimisation, recipe.spec.scheme
    augment = Augmentation(plan.augmentation, recipe.spec.dims, recipe.seed)
    mine = range(plan.batch) if places is None else places
    relative = recipe.spec.intensity.kind in SCALE_FREE
    for iteration in range(first, plan.iterations):
        images, labels, numbers = [], [], []
        for place, (image, label) in enumerate(_drawn(recipe, pool, iteration)):
            if place in mine:
                number = iteration * plan.batch + place
                image, label = _augmented(augment, image, label, number, keep_scale=not relative)
                images.append(image)
                labels.append(label)
                numbers.append(number)
        truth = torch.from_numpy(_stacked(labels).astype(np.int64))
        progress = iteration / plan.iterations
        x = torch.from_numpy(_stacked(images))
        yield Batch(x, truth, scheme.encode(truth), tuple(numbers), iteration, progress)


def _drawn(recipe: Recipe, pool: Sequence[Sample], iteration: int) -> Iterator[Sample]:
    """Yield the crops of one iteration, before augmentation."""
    plan = recipe.optimisation
    rng = np.random.default_rng((recipe.seed, iteration))
    side = int(rng.choice(plan.crop)) if plan.crop else 0
    for _ in range(plan.batch):
        image, label = pool[int(rng.integers(len(pool)))]
        yield crop(image, label, side, rng)


def _augmented(
    augment: Augmentation, image: NDArray[np.float32], label: NDArray[np.uint8], number: int, *, keep_scale: bool
) -> Sample:
    """Augment at mean 0 and deviation 1, so that strengths mean the same for every scan.

    The network's own intensity mapping follows. Most ignore scale and shift; for those that do not, both come back.
    """
    axes = tuple(range(1, image.ndim))
    centre, spread = image.mean(axes, keepdims=True), np.maximum(image.std(axes, keepdims=True), 1e-6)
    image, label = augment(((image - centre) / spread).astype(np.float32), label, number)
    return ((image * spread + centre).astype(np.float32), label) if keep_scale else (image, label)


def crop(image: NDArray[np.float32], label: NDArray[np.uint8], side: int, rng: np.random.Generator) -> Sample:
    """Cut a random cube of ``side`` voxels (0: all); every second one is centred near a labelled voxel."""
    if not side or side >= min(label.shape):
        return image, label
    room = np.array(label.shape) - side
    corner = rng.integers(0, room + 1)
    foreground = np.flatnonzero(label)
    if foreground.size and rng.random() < 0.5:
        voxel = np.array(np.unravel_index(foreground[rng.integers(foreground.size)], label.shape))
        corner = np.clip(voxel - rng.integers(side // 4, side - side // 4, size=len(room)), 0, room)
    window = tuple(slice(start, start + side) for start in corner)
    return np.stack([plane[window] for plane in image]), label[window]


def _stacked(arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise BadRequest(
            f"samples of one batch differ in size ({', '.join(map(str, sorted(shapes)))}); give optimisation.crop a "
            "side that fits in all of them, or the spec a size"
        )
    return np.stack(arrays)
