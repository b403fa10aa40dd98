"""A teacher's soft labels of every training sample, asked once before the first iteration and kept in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from AdvSegLib.defenses.strategies import Distilling
from AdvSegLib.errors import BadRequest
from AdvSegLib.training.pool import Sample
from AdvSegLib.training.processes import World

STORED = np.float16
"""Probabilities are stored in it: off by 2.5e-4 at most."""


def cache_soft_labels(
    teaching: Distilling, pool: Sequence[Sample], world: World,
    progress: Callable[[Iterable[int]], Iterator[int]] = iter,
) -> list[NDArray[np.float16]]:  # fmt: skip
    """Return the teacher's probabilities ``(K, *spatial)`` of each sample of ``pool``, in float16.

    Each sample is asked alone, so that its labels depend neither on the others nor on the number of processes, which
    share the work and end with all labels each. ``progress`` wraps the iteration over rounds.
    """
    found: list[NDArray[np.float16]] = []
    for start in progress(range(0, len(pool), world.size)):
        turn = range(start, min(start + world.size, len(pool)))
        mine = start + world.rank
        own = _asked(teaching, pool[mine][0], world.device) if mine in turn else None
        channels = teaching.teacher.scheme.channels
        for rank, index in enumerate(turn):
            labels = world.tensor_from(rank, own, (channels, *pool[index][1].shape), torch.float16)
            found.append(labels.cpu().numpy())
    return found


def cache_bytes(pool: Sequence[Sample], channels: int) -> int:
    """Return the memory that the soft labels of a pool take."""
    return sum(channels * math.prod(label.shape) * np.dtype(STORED).itemsize for _, label in pool)


def check_room(needed: int) -> None:
    """Raise BadRequest where soft labels of so many bytes exceed this machine's memory (where it can be asked)."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if needed > there:
        raise BadRequest(
            f"cached soft labels take {needed / 1e9:.1f} GB, this machine has {there / 1e9:.1f} GB of memory; take "
            "labels: per-step"
        )


def _asked(teaching: Distilling, image: NDArray[np.float32], device: str) -> torch.Tensor:
    return teaching.whole_labels(torch.from_numpy(image)[None].to(device))[0].to(torch.float16)
