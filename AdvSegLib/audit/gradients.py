"""What a model's input gradient looks like: how much of it is exactly zero, and on which loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from AdvSegLib.errors import AdvSegError
from AdvSegLib.losses import get_loss, logit_spread
from AdvSegLib.segmenters.segmenter import Segmenter

OWN, SCALED = "dice", "dice-scaled"


@dataclass(frozen=True)
class GradientFacts:
    """Of one image: share of exactly zero (or not finite) entries of the gradient, and the size of logits.

    ``zero_share`` is of soft Dice on the model's own softmax, ``zero_share_scaled`` of the same on logits at unit
    spread. Zero there and not here is a saturated softmax; zero in both is a network that hands nothing back, be it
    that its output has no path to its input at all.
    """

    zero_share: float
    zero_share_scaled: float
    logit_spread: float

    def to_dict(self) -> dict[str, float]:
        """Return the facts as JSON data."""
        return asdict(self)


def gradient_facts(segmenter: Segmenter, x: Tensor, labels: Tensor) -> GradientFacts:
    """Look at the gradient at ``x`` ``(1, C, *spatial)`` of losses against ``labels`` ``(1, *spatial)``.

    Raises AdvSegError where logits are not finite: they mean no labels.
    """
    target = segmenter.scheme.encode(labels, x.dtype)
    leaf = x.detach().requires_grad_()
    logits = segmenter.logits(leaf)
    if not bool(logits.isfinite().all()):
        raise AdvSegError("its logits are not finite")
    shares = []
    for number, name in enumerate((OWN, SCALED)):
        value = get_loss(name)(logits, target, segmenter.scheme, sign=1).sum()
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value, leaf, retain_graph=number == 0, allow_unused=True)
        shares.append(1.0 if slope is None else dead_share(slope))
    return GradientFacts(shares[0], shares[1], float(logit_spread(logits.detach(), segmenter.scheme)))


def dead_share(gradient: Tensor) -> float:
    """Return the share of entries that are exactly 0 or not finite: no attack can follow them.

    >>> dead_share(torch.tensor([0.0, 1e-30, -2.0, float("nan")]))
    0.5
    """
    return float(((gradient == 0) | ~gradient.isfinite()).double().mean())
