"""Sums of a loss of structures and a loss of voxels, as trainings use them."""

from __future__ import annotations

from torch import Tensor

from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses.overlap import soft_dice
from AdvSegLib.losses.voxelwise import cross_entropy, focal


def dice_ce(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return :func:`soft_dice` + :func:`cross_entropy`, both with weight 1 (nnU-Net's training loss)."""
    return soft_dice(logits, target, scheme) + cross_entropy(logits, target, scheme)


def dice_focal(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return :func:`soft_dice` + :func:`focal`, both with weight 1 (paper 000's training loss)."""
    return soft_dice(logits, target, scheme) + focal(logits, target, scheme)
