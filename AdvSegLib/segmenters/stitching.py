"""Overlapping windows as one differentiable function, in the memory of one window and the stitched maps.

Forward (no graph): ``Z = sum_w B_w f(x_w) / C`` with blend weights ``B_w`` and ``C = sum_w B_w``. Backward, given
``G = dL/dZ``: each window is run again, ``B_w G / C`` is taken back through it, and what arrives is added up. That is
the gradient of the whole, exactly, for any deterministic ``f``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from AdvSegLib.segmenters.spec import Windows

Run = Callable[[Tensor], Tensor]
Place = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Where windows lie on a batch of grids: groups of places, blend weights ``(1, 1, *size)`` and their sum."""

    groups: tuple[tuple[Place, ...], ...]
    flips: tuple[tuple[int, ...], ...]
    weight: Tensor
    total: Tensor

    @classmethod
    def of(cls, x: Tensor, windows: Windows) -> Plan:
        """Return the plan for ``x`` ``(N, C, *spatial)``, no smaller than a window; MONAI's places and weights."""
        from monai.data.utils import compute_importance_map, dense_patch_slices

        spatial = tuple(x.shape[2:])
        stride = [
            size if size == n else max(1, int(size * (1 - windows.overlap)))
            for size, n in zip(windows.size, spatial, strict=True)
        ]
        places = dense_patch_slices(spatial, windows.size, stride)
        weight = compute_importance_map(
            windows.size, mode=windows.blend, sigma_scale=windows.sigma, device=x.device, dtype=x.dtype
        )[None, None]
        total = torch.zeros(1, 1, *spatial, dtype=x.dtype, device=x.device)
        for place in places:
            total[(slice(None), slice(None), *place)] += weight
        everywhere = [
            (slice(sample, sample + 1), slice(None), *place) for sample in range(x.shape[0]) for place in places
        ]
        return cls(_grouped(everywhere, windows.batch), _mirrors(windows.mirror), weight, total)


def stitched(x: Tensor, windows: Windows, run: Run) -> Tensor:
    """Return ``run`` over overlapping windows of ``x`` ``(N, C, *spatial)``, blended: ``(N, K, *spatial)``.

    Grids smaller than a window are padded with 0 around them, as MONAI does. Gradients flow to ``x``, not to weights.
    """
    pads = [max(size - n, 0) for size, n in zip(windows.size, x.shape[2:], strict=True)]
    padded = x
    if any(pads):
        padded = F.pad(x, [side for pad in reversed(pads) for side in (pad // 2, pad - pad // 2)])
    z: Tensor = _Stitch.apply(padded, Plan.of(padded, windows), run)  # type: ignore[no-untyped-call]
    for axis, (pad, n) in enumerate(zip(pads, x.shape[2:], strict=True), start=2):
        if pad:
            z = z.narrow(axis, pad // 2, n)
    return z


def in_groups(x: Tensor, count: int, run: Run) -> Tensor:
    """Return ``run`` over groups of ``count`` samples of ``x``: exact, in the memory of one group."""
    weight = torch.ones([1] * x.ndim, dtype=x.dtype, device=x.device)
    places = [(slice(first, first + count),) for first in range(0, x.shape[0], count)]
    z: Tensor = _Stitch.apply(x, Plan(_grouped(places, 1), ((),), weight, weight), run)  # type: ignore[no-untyped-call]
    return z


class _Stitch(torch.autograd.Function):
    """Sum of blended windows, with the two-pass adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan, run: Run) -> Tensor:
        ctx.save_for_backward(x)
        ctx.plan, ctx.run = plan, run
        z = None
        for group, flip in itertools.product(plan.groups, plan.flips):
            seen = _flipped(run(_flipped(_gather(x, group), flip)), flip) * plan.weight
            if z is None:
                z = seen.new_zeros((x.shape[0], seen.shape[1], *x.shape[2:]))
            for place, part in _parts(group, seen):
                z[place] += part
        assert z is not None
        return z.div_(plan.total * len(plan.flips))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        plan, gradient = ctx.plan, torch.zeros_like(x)
        share = len(plan.flips)
        for group in reversed(plan.groups):  # the order in which autograd would add the windows up
            total = torch.cat([_at(plan.total, place) for place in group])
            slope = _gather(wanted, group) / (total * share) * plan.weight
            for flip in plan.flips:
                with torch.enable_grad():
                    leaf = _flipped(_gather(x, group), flip).detach().requires_grad_()
                    seen = ctx.run(leaf)
                (back,) = torch.autograd.grad(seen, leaf, _flipped(slope, flip))
                del seen, leaf
                for place, part in _parts(group, _flipped(back, flip)):
                    gradient[place] += part
        return gradient, None, None


def _grouped(places: Sequence[Place], count: int) -> tuple[tuple[Place, ...], ...]:
    return tuple(tuple(places[first : first + count]) for first in range(0, len(places), count))


def _gather(x: Tensor, group: tuple[Place, ...]) -> Tensor:
    return x[group[0]] if len(group) == 1 else torch.cat([x[place] for place in group])


def _parts(group: tuple[Place, ...], values: Tensor) -> Iterator[tuple[Place, Tensor]]:
    if len(group) == 1:
        yield group[0], values
    else:
        for index, place in enumerate(group):
            yield place, values[index : index + 1]


def _at(total: Tensor, place: Place) -> Tensor:
    """Return the summed weights at a place; they are the same for every sample."""
    return total if total.numel() == 1 else total[(slice(None), slice(None), *place[2:])]


def _mirrors(axes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return every combination of tensor axes to flip, the unflipped one first."""
    return tuple(
        tuple(axis + 2 for axis in chosen)
        for count in range(len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    )


def _flipped(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x.flip(axes) if axes else x
