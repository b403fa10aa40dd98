"""The decisions of a segmentation, one by one: how far each is from falling the other way.

A decision is a voxel's class under a softmax, ``(N, *spatial)``, and a channel's on or off at a voxel where channels
stand alone, ``(N, K, *spatial)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses import unit_spread

TOLERANCE = 1e-4
"""How far beyond a tie a decision must be to count as turned (Rony et al. 2023)."""


def lead(logits: Tensor, target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return how far the wanted class's logit is ahead of the best other; a lone channel's, of its threshold 0."""
    if scheme.activation != "softmax":
        return (2 * target - 1) * logits
    others = logits.masked_fill(target > 0.5, -torch.inf).amax(1)
    return (target * logits).sum(1) - others


def lead_over(logits: Tensor, target: Tensor, rival: Tensor) -> Tensor:
    """Return how far the wanted class is ahead of class ``rival`` ``(N, *spatial)`` of a softmax."""
    return (target * logits).sum(1) - logits.gather(1, rival[:, None])[:, 0]


def wrong_label(target: Tensor, draw: Tensor) -> Tensor:
    """Return a class other than the target's at every voxel, by ``draw`` ``(1, *spatial)`` from [0, 1)."""
    classes = target.shape[1]
    return (target.argmax(1) + 1 + (draw * (classes - 1)).long().clamp_max(classes - 2)) % classes


def constraints(logits: Tensor, target: Tensor, scheme: LabelScheme, sign: int) -> Tensor:
    """Return a number for each decision that is below 0 where the attack has turned it, whatever the logits' scale.

    The difference-of-logits ratio (Croce and Hein 2020) as Rony et al. 2023 use it: the lead over the spread of the
    voxel's three largest logits, of four where targeted. With fewer classes, and where channels stand alone, that is
    undefined; there it is the lead at the sample's own :func:`AdvSegLib.losses.logit_spread`.
    """
    largest = 3 if sign > 0 else 4
    if scheme.activation != "softmax" or logits.shape[1] < largest:
        return sign * lead(unit_spread(logits, scheme), target, scheme) + TOLERANCE
    top = logits.topk(largest, dim=1).values
    spread = top[:, 0] - (top[:, 2] if sign > 0 else (top[:, 2] + top[:, 3]) / 2)
    return (sign * lead(logits, target, scheme) + TOLERANCE) / (spread + 1e-8)
