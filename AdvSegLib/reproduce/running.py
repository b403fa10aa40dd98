"""Run units: in this process, or by a pool of processes, each with one thread and its own models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

from AdvSegLib.reproduce.measure import Bench, Record, Unit

if TYPE_CHECKING:
    from AdvSegLib.reproduce.data import DataSet

_BENCH: list[Bench] = []
"""The bench of a worker process."""
Progress = Callable[[Iterable[Record], int], Iterable[Record]]


def run_units(
    units: Sequence[Unit], models: Mapping[str, str], sets: Mapping[str, DataSet], *, unit: float | None = None,
    device: str = "cpu", precision: str = "fp32", workers: int = 1,
    progress: Progress = lambda records, total: records,
) -> list[Record]:  # fmt: skip
    """Measure units and return their records in the same order; ``workers`` 1 stays in this process.

    Units of a case go to one process, so that its image is read, and its clean prediction made, once. Exceptions that
    the library does not raise on purpose end the run.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for place, item in enumerate(units):
        groups.setdefault((item.data, item.index), []).append(place)
    found: dict[int, Record] = {}
    ordered = [(place, units[place]) for places in groups.values() for place in places]
    if workers <= 1:
        bench = Bench(models, sets, device, unit, precision)
        stream: Iterator[Record] = (bench.run(item) for _, item in ordered)
        for (place, _), record in zip(ordered, progress(stream, len(units)), strict=True):
            found[place] = record
    else:
        with ProcessPoolExecutor(
            workers,
            get_context("spawn"),
            initializer=_begin,
            initargs=(dict(models), dict(sets), device, unit, precision),
        ) as pool:
            stream = pool.map(_run, [item for _, item in ordered], chunksize=_chunk(len(units), workers))
            for (place, _), record in zip(ordered, progress(stream, len(units)), strict=True):
                found[place] = record
    return [found[place] for place in range(len(units))]


def _chunk(count: int, workers: int) -> int:
    """Return how many neighbouring units a process takes at a time: enough that clean predictions serve many."""
    return max(1, min(24, count // (4 * workers)))


def _begin(
    models: Mapping[str, str], sets: Mapping[str, DataSet], device: str, unit: float | None, precision: str
) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    _BENCH[:] = [Bench(models, sets, device, unit, precision)]


def _run(unit: Unit) -> Record:
    return _BENCH[0].run(unit)
