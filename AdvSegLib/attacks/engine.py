"""The one loop of all gradient attacks: logits, loss, gradient, step, projection; history and cancel at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from AdvSegLib.budgets import Budget
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses import get_loss
from AdvSegLib.metrics.overlap import mean_dice_of_masks
from AdvSegLib.targets import Goal

if TYPE_CHECKING:
    from AdvSegLib.attacks.base import Attack
    from AdvSegLib.segmenters.segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class StepRecord:
    """What was true of each sample *before* step ``step``, all ``(N,)`` on the attack's device.

    ``dice`` is the mean foreground Dice of the prediction with the goal's label map; distances are in the budget's
    unit.
    """

    step: int
    loss: Tensor
    dice: Tensor
    linf: Tensor
    l2: Tensor
    mse: Tensor

    def numbers(self, sample: int = 0) -> dict[str, float]:
        """Return one sample's numbers; PSNR (dB) is relative to one unit of the budget, inf where nothing changed."""
        mse = float(self.mse[sample])
        return {
            "step": self.step,
            "loss": float(self.loss[sample]),
            "dice": float(self.dice[sample]),
            "linf": float(self.linf[sample]),
            "l2": float(self.l2[sample]),
            "psnr": float("inf") if mse == 0 else float(-10 * torch.log10(self.mse[sample].double())),
        }


class Progress(Protocol):
    """Called before every step; reading the record's tensors is what costs a device sync."""

    def __call__(self, step: int, steps: int, record: StepRecord) -> None:
        """Take note of step ``step`` (from 0) of ``steps``."""


@dataclass(frozen=True, eq=False)
class AttackResult:
    """An adversarial image ``(N, C, *spatial)`` beside its clean one, and the walk that led there."""

    clean: Tensor
    adversarial: Tensor
    history: tuple[StepRecord, ...]

    @cached_property
    def perturbation(self) -> Tensor:
        """What was added, ``(N, C, *spatial)`` in source intensities."""
        return self.adversarial - self.clean


def walk(
    attack: Attack,
    segmenter: Segmenter,
    x: Tensor,
    goal: Goal,
    budget: Budget,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> AttackResult:
    """Walk from ``x`` ``(N, C, *spatial)`` along the attack's direction, inside ``budget``, for its steps.

    Raises BadRequest where image, goal and budget do not fit, Cancelled when ``cancel()`` says so, and AdvSegError
    where the loss or its gradient is not finite.
    """
    clean = x.detach()
    if goal.labels.shape != (clean.shape[0], *clean.shape[2:]):
        raise BadRequest(f"goal {tuple(goal.labels.shape)} does not fit images {tuple(clean.shape)}")
    budget = budget.like(clean)
    bounds = budget.bounds(clean)
    generator = torch.Generator(device=clean.device).manual_seed(seed)
    objective = _Objective(segmenter, goal, attack.loss_name, clean.dtype)
    adversarial = budget.project(attack.start(clean, budget, generator), clean, bounds)
    stride = attack.stride(budget)
    history = []
    finite = torch.ones((), dtype=torch.bool, device=clean.device)
    for step in range(attack.step_count):
        if cancel is not None and cancel():
            raise Cancelled(f"{attack.name} cancelled before step {step + 1} of {attack.step_count}")
        loss, dice, gradient = objective.gradient(adversarial)
        finite &= loss.isfinite().all() & gradient.amax().isfinite() & gradient.amin().isfinite()
        record = StepRecord(step, loss, dice, **budget.distances(adversarial, clean))
        history.append(record)
        if progress is not None:
            progress(step, attack.step_count, record)
        with torch.no_grad():
            adversarial = adversarial + goal.sign * stride * attack.direction(gradient, budget)
            adversarial = budget.project(adversarial, clean, bounds)
    adversarial = budget.tighten(adversarial, clean)
    if not bool(finite):
        raise AdvSegError(
            f"{attack.name}: loss or gradient is not finite; try another loss, or look at the model's input"
        )
    return AttackResult(clean, adversarial.detach(), tuple(history))


class _Objective:
    """Loss and gradient of the goal at an image, with what the step's own logits say of it."""

    def __init__(self, segmenter: Segmenter, goal: Goal, loss: str, dtype: torch.dtype) -> None:
        self.segmenter = segmenter
        self.scheme: LabelScheme = segmenter.scheme
        self.loss = get_loss(loss)
        self.wanted = [goal.labels == value for value in self.scheme.values]
        if not bool(torch.stack([goal.labels == 0, *self.wanted]).any(0).all()):
            self.scheme.check(torch.unique(goal.labels).tolist(), "the goal")
        self.target = self.scheme.encode(goal.labels, dtype)

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss and Dice with the goal, ``(N,)`` each, and the summed loss's gradient ``(N, C, *spatial)``."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            logits = self.segmenter.logits(leaf)
            loss = self.loss(logits, self.target, self.scheme)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        with torch.no_grad():
            dice = mean_dice_of_masks(self.scheme.masks(logits.detach()), self.wanted)
        return loss.detach(), dice, gradient


def random_point(clean: Tensor, budget: Budget, generator: torch.Generator) -> Tensor:
    """Draw a point of the ball, ``(N, C, *spatial)``: uniform in the cube (``linf``) or in the ball (``l2``)."""
    if budget.norm == "linf":
        cube = torch.empty_like(clean).uniform_(-1, 1, generator=generator)
        return clean + cube * budget.epsilon * budget.unit(clean)
    normal = torch.empty_like(clean).normal_(generator=generator)
    radius = torch.empty_like(clean[:, 0].flatten(1)[:, 0]).uniform_(0, 1, generator=generator)
    length: Tensor = torch.linalg.vector_norm(normal.flatten(1), dim=1)
    factor = budget.epsilon * radius ** (1 / clean[0].numel()) / length
    return clean + normal * factor.view(-1, *([1] * (clean.ndim - 1))) * budget.unit(clean)
