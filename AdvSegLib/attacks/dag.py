"""DAG (Xie et al. 2017), dense adversary generation: every voxel still right pulls, until none is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Attack
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk

PAPER_STEP = 0.5 / 255
"""The paper's gamma: 0.5 of 255 grey levels."""


@dataclass(frozen=True)
class DAG(Attack):
    """``x <- x + gamma r / |r|_inf``, ``r`` the gradient of the sum over active voxels of ``z_adversarial - z_true``.

    A voxel is active while its prediction is right; towards a target, while it is not yet the target, and then ``r``
    is of ``z_target - z_predicted``, as in the authors' code. Where channels stand alone each of them is on or off,
    and the adversarial label is the other. The walk ends by itself, so it needs no budget but the valid range.
    """

    name: ClassVar[str] = "dag"
    summary: ClassVar[str] = "Dense adversary generation: small steps for the voxels still right, until none is left"
    source: ClassVar[str] = "Xie et al. 2017, algorithm 1"
    default_epsilon: ClassVar[float] = 1.0

    steps: int = parameter(200, "largest number of steps", minimum=1)
    gamma: float = parameter(
        PAPER_STEP, "largest change of one step, in units of the budget; the paper's 0.5 of 255", minimum=0.0
    )
    adversarial: str = parameter(
        "random",
        "untargeted, the label each voxel is pushed to: one wrong label drawn for the whole walk (the paper), or the "
        "most likely wrong one at every step",
        choices=("random", "runner-up"),
    )
    success: float = parameter(
        1.0,
        "the walk of a sample ends when this share of its voxels is turned; the paper waits for all, its authors' "
        "code for 0.99",
        minimum=0.0,
        maximum=1.0,
    )

    def fell_short(self, walk: Walk) -> Tensor:
        """Return all that are still walking: who has arrived has left."""
        import torch

        return torch.ones(len(walk.clean), dtype=torch.bool)

    def start(self, walk: Walk) -> Tensor:
        """Return the clean image; the draw of the adversarial labels is made here."""
        if self.adversarial == "random":
            walk.memory["draw"] = walk.uniform(*walk.clean.shape[2:])
        return walk.clean

    def objective(self, look: Look) -> Tensor:
        """Return the sum over active decisions of rival logit minus wanted logit."""
        from AdvSegLib.attacks.decisions import lead, lead_over, wrong_label
        from AdvSegLib.losses.weighted import pending

        assert look.logits is not None
        active = pending(look.logits, look.target, look.scheme, look.sign)
        look.notes["turned"] = 1 - active.flatten(1).double().mean(1)
        if look.scheme.activation == "softmax" and look.sign > 0 and self.adversarial == "random":
            ahead = lead_over(look.logits, look.target, wrong_label(look.target, look.memory["draw"]))
        else:
            ahead = lead(look.logits, look.target, look.scheme)
        return -(active * ahead).flatten(1).sum(1)

    def finished(self, look: Look) -> Tensor:
        """Return which samples have enough voxels turned, or their overlap where asked for."""
        turned, overlap = look.notes["turned"] >= self.success, super().finished(look)
        return turned if overlap is None else turned | overlap

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the image moved by gamma at the voxel where ``r`` is largest, elsewhere in proportion."""
        from AdvSegLib.attacks.walking import per_sample

        assert look.gradient is not None
        unit = walk.budget.unit(look.x)
        pull = look.sign * look.gradient * unit
        largest = per_sample(pull.flatten(1).abs().amax(1), pull)
        return look.x + self.gamma * pull / largest.where(largest > 0, 1) * unit
