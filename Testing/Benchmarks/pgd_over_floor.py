"""PGD per iteration over the floor: one forward and one backward to the input, weights frozen.

Ratios of medians in one process; the two are timed in turn, so that a drifting machine drifts for both. Prints a
table, or JSON with --json. Run: python Testing/Benchmarks/pgd_over_floor.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from torch import Tensor

from AdvSegLib.attacks import PGD
from AdvSegLib.budgets import Budget
from AdvSegLib.labels import LabelScheme, chest_scheme
from AdvSegLib.losses import soft_iou
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Untargeted

STEPS = 10


def problem(dims: int) -> tuple[Segmenter, Tensor, Tensor]:
    """Return a segmenter without preparation, a batch and a truth of the size the papers' thumbnails have."""
    torch.manual_seed(0)
    if dims == 2:
        segmenter = Segmenter(build_network("bortsova2020"), Spec.plain(chest_scheme(), dims=2))
        shape: tuple[int, ...] = (4, 1, 256, 256)
    else:
        segmenter = Segmenter(build_network("liu2021-3d", base=8), Spec.plain(LabelScheme.brats(), channels=4))
        shape = (1, 4, 64, 64, 64)
    segmenter.network.requires_grad_(False)
    x = torch.rand(shape)
    values = torch.tensor((0, *segmenter.scheme.values))
    return segmenter, x, values[torch.randint(0, len(values), (shape[0], *shape[2:]))]


def floor_seconds(segmenter: Segmenter, x: Tensor, target: Tensor) -> float:
    """Time STEPS forwards, losses and backwards to the input, a step."""
    started = time.perf_counter()
    for _ in range(STEPS):
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(soft_iou(segmenter.network(leaf), target, segmenter.scheme).sum(), leaf)
    return (time.perf_counter() - started) / STEPS


def pgd_seconds(segmenter: Segmenter, x: Tensor, labels: Tensor) -> float:
    """Time a PGD of STEPS steps, history and projection included, a step."""
    started = time.perf_counter()
    PGD(steps=STEPS)(segmenter, x, Untargeted(labels), Budget.of_range(x, 0.05))
    return (time.perf_counter() - started) / STEPS


def measure(dims: int, rounds: int) -> dict[str, float]:
    """Return medians (seconds a step) and the median of the ratios of neighbouring rounds."""
    segmenter, x, labels = problem(dims)
    target = segmenter.scheme.encode(labels)
    floor_seconds(segmenter, x, target), pgd_seconds(segmenter, x, labels)  # warm up
    floors, walks = [], []
    for _ in range(rounds):
        floors.append(floor_seconds(segmenter, x, target))
        walks.append(pgd_seconds(segmenter, x, labels))
    ratios = [walk / floor for walk, floor in zip(walks, floors, strict=True)]
    return {
        "floor_s": statistics.median(floors),
        "pgd_s": statistics.median(walks),
        "ratio_of_medians": statistics.median(walks) / statistics.median(floors),
        "median_of_ratios": statistics.median(ratios),
    }


def main() -> None:
    """Measure 2-D and 3-D and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {f"{dims}-D": measure(dims, options.rounds) for dims in (2, 3)}
    if options.json:
        print(json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, **results}, indent=2))
        return
    threads = torch.get_num_threads()
    print(f"{threads} threads, torch {torch.__version__}, medians of {options.rounds} rounds of {STEPS} steps")
    for name, row in results.items():
        print(f"{name}: floor {row['floor_s']:.3f} s, PGD {row['pgd_s']:.3f} s, ratio {row['ratio_of_medians']:.3f}")


if __name__ == "__main__":
    main()
