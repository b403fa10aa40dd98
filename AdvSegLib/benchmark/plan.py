"""A plan: a study with every case and model pinned by content, and the units it stands for. Light."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from AdvSegLib.benchmark.canonical import digest
from AdvSegLib.errors import AdvSegError, BadRequest

PLAN_SCHEMA = "advseg.plan/1"


@dataclass(frozen=True)
class CaseRef:
    """A case: its source (an index into the plan's), its identifier there, its name in tables, its hash."""

    source: int
    id: str
    name: str
    sha256: str


@dataclass(frozen=True)
class ModelRef:
    """A model: the name it goes by here, where it is, and the SHA-256 of its weights and preparation."""

    name: str
    where: str
    sha256: str


@dataclass(frozen=True)
class AttackRef:
    """An attack: its name in tables, the task's full request (defaults filled in), and its budgets."""

    name: str
    request: Mapping[str, Any]
    budgets: tuple[float | None, ...]

    @property
    def content(self) -> dict[str, Any]:
        """The request without the places of what it pins by content: where there is ``x_sha256``, ``x`` is a place."""
        return {name: value for name, value in self.request.items() if f"{name}_sha256" not in self.request}


@dataclass(frozen=True)
class Unit:
    """One thing to compute. ``key`` says what it is by content; ``seed`` follows from the key."""

    key: str
    case: CaseRef
    model: ModelRef
    attack: AttackRef
    budget: float | None

    @property
    def seed(self) -> int:
        """The unit's own seed, of 63 bits: every random draw comes from it."""
        return int(self.key[:16], 16) >> 1

    def names(self) -> dict[str, Any]:
        """Return what a reader calls the unit."""
        return {"case": self.case.name, "model": self.model.name, "attack": self.attack.name, "epsilon": self.budget}

    def __str__(self) -> str:
        """Return one line for messages."""
        budget = "its own budget" if self.budget is None else f"epsilon {self.budget:g}"
        return f"{self.attack.name} at {budget} on case {self.case.name}, model {self.model.name}"


@dataclass(frozen=True)
class Plan:
    """Everything a sweep needs to know; written once, read by every driver and worker.

    ``unit_schema`` is the version of the code that defines what a unit's result is; it is part of every key, as are
    ``seed`` and ``options``. Names and places are not: renaming a model or moving data computes nothing anew.
    """

    name: str
    task: str
    unit_schema: str
    seed: int
    retries: int
    options: Mapping[str, Any]
    sources: tuple[Mapping[str, Any], ...]
    cases: tuple[CaseRef, ...]
    models: tuple[ModelRef, ...]
    attacks: tuple[AttackRef, ...]

    def __post_init__(self) -> None:
        """Refuse two entries that would be the same unit: a name for each thing, a thing for each name."""
        names = [case.name for case in self.cases]
        _distinct("cases", names)
        _distinct("cases", [(case.id, case.sha256) for case in self.cases], names)
        _distinct("models", [model.sha256 for model in self.models], [model.name for model in self.models])
        _distinct("models", [model.name for model in self.models])
        _distinct("attacks", [attack.name for attack in self.attacks])
        pairs = [(a.name, digest([a.content, budget])) for a in self.attacks for budget in a.budgets]
        _distinct("attacks", [pair for _, pair in pairs], [name for name, _ in pairs])

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.cases) * self.units_a_case

    @property
    def units_a_case(self) -> int:
        """How many units every case has."""
        return len(self.models) * sum(len(attack.budgets) for attack in self.attacks)

    def units(self) -> Iterator[Unit]:
        """Yield every unit, case by case."""
        for case in self.cases:
            yield from self.units_of(case)

    def units_of(self, case: CaseRef) -> Iterator[Unit]:
        """Yield the units of a case, model by model, so that what is loaded serves many of them."""
        for model in self.models:
            for attack in self.attacks:
                for budget in attack.budgets:
                    yield Unit(self._key(case, model, attack, budget), case, model, attack, budget)

    def _key(self, case: CaseRef, model: ModelRef, attack: AttackRef, budget: float | None) -> str:
        return digest(
            {
                "schema": self.unit_schema,
                "seed": self.seed,
                "options": dict(self.options),
                "case": {"id": case.id, "sha256": case.sha256},
                "model": model.sha256,
                "attack": attack.content,
                "budget": budget,
            }
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the plan's content."""
        return digest(self._content())

    def _content(self) -> dict[str, Any]:
        return {"schema": PLAN_SCHEMA, **asdict(self)}

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON data, with its own hash."""
        return {**self._content(), "sha256": self.sha256}

    @classmethod
    def from_dict(cls, data: Any, where: str) -> Plan:
        """Read a plan back; AdvSegError, naming ``where``, for anything that is not one as it was written."""
        try:
            data = dict(data)
            claimed, schema = data.pop("sha256"), data.pop("schema")
            if schema != PLAN_SCHEMA:
                raise AdvSegError(f"{where}: a plan of schema '{schema}', this version reads '{PLAN_SCHEMA}'")
            plan = cls(
                **{
                    **data,
                    "sources": tuple(data["sources"]),
                    "cases": tuple(CaseRef(**entry) for entry in data["cases"]),
                    "models": tuple(ModelRef(**entry) for entry in data["models"]),
                    "attacks": tuple(AttackRef(**{**a, "budgets": tuple(a["budgets"])}) for a in data["attacks"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AdvSegError(f"{where}: not a plan ({' '.join(str(error).split())[:200]}); plan again") from error
        if plan.sha256 != claimed:
            raise AdvSegError(f"{where}: was changed after it was planned; change the study and plan again")
        return plan


def _distinct(what: str, values: list[Any], names: list[str] | None = None) -> None:
    """Raise BadRequest where two values are equal, by the names they go by."""
    seen: dict[Any, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            first, second = (names or values)[seen[value]], (names or values)[index]
            raise BadRequest(f"plan: {what} {first!r} and {second!r} are the same; leave one out or name it otherwise")
        seen[value] = index
