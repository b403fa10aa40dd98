"""A run folder into memory, checked, before anything is added to a scene. See ``docs/reference/run-folder.md``."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.difference import difference_map
from AdvSegLib.volumes import Grid, LabelMap
from AdvSegRobustnessLib.ScanNodes import Scan
from AdvSegRobustnessLib.VoxelFiles import VoxelFile, readVoxels

METRICS_SCHEMA = "advseg.metrics/1"
OVERLAPS = ("clean", "adversarial", "agreement", "target")
HISTORY_COLUMNS = ("step", "loss", "dice", "iou", "linf", "l2", "psnr")
SAMPLED = 97
"""Of so many voxels one is looked at to tell whether a run is of this scan."""


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What a run folder holds: arrays ``(k, j, i)`` a channel, label arrays, numbers."""

    folder: Path
    adversarial: tuple[np.ndarray, ...]
    perturbation: tuple[np.ndarray, ...]
    clean: np.ndarray
    attacked: np.ndarray
    metrics: dict[str, Any]
    history: list[dict[str, float]]


def readRun(folder: Path, scan: Scan, scheme: LabelScheme) -> RunFolder:
    """Return what a run folder holds; BadRequest, naming the file, where it is damaged or not of this scan."""
    folder = Path(folder)
    metrics, history = readMetrics(folder), readHistory(folder)
    names = scan.image.names
    volumes = [f"{kind}_{name}" for kind in ("adversarial", "perturbation") for name in names]
    files = readVoxels(
        [folder / f"{name}.nii.gz" for name in (*volumes, "clean_labels", "adversarial_labels", "difference")],
        scan.image.grid.lifted(),
    )
    images, (clean, attacked, difference) = files[: len(volumes)], files[len(volumes) :]
    adversarial, perturbation = images[: len(names)], images[len(names) :]
    for file in (clean, attacked):
        checkLabels(file, scheme)
    _checkDifference(clean, attacked, difference)
    _checkScan(scan, adversarial, perturbation)
    return RunFolder(
        folder, tuple(file.array for file in adversarial), tuple(file.array for file in perturbation),
        clean.array, attacked.array, metrics, history,
    )  # fmt: skip


def readMetrics(folder: Path) -> dict[str, Any]:
    """Return ``metrics.json`` with what the scene needs of it."""
    path = folder / "metrics.json"
    if not folder.is_dir():
        raise BadRequest(f"{folder}: no such run folder")
    metrics = readJson(path)
    try:
        if metrics["schema"] != METRICS_SCHEMA:
            raise BadRequest(f"{path}: schema '{metrics['schema']}' is not {METRICS_SCHEMA}; made by another version?")
        for name in OVERLAPS:
            for score in (metrics[name] or {"dice": {}})["dice"].values():
                _checkNumber(score)
        for side in ("clean", "adversarial"):
            for volume in metrics["volumes_ml"][side].values():
                _checkNumber(volume)
        for value in (metrics["image"]["psnr"], metrics["image"]["linf_percent"]):
            _checkNumber(value)
        [str(note) for note in metrics["warnings"]], str(metrics["attack"]), str(metrics["model"])
        float(metrics["budget"]["asked"]["epsilon"]), str(metrics["budget"]["norm"]), metrics["agreement"]["dice"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"{path}: damaged, or not a run's ({error})") from error
    return metrics


def readHistory(folder: Path) -> list[dict[str, float]]:
    """Return ``history.csv`` as numbers; what is empty there, or infinite, is NaN: it cannot be drawn."""
    path = folder / "history.csv"
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        numbers = [{name: _number(row[name]) for name in HISTORY_COLUMNS} for row in rows]
    except OSError as error:
        raise BadRequest(f"{path}: no such file; the run folder is not whole") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadRequest(f"{path}: damaged ({error})") from error
    if not numbers:
        raise BadRequest(f"{path}: damaged (no rows)")
    return numbers


def readJson(path: Path) -> dict[str, Any]:
    """Return a JSON object; BadRequest for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"{path}: no such file; the run folder is not whole") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(data, dict):
        raise BadRequest(f"{path}: damaged (not a JSON object)")
    return data


def checkLabels(file: VoxelFile, scheme: LabelScheme) -> None:
    """Raise BadRequest for values that are no labels of the scheme."""
    if file.array.dtype == np.uint8:
        present = np.zeros(256, bool)
        present[file.array] = True  # ten times faster than np.unique, and somebody is waiting
        values = np.flatnonzero(present)
    else:
        values = np.unique(file.array)
    if (values != np.rint(values)).any():
        raise BadRequest(f"{file.path}: holds values that are not whole numbers")
    scheme.check([int(value) for value in values], str(file.path))


def readLabels(path: Path, grid: Grid, scheme: LabelScheme) -> np.ndarray:
    """Return one label map ``(k, j, i)`` of a folder."""
    (file,) = readVoxels([path], grid)
    checkLabels(file, scheme)
    return file.array


def _checkDifference(clean: VoxelFile, attacked: VoxelFile, difference: VoxelFile) -> None:
    """Raise BadRequest where the difference is not that of the two label maps; looks only at what changed."""
    changed = np.flatnonzero(clean.array.reshape(-1) != attacked.array.reshape(-1))
    same = np.array_equal(changed, np.flatnonzero(difference.array.reshape(-1)))
    if same and changed.size:
        line = Grid.regular((1, changed.size))
        sides = [LabelMap(file.array.reshape(-1)[changed][None], line) for file in (clean, attacked)]
        same = np.array_equal(difference_map(*sides).array[0], difference.array.reshape(-1)[changed])
    if not same:
        raise BadRequest(f"{difference.path}: not the difference of clean_labels and adversarial_labels")


def _checkScan(scan: Scan, adversarial: list[VoxelFile], perturbation: list[VoxelFile]) -> None:
    """Raise BadRequest where adversarial minus perturbation is not the scan: then the run is of another one."""
    for name, clean, changed, noise in zip(scan.image.names, scan.image.array, adversarial, perturbation, strict=True):
        sample = [array.reshape(-1)[::SAMPLED].astype(np.float64) for array in (clean, changed.array, noise.array)]
        allowed = 1e-4 * max(float(np.ptp(sample[0])), float(np.abs(sample[0]).max()), 1e-30)
        if np.abs(sample[1] - sample[2] - sample[0]).max() > allowed:
            raise BadRequest(
                f"{changed.path}: minus the perturbation it is not channel {name} of '{scan.reference.GetName()}'; "
                "is the run of this scan, and is the scan unchanged since?"
            )


def _number(text: str) -> float:
    value = float(text) if text != "" else math.nan
    return value if math.isfinite(value) else math.nan


def _checkNumber(value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{value!r} is not a number")
