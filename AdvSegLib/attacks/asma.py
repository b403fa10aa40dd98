"""The adaptive segmentation mask attack and its two precursors (paper 002): raw logit gradients towards a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Aim, Attack
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk
    from AdvSegLib.segmenters.segmenter import Segmenter

NORMALISATIONS = ("none", "linf", "l2")
UNCLAMPED = "asma-iou-of-the-image-before-it-was-clamped"


@dataclass(frozen=True)
class StaticMask(Attack):
    """``X <- clip(X + alpha P)`` with ``P = grad sum_c z_c 1[Y_A = c]``, the raw gradient of the wanted logits."""

    name: ClassVar[str] = "ssm"
    summary: ClassVar[str] = "Static segmentation mask: climbs the target's logits at every voxel"
    source: ClassVar[str] = "Ozbulak et al. 2019, eq. 1"
    aim: ClassVar[Aim] = "targeted"
    default_epsilon: ClassVar[float] = 1.0
    adaptive: ClassVar[bool] = False

    steps: int = parameter(500, "number of steps", minimum=1)
    alpha: float = parameter(
        1e-5, "perturbation multiplier, in units of the channel's range (paper: 1e-8 to 1e-5)", minimum=0.0
    )
    normalise: str = parameter(
        "none",
        "what the gradient of a sample is divided by: nothing, as in the paper, whose multipliers fit raw logits of "
        "ordinary size; or its largest entry or Euclidean norm, for multipliers that mean the same on every network",
        choices=NORMALISATIONS,
    )
    variant: str = parameter(
        "paper",
        "authors: their code's objective, which subtracts the squared L2 distance from the clean image, and their IoU "
        "of 0/1 masks, which asks for foreground, not for the same label",
        choices=("paper", "authors"),
    )

    def objective(self, look: Look) -> Tensor:
        """Return minus the sum of the target's logits where they count (and plus the authors' distance)."""
        from AdvSegLib.attacks.masked_logits import squared_distance, wanted_logits

        value = -wanted_logits(look, only_wrong=self.adaptive)
        return value + squared_distance(look) if self.variant == "authors" else value

    def score(self, look: Look) -> Tensor:
        """Return the IoU that multiplier, stop and best image go by ``(N,)``."""
        from AdvSegLib.attacks.masked_logits import foreground_iou

        if self.variant == "authors":
            return foreground_iou(look.predicted, look.wanted)
        return look.paper_iou

    def finished(self, look: Look) -> Tensor | None:
        """Return where the IoU has reached ``stop_at``."""
        return None if self.stop_at is None else self.score(look) >= self.stop_at

    def merit(self, look: Look) -> Tensor | None:
        """Return the IoU: the walk ends at its best image, the earliest of equals."""
        return self.score(look)

    def multiplier(self, walk: Walk, look: Look) -> Tensor | float:
        """Return alpha_n, one for all or ``(N,)``."""
        return self.alpha

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the next image: alpha_n times the raw or normalised gradient, each channel in units of its range."""
        import torch

        from AdvSegLib.attacks.masked_logits import gradient_size
        from AdvSegLib.attacks.walking import per_sample

        assert look.gradient is not None
        unit = walk.budget.unit(look.x)
        alpha = self.multiplier(walk, look)
        if isinstance(alpha, torch.Tensor):
            alpha = per_sample(alpha.to(look.x), look.x)
        rate = alpha * unit * unit  # small: passes over the image are few
        if self.normalise != "none":
            rate = rate / per_sample(gradient_size(look.gradient * unit, self.normalise), look.x)
        return look.x - look.gradient * rate


@dataclass(frozen=True)
class AdaptiveMask(StaticMask):
    """SSM that counts only the voxels still predicted otherwise: ``P = grad sum_c z_c 1[Y_A = c] 1[Y != c]``."""

    name: ClassVar[str] = "asm"
    summary: ClassVar[str] = "Adaptive segmentation mask: climbs the target's logits where it is not yet predicted"
    source: ClassVar[str] = "Ozbulak et al. 2019, eq. 2"
    adaptive: ClassVar[bool] = True


@dataclass(frozen=True)
class ASMA(AdaptiveMask):
    """ASM with the dynamic perturbation multiplier ``alpha_n = beta IoU(Y_A, Y_n) + tau``, of each sample its own."""

    name: ClassVar[str] = "asma"
    summary: ClassVar[str] = "Adaptive segmentation mask attack: towards a mask, with a multiplier that grows with IoU"
    source: ClassVar[str] = "Ozbulak et al. 2019, eq. 2 and its dynamic perturbation multiplier"

    alpha: float = parameter(0.0, "a fixed multiplier added to the dynamic one", minimum=0.0)
    beta: float = parameter(1e-5, "slope of the multiplier with the IoU (paper: 1e-6 to 1e-5)", minimum=0.0)
    tau: float = parameter(1e-7, "multiplier at IoU 0 (paper: 1e-7)", minimum=0.0)
    iou_of: str = parameter(
        "clamped",
        "unclamped: as in the authors' code the multiplier goes by the prediction of the image before it was clamped, "
        "at the price of a second forward a step, and by IoU 0 at the first step",
        choices=("clamped", "unclamped"),
    )

    def logits(self, segmenter: Segmenter, x: Tensor, walk: Walk) -> Tensor:
        """Return the logits of ``x``, having looked at the unclamped image first where its IoU is asked for."""
        if UNCLAMPED in walk.memory:
            self._look_back(segmenter, walk.memory[UNCLAMPED], walk)
            del walk.memory[UNCLAMPED]  # not before: memory may run out, and this be asked again
        return segmenter.logits(x)

    def multiplier(self, walk: Walk, look: Look) -> Tensor | float:
        """Return ``beta IoU + tau`` (plus ``alpha``)."""
        import torch

        iou = self.score(look)
        if self.iou_of == "unclamped":
            iou = walk.memory.get("iou", torch.zeros_like(iou))
        return self.beta * iou + self.tau + self.alpha

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the next image, and keep it as it is before the engine clamps it."""
        x = super().advance(walk, look)
        if self.iou_of == "unclamped":
            walk.memory[UNCLAMPED] = x
        return x

    def _look_back(self, segmenter: Segmenter, unclamped: Tensor, walk: Walk) -> None:
        import torch

        from AdvSegLib.attacks.masked_logits import foreground_iou
        from AdvSegLib.metrics.overlap import paper_iou_of_masks

        with torch.no_grad():
            predicted = walk.part.masks(segmenter.scheme.masks(segmenter.logits(unclamped)))
        rule = foreground_iou if self.variant == "authors" else paper_iou_of_masks
        walk.memory["iou"] = rule(predicted, walk.wanted)
