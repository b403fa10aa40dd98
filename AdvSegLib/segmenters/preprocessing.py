"""The differentiable way from the image the reader sees to what the network sees, and back for the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from AdvSegLib.segmenters.spec import Intensity
from AdvSegLib.volumes import Grid

AXES_LPS = ("LR", "PA", "SI")
"""The two directions of each LPS coordinate."""


@dataclass(frozen=True)
class Axes:
    """A permutation and flips of spatial axes that take stored arrays to a named orientation.

    ``order[a]`` is the stored axis that becomes axis ``a``; ``flipped`` lists the axes, after permuting, to reverse.
    """

    order: tuple[int, ...]
    flipped: tuple[int, ...]

    @classmethod
    def between(cls, grid: Grid, orientation: str) -> Axes:
        """Return the axes that bring ``grid`` nearest to ``orientation`` (its closest axis-aligned reading)."""
        if not orientation or grid.rank == 2:
            return cls(tuple(range(grid.rank)), ())
        rows = [next(row for row in range(3) if code in AXES_LPS[row]) for code in orientation]
        order = tuple(grid.closest_axes[row] for row in rows)
        signs = [1 if code in "LPS" else -1 for code in orientation]
        flipped = [a for a in range(3) if signs[a] * grid.cosines[rows[a], order[a]] < 0]
        return cls(order, tuple(flipped))

    def apply(self, x: Tensor) -> Tensor:
        """Reorient ``(N, C, *spatial)``."""
        x = x.permute(0, 1, *(axis + 2 for axis in self.order))
        return x.flip([axis + 2 for axis in self.flipped]) if self.flipped else x

    def undo(self, x: Tensor) -> Tensor:
        """Take ``(N, C, *spatial)`` back to the stored axes."""
        if self.flipped:
            x = x.flip([axis + 2 for axis in self.flipped])
        return x.permute(0, 1, *(int(axis) + 2 for axis in np.argsort(self.order)))

    def take(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return per-axis ``values`` (sizes, spacings) in the new order."""
        return tuple(values[axis] for axis in self.order)

    def take_back(self, values: Sequence[int]) -> tuple[int, ...]:
        """Return per-axis ``values`` in the stored order."""
        return tuple(int(values[int(axis)]) for axis in np.argsort(self.order))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resample ``(N, C, *spatial)`` to ``size`` linearly, edge to edge; the same tensor where nothing changes.

    Shrinking by more than two averages first (adaptive mean), so that no voxel goes unseen.
    """
    now = tuple(x.shape[2:])
    target = tuple(int(n) for n in size)
    if now == target:
        return x
    coarse: list[int | None] = [2 * t if n > 2 * t else n for n, t in zip(now, target, strict=True)]
    if coarse != list(now):
        pool: Any = F.adaptive_avg_pool2d if len(now) == 2 else F.adaptive_avg_pool3d
        x = pool(x, coarse)
    mode = "bilinear" if len(now) == 2 else "trilinear"
    return F.interpolate(x, size=target, mode=mode, align_corners=False)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad spatial axes at their ends, with the edge's value, to a multiple of ``multiple``."""
    extra = [-n % multiple for n in x.shape[2:]]
    if multiple > 1 and all(n + more == multiple for n, more in zip(x.shape[2:], extra, strict=True)):
        extra[-1] += multiple  # one voxel at the coarsest level leaves nothing to normalise over
    if not any(extra):
        return x
    pads = [p for n in reversed(extra) for p in (0, n)]
    return F.pad(x, pads, mode="replicate")


def crop_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Undo :func:`pad_to_multiple`."""
    for axis, n in enumerate(size, start=2):
        if x.shape[axis] != n:  # even a whole slice costs a copy on the way back
            x = x.narrow(axis, 0, n)
    return x


def scale_and_shift(x: Tensor, intensity: Intensity) -> tuple[Tensor, Tensor]:
    """Return ``(scale, shift)``, each ``(N, C, 1, …)``, such that ``x * scale + shift`` is the network's input.

    Differentiable: a gradient through them is the gradient through recomputed statistics. A constant channel maps
    to the lower end (to 0 for ``zscore``) instead of dividing by zero.
    """
    flat = x.flatten(2)
    shape = (*x.shape[:2], *([1] * (x.ndim - 2)))
    if intensity.kind == "zscore":
        mean, std = _moments(flat, foreground=intensity.foreground)
        scale = _safe_inverse(std)
        return scale.view(shape), (-mean * scale).view(shape)
    if intensity.kind == "range":
        low, high = flat.amin(2), flat.amax(2)
    elif intensity.kind == "quantile":
        low, high = _quantile(flat, intensity.q_low), _quantile(flat, intensity.q_high)
    else:
        low = torch.full_like(flat[..., 0], intensity.source_low)
        high = torch.full_like(low, intensity.source_high)
    scale = (intensity.high - intensity.low) * _safe_inverse(high - low)
    return scale.view(shape), (intensity.low - low * scale).view(shape)


def apply_intensity(x: Tensor, intensity: Intensity, frozen: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Map source intensities ``(N, C, *spatial)`` to network input, with frozen or recomputed statistics."""
    if intensity.kind == "none":
        return x
    if intensity.kind == "zscore" and frozen is None:
        z: Tensor = _ZScore.apply(x, intensity.foreground)  # type: ignore[no-untyped-call]
        return z
    scale, shift = frozen if frozen is not None else scale_and_shift(x, intensity)
    x = x * scale + shift
    return x.clamp(intensity.low, intensity.high) if intensity.kind == "quantile" else x


class _ZScore(torch.autograd.Function):
    """``(x - mean) / std`` with the gradient through both, a channel at a time.

    Autograd would hold several copies of a whole volume for it; this holds ``x`` and a few numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, foreground: bool) -> Tensor:
        y, found = torch.empty_like(x), []
        for channel in range(x.shape[1]):
            flat = x[:, channel : channel + 1].flatten(2)
            mean, std = _moments(flat, foreground=foreground)
            inverse = _safe_inverse(std)
            y[:, channel : channel + 1] = (x[:, channel : channel + 1] - _like(mean, x)).mul_(_like(inverse, x))
            found.append((mean, inverse))
        ctx.save_for_backward(x, *(torch.cat(side, 1) for side in zip(*found, strict=True)))
        ctx.foreground = foreground
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> Any:
        x, means, inverses = ctx.saved_tensors
        back = torch.empty_like(x)
        for channel in range(x.shape[1]):
            one = slice(channel, channel + 1)
            flat, slope = x[:, one].flatten(2), wanted[:, one].flatten(2)
            mean, inverse = means[:, one, None], inverses[:, one, None]
            inside = (flat > flat.mean(2, keepdim=True)).to(flat.dtype) if ctx.foreground else torch.ones_like(flat)
            count = inside.sum(2, keepdim=True).clamp_min(1.0)
            centred = flat - mean
            by_mean = -inverse * slope.sum(2, keepdim=True) / count
            by_std = -inverse.pow(3) * (slope * centred).sum(2, keepdim=True) / count
            back[:, one] = (slope * inverse + inside * (by_mean + by_std * centred)).view_as(back[:, one])
        return back, None


def _like(values: Tensor, x: Tensor) -> Tensor:
    """Shape ``(N, C)`` so that it broadcasts against ``x``."""
    return values.view(*values.shape, *([1] * (x.ndim - 2)))


def _moments(flat: Tensor, *, foreground: bool) -> tuple[Tensor, Tensor]:
    if not foreground:
        return flat.mean(2), _safe_sqrt(flat.var(2, unbiased=False))
    inside = (flat > flat.mean(2, keepdim=True)).to(flat.dtype)
    count = inside.sum(2).clamp_min(1.0)
    mean = (flat * inside).sum(2) / count
    variance = ((flat - mean.unsqueeze(2)).square() * inside).sum(2) / count
    return mean, _safe_sqrt(variance)


def _safe_sqrt(variance: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0, for constant channels."""
    positive = variance > 0
    return torch.where(
        positive, variance.where(positive, torch.ones_like(variance)).sqrt(), torch.zeros_like(variance)
    )


def _safe_inverse(width: Tensor) -> Tensor:
    """1 / width, and 0 (with gradient 0) where the width is 0."""
    positive = width > 0
    return torch.where(positive, 1.0 / width.where(positive, torch.ones_like(width)), torch.zeros_like(width))


def _quantile(flat: Tensor, q: float) -> Tensor:
    """Linear-interpolated quantile over the last axis; torch.quantile refuses more than 2**24 values."""
    place = q * (flat.shape[2] - 1)
    below = int(place)
    low = flat.kthvalue(below + 1, dim=2).values
    if place == below:
        return low
    high = flat.kthvalue(below + 2, dim=2).values
    return low + (high - low) * (place - below)
