"""What a unit is: the task, named by a plan, made once in every worker. Light."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from AdvSegLib.benchmark.canonical import digest
from AdvSegLib.benchmark.plan import Unit
from AdvSegLib.errors import BadRequest

TASKS = {"attack": "AdvSegLib.benchmark.attack_task:AttackTask"}


class Task(ABC):
    """How cases and models are found and pinned, how an attack is checked, and what a unit's result is.

    One object lives in every worker, for as long as the worker does: what it loads, it keeps. ``sources`` are the
    plan's; ``options`` are the task's own and part of every key; ``slot`` is the worker's number on its machine.
    A subclass sets ``schema`` and raises it when the same unit would get another result.

    By default a case is what its entry says, so that a task can be about anything that has a name.
    """

    schema: ClassVar[str]

    def __init__(self, options: Mapping[str, Any], sources: tuple[Mapping[str, Any], ...], slot: int = 0) -> None:
        self.options = self.check_options(options)
        self.sources = sources
        self.slot = slot

    def check_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options with defaults filled in; BadRequest for one the task does not know."""
        if options:
            raise BadRequest(f"task options: '{next(iter(options))}' is unknown; this task has none")
        return {}

    @abstractmethod
    def list_cases(self, source: int) -> list[str]:
        """Return the identifiers of a source's cases; cheap."""

    def hash_case(self, source: int, identifier: str) -> str:
        """Return the SHA-256 of a case's content; may load it."""
        return digest([dict(self.sources[source]), identifier])

    def place_model(self, entry: Mapping[str, Any]) -> str:
        """Return where a model of the study is to be found by every worker."""
        return str(entry["name"])

    def hash_model(self, where: str) -> str:
        """Return the SHA-256 of a model's content; may load it."""
        return digest(where)

    def check_attack(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return an attack's full request, defaults filled in (``name`` and ``budgets`` are not in it)."""
        return {name: value for name, value in entry.items() if name not in ("name", "budgets")}

    def check_budget(self, request: Mapping[str, Any], budget: float | None) -> float | None:
        """Return the budget a unit is asked for."""
        return budget

    def warm_up(self) -> str:
        """Load what every unit needs, and return on which device units run."""
        return "cpu"

    def release(self) -> None:  # noqa: B027 - most tasks hold nothing
        """Forget what was loaded: something unforeseen happened, and nobody knows what is left of it."""

    @abstractmethod
    def run(self, unit: Unit) -> Mapping[str, Any]:
        """Compute a unit: JSON data that depends on the unit alone, every draw from ``unit.seed``.

        BadRequest says that the unit cannot be computed, ever; any other error may pass, and is tried again.
        """


def load_task(name: str, trust: bool = False) -> type[Task]:
    """Return a task's class by its short name, or by ``package.module:Class``.

    A name outside of this library makes Python import that module, which runs its code, so it takes ``trust``.
    """
    path = TASKS.get(name, name)
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise BadRequest(f"unknown task '{name}'; known: {', '.join(TASKS)}, or package.module:Class")
    if not trust and module.split(".")[0] != "AdvSegLib":
        raise BadRequest(f"task '{name}' is code from outside of this library; --trust lets it run")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BadRequest(f"task '{name}' cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise BadRequest(f"task '{name}' is no AdvSegLib.benchmark.tasks.Task")
    return found
