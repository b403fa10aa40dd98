"""APGD (Croce and Hein 2020): PGD with momentum that halves its own steps and restarts from the best image so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Attack
from AdvSegLib.loss_names import LOSS_NAMES
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk

MOMENTUM = 0.75
"""Algorithm 1's alpha: share of the new step; the rest is the last step again."""
FIRST_STEP = 2.0
"""The first step size, in epsilon."""
TRACKED = {"ce-masked": "ce", "ce-balanced": "ce"}
"""Losses whose value falls as voxels turn are judged by another one (Croce et al. 2024 track cross-entropy)."""


def checkpoints(steps: int) -> dict[int, int]:
    """Return after which steps the step size is reconsidered, and how many steps each period had.

    ``w_j = ceil(p_j N)``, ``p_1 = 0.22``, ``p_j = p_{j-1} + max(p_{j-1} - p_{j-2} - 0.03, 0.06)``, in exact
    hundredths; checkpoints of short walks that fall together count once.

    >>> list(checkpoints(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    found, place, period, last = {}, 22, 22, 0
    while place < 100:
        after = -(-place * steps // 100)
        if last < after < steps:
            found[after] = after - last
            last = after
        period = max(period - 3, 6)
        place += period
    return found


@dataclass(frozen=True)
class APGD(Attack):
    """``z = P(x + eta d)``, ``x <- P(x + 0.75 (z - x) + 0.25 (x - x_before))``, with a step size eta of each sample.

    At a checkpoint a sample's eta is halved, and it goes back to its best image, where fewer than ``rho`` of the steps
    since the last one raised its loss, or where eta was not halved then and the best loss has not changed since. The
    best image is returned. A checkpoint is judged once its last image has been seen, before the step from it.
    """

    name: ClassVar[str] = "apgd"
    summary: ClassVar[str] = "Auto-PGD: momentum, steps that halve where progress ends, restarts from the best image"
    source: ClassVar[str] = "Croce and Hein 2020, algorithm 1"

    steps: int = parameter(100, "number of steps", minimum=1)
    loss: str = parameter("ce", "loss whose gradient is followed", choices=LOSS_NAMES)
    tracked: str | None = parameter(
        None,
        "loss by which progress and the best image are judged; default: ce for ce-masked and ce-balanced, whose own "
        "value falls as voxels turn, else the loss itself",
        choices=LOSS_NAMES,
    )
    rho: float = parameter(0.75, "share of steps that must raise the loss for the step size to stay", minimum=0.0)
    random_start: bool = parameter(False, "begin at a uniform random point of the ball")

    def start(self, walk: Walk) -> Tensor:
        """Return the clean image, or a point drawn from the ball around it."""
        if not self.random_start:
            return walk.clean
        from AdvSegLib.attacks.random_starts import random_point

        return random_point(walk)

    def objective(self, look: Look) -> Tensor:
        """Return the loss, and note the tracked one."""
        tracked = self.tracked or TRACKED.get(self.loss, self.loss)
        if tracked != self.loss:
            from AdvSegLib.losses import get_loss

            assert look.logits is not None
            logits = look.logits.detach() / self.temperature
            look.notes["tracked"] = get_loss(tracked)(logits, look.target, look.scheme, sign=look.sign)
        return super().objective(look)

    def merit(self, look: Look) -> Tensor:
        """Return the tracked loss, upwards."""
        value = look.notes.get("tracked", look.value)
        assert value is not None
        return look.sign * value

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the next image; restarts first."""
        from AdvSegLib.attacks.walking import per_sample

        first = look.step == 0
        x, gradient = self._resumed(walk, look)
        stride = per_sample(walk.memory["stride"], x) * look.sign
        ahead = walk.project(x + stride * self.direction(gradient, walk.budget))
        before, walk.memory["before"] = walk.memory.get("before", x), x
        return ahead if first else x + MOMENTUM * (ahead - x) + (1 - MOMENTUM) * (x - before)

    def _resumed(self, walk: Walk, look: Look) -> tuple[Tensor, Tensor]:
        """Return where to step from and the gradient there: this image, or the best one where a sample restarts."""
        import torch

        from AdvSegLib.attacks.walking import per_sample

        memory, x, gradient, value = walk.memory, look.x, look.gradient, self.merit(look)
        assert gradient is not None
        assert walk.best is not None
        assert walk.merit is not None
        assert walk.improved is not None
        if look.step == 0:
            memory["stride"] = value.new_full(value.shape, FIRST_STEP * walk.budget.epsilon)
            memory["rises"], memory["halved"] = torch.zeros_like(value), torch.zeros_like(value, dtype=torch.bool)
            memory["checked"], memory["slope"], memory["value"] = value, gradient, value
            return x, gradient
        memory["rises"] = memory["rises"] + (value > memory["value"])
        memory["slope"] = gradient.where(per_sample(walk.improved, x), memory["slope"])
        memory["value"] = value
        period = checkpoints(self.steps).get(look.step)
        if period is None:
            return x, gradient
        stuck = ~memory["halved"] & (memory["checked"] == walk.merit)
        halve = (memory["rises"] < self.rho * period) | stuck
        memory["stride"] = memory["stride"] * (1 - 0.5 * halve.to(value))
        memory["rises"], memory["halved"] = torch.zeros_like(value), halve
        memory["checked"], memory["value"] = walk.merit, walk.merit.where(halve, value)
        back = per_sample(halve, x)
        return walk.best.where(back, x), memory["slope"].where(back, gradient)
