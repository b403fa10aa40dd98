"""What every attack is: a frozen dataclass of its parameters, on one engine. Light: no torch until it is called."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from AdvSegLib.loss_names import LOSS_NAMES
from AdvSegLib.parameters import Parameters, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.engine import AttackResult
    from AdvSegLib.attacks.history import Progress, Watch
    from AdvSegLib.attacks.walking import Look, Walk
    from AdvSegLib.budgets import Budget
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.segmenters.spec import Precision
    from AdvSegLib.targets import Goal

Aim = Literal["untargeted", "either", "targeted"]

__all__ = ["LOSS_NAMES", "Aim", "Attack"]


@dataclass(frozen=True)
class Attack(Parameters, ABC):
    """Parameters of a walk. Calling it walks; subclasses fill the hooks below.

    Hooks see and return tensors ``(N, C, *spatial)`` in source intensities and never project: the engine does. What a
    walk must remember per sample goes into ``walk.memory``; random draws come from ``walk.uniform``.
    """

    shared: ClassVar[tuple[str, ...]] = ("diversity", "diversity_scale", "stop_at", "temperature")
    source: ClassVar[str]
    aim: ClassVar[Aim] = "either"
    takes_gradient: ClassVar[bool] = True
    """False for attacks that only query."""
    default_epsilon: ClassVar[float] = 0.05
    """L-inf budget where none is asked for; 1 (the whole range) for attacks that bound their change themselves."""

    stop_at: float | None = parameter(
        None,
        "a sample leaves the walk once the mean IoU of its prediction with the goal's label map is at least this "
        "(targeted) or at most this (untargeted); default: take every step",
        minimum=0.0,
        maximum=1.0,
    )
    temperature: float = parameter(
        1.0,
        "logits are divided by this before the loss: a network distilled at T shows its gradients at T",
        minimum=1e-9,
    )

    def __call__(
        self,
        segmenter: Segmenter,
        x: Tensor,
        goal: Goal,
        budget: Budget,
        *,
        seed: int = 0,
        precision: Precision = "fp32",
        progress: Progress | None = None,
        watch: Watch | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> AttackResult:
        """Attack ``x`` ``(N, C, *spatial)`` within ``budget``; see :func:`AdvSegLib.attacks.engine.walk`."""
        from AdvSegLib.attacks.engine import walk

        return walk(
            self, segmenter, x, goal, budget,
            seed=seed, precision=precision, progress=progress, watch=watch, cancel=cancel,
        )  # fmt: skip

    @property
    def bounds_itself(self) -> bool:
        """Whether the attack needs no budget beside the valid range."""
        return self.default_epsilon >= 1

    @property
    def loss_name(self) -> str:
        """The loss whose gradient is followed."""
        return str(getattr(self, "loss", "dice"))

    @property
    def step_count(self) -> int:
        """How many gradients are taken."""
        return int(getattr(self, "steps", 1))

    def start(self, walk: Walk) -> Tensor:
        """Return where the walk begins: the clean image."""
        return walk.clean

    def logits(self, segmenter: Segmenter, x: Tensor, walk: Walk) -> Tensor:
        """Return the logits of ``x``, differentiably."""
        return segmenter.logits(x)

    def objective(self, look: Look) -> Tensor:
        """Return the loss ``(N,)`` that is climbed where ``look.sign`` is +1 and descended where it is -1."""
        from AdvSegLib.losses import get_loss

        assert look.logits is not None
        logits = look.logits if self.temperature == 1 else look.logits / self.temperature
        return get_loss(self.loss_name)(logits, look.target, look.scheme, sign=look.sign)

    def finished(self, look: Look) -> Tensor | None:
        """Return which samples have reached their goal ``(N,)``; None where the walk never ends early."""
        if self.stop_at is None:
            return None
        iou = look.overlap[1]
        return iou >= self.stop_at if look.sign < 0 else iou <= self.stop_at

    def fell_short(self, walk: Walk) -> Tensor | None:
        """Return which samples that walked to the last step did not get where the attack means to bring them."""
        import torch

        return None if self.stop_at is None else torch.ones(len(walk.clean), dtype=torch.bool)

    def merit(self, look: Look) -> Tensor | None:
        """Return what the image is worth ``(N,)``, for attacks that end at their best image instead of the last."""
        return None

    def stride(self, budget: Budget) -> float:
        """Return the length of one step in the budget's unit."""
        raise NotImplementedError(f"{self.name} fills neither stride() nor advance()")

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the next image: a stride along the direction, down the objective where the goal is a target."""
        assert look.gradient is not None
        import torch

        step = self.direction(look.gradient, walk.budget)
        return torch.add(look.x, step, alpha=look.sign * self.stride(walk.budget))

    def direction(self, gradient: Tensor, budget: Budget) -> Tensor:
        """Return the unit step, in source intensities, that climbs steepest in the budget's norm."""
        unit = budget.unit(gradient)
        if budget.norm == "linf":
            return gradient.sign().mul_(unit)
        scaled = gradient * unit
        length = scaled.flatten(1).square().sum(1).sqrt().clamp_min(1e-12)
        return scaled / length.view(-1, *([1] * (gradient.ndim - 1))) * unit
