"""One JSON request in, one result folder out: the contract of GUI, console, batch, command line and cluster."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.attacks import make_attack
from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.job_request import Job
from AdvSegLib.loading import Fresh, Loader
from AdvSegLib.provenance import content_key, hash_path, now, versions
from AdvSegLib.runs import staged_folder
from AdvSegLib.schemas import check_schema
from AdvSegLib.segmenters.bundle import weights_hash, write_json
from AdvSegLib.segmenters.catalogue import model_folder

if TYPE_CHECKING:
    from AdvSegLib.attacks.engine import Progress
    from AdvSegLib.crafting import Crafted
    from AdvSegLib.iterations import Iterations
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
    cache: Loader | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    status: Callable[[str], None] = lambda stage: None,
) -> Path:
    """Run a job and return its folder ``out``, written whole or not at all; ``status`` hears each stage begin.

    With a ``segmenter`` of your own, ``job.model`` is only the name it goes by. A ``cache`` (``loading.Warm``) keeps
    models and image for the next job.

    Success is measured on what was saved: the adversarial image is written, read back and segmented by the unmodified
    pipeline. Raises BadRequest for a bad job, Cancelled on ``cancel()``, AdvSegError for what fails on the way.
    """
    from AdvSegLib.crafting import craft
    from AdvSegLib.iterations import Iterations

    started = time.perf_counter()
    attack = make_attack(job.attack, **job.parameters)
    job = job.resolved()
    if job.epsilon is not None and not 0 <= job.epsilon < math.inf:
        raise BadRequest(f"epsilon must be a finite number >= 0, not {job.epsilon}")
    choose_device(job.device)
    check_schema("job", job.to_dict(), "job")
    aim, region = job.make_aim(), job.make_region()
    status("reading")
    inputs = load_inputs(job, segmenter, cache)
    with staged_folder(out) as stage:
        kept = Iterations(stage, job.record) if job.record else None
        status("attacking")
        crafted = craft(
            inputs.surrogate or inputs.segmenter, inputs.image, attack,
            truth=inputs.truth, target=aim or inputs.target, keep=job.keep, region=region,  # type: ignore[arg-type]
            epsilon=job.epsilon, norm=job.norm, seed=job.seed, precision=job.precision,  # type: ignore[arg-type]
            statistics=job.statistics, resolution=job.resolution,  # type: ignore[arg-type]
            progress=progress, watch=kept, cancel=cancel,
        )  # fmt: skip
        status("saving and measuring")
        job = replace(job, epsilon=crafted.budget.epsilon)
        _write_run(stage, job, inputs, crafted, kept, started)
    return Path(out)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a job reads: the model to score on, the scan, its label maps, and the model to craft on where another."""

    segmenter: Segmenter
    image: Image
    truth: LabelMap | None
    target: LabelMap | None
    surrogate: Segmenter | None = None


def load_inputs(job: Job, segmenter: Segmenter | None = None, cache: Loader | None = None) -> Inputs:
    """Load model (where none is given), image, truth, target and surrogate of a job, checked against each other."""
    cache = cache or Fresh()
    for name in (None if segmenter is not None else job.model, job.surrogate):
        if name is not None:
            model_folder(name)  # an unknown name is told before anything is read
    for path in job.files:
        if not Path(path).exists():
            raise BadRequest(f"{path}: no such file or folder")
    device = choose_device(job.device)
    black_box = job.surrogate is not None
    segmenter = job.prepare(segmenter or cache.model(job.model, device), crafts=not black_box)
    surrogate = job.prepare(cache.model(str(job.surrogate), device)) if black_box else None
    image = cache.image(job.image)
    segmenter.check(image)
    if surrogate is not None:
        _check_surrogate(surrogate, segmenter, image)
    if len(job.image) > 1 or image.names[0].startswith(("image", "channel")):
        image = named(image, segmenter.spec.channels)
    truth, target = (_labels(job, path, image, segmenter) for path in (job.truth, job.target))
    return Inputs(segmenter, image, truth, target, surrogate)


def _check_surrogate(surrogate: Segmenter, segmenter: Segmenter, image: Image) -> None:
    """Raise BadRequest where two models do not speak of the same structures or channels."""
    try:
        surrogate.check(image)
    except BadRequest as error:
        raise BadRequest(f"surrogate: {error}") from error
    for what, theirs, ours in (
        ("labels", sorted(surrogate.scheme.names.items()), sorted(segmenter.scheme.names.items())),
        ("channels", surrogate.spec.channels, segmenter.spec.channels),
    ):
        if theirs != ours:
            raise BadRequest(f"the surrogate's {what} ({theirs}) are not the model's ({ours})")


def named(image: Image, names: tuple[str, ...]) -> Image:
    """Return the image with the channel names of the model."""
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
    stage: Path, job: Job, inputs: Inputs, crafted: Crafted, kept: Iterations | None, started: float
) -> None:
    """Write every file of a run into ``stage``."""
    from AdvSegLib.evaluation import history_rows, measure
    from AdvSegLib.metrics.difference import difference_map
    from AdvSegLib.reports.content import RunContent
    from AdvSegLib.reports.run_report import write_run_report
    from AdvSegLib.segmenters.memory import Relief

    clean, truth, scheme = inputs.image, inputs.truth, inputs.segmenter.scheme
    adversarial = _save_and_read_back(stage, clean, crafted.image)
    judge = Relief(inputs.segmenter)
    clean_labels = judge.run(lambda s: s.segment(clean))
    adversarial_labels = judge.run(lambda s: s.segment(adversarial))
    crafted = replace(crafted, notes=tuple(dict.fromkeys((*crafted.notes, *judge.notes))))
    difference = difference_map(clean_labels, adversarial_labels)
    for name, labels in (
        ("clean_labels", clean_labels),
        ("adversarial_labels", adversarial_labels),
        ("difference", difference),
    ):
        labels.write(stage / f"{name}.nii.gz")
    metrics = measure(job, clean, adversarial, clean_labels, adversarial_labels, truth, crafted, scheme)
    history = history_rows(crafted, metrics)
    if kept is not None:
        kept.finish(clean, judge, history)
    content = RunContent(
        clean, adversarial, clean_labels, adversarial_labels, difference, truth,
        crafted.goal if crafted.targeted else None, scheme, metrics, history, job.to_dict(),
        _provenance(job, inputs, metrics, started),
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


def _provenance(job: Job, inputs: Inputs, metrics: Mapping[str, Any], started: float) -> dict[str, Any]:
    """Return what made the run; ``key`` depends on request and inputs only, ``time`` on the machine."""
    hashes = {path: hash_path(Path(path)) for path in job.files}
    paths = ("model", "image", "truth", "target", "surrogate", "device")
    request = {k: _without_file(v) for k, v in job.to_dict().items() if k not in paths}
    weights = weights_hash(inputs.segmenter.network)
    crafted_on = None if inputs.surrogate is None else weights_hash(inputs.surrogate.network)
    return {
        "schema": PROVENANCE_SCHEMA,
        "key": content_key(request, [weights, *([crafted_on] if crafted_on else []), *hashes.values()]),
        "seed": job.seed,
        "device": str(inputs.segmenter.device),
        "versions": versions(),
        "model": {"name": job.model, "weights_sha256": weights},
        "surrogate": None if crafted_on is None else {"name": job.surrogate, "weights_sha256": crafted_on},
        "inputs_sha256": hashes,
        "budget": metrics["budget"],
        "time": {"finished": now(), "seconds": round(time.perf_counter() - started, 3)},
    }


def _without_file(value: Any) -> Any:
    """Return a part of the request without the name of its file, whose content is hashed instead."""
    return {k: v for k, v in value.items() if k != "file"} if isinstance(value, Mapping) else value
