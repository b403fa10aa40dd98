"""What an attack climbs and a training descends. Every loss is per sample: the batch never couples samples.

All take logits ``(N, K, *spatial)``, targets ``(N, K, *spatial)`` from :meth:`LabelScheme.encode` (or soft labels of
the same shape) and the scheme, and return ``(N,)``, lower for better agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional as F

from AdvSegLib.errors import unknown_name
from AdvSegLib.labels import LabelScheme

GAMMA = 1e-5
"""The small positive number of paper 001 eq. 5: overlap of two empty masks is 1, and nothing is divided by 0."""

Loss: TypeAlias = Callable[[Tensor, Tensor, LabelScheme], Tensor]


def soft_dice(logits: Tensor, target: Tensor, scheme: LabelScheme, *, gamma: float = GAMMA) -> Tensor:
    """Return 1 - soft Dice, averaged over the foreground channels (paper 001, eq. 5-6).

    The paper divides the sum by N, the background counted, although it leaves the background out; we divide by the
    number of terms, an affine change that alters no gradient's sign.
    """
    shared, total = _overlaps(logits, target, scheme)
    return 1 - ((2 * shared + gamma) / (total + gamma)).mean(1)


def published_soft_dice(logits: Tensor, target: Tensor, scheme: LabelScheme, *, gamma: float = GAMMA) -> Tensor:
    """Return 1 - soft Dice exactly as printed in paper 001, eq. 5: the sum divided by all channels."""
    shared, total = _overlaps(logits, target, scheme)
    return 1 - ((2 * shared + gamma) / (total + gamma)).sum(1) / logits.shape[1]


def soft_iou(logits: Tensor, target: Tensor, scheme: LabelScheme, *, gamma: float = GAMMA) -> Tensor:
    """Return 1 - soft intersection over union, averaged over the foreground channels (paper 003's attack loss)."""
    shared, total = _overlaps(logits, target, scheme)
    return 1 - ((shared + gamma) / (total - shared + gamma)).mean(1)


def cross_entropy(logits: Tensor, target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return cross-entropy averaged over voxels; on sigmoid and binary schemes that is :func:`bce`."""
    if scheme.activation != "softmax":
        return bce(logits, target, scheme)
    return -(target * logits.log_softmax(1)).sum(1).flatten(1).mean(1)


def bce(logits: Tensor, target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return binary cross-entropy of each channel's logit, averaged over voxels and channels (paper 000)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).mean(1)


LOSSES: dict[str, Loss] = {
    "dice": soft_dice,
    "dice-published": published_soft_dice,
    "iou": soft_iou,
    "ce": cross_entropy,
    "bce": bce,
}


def get_loss(name: str) -> Loss:
    """Return a loss by name; BadRequest with the nearest name where there is none."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name]


def _overlaps(logits: Tensor, target: Tensor, scheme: LabelScheme) -> tuple[Tensor, Tensor]:
    """Return ``sum p y`` and ``sum p + sum y`` of each foreground channel, ``(N, K_foreground)``."""
    p = scheme.probabilities(logits)[:, scheme.foreground].flatten(2)
    y = target[:, scheme.foreground].flatten(2)
    return (p * y).sum(2), p.sum(2) + y.sum(2)
