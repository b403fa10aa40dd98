"""``advseg audit``: every attack of the suite on every case, the worst of each case, the checks, the verdict."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from AdvSegLib.audit.checks import Scores, average, run_checks
from AdvSegLib.audit.gradients import GradientFacts, gradient_facts
from AdvSegLib.audit.suite import EFFORTS, Effort, Trial, suite
from AdvSegLib.audit.trials import Batch, Cancel, Judge, Outcome, batches
from AdvSegLib.audit.unseen import Judged
from AdvSegLib.audit.verdict import decide
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.metrics.overlap import mean
from AdvSegLib.provenance import now, versions
from AdvSegLib.segmenters.bundle import weights_hash
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Precision

AUDIT_SCHEMA = "advseg.audit/1"
EPSILON = 0.05


@dataclass(frozen=True, eq=False)
class Subject:
    """A model under audit, the name it goes by, and the temperature it was distilled at (1: none is known)."""

    name: str
    model: Segmenter
    temperature: float = 1.0


@dataclass(frozen=True)
class Plan:
    """How to audit: budgets (fractions of range), effort, seed, how many cases go through the model together.

    ``precision`` is what attacks take their gradients in; every outcome is judged in full precision.
    """

    epsilons: tuple[float, ...] = (EPSILON,)
    effort: Effort = field(default_factory=lambda: EFFORTS["standard"])
    seed: int = 0
    batch: int = 1
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        """Refuse budgets that are none."""
        if not self.epsilons or not all(0 < epsilon <= 1 for epsilon in self.epsilons):
            raise BadRequest(f"an audit's epsilon is a fraction of the range above 0, at most 1, not {self.epsilons}")
        if len(set(self.epsilons)) != len(self.epsilons):
            raise BadRequest(f"epsilons must differ: {self.epsilons}")
        if self.batch < 1:
            raise BadRequest(f"batch must be at least 1, not {self.batch}")


@dataclass(frozen=True, eq=False)
class Example:
    """One case to look at: as it is, after the strongest plain attack, after the strongest of all."""

    case: Judged
    clean: Outcome
    plain: tuple[str, Outcome]
    worst: tuple[str, Outcome]
    epsilon: float


@dataclass(frozen=True, eq=False)
class Audit:
    """What ``audit.json`` holds, and pictures of one case for the report."""

    data: dict[str, Any]
    examples: tuple[Example, ...]

    @property
    def masked(self) -> bool:
        """Whether the defense only hides its gradients, at any budget."""
        return bool(self.data["masked"])


def audit(
    subject: Subject,
    cases: Sequence[Judged],
    plan: Plan,
    *,
    undefended: Subject | None = None,
    status: Callable[[str], None] = lambda stage: None,
    cancel: Cancel | None = None,
) -> Audit:
    """Audit a model on cases; ``undefended`` is what transferred attacks are crafted on.

    Raises BadRequest where the undefended model speaks of other channels or labels, Cancelled on ``cancel()``.
    """
    started = time.perf_counter()
    if not cases:
        raise BadRequest("an audit needs at least one case")
    _check_pair(subject, undefended)
    judge, groups = Judge(subject.model, plan.precision), batches(cases, plan.batch)
    status("clean")
    clean = [judge.outcome(case, case.image) for case in cases]
    changed = [seen.changed(judge.outcome(case, case.image)) for case, seen in zip(cases, clean, strict=True)]
    facts = [_facts(subject, case) for case in cases]
    trials = suite(plan.effort, temperature=subject.temperature, transfer=undefended is not None)
    runs = [
        _at_budget(
            subject, undefended, cases, groups, plan, epsilon, trials, clean, facts, changed, judge, status, cancel
        )
        for epsilon in plan.epsilons
    ]
    budgets = [budget for budget, _ in runs]
    data = {
        "schema": AUDIT_SCHEMA,
        "model": _describe(subject),
        "undefended": None if undefended is None else _describe(undefended),
        "plan": {**asdict(plan), "epsilons": list(plan.epsilons)} | {"effort": _effort(plan.effort)},
        "cases": [
            {"name": case.name, "image_sha256": _sha(case), "clean": dict(outcome.dice), "gradient": found.to_dict()}
            for case, outcome, found in zip(cases, clean, facts, strict=True)
        ],
        "clean": average([outcome.mean for outcome in clean]),
        "budgets": budgets,
        "masked": any(budget["verdict"]["masked"] for budget in budgets),
        "conclusive": all(budget["verdict"]["conclusive"] for budget in budgets),
        "notes": judge.notes,
        "versions": versions(),
        "device": str(subject.model.device),
        "time": {"finished": now(), "seconds": round(time.perf_counter() - started, 1)},
    }  # fmt: skip
    return Audit(data, tuple(example for _, example in runs))


def _at_budget(
    subject: Subject, undefended: Subject | None, cases: Sequence[Judged], groups: Sequence[Batch], plan: Plan,
    epsilon: float, trials: Sequence[Trial], clean: Sequence[Outcome], facts: Sequence[GradientFacts],
    changed: Sequence[float], judge: Judge, status: Callable[[str], None], cancel: Cancel | None,
) -> tuple[dict[str, Any], Example]:  # fmt: skip
    """Run every trial at one budget; return its part of ``audit.json`` and an example."""
    found: dict[str, list[Outcome]] = {}
    failed: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for number, trial in enumerate(trials, start=1):
        status(f"epsilon {epsilon:g}: {trial.title} ({number} of {len(trials)})")
        began = time.perf_counter()
        craft_on = undefended.model if trial.role == "transfer" and undefended else None
        try:
            found[trial.key] = [
                outcome
                for group in groups
                for outcome in judge.trial(trial, group, epsilon, craft_on=craft_on, seed=plan.seed, cancel=cancel)
            ]
        except (BadRequest, Cancelled):
            raise
        except AdvSegError as error:  # a gradient that is not finite: told, and held against the audit
            failed[trial.key] = str(error)
        seconds[trial.key] = round(time.perf_counter() - began, 2)
    scores = Scores.of(
        [outcome.mean for outcome in clean], trials, {key: [o.mean for o in row] for key, row in found.items()}
    )
    checks = run_checks(scores, [fact.to_dict() for fact in facts], changed)
    verdict = decide(scores, checks, list(failed))
    data = {
        "epsilon": epsilon,
        "attacks": [_row(trial, scores, found, failed, seconds) for trial in trials],
        "worst": {"mean": scores.floor, "cases": scores.worst(scores.bounded)},
        "checks": [check.to_dict() for check in checks],
        "verdict": verdict.to_dict(),
    }
    return data, _example(cases, clean, scores, found, epsilon)


def _row(
    trial: Trial, scores: Scores, found: Mapping[str, Sequence[Outcome]], failed: Mapping[str, str],
    seconds: Mapping[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Return one attack's part of ``audit.json``; numbers are None where it could not be run."""
    outcomes = found.get(trial.key)
    return {
        "key": trial.key, "title": trial.title, "role": trial.role, "attack": trial.attack,
        "parameters": {} if trial.role == "control" else asdict(trial.make()),
        "epsilon": trial.epsilon,
        "mean": None if outcomes is None else scores.mean(trial.key),
        "cases": None if outcomes is None else list(scores.trials[trial.key]),
        "labels": None if outcomes is None else _per_label(outcomes),
        "failed": failed.get(trial.key),
        "seconds": seconds[trial.key],
    }  # fmt: skip


def _per_label(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    names = [name for name in outcomes[0].dice if name != "mean"]
    return {name: mean([outcome.dice[name] for outcome in outcomes]) for name in names}


def _example(
    cases: Sequence[Judged], clean: Sequence[Outcome], scores: Scores, found: Mapping[str, Sequence[Outcome]],
    epsilon: float,
) -> Example:  # fmt: skip
    """Return the first case after its strongest plain attack and after its strongest of all."""

    def strongest(keys: Sequence[str]) -> tuple[str, Outcome]:
        if not keys:
            return "no attack ran", clean[0]
        key = min(keys, key=lambda name: scores.trials[name][0])
        return key, found[key][0]

    return Example(cases[0], clean[0], strongest(scores.keys(("plain",))), strongest(scores.bounded), epsilon)


def _facts(subject: Subject, case: Judged) -> GradientFacts:
    model = subject.model
    labels = torch.from_numpy(case.truth.array).to(model.device, torch.int64)[None]
    try:
        return gradient_facts(model.on(case.image), model.tensor(case.image), labels)
    except BadRequest:
        raise
    except AdvSegError as error:
        raise AdvSegError(f"'{subject.name}' on case {case.name}: {error}; there is nothing to audit") from error


def _check_pair(subject: Subject, undefended: Subject | None) -> None:
    reason = None if undefended is None else _unfit(subject, undefended)
    if reason is not None:
        raise BadRequest(reason)


def _unfit(subject: Subject, undefended: Subject) -> str | None:
    """Return why attacks on one model cannot be transferred to the other, None where they can."""
    ours, theirs = subject.model.spec, undefended.model.spec
    if (ours.channels, ours.scheme.names) != (theirs.channels, theirs.scheme.names):
        return f"the undefended model '{undefended.name}' has other channels or labels than '{subject.name}'"
    if weights_hash(subject.model.network) == weights_hash(undefended.model.network):
        return f"the undefended model '{undefended.name}' has the weights of '{subject.name}': name another"
    return None


def _describe(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "weights_sha256": weights_hash(subject.model.network),
        "temperature": subject.temperature,
    }


def _effort(effort: Effort) -> dict[str, Any]:
    return {**asdict(effort), "temperatures": list(effort.temperatures)}


def _sha(case: Judged) -> str:
    return hashlib.sha256(case.image.array.tobytes()).hexdigest()


def subject_of(name: str, device: str = "cpu") -> Subject:
    """Load a model by catalogue name or folder, with the temperature that its metadata records."""
    from AdvSegLib.segmenters.bundle import read_metadata
    from AdvSegLib.segmenters.catalogue import load_model, model_folder

    return Subject(name, load_model(name, device), recorded_temperature(read_metadata(model_folder(name))))


def recorded_temperature(metadata: Mapping[str, Any]) -> float:
    """Return the temperature at which a bundle says it was distilled (``results.defense.temperature``), else 1."""
    results = metadata.get("results")
    defense = results.get("defense") if isinstance(results, Mapping) else None
    value = defense.get("temperature", 1.0) if isinstance(defense, Mapping) else 1.0
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise BadRequest(f"the model's metadata records an impossible distillation temperature: {value!r}")
    return float(value)


def undefended_name(name: str) -> str | None:
    """Return the catalogue's model that a name begins with (``chest`` of ``chest-noise``), the longest if several.

    >>> undefended_name("nothing-like-it") is None
    True
    """
    from AdvSegLib.segmenters.catalogue import shipped_models

    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return max((model for model in shipped_models() if last.startswith(f"{model}-")), key=len, default=None)


def usual_undefended(subject: Subject, device: str = "cpu") -> Subject | None:
    """Return the shipped undefended model of a subject's family, None where there is none that it can be attacked by.

    A folder of one's own may be called ``chest-…`` too, and speak of something else, or hold the shipped weights.
    """
    name = undefended_name(subject.name)
    found = None if name is None else subject_of(name, device)
    return None if found is None or _unfit(subject, found) is not None else found


def at_batch(plan: Plan, model: Segmenter) -> Plan:
    """Return the plan with as many cases together as a device likes: several films on a GPU, else one at a time."""
    return replace(plan, batch=16 if model.device.type == "cuda" and model.spec.dims == 2 else 1)
