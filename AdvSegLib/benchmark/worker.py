"""What computes units, in a process of its own: a task that is kept, one unit at a time. Light until it opens."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from AdvSegLib.benchmark.canonical import canonical
from AdvSegLib.benchmark.plan import Plan, Unit
from AdvSegLib.benchmark.tasks import Task, load_task
from AdvSegLib.errors import AdvSegError, BadRequest, explain
from AdvSegLib.provenance import now, versions


@dataclass(frozen=True)
class Setup:
    """What a worker is told when it starts: the task, its options and sources, and whether foreign code may run.

    ``schema`` is the version of a unit's result that the plan was made for; a worker whose code has another refuses.
    """

    task: str
    options: Mapping[str, Any]
    sources: tuple[Mapping[str, Any], ...]
    trust: bool = False
    schema: str = ""

    @classmethod
    def of(cls, plan: Plan, *, trust: bool = False) -> Setup:
        """Return what the workers of a plan are told."""
        return cls(plan.task, plan.options, plan.sources, trust, plan.unit_schema)


@dataclass(frozen=True)
class Outcome:
    """What came of a unit: a result, or an error. ``hopeless``: it would fail again; ``spoiled``: so is the worker."""

    key: str
    result: Mapping[str, Any] | None
    run: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    hopeless: bool = False
    spoiled: bool = False


class Worker:
    """Holds a task; engines call :meth:`open` once and :meth:`do` for every unit, one at a time."""

    def __init__(self, setup: Setup, slot: int) -> None:
        self._setup, self._slot = setup, slot
        self._task: Task | None = None
        self._facts: dict[str, Any] = {}

    def open(self) -> dict[str, Any]:
        """Make the task; return where it lives (``host``, ``pid``, ``device``, ``versions``), or the ``error``."""
        setup = self._setup
        try:
            kind = load_task(setup.task, setup.trust)
            if setup.schema not in ("", kind.schema):
                raise BadRequest(f"the plan asks for results of schema '{setup.schema}', this version computes "
                                 f"'{kind.schema}'; plan again with --update")  # fmt: skip
            self._task = kind(setup.options, setup.sources, self._slot)
            device = self._task.warm_up()
        except Exception as error:
            if os.environ.get("ADVSEG_DEBUG"):
                traceback.print_exc()
            return {"error": _line(error if isinstance(error, AdvSegError) else explain(error))}
        self._facts = {"host": socket.gethostname(), "device": device, "versions": versions()}
        return {**self._facts, "pid": os.getpid()}

    def do(self, unit: Unit) -> Outcome:
        """Compute a unit; whatever it raises becomes an outcome."""
        assert self._task is not None, "do before open"
        started, clock = now(), time.perf_counter()

        def run() -> dict[str, Any]:
            return {**self._facts, "started": started, "seconds": round(time.perf_counter() - clock, 4)}

        try:
            result = dict(self._task.run(unit))
            canonical(result)
            return Outcome(unit.key, result, run())
        except BadRequest as error:
            return Outcome(unit.key, None, run(), _line(error), hopeless=True)
        except AdvSegError as error:
            return Outcome(unit.key, None, run(), _line(error))
        except Exception as error:
            if os.environ.get("ADVSEG_DEBUG"):
                traceback.print_exc()
            self._task.release()
            return Outcome(unit.key, None, run(), _line(explain(error)), spoiled=True)


def _line(error: object) -> str:
    return " ".join(str(error).split())[:500]
