"""Batches of a training: every draw is a function of the seed and the sample's number, on however many processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from AdvSegLib.defenses.strategies import Batch
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.training.augmentation import Augmentation
from AdvSegLib.training.pool import Sample
from AdvSegLib.training.recipe import Recipe

SoftLabels = NDArray[np.floating[Any]]
"""A teacher's probabilities ``(K, *spatial)`` for one training sample."""
Window = tuple[slice, ...]
SCALE_FREE = ("zscore", "range", "quantile")
"""Intensity mappings that ignore their input's scale and shift."""


def batches(
    recipe: Recipe, pool: Sequence[Sample], *, first: int = 0, places: Sequence[int] | None = None,
    soft: Sequence[SoftLabels] | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """Yield the batches from iteration ``first`` on; of each, the samples at ``places`` (default: all).

    ``soft`` are the teacher's probabilities of each sample of the pool, cropped and moved with it.
    """
    plan, scheme = recipe.optimisation, recipe.spec.scheme
    augment = Augmentation(plan.augmentation, recipe.spec.dims, recipe.seed)
    mine = range(plan.batch) if places is None else places
    relative = recipe.spec.intensity.kind in SCALE_FREE
    for iteration in range(first, plan.iterations):
        images, labels, softs, numbers = [], [], [], []
        for place, (index, where) in enumerate(_drawn(recipe, pool, iteration)):
            if place in mine:
                number = iteration * plan.batch + place
                image, label = pool[index]
                taught = None if soft is None else cut(soft[index], where)
                moved = _augmented(augment, cut(image, where), label[where], taught, number, keep_scale=not relative)
                images.append(moved[0])
                labels.append(moved[1])
                if moved[2] is not None:
                    softs.append(as_probabilities(moved[2], scheme))
                numbers.append(number)
        truth = torch.from_numpy(_stacked(labels).astype(np.int64))
        progress = iteration / plan.iterations
        x = torch.from_numpy(_stacked(images))
        yield Batch(
            x, truth, scheme.encode(truth), tuple(numbers), iteration, progress,
            None if soft is None else torch.from_numpy(_stacked(softs)),
        )  # fmt: skip


def _drawn(recipe: Recipe, pool: Sequence[Sample], iteration: int) -> Iterator[tuple[int, Window]]:
    """Yield which samples of the pool one iteration sees, and which part of each."""
    plan = recipe.optimisation
    rng = np.random.default_rng((recipe.seed, iteration))
    side = int(rng.choice(plan.crop)) if plan.crop else 0
    for _ in range(plan.batch):
        index = int(rng.integers(len(pool)))
        yield index, window(pool[index][1], side, rng)


def _augmented(
    augment: Augmentation, image: NDArray[np.float32], label: NDArray[np.uint8], soft: SoftLabels | None, number: int,
    *, keep_scale: bool,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32] | None]:  # fmt: skip
    """Augment at mean 0 and deviation 1, so that strengths mean the same for every scan.

    The network's own intensity mapping follows. Most ignore scale and shift; for those that do not, both come back.
    """
    axes = tuple(range(1, image.ndim))
    centre, spread = image.mean(axes, keepdims=True), np.maximum(image.std(axes, keepdims=True), 1e-6)
    image, label, soft = augment.together(((image - centre) / spread).astype(np.float32), label, soft, number)
    return ((image * spread + centre).astype(np.float32) if keep_scale else image), label, soft


def as_probabilities(soft: NDArray[np.float32], scheme: LabelScheme) -> NDArray[np.float32]:
    """Return ``(K, *spatial)`` within 0 and 1 and, where classes exclude each other, with sum 1.

    Storage in float16 and interpolation leave them that but for rounding.
    """
    soft = np.clip(soft, 0, 1)
    return soft / soft.sum(0, keepdims=True) if scheme.activation == "softmax" else soft


def window(label: NDArray[np.uint8], side: int, rng: np.random.Generator) -> Window:
    """Draw a cube of ``side`` voxels (0: all); every second one is centred near a labelled voxel."""
    if not side or side >= min(label.shape):
        return tuple(slice(0, n) for n in label.shape)
    room = np.array(label.shape) - side
    corner = rng.integers(0, room + 1)
    foreground = np.flatnonzero(label)
    if foreground.size and rng.random() < 0.5:
        voxel = np.array(np.unravel_index(foreground[rng.integers(foreground.size)], label.shape))
        corner = np.clip(voxel - rng.integers(side // 4, side - side // 4, size=len(room)), 0, room)
    return tuple(slice(int(start), int(start) + side) for start in corner)


def cut(planes: NDArray[Any], where: Window) -> NDArray[Any]:
    """Return that part of ``(C, *spatial)``, contiguous: numpy's means depend on the layout, in the last bit."""
    return np.ascontiguousarray(planes[(slice(None), *where)])


def _stacked(arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise BadRequest(
            f"samples of one batch differ in size ({', '.join(map(str, sorted(shapes)))}); give optimisation.crop a "
            "side that fits in all of them, or the spec a size"
        )
    return np.stack(arrays)
