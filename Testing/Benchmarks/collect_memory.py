"""Memory and time of `advseg benchmark collect` over the number of units, on stores of made-up records.

Each store is collected by a process of its own, whose resident peak is printed. Records are as large as those of an
attack on a BraTS case. Run: python Testing/Benchmarks/collect_memory.py [--units 1000 10000 100000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from AdvSegLib.benchmark import Plan, Record, Store
from AdvSegLib.benchmark.canonical import digest
from AdvSegLib.benchmark.plan import AttackRef, CaseRef, ModelRef

STRUCTURES = ("necrosis", "oedema", "enhancing tumour", "whole tumour", "tumour core", "mean")
CHANNELS = ("t1", "t1gd", "t2", "flair")
CHILD = """
import resource, sys, time
from pathlib import Path
from AdvSegLib.benchmark import Store
from AdvSegLib.benchmark.collect import collect
folder = Path(sys.argv[1])
started = time.perf_counter()
found = collect(Store(folder / "store"), csv_out=folder / "table.csv", json_out=folder / "table.json")
scale = 1 if sys.platform == "darwin" else 1024
print(found.units, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)
"""


def a_plan(units: int) -> Plan:
    """Return a plan of 9 models and 8 attacks, and as many cases as that takes."""
    cases = -(-units // 72)
    return Plan(
        "made up", "none", "none/1", 0, 0, {}, ({"source": "none"},),
        tuple(CaseRef(0, f"BraTS-{n:05d}", f"BraTS-{n:05d}", digest(n)) for n in range(cases)),
        tuple(ModelRef(f"model-{n}", "", digest(n)) for n in range(9)),
        tuple(AttackRef(f"attack-{n}", {"attack": "pgd", "steps": n}, (0.01,)) for n in range(8)),
    )  # fmt: skip


def a_result(draw: np.random.Generator) -> dict[str, Any]:
    """Return numbers in the form of a run's metrics.json."""

    def overlap() -> dict[str, Any]:
        return {score: {name: float(draw.random()) for name in STRUCTURES} for score in ("dice", "iou")}

    quality = {name: {score: float(draw.random()) for score in ("psnr", "ssim", "rmse", "l2", "linf")}
               for name in CHANNELS}  # fmt: skip
    volumes = {side: {name: float(draw.random()) for name in STRUCTURES} for side in ("clean", "adversarial", "truth")}
    return {"clean": overlap(), "adversarial": overlap(), "agreement": overlap(), "image": {"channels": quality},
            "volumes_ml": volumes, "warnings": []}  # fmt: skip


def fill(store: Store, plan: Plan) -> None:
    """Commit a record for every unit, without waiting for the disk: it is not what is measured."""
    os.fsync = lambda descriptor: None
    draw = np.random.default_rng(0)
    for unit in plan.units():
        store.commit(Record.of(unit, a_result(draw), {"attempts": 1, "host": "none", "seconds": 1.0}))


def measured(units: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, plan = Store(folder / "store"), a_plan(units)
        store.keep_plan(plan)
        started = time.perf_counter()
        fill(store, plan)
        filled = time.perf_counter() - started
        done = subprocess.run([sys.executable, "-c", CHILD, name], capture_output=True, text=True, check=True)
        count, seconds, peak = map(float, done.stdout.split())
        first = next(plan.units())
        record = store._path("records", first.key).stat().st_size
        return {"units": count, "collect_s": seconds, "peak_mb": peak / 2**20, "record_bytes": record,
                "csv_mb": (folder / "table.csv").stat().st_size / 2**20, "fill_s": filled}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[1000, 10000, 100000])
    for units in parser.parse_args().units:
        print(json.dumps(measured(units)), flush=True)


if __name__ == "__main__":
    main()
