"""An attack on an :class:`Image`: from a scan, a model and a goal to an adversarial scan on the same grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from AdvSegLib.attacks import Attack, TargetedIterativeFGSM, check_aim
from AdvSegLib.attacks.engine import Progress, StepRecord
from AdvSegLib.budgets import Budget, Norm
from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.preprocessing import resize
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Statistics
from AdvSegLib.targets import Goal, Targeted, Untargeted, constant_target
from AdvSegLib.volumes import MARK, Grid, Image, LabelMap

Resolution = Literal["native", "network"]


@dataclass(frozen=True, eq=False)
class Crafted:
    """An adversarial image, marked as one, with the walk's history and the label map it aimed at."""

    image: Image
    history: tuple[StepRecord, ...]
    goal: LabelMap
    targeted: bool
    budget: Budget = field(repr=False)


def craft(
    segmenter: Segmenter,
    image: Image,
    attack: Attack,
    *,
    truth: LabelMap | None = None,
    target: LabelMap | None = None,
    epsilon: float = 0.05,
    norm: Norm = "linf",
    seed: int = 0,
    statistics: Statistics = "recomputed",
    resolution: Resolution = "native",
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Crafted:
    """Attack ``image`` and return the adversarial image on the same grid.

    ``epsilon`` is a fraction of each channel's clean range (``linf``), or the Euclidean norm of the change after
    dividing each channel by its range (``l2``). With a ``target`` the attack approaches it; ti-FGSM without one takes
    its constant label; otherwise it leaves ``truth``, or the clean prediction where there is none. ``truth`` and
    ``target`` lie on the image's grid. ``resolution="network"`` crafts on the scan resampled to the network's grid, as
    attacks on thumbnails do, and carries the perturbation to the scan linearly.
    """
    goal_map, targeted = choose_goal(segmenter, image, attack, truth, target)
    x = segmenter.tensor(image)
    budget = Budget.of_range(x, epsilon, norm)
    if resolution not in ("native", "network"):
        raise BadRequest(f"unknown resolution '{resolution}'; known: native, network")
    seen, seen_goal = (image, goal_map) if resolution == "native" else _at_network(segmenter, image, goal_map)
    labels = torch.from_numpy(seen_goal.array).to(x.device, torch.int64)[None]
    goal: Goal = Targeted(labels) if targeted else Untargeted(labels)
    result = attack(
        segmenter.on(seen, statistics),
        segmenter.tensor(seen),
        goal,
        budget,
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    adversarial = result.adversarial
    if resolution == "network":
        adversarial = _carry(result.perturbation, x, budget)
    array = _single(adversarial, x, budget)[0].cpu().numpy()
    return Crafted(image.with_array(array, mark=MARK), result.history, goal_map, targeted, budget)


def _single(adversarial: Tensor, x: Tensor, budget: Budget) -> Tensor:
    """Round to float32, which files hold, inside the budget."""
    if adversarial.dtype == torch.float32:
        return adversarial
    clean = x.float()
    held = budget.like(clean)
    return held.tighten(held.project(adversarial.float(), clean, held.bounds(clean)), clean)


def choose_goal(
    segmenter: Segmenter, image: Image, attack: Attack, truth: LabelMap | None, target: LabelMap | None
) -> tuple[LabelMap, bool]:
    """Return the label map an attack starts from or heads for, and whether it is a target."""
    scheme = segmenter.scheme
    for name, labels in (("truth", truth), ("target", target)):
        if labels is not None:
            scheme.check(labels.values, name)
            if not labels.grid.matches(image.grid):
                raise BadRequest(f"{name} lies on another grid than the image; resample it with LabelMap.onto")
    if target is None and isinstance(attack, TargetedIterativeFGSM):
        scheme.check([attack.label], "ti-fgsm's target")
        everywhere = constant_target(torch.zeros(image.grid.shape, dtype=torch.int32), attack.label).numpy()
        return LabelMap(everywhere, image.grid, scheme.names), True
    check_aim(attack, targeted=target is not None)
    if target is not None:
        return target, True
    return (truth, False) if truth is not None else (segmenter.segment(image), False)


def _at_network(segmenter: Segmenter, image: Image, goal: LabelMap) -> tuple[Image, LabelMap]:
    """Return image and goal on the grid the network sees, along the image's own axes."""
    bound = segmenter.on(image)
    size = bound.axes.take_back(bound.network_size(image.grid.shape))
    grid = _resized(image.grid, size)
    x = resize(segmenter.tensor(image), size)[0].cpu().numpy()
    return Image(x, grid, image.names), goal.onto(grid)


def _resized(grid: Grid, size: tuple[int, ...]) -> Grid:
    """Return a grid of ``size`` voxels that covers the same box, edge to edge."""
    factors = np.array(grid.shape) / np.array(size)
    affine = grid.affine.copy()
    rank = grid.rank
    affine[:rank, rank] += affine[:rank, :rank] @ ((factors - 1) / 2)
    affine[:rank, :rank] = affine[:rank, :rank] * factors
    return Grid(size, affine)


def _carry(perturbation: Tensor, x: Tensor, budget: Budget) -> Tensor:
    """Add a coarse perturbation to the full image; interpolation never exceeds it, and the box is held."""
    budget = budget.like(x)
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    fine = torch.nn.functional.interpolate(perturbation, size=x.shape[2:], mode=mode, align_corners=False)
    return budget.tighten(budget.project(x + fine, x, budget.bounds(x)), x)
