"""The one loop of all attacks: look, judge, gradient, step, projection; history and cancel at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from AdvSegLib.attacks.history import History, Progress, StepRecord, Watch
from AdvSegLib.attacks.sight import Sight
from AdvSegLib.attacks.walking import Look, Walk, keep
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.targets import Goal

if TYPE_CHECKING:
    from AdvSegLib.attacks.base import Attack
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.segmenters.spec import Precision

__all__ = ["AttackResult", "Progress", "StepRecord", "Watch", "walk"]


@dataclass(frozen=True, eq=False)
class AttackResult:
    """An adversarial image ``(N, C, *spatial)`` beside its clean one, and the walk that led there.

    ``notes`` says what was done otherwise than asked, such as smaller windows where memory ran out.
    """

    clean: Tensor
    adversarial: Tensor
    history: tuple[StepRecord, ...]
    notes: tuple[str, ...] = ()

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
    precision: Precision = "fp32",
    progress: Progress | None = None,
    watch: Watch | None = None,
    cancel: Callable[[], bool] | None = None,
) -> AttackResult:
    """Walk from ``x`` ``(N, C, *spatial)`` along the attack's direction, inside ``budget``, for its steps.

    ``precision="bf16"`` takes the gradients in bfloat16; whether a sample has reached its goal is still judged in
    ``segmenter``'s own precision. A sample that has leaves the batch. ``watch`` sees the images before every step.
    Raises BadRequest where image, goal and budget do not fit, Cancelled when ``cancel()`` says so, and AdvSegError
    where the loss or its gradient is not finite.
    """
    clean = x.detach()
    if goal.labels.shape != (clean.shape[0], *clean.shape[2:]):
        raise BadRequest(f"goal {tuple(goal.labels.shape)} does not fit images {tuple(clean.shape)}")
    budget = budget.like(clean)
    sight = Sight(attack, segmenter, goal, precision)
    path = sight.begin(clean, budget, torch.Generator(device=clean.device).manual_seed(seed))
    adversarial, left = path.project(attack.start(path)), _Left(clean)
    history, finite = History(), torch.ones((), dtype=torch.bool, device=clean.device)
    for step in range(attack.step_count):
        if cancel is not None and cancel():
            raise Cancelled(f"{attack.name} cancelled before step {step + 1} of {attack.step_count}")
        look = sight.look(path, adversarial, step)
        finite &= _finite(look)
        record = history.add(step, _numbers(look, path), path.index)
        if progress is not None:
            progress(step, attack.step_count, record)
        if watch is not None:
            watch(step, left.whole(path, adversarial))
        with torch.no_grad():
            merit = attack.merit(look)
            if merit is not None:
                path.remember(adversarial, merit)
            leaving = sight.leaving(path, look)
            if leaving is not None:
                left.take(path, look.x, leaving)
                if bool(leaving.all()):
                    break
                path, look = keep(path, ~leaving), keep(look, ~leaving)
            adversarial = attack.advance(path, look)
            del look  # its images and gradient are not needed while projecting
            adversarial = path.project(adversarial)
    else:
        adversarial = sight.last(path, adversarial)
        short = sight.short(path, adversarial)
        if short:
            sight.judge.notes.append(_short_note(attack, short, len(clean)))
        adversarial = left.fill(path, adversarial)
    adversarial = budget.tighten(left.images if left.images is not None else adversarial, clean)
    if not bool(finite):
        raise AdvSegError(
            f"{attack.name}: loss or gradient is not finite; try another loss, or look at the model's input"
        )
    return AttackResult(clean, adversarial.detach(), tuple(history.records), tuple(sight.notes))


class _Left:
    """The images of samples that have left the walk; nothing is held until one does."""

    def __init__(self, clean: Tensor) -> None:
        self.clean = clean
        self.images: Tensor | None = None

    def take(self, path: Walk, x: Tensor, leaving: Tensor) -> None:
        """Hold the images at which the samples at ``leaving``, a mask of those still walking, have arrived."""
        if self.images is None:
            self.images = self.clean.clone()
        where = leaving.nonzero()[:, 0] if path.index is None else path.index[leaving]
        self.images[where] = x[leaving]

    def whole(self, path: Walk, x: Tensor) -> Tensor:
        """Return the whole batch as it stands while some samples still walk at ``x``."""
        if self.images is None or path.index is None:
            return x
        return self.images.index_copy(0, path.index, x)

    def fill(self, path: Walk, x: Tensor) -> Tensor:
        """Return the whole batch once the samples still walking have ended at ``x``."""
        if self.images is None or path.index is None:
            return x
        self.images[path.index] = x
        return self.images


def _short_note(attack: Attack, short: int, of: int) -> str:
    who = "the image" if of == 1 else f"{short} of {of} images"
    return f"{attack.name} did not bring {who} where it should in {attack.step_count} steps: take more, or larger ones"


def _numbers(look: Look, path: Walk) -> dict[str, Tensor]:
    assert look.value is not None
    dice, iou = look.overlap
    return {"loss": look.value, "dice": dice, "iou": iou, **path.budget.distances(look.x, look.clean)}


def _finite(look: Look) -> Tensor:
    assert look.value is not None
    finite = look.value.isfinite().all()
    if look.gradient is not None:
        finite = finite & look.gradient.amax().isfinite() & look.gradient.amin().isfinite()
    return finite
