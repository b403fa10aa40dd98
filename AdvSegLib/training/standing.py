"""Where a training stands, beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class Standing:
    """How many iterations are done, their losses since the last validation, the best weights seen, time spent (s)."""

    iteration: int = 0
    seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    best_dice: float = -1.0
    best_iteration: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def judged(self, dice: float, network: nn.Module) -> bool:
        """Note the weights where ``dice`` is the best so far; return whether it is."""
        if dice <= self.best_dice:
            return False
        self.best_dice, self.best_iteration = dice, self.iteration
        self.best_weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return True

    def to_state(self) -> dict[str, Any]:
        """Return plain data for a snapshot."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Standing:
        """Read what :meth:`to_state` returned."""
        return cls(**state)
