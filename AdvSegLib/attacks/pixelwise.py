"""PGD on cross-entropy with a weight on every voxel: SegPGD (Gu et al. 2022), CosPGD (Agnihotri 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.gradient_sign import PGD
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look


@dataclass(frozen=True)
class SegPGD(PGD):
    """PGD that first presses on the voxels still to be turned, and ever more evenly on all of them later."""

    name: ClassVar[str] = "segpgd"
    summary: ClassVar[str] = "SegPGD: PGD whose weight moves from the voxels still to be turned to all of them"
    source: ClassVar[str] = "Gu et al. 2022, algorithm 1"

    steps: int = parameter(20, "number of steps", minimum=1)
    loss: str = parameter("ce", "the loss that is weighted per voxel", choices=("ce",))

    def objective(self, look: Look) -> Tensor:
        """Return cross-entropy weighted ``1 - lambda`` where pending, ``lambda`` elsewhere, ``lambda = t / 2N``."""
        from AdvSegLib.losses import segpgd_loss

        assert look.logits is not None
        logits, progress = look.logits / self.temperature, look.step / look.steps
        return segpgd_loss(logits, look.target, look.scheme, sign=look.sign, progress=progress)


@dataclass(frozen=True)
class CosPGD(PGD):
    """PGD on cross-entropy weighted by how alike prediction and label are; towards a target, by how unlike."""

    name: ClassVar[str] = "cospgd"
    summary: ClassVar[str] = "CosPGD: PGD with every voxel weighted by the cosine of its prediction and label"
    source: ClassVar[str] = "Agnihotri et al. 2024 and its authors' code"

    steps: int = parameter(20, "number of steps", minimum=1)
    loss: str = parameter("ce", "the loss that is weighted per voxel", choices=("ce",))

    def objective(self, look: Look) -> Tensor:
        """Return cross-entropy weighted by the cosine, by one minus it where it is descended."""
        from AdvSegLib.losses import cospgd_loss

        assert look.logits is not None
        return cospgd_loss(look.logits / self.temperature, look.target, look.scheme, sign=look.sign)
