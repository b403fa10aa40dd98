"""What an attack is for: away from a label map, or towards one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Goal:
    """A label map ``(N, *spatial)`` of label values, and whether to approach it or to leave it."""

    labels: Tensor
    sign: int
    """+1 climbs the loss against ``labels``, -1 descends it."""

    def __repr__(self) -> str:
        """Say what is wanted, not the voxels."""
        kind = "Targeted" if self.sign < 0 else "Untargeted"
        return f"{kind}(labels {tuple(self.labels.shape)}, values {torch.unique(self.labels).tolist()})"


def Untargeted(truth: Tensor) -> Goal:  # noqa: N802 - reads as the field writes it
    """Away from ``truth``: ground truth, or the clean prediction."""
    return Goal(truth, +1)


def Targeted(target: Tensor) -> Goal:  # noqa: N802 - reads as the field writes it
    """Towards ``target``."""
    return Goal(target, -1)


def constant_target(like: Tensor, label: int) -> Tensor:
    """Return the target of paper 001's ti-FGSM: every voxel ``label``; ``like`` is ``(N, *spatial)``."""
    return torch.full_like(like, label)
