"""Which attacks an audit runs, and what each of them is evidence of. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from AdvSegLib.attacks import Attack, make_attack
from AdvSegLib.audit.noise import RandomSigns
from AdvSegLib.errors import unknown_name

Role = Literal[
    "control", "plain", "steps", "sees-through", "temperature", "ensemble", "transfer", "query", "unbounded"
]
ROLES: dict[str, str] = {
    "control": "not an attack: noise of the same size",
    "plain": "on the model's own softmax, as papers report",
    "steps": "the same with fewer or more steps",
    "sees-through": "on logits, or on logits brought to a common scale",
    "temperature": "on the softmax of logits divided by a temperature",
    "ensemble": "APGD on the losses of Croce et al. 2024",
    "transfer": "crafted on the undefended model",
    "query": "by queries only, without gradients",
    "unbounded": "with the whole range as budget: nothing withstands it",
}
OWN_SOFTMAX = ("plain", "steps")
"""Roles of the attacks a defense is usually reported on."""
SEEING = ("sees-through", "temperature", "transfer", "query")
"""Roles of attacks that need no gradient of the model's own softmax."""
BLACK_BOX = ("transfer", "query")


@dataclass(frozen=True)
class Trial:
    """One attack of an audit: ``key`` names it, ``epsilon`` replaces the audit's budget where it is not None."""

    key: str
    title: str
    role: Role
    attack: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None

    def make(self) -> Attack:
        """Return the attack, from the library's registry."""
        return RandomSigns() if self.role == "control" else make_attack(self.attack, **self.parameters)


@dataclass(frozen=True)
class Effort:
    """How hard an audit tries: gradient ``steps``, ``queries``, ``temperatures`` tried beside the recorded one."""

    name: str
    cases: int
    steps: int
    queries: int
    temperatures: tuple[float, ...]


EFFORTS: dict[str, Effort] = {
    "quick": Effort("quick", 4, 10, 50, (10.0, 1000.0)),
    "standard": Effort("standard", 8, 20, 200, (10.0, 100.0, 1000.0)),
    "thorough": Effort("thorough", 20, 100, 1000, (10.0, 100.0, 1000.0, 10000.0)),
}


def find_effort(name: str) -> Effort:
    """Return an effort by name; BadRequest with the nearest name where there is none."""
    if name not in EFFORTS:
        raise unknown_name("effort", name, EFFORTS)
    return EFFORTS[name]


def suite(effort: Effort, *, temperature: float = 1.0, transfer: bool = False) -> tuple[Trial, ...]:
    """Return the attacks of an audit.

    ``temperature`` is the one the model was distilled at, 1 for none; ``transfer`` says that there is an undefended
    model to craft on.
    """
    steps = effort.steps
    trials = [Trial("noise", "noise of the same size", "control", "noise"), *_plain(steps), *_seeing(steps)]
    scan = dict.fromkeys((*((temperature,) if temperature != 1 else ()), *effort.temperatures))
    trials += [at_temperature(t, steps) for t in scan]
    trials += [
        Trial(f"apgd-{loss}", f"APGD, {loss}", "ensemble", "apgd", _at(temperature, steps=steps, loss=loss))
        for loss in ("ce-masked", "ce-balanced", "js")
    ]
    if transfer:
        pgd = {"steps": steps, "loss": "dice"}
        trials += [
            Trial("transfer-pgd", "PGD crafted on the undefended model", "transfer", "pgd", pgd),
            Trial("transfer-mi", "the same with momentum", "transfer", "pgd", {**pgd, "momentum": 1.0}),
        ]
    trials.append(Trial("square", f"Square, {effort.queries} queries", "query", "square", {"steps": effort.queries}))
    trials += [
        Trial(f"unbounded-{loss}", f"PGD, {loss}, whole range", "unbounded", "pgd",
              {"steps": 2 * steps, "loss": loss}, epsilon=1.0)
        for loss in ("margin", "ce-scaled")
    ]  # fmt: skip
    return tuple(trials)


def at_temperature(temperature: float, steps: int) -> Trial:
    """Return PGD on the softmax of logits divided by ``temperature``."""
    return Trial(
        f"pgd-dice-T{temperature:g}", f"PGD, Dice on softmax(z / {temperature:g})", "temperature", "pgd",
        _at(temperature, steps=steps, loss="dice"),
    )  # fmt: skip


def _plain(steps: int) -> list[Trial]:
    pgd = [
        Trial("pgd-dice" if n == steps else f"pgd-dice-{n}", f"PGD, Dice, {n} steps",
              "plain" if n == steps else "steps", "pgd", {"steps": n, "loss": "dice"})
        for n in (max(1, steps // 2), steps, 2 * steps)
    ]  # fmt: skip
    return [
        Trial("fgsm-dice", "FGSM, Dice", "plain", "fgsm", {"loss": "dice"}),
        Trial("i-fgsm-dice", "i-FGSM, Dice", "plain", "i-fgsm", {"steps": 10, "loss": "dice"}),
        *pgd,
    ]


def _seeing(steps: int) -> list[Trial]:
    titles = {
        "margin": "PGD, margin of logits",
        "logit-sum": "PGD, sum of logits",
        "ce-scaled": "PGD, cross-entropy of scaled logits",
        "dice-scaled": "PGD, Dice of scaled logits",
    }
    return [
        Trial(f"pgd-{loss}", title, "sees-through", "pgd", {"steps": steps, "loss": loss})
        for loss, title in titles.items()
    ]


def _at(temperature: float, **parameters: Any) -> dict[str, Any]:
    return parameters if temperature == 1 else {**parameters, "temperature": temperature}
