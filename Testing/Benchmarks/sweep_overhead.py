"""What a sweep's engine costs over a bare loop: compute-bound units, start-up apart.

The bare loop is as many processes as there are workers, each calling the task for its share of the units and nothing
else. Pool and Ray compute the same units, from the first worker's being ready to the last commit. Two numbers each:

  * wall: the engine's wall time over the bare loop's, in turn, medians over rounds; a busy machine blurs it
  * gaps: the share of the workers' time that was not spent in units, within one run; other load hardly touches it

Run: python Testing/Benchmarks/sweep_overhead.py [--units 200] [--seconds 1] [--workers 2] [--rounds 1] [--engines ...]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from AdvSegLib.benchmark import Plan, Store, Study, Unit, make_plan, run_plan
from AdvSegLib.benchmark.engines import Engine
from AdvSegLib.benchmark.tasks import Task
from AdvSegLib.benchmark.worker import Setup

SIDE = 192


class Burn(Task):
    """Multiplies matrices, ``options["repeats"]`` times: a unit that computes and waits for nothing."""

    schema = "benchmark.burn/1"

    def check_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"repeats": 1, **options}

    def list_cases(self, source: int) -> list[str]:
        return [f"{number:05d}" for number in range(self.sources[source]["options"]["count"])]

    def run(self, unit: Unit) -> dict[str, Any]:
        matrix = np.random.default_rng(unit.seed).normal(size=(SIDE, SIDE)) / SIDE
        for _ in range(self.options["repeats"]):
            matrix = np.tanh(matrix @ matrix)
        return {"sum": float(matrix.sum())}


def a_plan(units: int, seconds: float) -> Plan:
    """Return a plan of units that take about so long here and now."""
    one = Study.from_dict({"name": "burn", "cases": [{"source": "burn", "options": {"count": units}}],
                           "models": ["m"], "attacks": ["a"], "task": "sweep_overhead:Burn"})  # fmt: skip
    probe = make_plan(one, trust=True)
    trial = Burn({"repeats": 200}, probe.sources)
    trial.run(next(probe.units()))
    started = time.process_time()
    trial.run(next(probe.units()))
    repeats = max(1, round(200 * seconds / (time.process_time() - started)))
    fields = {name: getattr(one, name) for name in one.__dataclass_fields__}
    return make_plan(Study(**{**fields, "options": {"repeats": repeats}}), trust=True)


def bare_share(plan: Plan, share: int, of: int, barrier: Any) -> None:
    """Compute a share of the units in a loop."""
    task = Burn(plan.options, plan.sources)
    units = list(plan.units())[share::of]
    barrier.wait()
    for unit in units:
        task.run(unit)


def bare(plan: Plan, workers: int) -> float:
    """Return the wall time of bare loops side by side."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    loops = [context.Process(target=bare_share, args=(plan, share, workers, barrier)) for share in range(workers)]
    for loop in loops:
        loop.start()
    barrier.wait()
    started = time.perf_counter()
    for loop in loops:
        loop.join()
    return time.perf_counter() - started


def engine_of(name: str, plan: Plan, workers: int) -> Engine:
    setup = Setup(plan.task, plan.options, plan.sources, trust=True)
    if name == "pool":
        from AdvSegLib.benchmark.pool import Pool

        return Pool(setup, workers)
    from AdvSegLib.benchmark.ray_engine import RayEngine

    return RayEngine(setup, workers)


def swept(name: str, plan: Plan, workers: int) -> tuple[float, float]:
    """Return an engine's wall time after start-up, and the share of its workers' time outside of units."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder + "/store")
        store.keep_plan(plan)
        ready: list[float] = []
        done: list[float] = []

        def hear(event: str, **facts: Any) -> None:
            if event in ("ready", "done"):
                (ready if event == "ready" else done).append(time.perf_counter())

        run_plan(store, engine_of(name, plan, workers), hear=hear)
        inside = 0.0
        for unit in plan.units():
            record = store.read(unit.key)
            assert record is not None
            inside += record.run["seconds"]
        available = sum(done[-1] - moment for moment in ready)
        return done[-1] - ready[-1], 1 - inside / available


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engines", nargs="+", default=["pool", "ray"], choices=("pool", "ray"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, str(Path(here).parents[1]), os.environ.get("PYTHONPATH", "")])
    plan = a_plan(options.units, options.seconds)
    walls: dict[str, list[float]] = {name: [] for name in ("bare", *options.engines)}
    gaps: dict[str, list[float]] = {name: [] for name in options.engines}
    for number in range(options.rounds):
        walls["bare"].append(bare(plan, options.workers))
        for name in options.engines:
            wall, gap = swept(name, plan, options.workers)
            walls[name].append(wall)
            gaps[name].append(gap)
        print(f"round {number + 1}: {walls} {gaps}", file=sys.stderr)
    median = {name: statistics.median(values) for name, values in walls.items()}
    print(json.dumps({
        "units": options.units, "workers": options.workers, "load": os.getloadavg()[0], "wall_s": median,
        "over_bare": {name: median[name] / median["bare"] - 1 for name in options.engines},
        "gaps": {name: statistics.median(gaps[name]) for name in options.engines},
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    # Workers find the task by the module's name, not as __main__.
    import sweep_overhead

    sweep_overhead.main()
