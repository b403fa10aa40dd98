"""Where a walk stands (:class:`Walk`) and what it sees there (:class:`Look`): what the hooks of attacks work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from AdvSegLib.budgets import Budget
from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.overlap import overlap_of_masks, paper_iou_of_masks
from AdvSegLib.targets import Part

Kept = TypeVar("Kept")


@dataclass(eq=False)
class Look:
    """What a step sees of the image it stands on. First axis of every tensor: the samples still walking.

    ``logits`` and ``leaf`` (the image as a leaf of their graph) are there only while the objective is computed;
    ``unit`` is one unit of the budget in source intensities, never 0. ``logits``, ``target``, ``predicted``,
    ``wanted`` and ``scheme`` are of the structures the goal counts. ``value`` is the attack's objective and
    ``gradient`` that of its sum with respect to ``x``, 0 outside the budget's region; None where the attack takes
    none. ``memory`` is the walk's, to read; ``notes`` is for what an attack's objective tells its other hooks.
    """

    step: int
    steps: int
    x: Tensor
    clean: Tensor
    target: Tensor
    sign: int
    scheme: LabelScheme
    predicted: tuple[Tensor, ...]
    wanted: tuple[Tensor, ...]
    unit: Tensor
    memory: dict[str, Tensor]
    logits: Tensor | None = None
    leaf: Tensor | None = None
    value: Tensor | None = None
    gradient: Tensor | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def overlap(self) -> tuple[Tensor, Tensor]:
        """Mean foreground Dice and IoU of the prediction with the goal's label map, ``(N,)`` float64 each."""
        return overlap_of_masks(self.predicted, self.wanted)

    @cached_property
    def paper_iou(self) -> Tensor:
        """Paper 002's IoU of the prediction with the goal's label map, ``(N,)`` float64; 1 where both are empty."""
        return paper_iou_of_masks(self.predicted, self.wanted)


@dataclass(eq=False)
class Walk:
    """What a walk carries from step to step. First axis of every tensor: the samples still walking.

    ``target`` and ``wanted`` are of ``part``, the structures the goal counts. ``memory`` is the attack's own, for
    tensors of that first axis (momentum, step sizes). ``best`` and ``merit`` hold, for attacks that define a merit,
    the best image so far and what it was worth, ``improved`` where that was just now.
    """

    clean: Tensor
    budget: Budget
    target: Tensor
    wanted: tuple[Tensor, ...]
    generator: torch.Generator
    part: Part
    index: Tensor | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)
    best: Tensor | None = None
    merit: Tensor | None = None
    improved: Tensor | None = None
    holder: Callable[[Tensor, Tensor], Tensor] | None = None

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest allowed intensities ``(N, C, *spatial)``, for attacks that need them as numbers."""
        return self.budget.bounds(self.clean)

    def project(self, x: Tensor) -> Tensor:
        """Bring ``x`` back into the budget."""
        if self.holder is None:
            self.holder = self.budget.holder(self.clean)
        return self.holder(x, self.clean)

    def remember(self, x: Tensor, merit: Tensor) -> None:
        """Keep ``x`` of the samples whose ``merit`` ``(N,)`` is higher than any before."""
        if self.best is None or self.merit is None:
            self.best, self.merit, self.improved = x, merit, torch.ones_like(merit, dtype=torch.bool)
            return
        self.improved = merit > self.merit
        self.best = torch.where(per_sample(self.improved, x), x, self.best)
        self.merit = torch.where(self.improved, merit, self.merit)

    def result(self, x: Tensor) -> Tensor:
        """Return the best image where one is worth more than minus infinity, else ``x``."""
        if self.best is None or self.merit is None:
            return x
        return torch.where(per_sample(self.merit > -torch.inf, x), self.best, x)

    def uniform(self, *shape: int) -> Tensor:
        """Draw from [0, 1), ``(1, *shape)``: shared, so that no sample's walk depends on its neighbours."""
        like = self.clean
        return torch.rand(1, *shape, generator=self.generator, device=like.device, dtype=like.dtype)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape ``(N,)`` so that it broadcasts against ``like`` ``(N, C, *spatial)``."""
    return values.view(-1, *([1] * (like.ndim - 1)))


def keep(thing: Kept, staying: Tensor) -> Kept:
    """Return a :class:`Walk` or :class:`Look` of the samples where ``staying`` ``(N,)`` is True."""
    made = type(thing)(**{item.name: _kept(getattr(thing, item.name), staying) for item in fields(thing)})  # type: ignore[arg-type]
    if isinstance(thing, Walk):
        index = torch.arange(len(staying), device=staying.device) if thing.index is None else thing.index
        made.index, made.holder = index[staying], None  # type: ignore[attr-defined]
    return made


def _kept(value: Any, staying: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[staying] if value.shape[:1] == staying.shape else value
    if isinstance(value, tuple):
        return tuple(_kept(item, staying) for item in value)
    if isinstance(value, dict):
        return {name: _kept(item, staying) for name, item in value.items()}
    return value.of_samples(staying) if isinstance(value, Budget) else value
