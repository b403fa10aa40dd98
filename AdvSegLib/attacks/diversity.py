"""Looking at an image through a smaller copy of itself, with the logits brought back to the image's voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from AdvSegLib.attacks.walking import Walk


@dataclass(frozen=True)
class Smaller:
    """Where a smaller copy of the image lies in the image's frame: its size and its first corner, in voxels."""

    size: tuple[int, ...]
    corner: tuple[int, ...]

    @property
    def place(self) -> tuple[slice, ...]:
        """Its voxels."""
        return tuple(slice(first, first + n) for first, n in zip(self.corner, self.size, strict=True))


def draw(walk: Walk, shape: tuple[int, ...], smallest: float) -> tuple[float, Smaller]:
    """Draw one step's number in [0, 1) and its smaller image: one scale for all axes, a corner that fits."""
    chosen, scale, *corners = walk.uniform(2 + len(shape))[0].tolist()
    scale = smallest + (1 - smallest) * scale
    size = tuple(max(1, round(n * scale)) for n in shape)
    corner = tuple(int(u * (n - m + 1)) for u, n, m in zip(corners, shape, size, strict=True))
    return chosen, Smaller(size, corner)


def seen_smaller(logits: Callable[[Tensor], Tensor], x: Tensor, small: Smaller, fill: Tensor) -> Tensor:
    """Return the logits of ``x``, taken of its smaller copy over a ground of ``fill`` and enlarged again."""
    place = (slice(None), slice(None), *small.place)
    padded = fill.to(x).expand_as(x).clone()
    padded[place] = _resized(x, small.size)
    return _resized(logits(padded)[place], tuple(x.shape[2:]))


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size, mode="trilinear" if len(size) == 3 else "bilinear", align_corners=False)
