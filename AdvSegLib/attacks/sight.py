"""How a walk sees: one forward and one backward through the segmenter, with what memory and precision allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from AdvSegLib.attacks.walking import Look, Walk
from AdvSegLib.budgets import Budget
from AdvSegLib.segmenters.memory import Relief
from AdvSegLib.targets import Goal, Part

if TYPE_CHECKING:
    from AdvSegLib.attacks.base import Attack
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.segmenters.spec import Precision


class Sight:
    """An attack's view of images through a segmenter, towards or away from a goal."""

    def __init__(self, attack: Attack, segmenter: Segmenter, goal: Goal, precision: Precision) -> None:
        self.attack = attack
        self.goal = goal
        self.judge = Relief(segmenter)
        self.eye = self.judge if precision == segmenter.precision else Relief(segmenter.at(precision))
        self.scheme = segmenter.scheme
        self.part = Part.of(self.scheme, goal.structures)

    @property
    def notes(self) -> list[str]:
        """What memory forced, each note once."""
        return list(dict.fromkeys([*self.eye.notes, *self.judge.notes]))

    def begin(self, clean: Tensor, budget: Budget, generator: torch.Generator) -> Walk:
        """Return the walk at its start; BadRequest where the goal holds labels the scheme does not know."""
        labels, scheme = self.goal.labels, self.scheme
        wanted = [labels == value for value in scheme.values]
        if not bool(torch.stack([labels == 0, *wanted]).any(0).all()):
            scheme.check(torch.unique(labels).tolist(), "the goal")
        target = self.part.target(scheme.encode(labels, clean.dtype))
        return Walk(clean, budget, target, self.part.masks(wanted), generator, self.part)

    def look(self, path: Walk, x: Tensor, step: int) -> Look:
        """Return what step ``step`` sees at ``x``, its objective and gradient included."""
        state = path.generator.get_state()

        def work(segmenter: Segmenter) -> Look:
            path.generator.set_state(state)  # a second try, where memory ran out, makes the same draws
            return self._look(segmenter, path, x, step, self.attack.takes_gradient)

        return self.eye.run(work)

    def leaving(self, path: Walk, look: Look) -> Tensor | None:
        """Return which samples have reached their goal ``(N,)``, judged in full precision; None where none has.

        Only an attack that may stop early is asked, so that the others cost no sync with the device.
        """
        leaving = self.attack.finished(look)
        if leaving is None or not bool(leaving.any()):
            return None
        if self.eye is not self.judge:
            again = self.judge.run(lambda segmenter: self._look(segmenter, path, look.x, look.step, False))
            confirmed = self.attack.finished(again)
            leaving = leaving if confirmed is None else leaving & confirmed
        return leaving if bool(leaving.any()) else None

    def last(self, path: Walk, x: Tensor) -> Tensor:
        """Return where the walk ends: at ``x``, or for attacks with a merit at the best image, ``x`` included."""
        if path.best is None:
            return x
        look = self.judge.run(lambda s: self._look(s, path, x, self.attack.step_count - 1, False))
        merit = self.attack.merit(look)
        if merit is not None:
            path.remember(x, merit)
        return path.result(x)

    def short(self, path: Walk, x: Tensor) -> int:
        """Return how many of the samples that walked to the last step, and ended at ``x``, fell short."""
        short = self.attack.fell_short(path)
        if short is None or not bool(short.any()):
            return 0
        look = self.judge.run(lambda s: self._look(s, path, x, self.attack.step_count - 1, False))
        arrived = self.attack.finished(look)  # the last step may have brought it
        return int((short if arrived is None else short & ~arrived.to(short.device)).sum())

    def _look(self, segmenter: Segmenter, path: Walk, x: Tensor, step: int, gradient: bool) -> Look:
        with torch.set_grad_enabled(gradient):
            leaf = x.detach().requires_grad_(gradient)
            logits = self.attack.logits(segmenter, leaf, path)
            with torch.no_grad():
                predicted = self.part.masks(self.scheme.masks(logits.detach()))
            look = Look(
                step, self.attack.step_count, x, path.clean, path.target, self.goal.sign, self.part.scheme, predicted,
                path.wanted, path.budget.divisor(x), path.memory, self.part.logits(logits), leaf,
            )  # fmt: skip
            del logits
            value = self.attack.objective(look)
            look.logits = look.leaf = None  # frees them for the way back
            if gradient:
                (slope,) = torch.autograd.grad(value.sum(), leaf)
                look.gradient = path.budget.inside(slope)
            look.value = value.detach()
        return look
