"""``advseg train``: from a recipe to a bundle with its card."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from AdvSegLib.errors import AdvSegError, unknown_name
from AdvSegLib.losses import Loss, cross_entropy, dice_ce, soft_dice, soft_iou
from AdvSegLib.metrics.overlap import compare, mean
from AdvSegLib.runs import staged_folder
from AdvSegLib.segmenters.bundle import save_bundle
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.preprocessing import apply_intensity
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.training.augmentation import Augmentation
from AdvSegLib.training.pool import Sample, draw_phantom, draw_pool
from AdvSegLib.training.recipe import Recipe

TRAINING_LOSSES: dict[str, Loss] = {
    "dice": soft_dice,
    "iou": soft_iou,
    "ce": cross_entropy,
    "dice+ce": dice_ce,
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adadelta": torch.optim.Adadelta,
}


CARD = """# {title}

{description}

{made}

Dice on {cases} unseen phantoms (seeds from {seed}):

| structure | Dice |
|---|---|
{rows}

{notes}

It is a victim for robustness research, undefended. It is **not a medical device** and not for clinical use.
Licence: Apache-2.0.
"""


@dataclass(frozen=True)
class Outcome:
    """What a training reached: mean results on unseen phantoms, and the time it took."""

    scores: Mapping[str, Any]
    seconds: float


def train(recipe: Recipe, out: Path, *, device: str = "cpu", log: Callable[[str], None] = print) -> Outcome:
    """Train ``recipe`` and write a MONAI bundle to ``out``, whole or not at all. Returns what it reached."""
    started = time.perf_counter()
    network = _seeded_network(recipe).to(device)
    with staged_folder(out) as stage:
        log(f"drawing {recipe.data.train_cases} phantoms ({recipe.data.source}, {recipe.data.size} voxels a side)")
        pool = draw_pool(recipe.data, progress=_bar)
        _optimise(recipe, network, pool, device, log)
        segmenter = Segmenter(network, recipe.spec)
        scores = validate(segmenter, recipe, recipe.data.validation_cases)
        outcome = Outcome(scores, time.perf_counter() - started)
        save_bundle(stage, network, recipe.network, recipe.spec, _card(recipe, outcome, device))
    log(f"mean Dice {scores['dice']['mean']:.3f} on {recipe.data.validation_cases} unseen phantoms")
    return outcome


def validate(segmenter: Segmenter, recipe: Recipe, count: int) -> dict[str, Any]:
    """Return Dice per label and region, averaged over ``count`` phantoms of the validation seeds."""
    results = []
    for seed in range(recipe.data.validation_seed, recipe.data.validation_seed + count):
        image, labels = draw_phantom(recipe.data.source, seed, recipe.data.size)
        results.append(compare(labels.array, segmenter.segment(image).array, segmenter.scheme))
    keys = ("dice", "dice_regions", "iou")
    return {key: {name: mean([r[key][name] for r in results]) for name in results[0][key]} for key in keys}


def _seeded_network(recipe: Recipe) -> nn.Module:
    torch.manual_seed(recipe.seed)
    return build_network(recipe.network)


def _optimise(
    recipe: Recipe, network: nn.Module, pool: Sequence[Sample], device: str, log: Callable[[str], None]
) -> None:
    """Train ``network`` in place; one log line at every validation."""
    plan, scheme = recipe.optimisation, recipe.spec.scheme
    loss_of = _choose("training loss", plan.loss, TRAINING_LOSSES)
    build = _choose("optimizer", plan.optimizer, OPTIMIZERS)
    optimizer = build(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=plan.learning_rate, total_steps=plan.iterations, pct_start=0.1
    )
    recent: list[float] = []
    for iteration, (x, labels) in enumerate(_bar(_batches(recipe, pool), total=plan.iterations)):
        network.train()
        x, target = x.to(device), scheme.encode(labels.to(device))
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=plan.bf16):
            logits = network(apply_intensity(x, recipe.spec.intensity))
        loss = loss_of(logits.float(), target, scheme).mean()
        if not bool(loss.isfinite()):
            raise AdvSegError(f"training loss is not finite at iteration {iteration + 1}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if (iteration + 1) % plan.validate_every == 0 and iteration + 1 < plan.iterations:
            scores = validate(Segmenter(network, recipe.spec), recipe, min(4, recipe.data.validation_cases))
            log(f"iteration {iteration + 1}: loss {np.mean(recent):.3f}, mean Dice {scores['dice']['mean']:.3f}")
            recent.clear()


def _batches(recipe: Recipe, pool: Sequence[Sample]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches ``(N, C, *spatial)``, ``(N, *spatial)``; every draw is a function of seed and sample number."""
    plan = recipe.optimisation
    augment = Augmentation(plan.augmentation, recipe.spec.dims, recipe.seed)
    for iteration in range(plan.iterations):
        rng = np.random.default_rng((recipe.seed, iteration))
        side = int(rng.choice(plan.crop)) if plan.crop else 0
        images, labels = [], []
        for place in range(plan.batch):
            image, label = pool[int(rng.integers(len(pool)))]
            image, label = _crop(image, label, side, rng)
            image, label = augment(_standardised(image), label, iteration * plan.batch + place)
            images.append(image)
            labels.append(label)
        yield torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels).astype(np.int64))


def _standardised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return channels at mean 0 and deviation 1, so that augmentation strengths mean the same for every scan.

    The network's own intensity mapping follows, and undoes it: all of them ignore scale and shift.
    """
    axes = tuple(range(1, image.ndim))
    centre, spread = image.mean(axes, keepdims=True), image.std(axes, keepdims=True)
    standard: NDArray[np.float32] = ((image - centre) / np.maximum(spread, 1e-6)).astype(np.float32)
    return standard


def _crop(
    image: NDArray[np.float32], label: NDArray[np.uint8], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Cut a random cube of ``side`` voxels (0: all); every second one is centred near a labelled voxel."""
    if not side or side >= min(label.shape):
        return image, label
    room = np.array(label.shape) - side
    corner = rng.integers(0, room + 1)
    foreground = np.flatnonzero(label)
    if foreground.size and rng.random() < 0.5:
        voxel = np.array(np.unravel_index(foreground[rng.integers(foreground.size)], label.shape))
        corner = np.clip(voxel - rng.integers(side // 4, side - side // 4, size=len(room)), 0, room)
    window = tuple(slice(start, start + side) for start in corner)
    return np.stack([plane[window] for plane in image]), label[window]


def _card(recipe: Recipe, outcome: Outcome, device: str) -> dict[str, Any]:
    """Return the bundle's card: what it is, how it was made, what it reached."""
    plan, data = recipe.optimisation, recipe.data
    rows = "\n".join(
        f"| {name} | {'-' if value is None else f'{value:.3f}'} |"
        for key in ("dice", "dice_regions")
        for name, value in outcome.scores[key].items()
    )
    made = (
        f"Trained by `advseg train --recipe {recipe.name}` on {data.train_cases} synthetic phantoms ({data.source}, "
        f"seeds from {data.train_seed}), {plan.iterations} iterations of {plan.batch}, loss {plan.loss}, in "
        f"{outcome.seconds / 60:.0f} minutes on {device}. No patient data."
    )
    text = CARD.format(
        title=recipe.title, description=recipe.description, made=made, cases=data.validation_cases,
        seed=data.validation_seed, rows=rows, notes=recipe.notes,
    )  # fmt: skip
    return {
        "title": recipe.title,
        "description": recipe.description,
        "text": text,
        "results": {"unseen_phantoms": data.validation_cases, **outcome.scores, "training_seconds": outcome.seconds},
    }


def _choose(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    if name not in options:
        raise unknown_name(kind, name, options)
    return options[name]


def _bar(iterator: Any, total: int | None = None) -> Any:
    """Show progress on a terminal's stderr, and nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(iterator, total=total, disable=not sys.stderr.isatty(), leave=False)
