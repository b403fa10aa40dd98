"""What every attack is: a frozen dataclass of its parameters, on one engine. Light: no torch until it is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from AdvSegLib.parameters import Parameters

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from AdvSegLib.attacks.engine import AttackResult, Progress
    from AdvSegLib.budgets import Budget
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.targets import Goal

Aim = Literal["untargeted", "either", "targeted"]
LOSS_NAMES = ("dice", "dice-published", "iou", "ce", "bce")


@dataclass(frozen=True)
class Attack(Parameters, ABC):
    """Parameters of a walk along the gradient. Calling it walks; subclasses fill the hooks below.

    Hooks see and return tensors ``(N, C, *spatial)`` in source intensities and never project: the engine does.
    """

    source: ClassVar[str]
    aim: ClassVar[Aim] = "either"

    def __call__(
        self,
        segmenter: Segmenter,
        x: Tensor,
        goal: Goal,
        budget: Budget,
        *,
        seed: int = 0,
        progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> AttackResult:
        """Attack ``x`` ``(N, C, *spatial)`` within ``budget``; see :func:`AdvSegLib.attacks.engine.walk`."""
        from AdvSegLib.attacks.engine import walk

        return walk(self, segmenter, x, goal, budget, seed=seed, progress=progress, cancel=cancel)

    @property
    def loss_name(self) -> str:
        """The loss whose gradient is followed."""
        return str(getattr(self, "loss", "dice"))

    @property
    def step_count(self) -> int:
        """How many gradients are taken."""
        return int(getattr(self, "steps", 1))

    def start(self, clean: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Return where the walk begins: the clean image."""
        return clean

    @abstractmethod
    def stride(self, budget: Budget) -> float:
        """Return the length of one step in the budget's unit."""

    def direction(self, gradient: Tensor, budget: Budget) -> Tensor:
        """Return the unit step, in source intensities, that climbs steepest in the budget's norm."""
        unit = budget.unit(gradient)
        if budget.norm == "linf":
            return gradient.sign() * unit
        scaled = gradient * unit
        length = scaled.flatten(1).square().sum(1).sqrt().clamp_min(1e-12)
        return scaled / length.view(-1, *([1] * (gradient.ndim - 1))) * unit
