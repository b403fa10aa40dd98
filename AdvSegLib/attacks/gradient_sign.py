"""The gradient sign family: FGSM, i-FGSM, ti-FGSM (paper 001, eq. 1-3) and PGD (paper 003, eq. 2-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import LOSS_NAMES, Aim, Attack
from AdvSegLib.attacks.momentum import DiverseInputs, accumulated
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk
    from AdvSegLib.budgets import Budget

PAPER_STEP = 1 / 20
"""Paper 003: alpha = epsilon / 20, with 100 steps."""
REACH = 2.5
"""With few steps PGD strides epsilon * REACH / steps, so that it can cross the ball (Madry et al. 2018)."""


@dataclass(frozen=True)
class FGSM(Attack):
    """``x + eps sign(grad J(x, y))``: one step of the whole budget; towards a target it descends."""

    name: ClassVar[str] = "fgsm"
    summary: ClassVar[str] = "Fast gradient sign method: one step of the whole budget"
    source: ClassVar[str] = "Liu et al. 2021, eq. 1"

    loss: str = parameter("dice", "loss whose gradient is followed", choices=LOSS_NAMES)

    def stride(self, budget: Budget) -> float:
        """Go all the way."""
        return budget.epsilon


@dataclass(frozen=True)
class IterativeFGSM(Attack):
    """``x <- x + alpha sign(grad J(x, y))``, N times, with alpha N = epsilon and no random start."""

    name: ClassVar[str] = "i-fgsm"
    summary: ClassVar[str] = "Iterative FGSM: N equal steps that add up to the budget"
    source: ClassVar[str] = "Liu et al. 2021, eq. 2"

    steps: int = parameter(10, "number of steps N; each is epsilon / N", minimum=1)
    loss: str = parameter("dice", "loss whose gradient is followed", choices=LOSS_NAMES)

    def stride(self, budget: Budget) -> float:
        """Return alpha = epsilon / N."""
        return budget.epsilon / self.steps


@dataclass(frozen=True)
class TargetedIterativeFGSM(IterativeFGSM):
    """i-FGSM that *minimises* the loss to a target (the text of paper 001; eq. 3 as printed has a plus)."""

    name: ClassVar[str] = "ti-fgsm"
    summary: ClassVar[str] = "Targeted iterative FGSM: towards a target, by default one label everywhere"
    source: ClassVar[str] = "Liu et al. 2021, eq. 3, descending as its text says"
    aim: ClassVar[Aim] = "targeted"

    label: int = parameter(1, "label of every voxel where no target is given", minimum=0)


@dataclass(frozen=True)
class PGD(DiverseInputs):
    """``x <- clip(x + alpha sign(grad J))`` to the eps-ball, then the valid range; in L2 likewise, normalised.

    ``momentum`` and ``diversity`` are not the paper's: they help a walk on a surrogate to transfer.
    """

    name: ClassVar[str] = "pgd"
    summary: ClassVar[str] = "Projected gradient descent: many small steps, projected back into the budget"
    source: ClassVar[str] = "Bortsova et al. 2020, eq. 2-3"

    steps: int = parameter(100, "number of steps", minimum=1)
    alpha: float | None = parameter(
        None, "step as a fraction of epsilon; default 1/20 as in the paper, 2.5/steps below 50 steps", minimum=0.0
    )
    loss: str = parameter("iou", "loss whose gradient is followed", choices=LOSS_NAMES)
    random_start: bool = parameter(False, "begin at a uniform random point of the ball (the papers do not)")
    momentum: float = parameter(
        0.0, "share of the accumulated gradient that each step keeps (MI-FGSM's is 1)", minimum=0.0
    )

    def stride(self, budget: Budget) -> float:
        """Return alpha in the budget's unit."""
        alpha = max(PAPER_STEP, REACH / self.steps) if self.alpha is None else self.alpha
        return alpha * budget.epsilon

    def start(self, walk: Walk) -> Tensor:
        """Return the clean image, or a point drawn from the ball around it."""
        if not self.random_start:
            return walk.clean
        from AdvSegLib.attacks.random_starts import random_point

        return random_point(walk)

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return a stride along the gradient, or along what has accumulated of it."""
        if self.momentum:
            look.gradient = accumulated(walk, look, self.momentum)
        return super().advance(walk, look)
