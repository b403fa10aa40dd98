"""What every attack is: a frozen dataclass of its parameters, on one engine. Light: no torch until it is called."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from AdvSegLib.errors import BadRequest

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from AdvSegLib.attacks.engine import AttackResult, Progress
    from AdvSegLib.budgets import Budget
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.targets import Goal

Aim = Literal["untargeted", "either", "targeted"]
LOSS_NAMES = ("dice", "dice-published", "iou", "ce", "bce")


def parameter(default: Any, doc: str, **limits: Any) -> Any:
    """Declare a parameter; ``doc`` and ``limits`` (``minimum``, ``maximum``, ``choices``) feed every interface."""
    return field(default=default, metadata={"doc": doc, **limits})


@dataclass(frozen=True)
class Attack(ABC):
    """Parameters of a walk along the gradient. Calling it walks; subclasses fill the hooks below.

    Hooks see and return tensors ``(N, C, *spatial)`` in source intensities and never project: the engine does.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    aim: ClassVar[Aim] = "either"

    def __post_init__(self) -> None:
        """Hold every parameter to its declared limits."""
        for item in fields(self):
            _check(self.name, item, getattr(self, item.name))

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

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Return the names of the attack's parameters."""
        return tuple(item.name for item in fields(cls))

    @classmethod
    def parameters(cls) -> list[dict[str, Any]]:
        """Return each parameter as JSON data: name, type, default, doc, and its limits."""
        return [
            {"name": item.name, "type": _type_name(item), "default": item.default, **item.metadata}
            for item in fields(cls)
            if item.default is not MISSING
        ]


def _type_name(item: Field[Any]) -> str:
    text = str(item.type)
    return next((name for name in ("bool", "int", "float") if text.startswith(name)), "str")


def _check(attack: str, item: Field[Any], value: Any) -> None:
    """Raise BadRequest where ``value`` has the wrong type or leaves the limits in the field's metadata."""
    limits = item.metadata
    optional = "None" in str(item.type)
    if value is None and optional:
        return
    kinds: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
    kind = _type_name(item)
    if not isinstance(value, kinds[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise BadRequest(f"{attack}: {item.name} must be {kind}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest(f"{attack}: {item.name} must be a finite number, not {value}")
    if "choices" in limits and value not in limits["choices"]:
        raise BadRequest(f"{attack}: {item.name} must be one of {', '.join(limits['choices'])}, not {value!r}")
    low, high = limits.get("minimum"), limits.get("maximum")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        wanted = " and ".join(f"{sign} {bound}" for sign, bound in ((">=", low), ("<=", high)) if bound is not None)
        raise BadRequest(f"{attack}: {item.name} must be {wanted}, not {value}")
