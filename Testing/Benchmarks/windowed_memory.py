"""Peak memory of a PGD step through 96^3 windows on a 240 x 240 x 155 x 4 volume, over the loaded brain model.

Prints one line a grid: the network's own 2 mm, and 1 mm, where the windows lie on the scan's own voxels. Each is
measured in a process of its own. Run: python Testing/Benchmarks/windowed_memory.py
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import torch

from AdvSegLib.attacks import PGD
from AdvSegLib.budgets import Budget
from AdvSegLib.segmenters.catalogue import load_model
from AdvSegLib.targets import Goal
from AdvSegLib.volumes import Grid, Image

WINDOW = (96, 96, 96)


def peak_gb() -> float:
    """Return the largest resident size so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(shape: tuple[int, int, int], spacing: float) -> dict[str, object]:
    """Attack one volume for a step and return the growth of peak memory (GB) and seconds."""
    segmenter = load_model("brain").windowed(WINDOW)
    segmenter = replace(segmenter, spec=replace(segmenter.spec, spacing=(spacing,) * 3))
    with torch.no_grad():
        segmenter.network(torch.rand(1, 4, 32, 32, 32))  # whatever torch and MONAI load on first use
    before = peak_gb()
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    image = Image(rng.random((4, *shape), dtype=np.float32), Grid.regular(shape), segmenter.spec.channels)
    x = segmenter.tensor(image)
    goal = Goal(torch.zeros(1, *shape, dtype=torch.int64), 1)
    goal.labels[:, shape[0] // 3 : shape[0] // 2, 80:140, 80:140] = 4
    bound = segmenter.on(image)
    result = PGD(steps=1)(bound, x, goal, Budget.of_range(x, 0.05))
    seconds = time.perf_counter() - started
    assert bool(result.perturbation.any())
    return {
        "shape": shape,
        "spacing_mm": spacing,
        "before_gb": before,
        "grown_gb": peak_gb() - before,
        "seconds": seconds,
    }


def main() -> None:
    """Measure each grid in a process of its own and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, type=float, metavar=("Z", "Y", "X", "MM"), help="measure here, print JSON")
    options = parser.parse_args()
    if options.one:
        z, y, x, spacing = options.one
        print(json.dumps(measure((int(z), int(y), int(x)), spacing)))
        return
    for case in (("155", "240", "240", "2"), ("155", "240", "240", "1"), ("96", "240", "240", "1")):
        out = subprocess.run([sys.executable, __file__, "--one", *case], check=True, capture_output=True, text=True)
        row = json.loads(out.stdout)
        print(f"{row['shape']} at {row['spacing_mm']} mm: +{row['grown_gb']:.2f} GB over {row['before_gb']:.2f} GB, "
              f"{row['seconds']:.0f} s a step")  # fmt: skip


if __name__ == "__main__":
    main()
