"""How far an attack may go. The engine holds every attack to it; no attack enforces its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from AdvSegLib.errors import BadRequest

Norm = Literal["linf", "l2"]
LARGE = 2**24
"""Above this many numbers an image's bounds are not held."""
SLAB = 2**21
"""They are computed for about this many numbers at a time instead."""


@dataclass(frozen=True, eq=False)
class Budget:
    """A ball around the clean image, cut by the valid range.

    ``epsilon`` is in units of ``scale``, the number of source intensity units that count as one: the channel's clean
    range, so that 0.05 is 5 % of it, or 1 where images already are in a unit scale. ``scale`` (float64, so that it is
    exact), ``low`` and ``high`` are ``(N or 1, C or 1, 1, …)`` in source units. ``region`` is where noise may go,
    boolean ``(N or 1, C or 1, *spatial)``; None is everywhere. Norm ``linf`` bounds the largest
    change, ``l2`` the Euclidean norm of the whole change of a sample, channels together, after dividing by ``scale``.
    """

    norm: Norm
    epsilon: float
    scale: Tensor
    low: Tensor
    high: Tensor
    region: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse what bounds nothing."""
        if self.norm not in ("linf", "l2"):
            raise BadRequest(f"unknown norm '{self.norm}'; known: linf, l2")
        if not 0 <= self.epsilon < float("inf"):
            raise BadRequest(f"epsilon must be a finite number >= 0, not {self.epsilon}")

    @classmethod
    def of_range(cls, x: Tensor, epsilon: float, norm: Norm = "linf") -> Budget:
        """Return a budget of a fraction ``epsilon`` of each sample's and channel's clean range, valid within it."""
        flat = x.flatten(2)
        shape = (*x.shape[:2], *([1] * (x.ndim - 2)))
        low, high = flat.amin(2).view(shape), flat.amax(2).view(shape)
        return cls(norm, epsilon, high.double() - low.double(), low, high)

    @classmethod
    def fixed(cls, epsilon: float, norm: Norm = "linf", *, low: float = 0.0, high: float = 1.0) -> Budget:
        """Return a budget in the images' own unit, valid in ``[low, high]`` for every channel."""
        one = torch.ones(1, 1, dtype=torch.float64)
        return cls(norm, epsilon, one, one * low, one * high)

    def within(self, region: Tensor) -> Budget:
        """Return this budget for noise inside ``region`` only, boolean ``(N or 1, C or 1, *spatial)``."""
        return replace(self, region=region)

    def like(self, x: Tensor) -> Budget:
        """Return this budget on ``x``'s device, low and high in its dtype, broadcastable against it."""

        def fit(t: Tensor) -> Tensor:
            return t.to(x.device).reshape(*t.shape[:2], *([1] * (x.ndim - 2)))

        region = self.region
        if region is not None:
            if region.ndim != x.ndim or any(
                n not in (1, m) for n, m in zip(region.shape, (*x.shape[:2], *x.shape[2:]), strict=True)
            ):
                raise BadRequest(f"region {tuple(region.shape)} does not fit images {tuple(x.shape)}")
            region = region.to(x.device, torch.bool)
        return Budget(self.norm, self.epsilon, fit(self.scale), fit(self.low).to(x), fit(self.high).to(x), region)

    def of_samples(self, staying: Tensor) -> Budget:
        """Return the budget of the samples where ``staying`` ``(N,)`` is True."""

        def keep(t: Tensor) -> Tensor:
            return t[staying] if t.shape[0] == len(staying) else t

        region = None if self.region is None else keep(self.region)
        return Budget(self.norm, self.epsilon, keep(self.scale), keep(self.low), keep(self.high), region)

    def bounds(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest allowed intensities ``(N, C, *spatial)``.

        They are the eps-ball (``linf``) cut by the box, and the clean image outside the region. They are computed in
        float64, a channel at a time, and rounded inwards, so that no rounding exceeds the budget.
        """
        self.check(clean)
        low, high = self.low.expand_as(clean), self.high.expand_as(clean)
        if self.norm == "linf":
            ball = torch.empty_like(clean), torch.empty_like(clean)
            radius = (self.epsilon * self.scale).expand(*clean.shape[:2], *([1] * (clean.ndim - 2)))
            for channel in range(clean.shape[1]):
                one = slice(channel, channel + 1)
                exact, reach = clean[:, one].double(), radius[:, one]
                ball[0][:, one] = _inward(exact - reach, clean, up=True)
                ball[1][:, one] = _inward(exact + reach, clean, up=False)
            low, high = torch.maximum(ball[0], low, out=ball[0]), torch.minimum(ball[1], high, out=ball[1])
        if self.region is None:
            return low, high
        return torch.where(self.region, low, clean), torch.where(self.region, high, clean)

    def check(self, clean: Tensor) -> None:
        """Raise BadRequest where the clean image leaves the valid range."""
        if bool((clean < self.low).any()) or bool((clean > self.high).any()):
            raise BadRequest("the clean image leaves the budget's valid range; widen the range to hold it")

    def holder(self, clean: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return ``project(x, clean)`` for a walk from ``clean``.

        Bounds are held for the whole walk; of large images they are computed again at every step, a slab at a time,
        because two more copies of a volume are dearer than a second.
        """
        self.check(clean)
        if self.norm == "l2" or clean.numel() <= LARGE:
            bounds = self.bounds(clean)
            return lambda x, clean: self.project(x, clean, bounds)

        def by_slabs(x: Tensor, clean: Tensor) -> Tensor:
            held = torch.empty_like(x)
            thick = max(1, SLAB // max(1, x[:, :1, :1].numel()))
            for channel in range(x.shape[1]):
                for first in range(0, x.shape[2], thick):
                    slab = (slice(None), slice(channel, channel + 1), slice(first, first + thick))
                    budget = self.of_slab(slab)
                    held[slab] = budget.project(x[slab], clean[slab], budget.bounds(clean[slab]))
            return held

        return by_slabs

    def of_slab(self, slab: tuple[slice, ...]) -> Budget:
        """Return the budget of a slab of images, given as slices of samples, channels and the first spatial axis."""

        def pick(t: Tensor) -> Tensor:
            return t[tuple(slice(None) if n == 1 else part for n, part in zip(t.shape, slab, strict=False))]

        region = None if self.region is None else pick(self.region)
        return Budget(self.norm, self.epsilon, pick(self.scale), pick(self.low), pick(self.high), region)

    def inside(self, gradient: Tensor) -> Tensor:
        """Return ``gradient`` with 0 outside the region."""
        return gradient if self.region is None else gradient * self.region

    def project(self, x: Tensor, clean: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
        """Bring ``x`` back into the budget: the ball first, then the valid range."""
        if self.norm == "l2":
            change = (x - clean) / self.divisor(x)
            length = _length(change)
            x = clean + change * (self.epsilon / length.clamp_min(1e-12)).clamp_max(1.0) * self.unit(x)
        return torch.minimum(torch.maximum(x, bounds[0]), bounds[1])

    def tighten(self, x: Tensor, clean: Tensor) -> Tensor:
        """Shrink an L2 change that rounding left a hair over the radius; ``linf`` is exact by its bounds."""
        if self.norm == "linf":
            return x
        spare = torch.finfo(x.dtype).eps
        for _ in range(20):  # doubling what is spared: rounding of float32 intensities far from 0 needs more of it
            length = _length((x.double() - clean.double()) / self.divisor(x.double()))
            over = length > self.epsilon
            if not bool(over.any()):
                break
            shrink = self.epsilon / length.clamp_min(1e-12) * (1 - spare)
            x = torch.where(over, clean + (x - clean) * shrink.to(x), x)
            spare *= 2
        return x

    def unit(self, x: Tensor) -> Tensor:
        """Return ``scale`` in ``x``'s dtype: source intensities of one unit of the budget."""
        return self.scale.to(x.dtype)

    def divisor(self, x: Tensor) -> Tensor:
        """Return :meth:`unit`, with 1 for constant channels, which no fraction of their range can move."""
        unit = self.unit(x)
        return torch.where(unit > 0, unit, torch.ones_like(unit))

    def distances(self, x: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Return per sample ``(N,)``: ``linf``, ``l2``, ``mse`` of the change in units of ``scale``."""
        divisor = self.divisor(x).expand(*x.shape[:2], *([1] * (x.ndim - 2)))
        channels = range(x.shape[1]) if x.numel() > LARGE else (slice(None),)
        largest, squares = [], []
        for one in channels:
            part = one if isinstance(one, slice) else slice(one, one + 1)
            change = ((x[:, part] - clean[:, part]) / divisor[:, part]).flatten(1)
            squares.append(change.square().sum(1))
            largest.append(change.abs_().amax(1))
        square = torch.stack(squares).sum(0)
        return {"linf": torch.stack(largest).amax(0), "l2": square.sqrt(), "mse": square / x[0].numel()}


def _length(change: Tensor) -> Tensor:
    """Euclidean norm of each sample, shaped to broadcast against it."""
    length: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)
    return length.view(-1, *([1] * (change.ndim - 1)))


def _inward(exact: Tensor, like: Tensor, *, up: bool) -> Tensor:
    """Round float64 ``exact`` to ``like``'s dtype, towards higher values where ``up``, else towards lower ones.

    Where plain rounding went outwards, one to two units in the last place go back, as with nextafter but ten times
    faster.
    """
    rounded = exact.to(like.dtype)
    if like.dtype == torch.float64:
        return rounded
    kind = torch.finfo(like.dtype)
    outside = rounded < exact if up else rounded > exact
    step = rounded.abs() * kind.eps + kind.tiny
    return torch.where(outside, rounded + step if up else rounded - step, rounded)
