"""The sums and scores of paper 002's attacks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from AdvSegLib.attacks.walking import Look
from AdvSegLib.metrics.overlap import paper_iou_of_masks


def wanted_logits(look: Look, *, only_wrong: bool) -> Tensor:
    """Return ``sum_c z_c 1[Y_A = c]`` of each sample ``(N,)``, with ``1[argmax z != c]`` where ``only_wrong``.

    A sigmoid channel has two classes, whose logits are z and -z.
    """
    z, target = look.logits, look.target
    assert z is not None
    if look.scheme.activation != "softmax":
        on = target > 0.5
        signed = torch.where(on, z, -z)
        counted = (z.detach() > 0) != on if only_wrong else torch.ones_like(on)
        return (signed * counted).flatten(1).sum(1)
    if not only_wrong:
        return (z * target).flatten(1).sum(1)
    wrong = torch.zeros_like(look.wanted[0])
    for found, wanted in zip(look.predicted, look.wanted, strict=True):
        wrong |= found != wanted
    return (z * (target * wrong.unsqueeze(1))).flatten(1).sum(1)


def squared_distance(look: Look) -> Tensor:
    """Return ``||X - X0||^2`` of each sample ``(N,)``, channels in units of their range; flows back to the image."""
    assert look.leaf is not None
    return ((look.leaf - look.clean) / look.unit).flatten(1).square().sum(1)


def foreground_iou(predicted: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the authors' IoU, ``sum(m1 m2) / sum(min(m1 + m2, 1))`` of foreground masks, ``(N,)``; 1 on empty ones.

    Their code multiplies label values, which exceeds 1 with several classes; this is their rule for 0/1 masks.
    """
    return paper_iou_of_masks([_any(predicted)], [_any(wanted)])


def gradient_size(gradient: Tensor, normalise: str) -> Tensor:
    """Return largest entry (``linf``) or Euclidean norm of each sample's gradient ``(N,)``; 1 where it is 0."""
    flat = gradient.flatten(1)
    size = flat.abs().amax(1) if normalise == "linf" else torch.linalg.vector_norm(flat, dim=1)
    return torch.where(size > 0, size, torch.ones_like(size))


def _any(masks: Sequence[Tensor]) -> Tensor:
    found = masks[0]
    for mask in masks[1:]:
        found = found | mask
    return found
