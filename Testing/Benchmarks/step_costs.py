"""What a step costs, as ratios of medians in one process; the two sides of a ratio are timed in turn.

  * PGD over its floor (one forward, loss and backward to the input); with bf16 gradients over the fp32 floor
  * ASMA over its floor: one forward, masked sum and backward
  * PGD on four samples of which three have reached their goal, over four that have not
  * a windowed step over two forwards and one backward of its windows

Prints a table, or JSON with --json. Run: python Testing/Benchmarks/step_costs.py [--device cuda:0]
On a machine that others use, --cpu-time counts the process's own seconds instead of the clock's (one thread, CPU).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from AdvSegLib.attacks import ASMA, PGD
from AdvSegLib.budgets import Budget
from AdvSegLib.labels import LabelScheme, chest_scheme
from AdvSegLib.losses import soft_iou
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Targeted, Untargeted

STEPS = 10
clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Problem:
    """A segmenter without preparation, images, labels that random weights do not predict, and the encoded labels."""

    segmenter: Segmenter
    x: Tensor
    labels: Tensor
    target: Tensor

    @classmethod
    def of(cls, dims: int, device: str, samples: int | None = None) -> Problem:
        """Return a problem of the size of the papers' thumbnails."""
        torch.manual_seed(0)
        if dims == 2:
            segmenter = Segmenter(build_network("bortsova2020"), Spec.plain(chest_scheme(), dims=2))
            shape: tuple[int, ...] = (samples or 4, 1, 256, 256)
        else:
            segmenter = Segmenter(build_network("liu2021-3d", base=8), Spec.plain(LabelScheme.brats(), channels=4))
            shape = (samples or 1, 4, 64, 64, 64)
        segmenter.network.requires_grad_(False)
        segmenter, x = segmenter.to(device), torch.rand(shape).to(device)
        values = torch.tensor((0, *segmenter.scheme.values), device=device)
        labels = values[torch.randint(0, len(values), (shape[0], *shape[2:])).to(device)]
        return cls(segmenter, x, labels, segmenter.scheme.encode(labels))


def seconds(work: Callable[[], object], steps: int) -> float:
    """Time ``work``, a step, waiting for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - started) / steps


def loss_floor(p: Problem) -> None:
    """Run STEPS forwards, losses and backwards to the input."""
    for _ in range(STEPS):
        leaf = p.x.clone().requires_grad_()
        torch.autograd.grad(soft_iou(p.segmenter.network(leaf), p.target, p.segmenter.scheme).sum(), leaf)


def mask_floor(p: Problem) -> None:
    """Run STEPS forwards, masked sums of logits and backwards to the input."""
    for _ in range(STEPS):
        leaf = p.x.clone().requires_grad_()
        torch.autograd.grad((p.segmenter.network(leaf) * p.target).sum(), leaf)


def ratio(
    name: str, top: Callable[[], object], bottom: Callable[[], object], rounds: int, steps: tuple[int, int]
) -> dict:  # type: ignore[type-arg]
    """Time both sides in turn and return medians (seconds a step) and their ratio."""
    seconds(bottom, 1), seconds(top, 1)  # warm up
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].append(seconds(bottom, steps[1]))
        times[1].append(seconds(top, steps[0]))
    floor, step = (statistics.median(side) for side in times)
    return {"name": name, "floor_s": floor, "step_s": step, "ratio": step / floor}


def pgd(p: Problem, precision: str = "fp32", **parameters: float) -> None:
    """Run a PGD of STEPS steps, history and projection included."""
    PGD(steps=STEPS, **parameters)(  # type: ignore[arg-type]
        p.segmenter,
        p.x,
        Untargeted(p.labels),
        Budget.of_range(p.x, 0.05),
        precision=precision,  # type: ignore[arg-type]
    )


def asma(p: Problem) -> None:
    """Run ASMA, the one forward included by which its last image is judged."""
    ASMA(steps=3 * STEPS)(p.segmenter, p.x, Targeted(p.labels), Budget.of_range(p.x, 1.0))


def finished(dims: int, device: str, rounds: int) -> dict:  # type: ignore[type-arg]
    """Compare steps of four samples with steps after three of them have left at the first."""
    busy = Problem.of(dims, device, samples=4)
    there = Problem(busy.segmenter, busy.x, busy.segmenter.predict(busy.x), busy.target)
    there.labels[0] = busy.labels[0]

    def run(p: Problem) -> Callable[[], object]:
        attack = PGD(steps=STEPS, stop_at=0.999)
        return lambda: attack(p.segmenter, p.x, Targeted(p.labels), Budget.of_range(p.x, 1e-6))

    def first(p: Problem) -> Callable[[], object]:
        attack = PGD(steps=1, stop_at=0.999)
        return lambda: attack(p.segmenter, p.x, Targeted(p.labels), Budget.of_range(p.x, 1e-6))

    one = statistics.median(seconds(first(there), 1) for _ in range(rounds))
    row = ratio(f"{dims}-D, 3 of 4 finished", run(there), run(busy), rounds, (1, STEPS))
    row["step_s"] = (row["step_s"] - one) / (STEPS - 1)  # the first step is the full batch's, in which they leave
    row["ratio"] = row["step_s"] / row["floor_s"]
    return row


def windowed(dims: int, device: str, rounds: int) -> dict:  # type: ignore[type-arg]
    """Compare a step through windows with two forwards and one backward of those windows."""
    p = Problem.of(dims, device, samples=1)
    window = (128,) * 2 if dims == 2 else (48,) * 3
    through = Problem(p.segmenter.windowed(window, overlap=0.5), p.x, p.labels, p.target)
    starts = (0, 64, 128) if dims == 2 else (0, 16)
    spots = torch.cartesian_prod(*[torch.tensor(starts)] * dims).tolist()

    def bare() -> None:
        for _ in range(STEPS):
            for spot in spots:
                piece = p.x[(slice(None), slice(None), *(slice(a, a + n) for a, n in zip(spot, window, strict=True)))]
                with torch.no_grad():
                    p.segmenter.network(piece)
                leaf = piece.clone().requires_grad_()
                out = p.segmenter.network(leaf)
                torch.autograd.grad(out, leaf, torch.ones_like(out))

    return ratio(f"{dims}-D, windowed", lambda: pgd(through), bare, rounds, (STEPS, STEPS))


ROWS = ("pgd", "bf16", "asma", "finished", "windowed")


def measure(dims: int, device: str, rounds: int, rows: Sequence[str] = ROWS) -> Iterator[dict]:  # type: ignore[type-arg]
    """Give the ratios of one dimension, as they are measured."""
    p, even = Problem.of(dims, device), (STEPS, STEPS)
    if "pgd" in rows:
        yield ratio(f"{dims}-D, PGD fp32", lambda: pgd(p), lambda: loss_floor(p), rounds, even)
    if "bf16" in rows:
        yield ratio(f"{dims}-D, PGD bf16", lambda: pgd(p, "bf16"), lambda: loss_floor(p), rounds, even)
    if "asma" in rows:
        yield ratio(f"{dims}-D, ASMA", lambda: asma(p), lambda: mask_floor(p), rounds, (3 * STEPS, STEPS))
    if "finished" in rows:
        yield finished(dims, device, rounds)
    if "windowed" in rows:
        yield windowed(dims, device, rounds)


def main() -> None:
    """Measure 2-D and 3-D and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.cpu_time:
        global clock
        clock = time.process_time
    if not options.json:
        print(
            f"{options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.rounds} rounds"
        )
    rows = []
    for row in (row for dims in options.dims for row in measure(dims, options.device, options.rounds, options.rows)):
        rows.append(row)
        if not options.json:
            times = f"floor {row['floor_s']:.3f} s, step {row['step_s']:.3f} s, ratio {row['ratio']:.3f}"
            print(f"{row['name']:<24}{times}", flush=True)
    if options.json:
        print(json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
