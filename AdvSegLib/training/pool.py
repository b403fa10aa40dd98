"""The cases a training draws from, drawn or read once, in parallel, and kept in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.registry import open_cases
from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.training.recipe import Data
from AdvSegLib.volumes import Image, LabelMap

Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""Intensities ``(C, *spatial)`` and labels ``(*spatial)`` of one training sample."""

SMALL = 2**22
"""Phantoms of fewer voxels in all are drawn sooner than processes for them start."""


PHANTOMS = {
    "phantom-brain": ("brain_phantom", "brain_phantom"),
    "phantom-brain-slice": ("brain_slice", "brain_slice"),
    "phantom-chest": ("chest_phantom", "chest_phantom"),
    "phantom-fundus": ("fundus_phantom", "fundus_phantom"),
    "phantom-skin": ("skin_phantom", "skin_phantom"),
    "phantom-abdomen": ("abdomen_phantom", "abdomen_phantom"),
}
"""What draws a phantom of each source: module and function."""


def draw_phantom(source: str, seed: int, size: int, *, analytic: bool = False) -> tuple[Image, LabelMap]:
    """Draw a phantom of a source, one of :data:`PHANTOMS` (``analytic``: a brain without the template)."""
    if source not in PHANTOMS:
        raise unknown_name("phantom source", source, PHANTOMS)
    module, function = PHANTOMS[source]
    draw = getattr(import_module(f"AdvSegLib.cases.{module}"), function)
    drawn: tuple[Image, LabelMap] = draw(seed, size, template=False) if analytic else draw(seed, size)
    return drawn


def draw_pool(
    data: Data, spec: Spec | None = None, *, progress: Callable[[Iterator[Any]], Any] = iter
) -> list[Sample]:
    """Draw or read the training cases of a recipe on all cores; ``progress`` wraps the iteration.

    Phantoms come on their own grid. Cases read from files come in the orientation and on the grid of ``spec``, a 2-D
    network's volumes slice by slice.
    """
    if not data.phantom:
        _ours(data)  # a missing folder is said once, and here
    work = partial(_samples, data, spec)
    workers = min(data.train_cases, os.cpu_count() or 1)
    dims = 3 if data.source == "phantom-brain" else 2
    if workers == 1 or (data.phantom and data.train_cases * data.size**dims < SMALL):
        return [sample for samples in progress(map(work, range(data.train_cases))) for sample in samples]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        drawn = executor.map(work, range(data.train_cases), chunksize=4)
        return [sample for samples in progress(drawn) for sample in samples]


def validation_case(data: Data, index: int) -> tuple[Image, LabelMap]:
    """Draw or read the validation case of that index, prepared as the training's are."""
    if data.phantom:
        image, truth = draw_phantom(data.source, data.validation_seed + index, data.size)
        return (corrected(image), truth) if data.n4 else (image, truth)
    return _read(data, _ours(data)[data.train_cases + index])


def corrected(image: Image) -> Image:
    """Return an image without its bias fields (N4)."""
    from AdvSegLib.training.n4 import n4

    return n4(image)


def _samples(data: Data, spec: Spec | None, index: int) -> list[Sample]:
    """Return the samples of training case ``index``."""
    if data.phantom:
        every = data.analytic_every
        analytic = bool(every) and index % every == every - 1
        image, truth = draw_phantom(data.source, data.train_seed + index, data.size, analytic=analytic)
        return [((corrected(image) if data.n4 else image).array, truth.array.astype(np.uint8))]
    assert spec is not None
    return on_network_grid(*_read(data, _ours(data)[index]), spec)


def on_network_grid(image: Image, truth: LabelMap, spec: Spec) -> list[Sample]:
    """Return a case as a network of ``spec`` sees it, labels by nearest neighbour; of a 2-D network its slices."""
    import torch
    from torch.nn import functional as F

    from AdvSegLib.segmenters.preprocessing import resize
    from AdvSegLib.segmenters.segmenter import Segmenter

    spec.scheme.check(truth.values, "the truth")
    bound = Segmenter(torch.nn.Identity(), spec).on(image)
    size = bound.network_size(image.grid.shape)
    x = resize(bound.axes.apply(bound.tensor(image)), size)[0].numpy()
    labels = bound.axes.apply(torch.from_numpy(truth.onto(image.grid).array)[None, None].float())
    if tuple(labels.shape[2:]) != size:
        labels = F.interpolate(labels, size=size, mode="nearest-exact")
    y = labels[0, 0].numpy().astype(np.uint8)
    if y.ndim == spec.dims:
        return [(x, y)]
    return [(np.ascontiguousarray(x[:, k]), y[k]) for k in range(len(y))]


def _read(data: Data, case: Case) -> tuple[Image, LabelMap]:
    image, truth = case.image(), case.truth()
    return (corrected(image) if data.n4 else image), truth


def _ours(data: Data) -> Sequence[Case]:
    """Return a source's cases with truth in an order drawn from the seed: training first, then validation."""
    return _cases(data.source, data.path, tuple(sorted(data.options.items())), data.train_seed, data.wanted)


@lru_cache(maxsize=2)
def _cases(source: str, path: str | None, options: tuple[Any, ...], seed: int, wanted: int) -> Sequence[Case]:
    found = [case for case in open_cases(source, path, **dict(options)) if case.read_truth is not None]
    if len(found) < wanted:
        raise BadRequest(f"{path}: {len(found)} cases with truth; the recipe wants {wanted} to train and validate on")
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[place] for place in order]
