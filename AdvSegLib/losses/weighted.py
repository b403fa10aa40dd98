"""Cross-entropy with a weight on each decision. Weights are constants: no gradient flows through them.

A decision is a voxel's class under a softmax, a channel's on or off at a voxel otherwise. It is *pending* while the
attack still has to turn it: right when the loss is climbed, not yet at the target when it is descended.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses.voxelwise import cross_entropies


def masked_cross_entropy(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return cross-entropy of the pending decisions, divided by the number of all.

    Croce et al. 2024 (SEA), whose attacks are untargeted: the mask is "still right". Descended, ours is "not yet at
    the target", so that budget goes where it is needed in both cases. Once nothing is pending loss and gradient are 0.
    The value falls as voxels turn, so watch another number for progress; the authors track plain cross-entropy.
    """
    return (pending(logits, target, scheme, sign) * cross_entropies(logits, target, scheme)).flatten(1).mean(1)


def balanced_cross_entropy(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return :func:`masked_cross_entropy` averaged within each class of the target, then over the classes present.

    Croce et al. 2024 (SEA): in a mean over classes small structures weigh as much as large ones. The authors' weights
    fall with a class's frequency in their data set; an attack has one sample, so we take the frequency in its own
    target. Background is a class, as theirs is. Where channels stand alone, on and off of each are the classes.
    """
    weight = pending(logits, target, scheme, sign) * class_shares(target, scheme)
    return (weight * cross_entropies(logits, target, scheme)).flatten(1).sum(1)


def segpgd_loss(
    logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1, progress: float = 0.0
) -> Tensor:
    """Return cross-entropy weighted 1 - lambda where pending and lambda elsewhere, ``lambda = progress / 2``.

    Gu et al. 2022 (SegPGD), untargeted: pending is "still right". ``progress`` is step / steps with step from 0, as in
    the published implementations: first the pending voxels alone, at the end nearly all alike. The paper has no
    targeted form; CosPGD's authors' code has, and we follow it: 1 - lambda where the target is not yet reached.
    """
    share = progress / 2
    entropies = cross_entropies(logits, target, scheme)
    weighted = torch.where(pending(logits, target, scheme, sign), (1 - share) * entropies, share * entropies)
    return weighted.flatten(1).mean(1)


def cospgd_loss(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return cross-entropy weighted by the cosine of output and target; by 1 - cosine where descended.

    Agnihotri et al. 2024 (CosPGD) and its authors' code. The cosine is each voxel's own, taken before the mean: a
    product of two means is another attack. Where channels stand alone it is of (p, 1 - p) with (y, 1 - y): over the
    channels themselves it would be 0 on background and leave that unattacked.
    """
    weight = similarity(logits, target, scheme) if sign > 0 else 1 - similarity(logits, target, scheme)
    return (weight * cross_entropies(logits, target, scheme)).flatten(1).mean(1)


@torch.no_grad()
def pending(logits: Tensor, target: Tensor, scheme: LabelScheme, sign: int) -> Tensor:
    """Return which decisions are still to be turned: boolean ``(N, *spatial)`` (softmax) or ``(N, K, *spatial)``."""
    agree = agreement(logits, target, scheme)
    return agree if sign > 0 else ~agree


@torch.no_grad()
def agreement(logits: Tensor, target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return which decisions of ``logits`` are the target's; ties fall as :meth:`LabelScheme.masks` has them."""
    if scheme.activation != "softmax":
        return (logits > 0) == (target > 0.5)
    found, wanted = scheme.masks(logits), scheme.masks(target)
    return torch.stack([a == b for a, b in zip(found, wanted, strict=True)]).all(0)


@torch.no_grad()
def similarity(logits: Tensor, target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return the cosine of each decision's probabilities with the target's, 0 to 1."""
    p = scheme.probabilities(logits)
    if scheme.activation == "softmax":
        return F.cosine_similarity(p, target, dim=1)
    q, y, n = 1 - p, target, 1 - target
    return (p * y + q * n) / ((p.square() + q.square()) * (y.square() + n.square())).sqrt()


@torch.no_grad()
def class_shares(target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return each decision's weight such that all classes present in a sample weigh the same and sum to 1."""
    if scheme.activation == "softmax":
        within, present = _within(target)
        shares = within.sum(1)
    else:
        on, on_present = _within(target)
        off, off_present = _within(1 - target)
        shares, present = on + off, on_present + off_present
    return shares / present.view(-1, *[1] * (shares.ndim - 1))


def _within(target: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``y / sum y`` of each channel, 0 where it is empty, and how many channels of a sample are not."""
    count = target.flatten(2).sum(2)
    present = count > 0
    divisor = torch.where(present, count, 1).view(*count.shape, *[1] * (target.ndim - 2))
    return target / divisor, present.sum(1)
