"""The phantoms a training draws from, drawn once, in parallel, and kept in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import unknown_name
from AdvSegLib.training.recipe import Data
from AdvSegLib.volumes import Image, LabelMap

Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""Intensities ``(C, *spatial)`` and labels ``(*spatial)`` of one phantom."""


def draw_phantom(source: str, seed: int, size: int, *, analytic: bool = False) -> tuple[Image, LabelMap]:
    """Draw a phantom of a source, ``phantom-brain`` (``analytic``: without the template) or ``phantom-chest``."""
    if source == "phantom-brain":
        from AdvSegLib.cases.brain_phantom import brain_phantom

        return brain_phantom(seed, size, template=False if analytic else None)
    if source == "phantom-chest":
        from AdvSegLib.cases.chest_phantom import chest_phantom

        return chest_phantom(seed, size)
    raise unknown_name("phantom source", source, ("phantom-brain", "phantom-chest"))


def _draw(request: tuple[str, int, int, bool]) -> Sample:
    source, seed, size, analytic = request
    image, labels = draw_phantom(source, seed, size, analytic=analytic)
    return image.array, labels.array.astype(np.uint8)


def draw_pool(data: Data, *, progress: Callable[[Iterator[Any]], Any] = iter) -> list[Sample]:
    """Draw the training phantoms of a recipe on all cores; ``progress`` wraps the iteration."""
    every = data.analytic_every
    requests = [
        (data.source, data.train_seed + index, data.size, bool(every) and index % every == every - 1)
        for index in range(data.train_cases)
    ]
    workers = min(data.train_cases, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        return list(progress(executor.map(_draw, requests, chunksize=4)))
