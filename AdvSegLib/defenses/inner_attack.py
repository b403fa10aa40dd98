"""The attack inside a training: the library's own, on the network as it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from AdvSegLib.attacks import ATTACKS, Attack, make_attack
from AdvSegLib.budgets import Budget
from AdvSegLib.defenses.plan import AdversarialTraining
from AdvSegLib.errors import unknown_name
from AdvSegLib.loss_names import LOSS_NAMES
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Precision, Spec
from AdvSegLib.targets import Untargeted


@dataclass(frozen=True, eq=False)
class InnerAttack:
    """Moves a batch within epsilon of each sample's and channel's range, away from its labels.

    It runs on the bare network, never on a wrapper that synchronises gradients, through the network's own intensity
    mapping, and in **eval** mode: batch norm then uses its running statistics and dropout is off. That is the function
    which an attacker will meet; a sample's attack does not depend on its neighbours in the batch or on how many
    processes share it; and the attack's forwards leave the running statistics alone (Pang et al. 2021 find clean
    accuracy better for it). The network comes back in the mode it was in.
    """

    attack: Attack
    network: nn.Module
    spec: Spec
    precision: Precision = "fp32"

    def __call__(self, x: Tensor, labels: Tensor, epsilon: float, seed: tuple[int, int]) -> Tensor:
        """Return ``x`` ``(N, C, *spatial)`` attacked, detached; ``seed`` alone decides its random start."""
        training = self.network.training
        try:
            result = self.attack(
                Segmenter(self.network, self.spec), x, Untargeted(labels), Budget.of_range(x, epsilon),
                seed=int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0]), precision=self.precision,
            )  # fmt: skip
        finally:
            self.network.train(training)
        return result.adversarial


def build_inner_attack(
    plan: AdversarialTraining, network: nn.Module, spec: Spec, training_loss: str, precision: Precision
) -> InnerAttack:
    """Return the inner attack of a plan; a batch is one window."""
    return InnerAttack(_attack(plan, training_loss), network, replace(on_grid(spec), windows=None), precision)


def on_grid(spec: Spec) -> Spec:
    """Return a spec that resamples nothing: a training's samples already are on the network's grid."""
    return replace(spec, size=(), spacing=(), orientation="")


def _attack(plan: AdversarialTraining, training_loss: str) -> Attack:
    known = ATTACKS[plan.attack].parameter_names()
    wanted: dict[str, Any] = {
        "steps": plan.steps, "alpha": plan.alpha, "random_start": plan.random_start or None, "loss": plan.loss,
    }  # fmt: skip
    given = {name: value for name, value in wanted.items() if value is not None}
    for name in given:
        if name not in known:
            raise unknown_name(f"parameter of {plan.attack}", name, known)
    own = training_loss.replace("+", "-")
    if "loss" not in given and own in _choices(plan.attack):
        given["loss"] = own
    return make_attack(plan.attack, **given)


def _choices(attack: str) -> tuple[str, ...]:
    """Return the losses an attack can climb."""
    for item in ATTACKS[attack].parameters():
        if item["name"] == "loss":
            return tuple(item.get("choices", LOSS_NAMES))
    return ()
