"""What Slicer's scene costs on a clinical scan: 240 x 240 x 155 voxels, four channels.

  * seconds from a finished run folder (no recorded iterations) to all result nodes in the scene; asked: under 3 s
  * milliseconds a step to browse ten recorded iterations, all channels and segmentation; asked: under 150 ms
  * seconds to add those ten iterations, and to save the scene of one run

The scan is smooth tissue in air, the noise fills every voxel (the worst case to unpack). Needs the slicer-core wheel.
Run: python Testing/Benchmarks/scene_costs.py [--json] [--steps 10] [--save]; exits with 1 where a limit is missed.
On a machine that others use, --cpu-time counts the process's own seconds, all threads together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Python"))
from slicer_fixtures import HeadlessSlicer

from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.difference import difference_map
from AdvSegLib.metrics.overlap import compare, volumes_ml
from AdvSegLib.volumes import Grid, Image, LabelMap

CHANNELS = ("t1", "t1gd", "t2", "flair")
SHAPE = (155, 240, 240)
LIMITS = {"add_run_s": 3.0, "scrub_ms": 150.0}
EPSILON = 0.03
clock: Callable[[], float] = time.perf_counter


def syntheticScan(shape: Sequence[int] = SHAPE) -> tuple[Image, LabelMap]:
    """Return a head of smooth tissue in air, and labels within it."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    radius = np.sqrt((x / 0.75) ** 2 + (y / 0.85) ** 2 + (z / 0.9) ** 2)
    grid = Grid(tuple(shape), np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    channels = [
        np.where(radius < 1, 300 + 100 * np.sin(5 * x + index) * np.cos(4 * y - index) * np.cos(3 * z), 0)
        for index in range(len(CHANNELS))
    ]
    tumour = np.sqrt((x - 0.25) ** 2 + (y - 0.2) ** 2 + z**2)
    labels = np.select([tumour < 0.08, tumour < 0.15, tumour < 0.3], [1, 4, 2], default=0)
    return Image(np.rint(np.stack(channels)).astype(np.float32), grid, CHANNELS), LabelMap(labels, grid)


def writeRun(folder: Path, clean: Image, labels: LabelMap, steps: int) -> None:
    """Write a run folder of noise everywhere and labels that have moved, with ``steps`` recorded iterations."""
    rng = np.random.default_rng(0)
    noise = (
        (rng.random(clean.array.shape, np.float32) * 2 - 1) * EPSILON * clean.ranges.astype("f4")[:, None, None, None]
    )
    after = LabelMap(np.roll(labels.array, 9, axis=1), labels.grid)
    folder.mkdir()
    adversarial = clean.with_array(clean.array + noise)
    for index, name in enumerate(clean.names):
        adversarial.channel(index).write(folder / f"adversarial_{name}.nii.gz")
        clean.with_array(adversarial.array - clean.array).channel(index).write(folder / f"perturbation_{name}.nii.gz")
    labels.write(folder / "clean_labels.nii.gz")
    after.write(folder / "adversarial_labels.nii.gz")
    difference_map(labels, after).write(folder / "difference.nii.gz")
    _writeNumbers(folder, labels, after)
    if steps:
        _writeIterations(folder, clean, noise, labels, steps)


def _writeNumbers(folder: Path, before: LabelMap, after: LabelMap) -> None:
    scheme, voxel = LabelScheme.brats(), before.grid.voxel_ml
    overlap = compare(before.array, after.array, scheme)
    metrics = {
        "schema": "advseg.metrics/1", "model": "brain", "attack": "pgd", "clean": overlap, "adversarial": overlap,
        "agreement": overlap, "target": None, "image": {"psnr": 40.0, "linf_percent": 100 * EPSILON}, "warnings": [],
        "volumes_ml": {"clean": volumes_ml(before.array, scheme, voxel),
                       "adversarial": volumes_ml(after.array, scheme, voxel)},
        "budget": {"norm": "linf", "asked": {"epsilon": EPSILON}},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    rows = ["step,loss,dice,iou,linf,l2,psnr,measured", *(f"{i},0.5,0.8,0.7,0.03,1.0,40.0,in loop" for i in range(40))]
    (folder / "history.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _writeIterations(folder: Path, clean: Image, noise: np.ndarray, labels: LabelMap, steps: int) -> None:
    (folder / "iterations").mkdir()
    entries = []
    for step in range(steps):
        names = [f"iterations/step_{step:04d}_{name}.nii.gz" for name in clean.names]
        image = clean.with_array(clean.array + noise * (step / max(1, steps - 1)))
        for index, name in enumerate(names):
            image.channel(index).write(folder / name)
        LabelMap(np.roll(labels.array, step, axis=1), labels.grid).write(
            folder / f"iterations/step_{step:04d}_labels.nii.gz"
        )
        entries.append({"step": step, "images": names, "labels": f"iterations/step_{step:04d}_labels.nii.gz",
                        "numbers": {"loss": 0.5, "dice": 0.8}})  # fmt: skip
    index = {"schema": "advseg.iterations/1", "iterations": entries}
    (folder / "iterations" / "index.json").write_text(json.dumps(index), encoding="utf-8")


def scanNodes(scene: Any, image: Image) -> list[Any]:
    """Return volume nodes of an image, shown with Slicer's default window."""
    from AdvSegRobustnessLib.NodeGeometry import RAS_TO_LPS, REVERSED, toVtk
    from AdvSegRobustnessLib.Voxels import imageDataOf

    nodes = []
    for array, name in zip(image.array, image.names, strict=True):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetIJKToRASMatrix(toVtk(RAS_TO_LPS @ image.grid.affine @ REVERSED))
        node.SetAndObserveImageData(imageDataOf(array))
        node.CreateDefaultDisplayNodes()
        nodes.append(node)
    return nodes


def measure(folder: Path, steps: int, save: bool) -> dict[str, float]:
    """Return the costs in seconds and milliseconds."""
    from AdvSegRobustnessLib.IterationNodes import addIterations, showIteration
    from AdvSegRobustnessLib.ResultNodes import addRun, removeRun
    from AdvSegRobustnessLib.ScanNodes import scanFromNodes

    image, labels = syntheticScan()
    writeRun(folder / "run", image, labels, steps)
    index = folder / "run" / "iterations" / "index.json"
    slicerAlone = HeadlessSlicer(folder / "slicer")
    scene, scheme = slicerAlone.scene, LabelScheme.brats()
    scan = scanFromNodes(scanNodes(scene, image), CHANNELS, 3)
    found: dict[str, float] = {}

    index.rename(index.with_suffix(".aside"))
    seconds = []
    for _ in range(3):
        started = clock()
        result = addRun(scene, folder / "run", scan, scheme)
        seconds.append(clock() - started)
        removeRun(scene, result)
    found["add_run_s"] = statistics.median(seconds)
    if save:
        result = addRun(scene, folder / "run", scan, scheme)
        started = clock()
        slicerAlone.save(folder / "scene.mrb")
        found["save_mrb_s"] = clock() - started
        removeRun(scene, result)

    index.with_suffix(".aside").rename(index)
    started = clock()
    browser = addIterations(scene, folder / "run", scan, scheme)
    found["add_iterations_s"] = clock() - started
    milliseconds = []
    for step in [*range(steps), *range(steps - 2, -1, -1)]:
        started = clock()
        showIteration(browser, step)
        milliseconds.append(1000 * (clock() - started))
    found["scrub_ms"] = statistics.median(milliseconds)
    found["scrub_worst_ms"] = max(milliseconds)
    slicerAlone.close()
    return found


def main() -> int:
    """Measure, print, and tell by the exit code whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--steps", type=int, default=10, help="recorded iterations")
    parser.add_argument("--save", action="store_true", help="also save the scene as .mrb")
    parser.add_argument("--cpu-time", action="store_true", help="count the process's own seconds")
    options = parser.parse_args()
    if options.cpu_time:
        global clock
        clock = time.process_time
    with tempfile.TemporaryDirectory(prefix="advseg-costs-") as folder:
        found = measure(Path(folder), options.steps, options.save)
    if options.json:
        print(json.dumps({"limits": LIMITS, **found}, indent=2))
    else:
        for name, value in found.items():
            limit = f"   asked: under {LIMITS[name]:g}" if name in LIMITS else ""
            print(f"{name:<18}{value:10.3f}{limit}")
    return int(any(found[name] >= limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
