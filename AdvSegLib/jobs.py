"""One JSON request in, one result folder out: the contract of GUI, console, batch, command line and cluster."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.attacks import make_attack
from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.job_request import Job
from AdvSegLib.provenance import content_key, hash_path, now, versions
from AdvSegLib.runs import staged_folder
from AdvSegLib.schemas import check_schema
from AdvSegLib.segmenters.bundle import weights_hash, write_json
from AdvSegLib.segmenters.catalogue import load_model, model_folder

if TYPE_CHECKING:
    from AdvSegLib.attacks.engine import Progress
    from AdvSegLib.crafting import Crafted
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.volumes import FloatArray, Image, LabelMap

PROVENANCE_SCHEMA = "advseg.provenance/1"


def choose_device(name: str) -> str:
    """Return the torch device of ``auto`` (a GPU where there is one), ``cpu`` or ``cuda:N``; BadRequest otherwise."""
    import torch

    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise BadRequest(f"unknown device '{name}'; known: auto, cpu, cuda:N")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise BadRequest(
            f"device '{name}' is not available; this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return name


def run_job(
    job: Job,
    out: str | os.PathLike[str],
    *,
    segmenter: Segmenter | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    status: Callable[[str], None] = lambda stage: None,
) -> Path:
    """Run a job and return its folder ``out``, written whole or not at all; ``status`` hears each stage begin.

    With a ``segmenter`` of your own, ``job.model`` is only the name it goes by.

    Success is measured on what was saved: the adversarial image is written, read back and segmented by the unmodified
    pipeline. Raises BadRequest for a bad job, Cancelled on ``cancel()``, AdvSegError for what fails on the way.
    """
    from AdvSegLib.crafting import craft

    started = time.perf_counter()
    attack = make_attack(job.attack, **job.parameters)
    if not 0 <= job.epsilon < math.inf:
        raise BadRequest(f"epsilon must be a finite number >= 0, not {job.epsilon}")
    choose_device(job.device)
    check_schema("job", job.to_dict(), "job")
    status("reading")
    segmenter, image, truth, target = load_inputs(job, segmenter)
    with staged_folder(out) as stage:
        status("attacking")
        crafted = craft(
            segmenter, image, attack, truth=truth, target=target, epsilon=job.epsilon, norm=job.norm,  # type: ignore[arg-type]
            seed=job.seed, statistics=job.statistics, resolution=job.resolution,  # type: ignore[arg-type]
            progress=progress, cancel=cancel,
        )  # fmt: skip
        status("saving and measuring")
        _write_run(stage, job, segmenter, image, truth, crafted, started)
    return Path(out)


def load_inputs(
    job: Job, segmenter: Segmenter | None = None
) -> tuple[Segmenter, Image, LabelMap | None, LabelMap | None]:
    """Load model (where none is given), image, truth and target of a job, checked against each other."""
    from AdvSegLib.volumes import read_image

    folder = None if segmenter is not None else model_folder(job.model)
    for path in (*job.image, *filter(None, (job.truth, job.target))):
        if not Path(path).exists():
            raise BadRequest(f"{path}: no such file or folder")
    segmenter = segmenter or load_model(str(folder), choose_device(job.device))
    image = read_image(job.image)
    segmenter.check(image)
    if len(job.image) > 1 or image.names[0].startswith(("image", "channel")):
        image = named(image, segmenter.spec.channels)
    return segmenter, image, _labels(job, job.truth, image, segmenter), _labels(job, job.target, image, segmenter)


def named(image: Image, names: tuple[str, ...]) -> Image:
    """Return the image with the channel names of the model."""
    from dataclasses import replace

    return replace(image, names=names)


def _labels(job: Job, path: str | None, image: Image, segmenter: Segmenter) -> LabelMap | None:
    from AdvSegLib.volumes import read_labels

    if path is None:
        return None
    labels = read_labels(path, image.grid)
    if job.relabel:
        labels = labels.relabelled({int(old): int(new) for old, new in job.relabel.items()})
    segmenter.scheme.check(labels.values, path)
    return labels


def _write_run(
    stage: Path, job: Job, segmenter: Segmenter, clean: Image, truth: LabelMap | None, crafted: Crafted, started: float
) -> None:
    """Write every file of a run into ``stage``."""
    from AdvSegLib.evaluation import history_rows, measure
    from AdvSegLib.metrics.difference import difference_map
    from AdvSegLib.reports.content import RunContent
    from AdvSegLib.reports.run_report import write_run_report

    adversarial = _save_and_read_back(stage, clean, crafted.image)
    clean_labels, adversarial_labels = segmenter.segment(clean), segmenter.segment(adversarial)
    difference = difference_map(clean_labels, adversarial_labels)
    for name, labels in (
        ("clean_labels", clean_labels),
        ("adversarial_labels", adversarial_labels),
        ("difference", difference),
    ):
        labels.write(stage / f"{name}.nii.gz")
    metrics = measure(job, clean, adversarial, clean_labels, adversarial_labels, truth, crafted, segmenter.scheme)
    history = history_rows(crafted, metrics)
    content = RunContent(
        clean, adversarial, clean_labels, adversarial_labels, difference, truth,
        crafted.goal if crafted.targeted else None, segmenter.scheme, metrics, history, job.to_dict(),
        _provenance(job, segmenter, metrics, started),
    )  # fmt: skip
    write_json(stage / "metrics.json", metrics)
    write_json(stage / "job.json", content.job)
    write_json(stage / "provenance.json", content.provenance)
    with open(stage / "history.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    write_run_report(stage / "report.html", content)


def _save_and_read_back(stage: Path, clean: Image, adversarial: Image) -> Image:
    """Write adversarial image and perturbation, a marked file a channel, and return the image as read again."""
    from AdvSegLib.volumes import MARK, read_image

    saved = []
    for index, name in enumerate(clean.names):
        saved.append(adversarial.channel(index).write(stage / f"adversarial_{name}.nii.gz"))
        write_json(stage / f"adversarial_{name}.json", {"mark": MARK, "derived": True, "channel": name})
    try:
        array = read_image(saved).array.reshape(clean.array.shape)
        lost = bool((array != adversarial.array).any())
    except (BadRequest, ValueError):
        lost = True
    if lost:
        raise AdvSegError("the adversarial image did not survive saving; is the disk full?")
    again = clean.with_array(array, mark=MARK)
    for index, name in enumerate(clean.names):
        noise = clean.with_array(_towards_zero(again.array, clean.array), mark=MARK)
        noise.channel(index).write(stage / f"perturbation_{name}.nii.gz")
    return again


def _towards_zero(adversarial: FloatArray, clean: FloatArray) -> FloatArray:
    """Return the change in float32, rounded so that it is never larger than the exact one."""
    import numpy as np

    exact = adversarial.astype(np.float64) - clean.astype(np.float64)
    change = exact.astype(np.float32)
    return np.where(np.abs(change) > np.abs(exact), np.nextafter(change, np.float32(0)), change)


def _provenance(job: Job, segmenter: Segmenter, metrics: Mapping[str, Any], started: float) -> dict[str, Any]:
    """Return what made the run; ``key`` depends on request and inputs only, ``time`` on the machine."""
    paths = [*job.image, *filter(None, (job.truth, job.target))]
    hashes = {path: hash_path(Path(path)) for path in paths}
    request = {k: v for k, v in job.to_dict().items() if k not in ("model", "image", "truth", "target", "device")}
    weights = weights_hash(segmenter.network)
    return {
        "schema": PROVENANCE_SCHEMA,
        "key": content_key(request, [weights, *hashes.values()]),
        "seed": job.seed,
        "device": str(segmenter.device),
        "versions": versions(),
        "model": {"name": job.model, "weights_sha256": weights},
        "inputs_sha256": hashes,
        "budget": metrics["budget"],
        "time": {"finished": now(), "seconds": round(time.perf_counter() - started, 3)},
    }
