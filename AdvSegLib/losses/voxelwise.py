"""Losses of single decisions, averaged: a voxel's class (softmax), or a channel's on or off at a voxel (otherwise).

All are written in log-probabilities: at the logits of a saturated network a probability is 0 or 1 in any float, and
its logarithm or a ratio of probabilities is where inf and NaN come from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from AdvSegLib.labels import LabelScheme


def cross_entropy(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return cross-entropy averaged over voxels; on sigmoid and binary schemes that is :func:`bce`."""
    return cross_entropies(logits, target, scheme).flatten(1).mean(1)


def bce(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return binary cross-entropy of each channel's logit, averaged over voxels and channels (paper 000)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).mean(1)


def focal(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1, gamma: float = 2.0) -> Tensor:
    """Return the focal loss ``-(1 - p)^gamma log p`` of the wanted class, averaged as :func:`cross_entropy` is.

    Lin et al. 2017, eq. 4, without its alpha. The factor takes the gradient away from what is already right, which a
    training wants and an untargeted attack does not: it is here because paper 000 trains with it. MONAI's also divides
    by the number of channels under a softmax.
    """
    if scheme.activation == "softmax":
        return _focal(logits.log_softmax(1), target, gamma).sum(1).flatten(1).mean(1)
    on, off = F.logsigmoid(logits), F.logsigmoid(-logits)
    return (_focal(on, target, gamma) + _focal(off, 1 - target, gamma)).flatten(1).mean(1)


def jensen_shannon(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return the Jensen-Shannon divergence of output and target, averaged over decisions; 0 to log 2.

    Croce et al. 2024 (SEA). Bounded, so a voxel far on the wrong side stops counting by itself, where cross-entropy
    counts it ever more. Where channels stand alone each is the pair (on, off). The authors' code takes the logarithm
    of ``(p + q) / 2`` as it is: its gradient is NaN where both are 0 in float32.
    """
    if scheme.activation == "softmax":
        return _divergence(logits.log_softmax(1), target).sum(1).flatten(1).mean(1)
    on, off = F.logsigmoid(logits), F.logsigmoid(-logits)
    return (_divergence(on, target) + _divergence(off, 1 - target)).flatten(1).mean(1)


def cross_entropies(logits: Tensor, target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return cross-entropy of each decision: ``(N, *spatial)`` (softmax) or ``(N, K, *spatial)``."""
    if scheme.activation == "softmax":
        return -(target * logits.log_softmax(1)).sum(1)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def _focal(log_p: Tensor, target: Tensor, gamma: float) -> Tensor:
    # 1 - p from its logarithm keeps the digits near p = 1; at 0 a power below 1 would have an infinite slope
    rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -target * rest**gamma * log_p


def _divergence(log_p: Tensor, q: Tensor) -> Tensor:
    """Return each outcome's share of ``(KL(p | m) + KL(q | m)) / 2`` with ``m = (p + q) / 2``."""
    p = log_p.exp()
    # 0 log 0 is 0, and so is its slope once p multiplies it: held above 0, the logarithm keeps both finite
    log_m = ((p + q) / 2).clamp_min(torch.finfo(p.dtype).tiny).log()
    return (p * log_p + torch.xlogy(q, q) - (p + q) * log_m) / 2
