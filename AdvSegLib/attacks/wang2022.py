"""Paper 000's FGSM, as its text has it and as the authors' published notebook computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Attack
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk
    from AdvSegLib.budgets import Budget

CONVENTIONS = ("additive", "wang2022-published")
ARGUMENTS = ("correct", "published-swapped")
SWAPPED_LOSSES = ("bce", "dice-focal")


@dataclass(frozen=True)
class Wang2022FGSM(Attack):
    """``x + eps sign(grad J)``, or the notebook's ``(1 - eps) x + eps sign(grad J)``, x scaled to [0, 1].

    The notebook calls its losses as ``loss(mask, output)``: the mask takes the place of the logits and the logits that
    of the target. Its BCE with logits then has the gradient ``-mask`` with respect to the output, whatever the output
    is; its Dice-focal loss squashes the mask and takes raw logits for a target. ``arguments="published-swapped"``
    computes that. The published convention moves a voxel by up to ``strength (1 + x)``, so it is no step of an L-inf
    ball of that radius; the attack therefore bounds itself, and a smaller budget clips it.
    """

    name: ClassVar[str] = "wang2022"
    summary: ClassVar[str] = "FGSM as paper 000 writes it, or as its notebook computes it"
    source: ClassVar[str] = "Wang & Xu 2022; github.com/ZhongxuanWang/adv_attk, notebooks/utils.ipynb"
    default_epsilon: ClassVar[float] = 1.0

    strength: float = parameter(
        0.007,
        "eps of the formula, images scaled to [0, 1] (the notebook's default: 0.007)",
        minimum=0.0,
        maximum=1.0,
    )
    loss: str = parameter("bce", "loss whose gradient is followed; the networks were trained with dice-focal",
                          choices=SWAPPED_LOSSES)  # fmt: skip
    convention: str = parameter(
        "additive", "additive: x + eps sign; wang2022-published: (1 - eps) x + eps sign", choices=CONVENTIONS
    )
    arguments: str = parameter(
        "correct", "correct: loss(output, mask); published-swapped: loss(mask, output)", choices=ARGUMENTS
    )

    def stride(self, budget: Budget) -> float:
        """Return the step in the budget's unit: the strength, whatever the budget allows."""
        return self.strength

    def objective(self, look: Look) -> Tensor:
        """Return the loss, its arguments as asked for."""
        if self.arguments == "correct":
            return super().objective(look)
        assert look.logits is not None
        return swapped_loss(self.loss, look.logits / self.temperature, look.target)

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the image moved along the sign, and in the published convention shrunk towards its lowest value."""
        moved = super().advance(walk, look)
        if self.convention == "additive":
            return moved
        return moved - self.strength * (look.x - walk.budget.low)


def swapped_loss(name: str, logits: Tensor, mask: Tensor) -> Tensor:
    """Return ``loss(mask, output)`` of each sample ``(N,)`` as the notebook's libraries compute it.

    ``bce`` is ``torch.nn.BCEWithLogitsLoss``; ``dice-focal`` is MONAI's ``DiceFocalLoss(sigmoid=True)``, whose Dice
    has no squares and smooths by 1e-5, and whose focal loss has gamma 2. Both are averaged per sample.
    """
    from torch.nn import functional as F

    if name == "bce":
        return F.binary_cross_entropy_with_logits(mask, logits, reduction="none").flatten(1).mean(1)
    squashed = mask.sigmoid().flatten(2)
    target = logits.flatten(2)
    shared, total = (squashed * target).sum(2), squashed.sum(2) + target.sum(2)
    dice = 1 - ((2 * shared + 1e-5) / (total + 1e-5)).mean(1)
    ce = F.binary_cross_entropy_with_logits(mask, logits, reduction="none").flatten(1)
    away = F.logsigmoid(-mask * (2 * logits - 1)).flatten(1)
    return dice + ((2.0 * away).exp() * ce).mean(1)
