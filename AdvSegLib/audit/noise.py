"""Noise as large as an attack's, but not aimed: what any attack worth its name must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Aim, Attack

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Walk


@dataclass(frozen=True)
class RandomSigns(Attack):
    """``x + eps s``, s random signs voxel by voxel: a corner of the L-inf ball, drawn blindly. The control."""

    name: ClassVar[str] = "noise"
    summary: ClassVar[str] = "Random signs: noise of the whole budget, not aimed at anything"
    source: ClassVar[str] = "control"
    aim: ClassVar[Aim] = "untargeted"
    takes_gradient: ClassVar[bool] = False

    @property
    def step_count(self) -> int:
        """None: the walk ends where it starts."""
        return 0

    def start(self, walk: Walk) -> Tensor:
        """Return the clean image with ``+-epsilon`` at every voxel of every channel."""
        signs = 2.0 * (walk.uniform(*walk.clean.shape[1:]) < 0.5) - 1.0
        return walk.clean + signs * walk.budget.epsilon * walk.budget.unit(walk.clean)
