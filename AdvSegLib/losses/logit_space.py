"""Losses that see through a saturated softmax: on the logits, or on logits brought back to a common scale.

A network distilled at temperature T has logits about T times larger. Its probabilities are 0 and 1 exactly, and the
gradient of a loss on them is 0 although nothing was defended.
"""

from __future__ import annotations

import torch
from torch import Tensor

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses.overlap import soft_dice
from AdvSegLib.losses.protocol import Loss
from AdvSegLib.losses.voxelwise import cross_entropy

SMALLEST = 1e-15
"""A spread below this counts as none: float32 can neither square such logits nor hold their scaled gradient."""


def margin(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1, kappa: float = 1.0) -> Tensor:
    """Return the mean of ``max_{c != t} z_c - z_t`` on logits at unit spread, t the wanted class.

    Carlini and Wagner 2017, f6 with confidence kappa. Where channels stand alone the rival of a channel is 0, its
    threshold: ``-z`` where it should be on, ``z`` where off. A voxel stops counting once it is past the decision by
    kappa on the side the attack wants, and only there: climbed, min(margin, kappa), descended, max(margin, -kappa). A
    clamp on both sides would give a saturated network its dead gradient back, and no clamp lets the voxels already
    turned dominate the mean. Logits have no scale of their own, so kappa is in units of :func:`logit_spread`, which is
    held constant: with kappa = inf, which never clamps, the gradient's direction is that of the plain margin.
    """
    spread = logit_spread(logits.detach(), scheme)
    margins = _margins(logits / spread, target, scheme)
    held = margins.clamp_max(kappa) if sign > 0 else margins.clamp_min(-kappa)
    return held.flatten(1).mean(1)


def logit_sum(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return minus the wanted class's logit, averaged over voxels: paper 002's objective without its masks.

    Where channels stand alone, off counts as on does with the other sign: else nothing would switch a channel off.
    """
    if scheme.activation == "softmax":
        return -(target * logits).sum(1).flatten(1).mean(1)
    return ((1 - 2 * target) * logits).flatten(1).mean(1)


def scaled_cross_entropy(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return cross-entropy of logits at unit spread, the attack of one who does not know the temperature.

    The same for ``z`` and ``c z``, ``c > 0``. Its gradient is the whole one: it goes through the spread as well, so no
    part of a step is spent on making all logits larger or smaller.
    """
    return cross_entropy(unit_spread(logits, scheme), target, scheme)


def scaled_soft_dice(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
    """Return 1 - soft Dice of logits at unit spread; otherwise as :func:`scaled_cross_entropy`."""
    return soft_dice(unit_spread(logits, scheme), target, scheme)


def at_temperature(loss: Loss, temperature: float) -> Loss:
    """Return ``loss`` on ``z / temperature``, the softmax a distilled network was trained with (paper 001, eq. 4)."""
    if not temperature > 0:
        raise BadRequest(f"a temperature must be above 0, not {temperature}")

    def cooled(logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
        return loss(logits / temperature, target, scheme, sign=sign)

    return cooled


def unit_spread(logits: Tensor, scheme: LabelScheme) -> Tensor:
    """Return logits divided by their sample's :func:`logit_spread`."""
    return logits / logit_spread(logits, scheme)


def logit_spread(logits: Tensor, scheme: LabelScheme) -> Tensor:
    """Return each sample's root mean square logit over channels and voxels, ``(N, 1, 1, …)``; 1 where that is 0.

    Under a softmax the logits are first centred at each voxel, since a number added to all channels changes nothing
    there; that is their standard deviation. Elsewhere 0 is the decision and stays put: logits all near -1000 have a
    small standard deviation, and divided by it they would still be saturated.
    """
    centred = logits - logits.mean(1, keepdim=True) if scheme.activation == "softmax" else logits
    power = centred.square().flatten(1).mean(1)
    # replaced before the root, whose slope at 0 is infinite
    spread = torch.where(power > SMALLEST**2, power, 1).sqrt()
    return spread.view(-1, *[1] * (logits.ndim - 1))


def _margins(logits: Tensor, target: Tensor, scheme: LabelScheme) -> Tensor:
    """Return best other logit minus wanted logit of each decision; soft labels want their most probable class."""
    if scheme.activation != "softmax":
        return (1 - 2 * target) * logits
    with torch.no_grad():
        wanted = target == target.amax(1, keepdim=True)
        others = logits.masked_fill(wanted, float("-inf"))
        rival = others == others.amax(1, keepdim=True)
        towards = _evenly(rival, logits.dtype) - _evenly(wanted, logits.dtype)
    return (towards * logits).sum(1)


def _evenly(chosen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return weights that sum to 1 over channels: equal ones for all that tie."""
    weights = chosen.to(dtype)
    return weights / weights.sum(1, keepdim=True)
