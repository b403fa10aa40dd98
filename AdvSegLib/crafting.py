"""An attack on an :class:`Image`: from a scan, a model and a goal to an adversarial scan on the same grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from AdvSegLib.attacks import Attack, TargetedIterativeFGSM, check_aim
from AdvSegLib.attacks.engine import Progress, StepRecord
from AdvSegLib.budgets import Budget, Norm
from AdvSegLib.errors import BadRequest
from AdvSegLib.regions import NoiseRegion
from AdvSegLib.segmenters.memory import Relief
from AdvSegLib.segmenters.preprocessing import resize
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Precision, Statistics
from AdvSegLib.target_maps import Constant, Structure, TargetMap
from AdvSegLib.target_maps.base import replaced
from AdvSegLib.targets import Goal
from AdvSegLib.volumes import MARK, Grid, Image, LabelMap

Resolution = Literal["native", "network"]
Keep = Literal["truth", "prediction", "nothing"]


@dataclass(frozen=True, eq=False)
class Crafted:
    """An adversarial image, marked as one, with the walk's history and the label map it aimed at or left.

    ``structures`` are the label values that counted (empty: all), ``region`` where noise was allowed (None:
    everywhere), ``(*spatial)``; ``notes`` says what was done otherwise than asked.
    """

    image: Image
    history: tuple[StepRecord, ...]
    goal: LabelMap
    targeted: bool
    budget: Budget = field(repr=False)
    structures: tuple[int, ...] = ()
    region: NDArray[np.bool_] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


def craft(
    segmenter: Segmenter,
    image: Image,
    attack: Attack,
    *,
    truth: LabelMap | None = None,
    target: LabelMap | TargetMap | None = None,
    keep: Keep | None = None,
    region: NoiseRegion | None = None,
    epsilon: float | None = None,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "fp32",
    statistics: Statistics = "recomputed",
    resolution: Resolution = "native",
    progress: Progress | None = None,
    watch: Callable[[int, Image], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Crafted:
    """Attack ``image`` and return the adversarial image on the same grid.

    ``epsilon`` is a fraction of each channel's clean range (``linf``), or the Euclidean norm of the change after
    dividing each channel by its range (``l2``); by default the attack's own. With a ``target`` the attack approaches
    it: a label map, or what draws one from the label map that the other structures ``keep``: ``truth`` (default where
    there is one) or the clean ``prediction``; with ``keep="nothing"`` only the target's own structures count.
    ti-FGSM without a target takes its constant label; otherwise the attack leaves ``truth``, or the clean prediction
    where there is none. Label maps lie on the image's grid. Noise stays in ``region``. ``resolution="network"`` crafts
    on the scan resampled to the network's grid, as attacks on thumbnails do, and carries the perturbation to the scan
    linearly. ``watch`` hears of the adversarial scan as it stands before every step.
    """
    pipeline = Relief(segmenter)
    aimed = choose_goal(pipeline, image, attack, truth, target, keep)
    x = segmenter.tensor(image)
    allowed = None
    if region is not None:
        base = aimed.base(pipeline, image)
        allowed = pipeline.run(lambda s: region.mask(s, image, base))
    if epsilon is None:
        whole = attack.bounds_itself and norm == "l2"
        epsilon = math.sqrt(x.numel()) if whole else attack.default_epsilon
    budget = Budget.of_range(x, epsilon, norm)
    if allowed is not None:
        budget = budget.within(torch.from_numpy(allowed)[None, None])
    if resolution not in ("native", "network"):
        raise BadRequest(f"unknown resolution '{resolution}'; known: native, network")
    if resolution == "native":
        seen, labels, seen_budget = image, aimed.labels, budget
    else:
        seen, labels, seen_budget = _at_network(segmenter, image, aimed.labels, budget)
    wanted = torch.from_numpy(labels.array).to(x.device, torch.int64)[None]
    goal = Goal(wanted, -1 if aimed.targeted else 1, aimed.structures)
    start = segmenter.tensor(seen)

    def as_scan(images: Tensor) -> Image:
        full = images if resolution == "native" else _carry(images - start, x, budget)
        return image.with_array(_single(full, x, budget)[0].cpu().numpy(), mark=MARK)

    result = attack(
        pipeline.segmenter.on(seen, statistics),
        start,
        goal,
        seen_budget,
        seed=seed,
        precision=precision,
        progress=progress,
        watch=None if watch is None else lambda step, images: watch(step, as_scan(images)),
        cancel=cancel,
    )
    return Crafted(
        as_scan(result.adversarial), result.history, aimed.labels, aimed.targeted, budget, aimed.structures,
        allowed, tuple(dict.fromkeys((*pipeline.notes, *result.notes))),
    )  # fmt: skip


def _single(adversarial: Tensor, x: Tensor, budget: Budget) -> Tensor:
    """Round to float32, which files hold, inside the budget."""
    if adversarial.dtype == torch.float32:
        return adversarial
    clean = x.float()
    held = budget.like(clean)
    return held.tighten(held.project(adversarial.float(), clean, held.bounds(clean)), clean)


@dataclass(frozen=True, eq=False)
class Aimed:
    """The label map an attack heads for or leaves; ``structures`` are the values that count, empty for all."""

    labels: LabelMap
    targeted: bool
    structures: tuple[int, ...] = ()
    anatomy: LabelMap | None = None
    """Truth or clean prediction, where one was needed: where structures are."""

    def base(self, pipeline: Relief, image: Image) -> LabelMap:
        """Return where structures are on the image: the truth, else the clean prediction."""
        return self.anatomy if self.anatomy is not None else pipeline.run(lambda s: s.segment(image))


def choose_goal(
    pipeline: Relief,
    image: Image,
    attack: Attack,
    truth: LabelMap | None,
    target: LabelMap | TargetMap | None,
    keep: Keep | None = None,
) -> Aimed:
    """Return what an attack starts from or heads for; see :func:`craft`."""
    scheme = pipeline.segmenter.scheme
    given = {"truth": truth, "target": target if isinstance(target, LabelMap) else None}
    for name, labels in given.items():
        if labels is not None:
            scheme.check(labels.values, name)
            if not labels.grid.matches(image.grid):
                raise BadRequest(f"{name} lies on another grid than the image; resample it with LabelMap.onto")
    if target is None and isinstance(attack, TargetedIterativeFGSM):
        target = Constant(label=attack.label)
    check_aim(attack, targeted=target is not None)
    if target is None:
        anatomy = truth if truth is not None else pipeline.run(lambda s: s.segment(image))
        return Aimed(anatomy, False, anatomy=anatomy)
    return _towards(pipeline, image, truth, target, keep)


def _towards(
    pipeline: Relief, image: Image, truth: LabelMap | None, target: LabelMap | TargetMap, keep: Keep | None
) -> Aimed:
    scheme = pipeline.segmenter.scheme
    if keep == "truth" and truth is None:
        raise BadRequest("keep=truth needs a truth")
    if isinstance(target, LabelMap) and keep in (None, "nothing"):
        target = LabelMap(target.array, target.grid, scheme.names)
        return Aimed(target, True, target.values if keep == "nothing" else (), truth)
    from_truth = truth is not None and keep != "prediction"
    anatomy = truth if from_truth and truth is not None else pipeline.run(lambda s: s.segment(image))
    if isinstance(target, LabelMap):
        array = replaced(anatomy, Structure("the target", target.values), target.array, "target")
        return Aimed(LabelMap(array, image.grid, scheme.names), True, anatomy=anatomy)
    structures = target.about(anatomy, scheme) if keep == "nothing" else ()
    return Aimed(target.draw(anatomy, scheme), True, structures, anatomy)


def _at_network(segmenter: Segmenter, image: Image, goal: LabelMap, budget: Budget) -> tuple[Image, LabelMap, Budget]:
    """Return image, goal and budget on the grid the network sees, along the image's own axes."""
    bound = segmenter.on(image)
    size = bound.axes.take_back(bound.network_size(image.grid.shape))
    grid = _resized(image.grid, size)
    x = resize(segmenter.tensor(image), size)[0].cpu().numpy()
    if budget.region is not None:
        coarse = resize(budget.region.to(torch.float32), size) > 0
        budget = budget.within(coarse)
    return Image(x, grid, image.names), goal.onto(grid), budget


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
