"""Losses of whole structures: how much the soft prediction and the target overlap."""

from __future__ import annotations

from torch import Tensor

from AdvSegLib.labels import LabelScheme

GAMMA = 1e-5
"""The small positive number of paper 001 eq. 5: overlap of two empty masks is 1, and nothing is divided by 0."""


def soft_dice(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1, gamma: float = GAMMA) -> Tensor:
    """Return 1 - soft Dice, averaged over the foreground channels (paper 001, eq. 5-6).

    The paper divides the sum by N, the background counted, although it leaves the background out; we divide by the
    number of terms, an affine change that alters no gradient's sign.
    """
    shared, total = _overlaps(logits, target, scheme)
    return 1 - ((2 * shared + gamma) / (total + gamma)).mean(1)


def published_soft_dice(
    logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1, gamma: float = GAMMA
) -> Tensor:
    """Return 1 - soft Dice exactly as printed in paper 001, eq. 5: the sum divided by all channels."""
    shared, total = _overlaps(logits, target, scheme)
    return 1 - ((2 * shared + gamma) / (total + gamma)).sum(1) / logits.shape[1]


def soft_iou(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1, gamma: float = GAMMA) -> Tensor:
    """Return 1 - soft intersection over union, averaged over the foreground channels (paper 003's attack loss)."""
    shared, total = _overlaps(logits, target, scheme)
    return 1 - ((shared + gamma) / (total - shared + gamma)).mean(1)


def _overlaps(logits: Tensor, target: Tensor, scheme: LabelScheme) -> tuple[Tensor, Tensor]:
    """Return ``sum p y`` and ``sum p + sum y`` of each foreground channel, ``(N, K_foreground)``."""
    p = scheme.probabilities(logits)[:, scheme.foreground].flatten(2)
    y = target[:, scheme.foreground].flatten(2)
    return (p * y).sum(2), p.sum(2) + y.sum(2)
