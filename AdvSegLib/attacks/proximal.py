"""The two halves of an augmented Lagrangian with a norm: penalty of the constraints, proximal step of the norm."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from AdvSegLib.attacks.walking import per_sample
from AdvSegLib.budgets import Norm

HALVINGS = 40
"""Of the interval that holds a proximal step's norm; a closed form then takes the rest."""


def penalty(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """Return the penalty-Lagrangian P2 with multiplier ``mu``, its slope in ``y`` at 0 (Birgin et al. 2005).

    ``mu y + mu rho y^2 + rho^2 y^3 / 6`` where ``y >= 0``, else ``mu y / (1 - max(rho, 1) y)``.
    """
    above, below = y.clamp_min(0), y.clamp_max(0)
    rising = mu * above + mu * rho * above**2 + rho**2 * above**3 / 6
    return torch.where(y >= 0, rising, mu * below / (1 - rho.clamp_min(1) * below))


def penalty_slope(y: Tensor, rho: Tensor, mu: Tensor, *, published: bool = False) -> Tensor:
    """Return the derivative of :func:`penalty` in ``y``: the multiplier's next value.

    ``published``: the authors' code has ``mu y`` where the derivative of ``mu y`` is ``mu``, if ``y >= 0``.
    """
    above, below = y.clamp_min(0), y.clamp_max(0)
    first = mu * above if published else mu
    falling = mu / (1 - rho.clamp_min(1) * below) ** 2
    return torch.where(y >= 0, first + 2 * mu * rho * above + rho**2 * above**2 / 2, falling)


def proximal(norm: Norm, change: Tensor, metric: Tensor, weight: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return ``argmin_p  sum metric (p - change)^2 / 2 + weight |p|`` with ``low <= p <= high``.

    All ``(N, C, *spatial)`` but ``weight`` ``(N,)``; ``metric`` is positive and 0 lies within the bounds.
    """
    top = metric.flatten(1).amax(1)  # the minimum is the same for a smaller metric and weight, and nothing overflows
    metric, weight = metric / per_sample(top, metric), weight / top
    step = _largest if norm == "linf" else _euclidean
    return step(change, metric, weight, low, high)


def _largest(change: Tensor, metric: Tensor, weight: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Clip to ``[-t, t]``: ``weight`` is the pull ``sum metric (|change| - t)`` of what is clipped."""
    inside = torch.minimum(torch.maximum(change, low), high)
    reach, wanted, pull = inside.abs().flatten(1), change.abs().flatten(1), metric.flatten(1)

    def clipped_pull(t: Tensor) -> Tensor:
        return (pull * (wanted - t[:, None]) * (reach > t[:, None])).sum(1)

    left, right = _halved(lambda t: clipped_pull(t) > weight, reach.amax(1))
    clipped = pull * (reach > right[:, None])
    total = clipped.sum(1)
    exact = torch.where(total > 0, ((clipped * wanted).sum(1) - weight) / total.where(total > 0, 1), right)
    bound = per_sample(torch.minimum(torch.maximum(exact, left), right), change)
    return torch.minimum(torch.maximum(inside, -bound), bound)


def _euclidean(change: Tensor, metric: Tensor, weight: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Shrink each voxel by ``metric / (metric + weight / s)``, with ``s`` the length of what comes out."""

    def shrunk(length: Tensor) -> Tensor:
        factor = per_sample(length, change) * metric
        moved = change * factor / (factor + per_sample(weight, change)).clamp_min(torch.finfo(change.dtype).tiny)
        return torch.minimum(torch.maximum(moved, low), high)

    def norm(x: Tensor) -> Tensor:
        return x.flatten(1).square().sum(1).sqrt()

    inside = torch.minimum(torch.maximum(change, low), high)
    _, right = _halved(lambda s: norm(shrunk(s)) > s, norm(inside))
    return shrunk(right)


def _halved(beyond: Callable[[Tensor], Tensor], right: Tensor) -> tuple[Tensor, Tensor]:
    """Return an interval from 0 to ``right`` ``(N,)``, halved towards where ``beyond`` turns from True to False."""
    left = torch.zeros_like(right)
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        further = beyond(middle)
        left, right = torch.where(further, middle, left), torch.where(further, right, middle)
    return left, right
