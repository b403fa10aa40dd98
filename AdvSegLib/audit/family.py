"""One attack on every model of a family, at several budgets: the tables of Liu et al. 2021 (paper 001, Tables 2-3)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from AdvSegLib.audit.audit import Subject
from AdvSegLib.audit.suite import Trial
from AdvSegLib.audit.trials import Cancel, Judge, batches
from AdvSegLib.audit.unseen import Judged
from AdvSegLib.errors import BadRequest
from AdvSegLib.metrics.statistics import bonferroni, bootstrap_interval, wilcoxon_signed_rank
from AdvSegLib.provenance import now, versions
from AdvSegLib.segmenters.spec import Precision

FAMILY_SCHEMA = "advseg.family/1"
EPSILONS = (0.01, 0.05, 0.1)
FGSM = Trial("fgsm-dice", "FGSM, Dice on the model's own softmax", "plain", "fgsm", {"loss": "dice"})
LEVEL = 0.05
Cell = dict[str, Any]


@dataclass(frozen=True, eq=False)
class FamilyTable:
    """Dice of every model, budget (0: clean), structure and case: ``scores[model][epsilon][structure]``, a list.

    ``masked`` is the verdict of each model's last audit, None where there is none, or one that saw too little: a table
    of one attack must not be read without it.
    """

    baseline: str
    attack: str
    epsilons: tuple[float, ...]
    cases: tuple[str, ...]
    scores: Mapping[str, Mapping[float, Mapping[str, Sequence[float | None]]]]
    masked: Mapping[str, bool | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """The models, the undefended one first."""
        return (self.baseline, *(name for name in self.scores if name != self.baseline))

    @property
    def structures(self) -> tuple[str, ...]:
        """The mean over labels, each label, each region."""
        names = list(self.scores[self.baseline][0.0])
        return ("mean", *(name for name in names if name != "mean"))

    @property
    def tests(self) -> int:
        """How many tests a structure's p values are corrected for: every model and budget against the undefended."""
        return max(1, (len(self.scores) - 1) * len(self.epsilons))

    def cell(self, model: str, epsilon: float, structure: str) -> Cell:
        """Return mean, deviation, 95 % interval, and the test against the undefended model at the same budget.

        ``p`` is Wilcoxon's, ``p_corrected`` after Bonferroni over :attr:`tests`; ``effect`` is the rank-biserial
        correlation, positive where this model keeps more. All None for the undefended one, and where nothing can be
        compared.
        """
        values = self.scores[model][epsilon][structure]
        present = [value for value in values if value is not None]
        interval = bootstrap_interval(values) if present else None
        cell: Cell = {
            "mean": statistics.fmean(present) if present else None,
            "deviation": statistics.stdev(present) if len(present) > 1 else None,
            "interval": None if interval is None else list(interval),
            "p": None, "p_corrected": None, "effect": None, "significant": None,
        }  # fmt: skip
        if model == self.baseline or not present:
            return cell
        try:
            test = wilcoxon_signed_rank(values, self.scores[self.baseline][epsilon][structure])
        except BadRequest:  # no case has this structure on both sides
            return cell
        corrected = bonferroni([test.p], self.tests)[0]
        return {
            **cell,
            "p": test.p,
            "p_corrected": corrected,
            "effect": test.effect,
            "significant": corrected <= LEVEL,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON data, every cell and every case's score."""
        return {
            "schema": FAMILY_SCHEMA,
            "baseline": self.baseline,
            "attack": self.attack,
            "epsilons": list(self.epsilons),
            "cases": list(self.cases),
            "tests": self.tests,
            "models": [
                {
                    "name": model,
                    "masked": self.masked.get(model),
                    "cells": [
                        {"epsilon": epsilon, "structure": structure, **self.cell(model, epsilon, structure),
                         "cases": list(self.scores[model][epsilon][structure])}
                        for epsilon in self.epsilons for structure in self.structures
                    ],
                }
                for model in self.models
            ],
            "notes": list(self.notes),
            "versions": versions(),
            "finished": now(),
        }  # fmt: skip

    def rows(self, structure: str = "mean") -> list[list[str]]:
        """Return one row a model as text: name, mean ± deviation at each budget, corrected p at each, masked."""
        return [
            [model, *map(_shown, cells), *(_p(cell["p_corrected"]) for cell in cells), _masked(self.masked.get(model))]
            for model in self.models
            for cells in ([self.cell(model, epsilon, structure) for epsilon in self.epsilons],)
        ]

    @property
    def header(self) -> list[str]:
        """The columns of :meth:`rows`."""
        names = ["clean" if e == 0 else f"eps {e:g}" for e in self.epsilons]
        return ["model", *names, *(f"p {name}" for name in names), "masked"]

    def to_markdown(self, structure: str = "mean") -> str:
        """Return the table as Markdown; an asterisk marks what differs from the undefended model."""
        lines = [self.header, ["---"] * len(self.header), *self.rows(structure)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def audit_family(
    models: Mapping[str, Subject],
    cases: Sequence[Judged],
    *,
    baseline: str,
    epsilons: Sequence[float] = EPSILONS,
    trial: Trial = FGSM,
    masked: Mapping[str, bool | None] | None = None,
    seed: int = 0,
    batch: int = 1,
    precision: Precision = "fp32",
    status: Callable[[str], None] = lambda stage: None,
    cancel: Cancel | None = None,
) -> FamilyTable:
    """Run one attack on every model at every budget (a fraction of range), each crafted on the model it is judged on.

    ``baseline`` names the undefended model among ``models``. Raises BadRequest where it is not there, where models
    have other labels or channels, or a budget is none.
    """
    _check(models, cases, baseline, epsilons)
    scores: dict[str, dict[float, dict[str, list[float | None]]]] = {}
    notes: list[str] = []
    for name, subject in models.items():
        judge, groups = Judge(subject.model, precision), batches(cases, batch)
        scores[name] = {}
        for epsilon in (0.0, *epsilons):
            status(f"{name}, {'clean' if epsilon == 0 else f'epsilon {epsilon:g}'}")
            if epsilon == 0:
                outcomes = [judge.outcome(case, case.image) for case in cases]
            else:
                outcomes = [o for g in groups for o in judge.trial(trial, g, epsilon, seed=seed, cancel=cancel)]
            scores[name][epsilon] = {key: [o.dice[key] for o in outcomes] for key in outcomes[0].dice}
        notes += [f"{name}: {note}" for note in judge.notes]
    return FamilyTable(
        baseline, trial.title, (0.0, *epsilons), tuple(case.name for case in cases), scores, dict(masked or {}),
        tuple(notes),
    )  # fmt: skip


def _check(models: Mapping[str, Subject], cases: Sequence[Judged], baseline: str, epsilons: Sequence[float]) -> None:
    if baseline not in models:
        raise BadRequest(f"the undefended model '{baseline}' is not among the family: {', '.join(models)}")
    if not cases:
        raise BadRequest("a family needs at least one case")
    if not epsilons or len(set(epsilons)) != len(epsilons) or not all(0 < epsilon <= 1 for epsilon in epsilons):
        raise BadRequest(f"epsilons must be different fractions of the range above 0, at most 1: {tuple(epsilons)}")
    first = models[baseline].model.spec
    for name, subject in models.items():
        spec = subject.model.spec
        if (spec.channels, spec.scheme) != (first.channels, first.scheme):
            raise BadRequest(f"'{name}' has other channels or labels than '{baseline}': not of one family")


def family_members(prefix: str) -> tuple[list[str], list[str]]:
    """Return the catalogue's models of a family, the undefended first, and the others of its name that are left out.

    A family is the model ``prefix`` and those named ``prefix-…``; further undefended ones (surrogates) are left out,
    and so are the members of a longer name's family (``brain-2d-noise`` is of ``brain-2d``, not of ``brain``).
    """
    from AdvSegLib.audit.audit import undefended_name
    from AdvSegLib.errors import unknown_name
    from AdvSegLib.segmenters.catalogue import shipped_models

    models = shipped_models()
    if prefix not in models:
        raise unknown_name("family", prefix, [name for name in models if "-" not in name])
    named = [name for name in models if undefended_name(name) == prefix]
    undefended = [name for name in named if _kind(models[name].metadata) == "none"]
    return [prefix, *(name for name in named if name not in undefended)], undefended


def verdict_of(metadata: Mapping[str, Any]) -> bool | None:
    """Return whether a model's last audit found it masked; None where there is none, or it saw too little to clear."""
    results = metadata.get("results")
    found = results.get("audit") if isinstance(results, Mapping) else None
    if not isinstance(found, Mapping) or "masked" not in found:
        return None
    return True if found["masked"] else False if found.get("conclusive") else None


def _kind(metadata: Mapping[str, Any]) -> str | None:
    results = metadata.get("results")
    defense = results.get("defense") if isinstance(results, Mapping) else None
    return str(defense.get("kind")) if isinstance(defense, Mapping) else None


def _shown(cell: Cell) -> str:
    if cell["mean"] is None:
        return "-"
    spread = "" if cell["deviation"] is None else f" ± {cell['deviation']:.3f}"
    return f"{cell['mean']:.3f}{spread}{'*' if cell['significant'] else ''}"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _masked(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "no"
