"""A task whose units are a little arithmetic, and studies of it: for tests of everything around the units."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from AdvSegLib.benchmark import Plan, Store, Study, Unit, make_plan
from AdvSegLib.benchmark.tasks import Task
from AdvSegLib.benchmark.worker import Setup
from AdvSegLib.errors import AdvSegError, BadRequest

TASK = "fixtures_sweeps:Numbers"


class Numbers(Task):
    """Draws a few numbers from the unit's seed, after ``options["seconds"]``; attacks can be told to go wrong."""

    schema = "test.numbers/1"

    def check_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"seconds": 0.0, "log": None, **options}

    def list_cases(self, source: int) -> list[str]:
        count = self.sources[source].get("options", {}).get("count", 1)
        return [f"case-{number:05d}" for number in range(count)]

    def run(self, unit: Unit) -> dict[str, Any]:
        request = unit.attack.request
        if self.options["log"]:
            with open(self.options["log"], "a", encoding="ascii") as stream:
                stream.write(f"{unit.key}\n")
        time.sleep(self.options["seconds"])
        getattr(self, str(request.get("do", "well")))(unit)
        draws = np.random.default_rng(unit.seed).normal(size=3)
        return {"mean": float(draws.mean()), "draws": {"first": float(draws[0]), "all": draws.tolist()}}

    def well(self, unit: Unit) -> None:
        """Do nothing wrong."""

    def refuse(self, unit: Unit) -> None:
        raise BadRequest("a unit that cannot be computed")

    def fail(self, unit: Unit) -> None:
        raise AdvSegError("a unit that fails")

    def crash(self, unit: Unit) -> None:
        raise ZeroDivisionError("a unit with\na bug")

    def die(self, unit: Unit) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self, unit: Unit) -> None:
        time.sleep(3600)

    def once(self, unit: Unit) -> None:
        """Fail the first time, by a mark on disk."""
        mark = Path(unit.attack.request["marks"]) / unit.key
        if not mark.exists():
            mark.touch()
            raise AdvSegError("fails the first time")


class NotFinite(Numbers):
    """Returns what JSON cannot hold."""

    def run(self, unit: Unit) -> dict[str, Any]:
        return {"psnr": float("nan")}


def a_study(cases: int = 3, *, attacks: Any = ("a", "b"), **fields: Any) -> Study:
    """Return a study of ``cases`` x 1 model x attacks."""
    data = {"name": "numbers", "cases": [{"source": "numbers", "options": {"count": cases}}], "models": ["m"],
            "attacks": list(attacks), "task": TASK, **fields}  # fmt: skip
    return Study.from_dict(data)


def a_store(folder: Path, study: Study | None = None) -> Store:
    """Return a store with the plan of a study."""
    store = Store(folder)
    store.keep_plan(make_plan(study or a_study(), trust=True))
    return store


def setup_of(plan: Plan) -> Setup:
    """Return what workers of a plan are told."""
    return Setup.of(plan, trust=True)


def lasting_lines(store: Store) -> dict[str, bytes]:
    """Return the first line of every record, by its key: all that is not time, host and attempts."""
    return {
        path.stem: path.read_bytes().split(b"\n")[0] for path in sorted((store.folder / "records").glob("*/*.jsonl"))
    }
