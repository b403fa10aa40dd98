"""Computing what a plan asks for and its store lacks. Light."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import partial

from AdvSegLib.benchmark.driver import Driver, Hear, Tally
from AdvSegLib.benchmark.engines import Engine
from AdvSegLib.benchmark.plan import CaseRef, Plan, Unit
from AdvSegLib.benchmark.store import Store
from AdvSegLib.benchmark.work import Work

__all__ = ["Tally", "run_plan"]


def run_plan(
    store: Store,
    engine: Engine,
    *,
    shard: tuple[int, int] = (1, 1),
    retry_failed: bool = False,
    give_up_after: int = 100,
    timeout: float = math.inf,
    hear: Hear = lambda event, **facts: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Tally:
    """Compute every unit of the store's plan that has no record, and return what was done; closes the engine.

    ``shard=(i, n)`` takes every n-th case, from the i-th: for n drivers at once. Units that failed for good stay so
    unless ``retry_failed``. Raises AdvSegError where the store cannot be written, or nothing works any more.
    """
    try:
        plan = store.plan()
        store.prepare()
        driver = Driver(store, plan, engine, give_up_after, timeout, hear, cancelled)
        return driver.run(Work(_groups(store, plan, shard, retry_failed)))
    finally:
        engine.close()


def _groups(
    store: Store, plan: Plan, shard: tuple[int, int], retry_failed: bool
) -> Iterator[Callable[[], Iterator[Unit]]]:
    """Yield the cases of a shard, each as what lists its open units, in an order of this driver's own.

    Drivers that know nothing of each other seldom take the same case so.
    """
    first, count = shard
    cases = list(plan.cases[first - 1 :: count])
    random.SystemRandom().shuffle(cases)
    for case in cases:
        yield partial(_open_units, store, plan, case, retry_failed)


def _open_units(store: Store, plan: Plan, case: CaseRef, retry_failed: bool) -> Iterator[Unit]:
    for unit in plan.units_of(case):
        if store.has(unit.key):
            continue
        failure = store.failure(unit.key)
        if failure is not None and retry_failed:
            store.forgive(unit.key)
        elif failure is not None and failure["final"]:
            continue
        yield unit
