"""One JSON request in, one result folder out: the contract of GUI, console, batch, command line and cluster."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.attacks import make_attack
from AdvSegLib.errors import AdvSegError, BadRequest, unknown_name
from AdvSegLib.provenance import content_key, hash_path, now, versions
from AdvSegLib.runs import staged_folder
from AdvSegLib.schemas import check_schema
from AdvSegLib.segmenters.bundle import weights_hash, write_json
from AdvSegLib.segmenters.catalogue import load_model, model_folder

if TYPE_CHECKING:
    from AdvSegLib.attacks.engine import Progress
    from AdvSegLib.crafting import Crafted
    from AdvSegLib.labels import LabelScheme
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.volumes import Image, LabelMap

JOB_SCHEMA = "advseg.job/1"
METRICS_SCHEMA = "advseg.metrics/1"
PROVENANCE_SCHEMA = "advseg.provenance/1"
DIFFERENCE = {1: "lost", 2: "gained", 3: "changed label"}
"""Values of ``difference.nii.gz``: foreground to background, background to foreground, one structure to another."""


@dataclass(frozen=True)
class Job:
    """A request: attack ``image`` (one file a channel, or one file of all) as ``model`` sees it.

    ``epsilon`` is a fraction of each channel's clean range; ``parameters`` are the attack's own; ``relabel`` maps
    label values of truth and target files to the model's. Paths are relative to where the job is run.
    """

    model: str
    image: tuple[str, ...]
    attack: str
    truth: str | None = None
    target: str | None = None
    epsilon: float = 0.05
    norm: str = "linf"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    relabel: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    statistics: str = "recomputed"
    resolution: str = "native"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Read a job's JSON; BadRequest for an unknown field, a missing one, or another schema."""
        data = dict(data)
        known = {"schema", *(item.name for item in fields(cls))}
        for name in data:
            if name not in known:
                raise unknown_name("job field", name, known)
        check_schema("job", data, "job")
        data.pop("schema", None)
        image = data.pop("image")
        return cls(image=(image,) if isinstance(image, str) else tuple(image), **data)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON data, the attack's defaults filled in."""
        attack = make_attack(self.attack, **self.parameters)
        return {"schema": JOB_SCHEMA, **asdict(self), "image": list(self.image), "parameters": asdict(attack)}


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
    out: Path,
    *,
    segmenter: Segmenter | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """Run a job and return its folder ``out``, written whole or not at all.

    With a ``segmenter`` of your own, ``job.model`` is only the name it goes by.

    Success is measured on what was saved: the adversarial image is written, read back and segmented by the unmodified
    pipeline. Raises BadRequest for a bad job, Cancelled on ``cancel()``, AdvSegError for what fails on the way.
    """
    from AdvSegLib.crafting import craft

    started = time.perf_counter()
    attack = make_attack(job.attack, **job.parameters)
    check_schema("job", job.to_dict(), "job")
    if not math.isfinite(job.epsilon):
        raise BadRequest(f"epsilon must be a finite number >= 0, not {job.epsilon}")
    segmenter, image, truth, target = load_inputs(job, segmenter)
    with staged_folder(out) as stage:
        crafted = craft(
            segmenter, image, attack, truth=truth, target=target, epsilon=job.epsilon, norm=job.norm,  # type: ignore[arg-type]
            seed=job.seed, statistics=job.statistics, resolution=job.resolution,  # type: ignore[arg-type]
            progress=progress, cancel=cancel,
        )  # fmt: skip
        _write_run(stage, job, segmenter, image, truth, crafted, started)
    return out


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
    history = _history(crafted, metrics)
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
        noise = clean.with_array(again.array - clean.array, mark=MARK)
        noise.channel(index).write(stage / f"perturbation_{name}.nii.gz")
    return again


def difference_map(before: LabelMap, after: LabelMap) -> LabelMap:
    """Return where two label maps differ, in the values of :data:`DIFFERENCE`."""
    import numpy as np

    from AdvSegLib.volumes import LabelMap

    a, b = before.array, after.array
    values = np.select([a == b, b == 0, a == 0], [0, 1, 2], default=3)
    return LabelMap(values.astype(np.int32), before.grid, DIFFERENCE)


def measure(
    job: Job,
    clean: Image,
    adversarial: Image,
    clean_labels: LabelMap,
    adversarial_labels: LabelMap,
    truth: LabelMap | None,
    crafted: Crafted,
    scheme: LabelScheme,
) -> dict[str, Any]:
    """Return the content of ``metrics.json``; see docs/reference/run-folder.md."""
    from AdvSegLib.metrics.image_quality import image_quality
    from AdvSegLib.metrics.overlap import compare, volumes_ml

    before, after = clean_labels.array, adversarial_labels.array
    voxel = clean.grid.voxel_ml
    volumes = {"clean": volumes_ml(before, scheme, voxel), "adversarial": volumes_ml(after, scheme, voxel)}
    if truth is not None:
        volumes["truth"] = volumes_ml(truth.array, scheme, voxel)
    quality = image_quality(clean, adversarial)
    return {
        "schema": METRICS_SCHEMA,
        "model": job.model,
        "attack": job.attack,
        "clean": None if truth is None else compare(truth.array, before, scheme),
        "adversarial": None if truth is None else compare(truth.array, after, scheme),
        "agreement": compare(before, after, scheme),
        "target": compare(crafted.goal.array, after, scheme) if crafted.targeted else None,
        "target_before": compare(crafted.goal.array, before, scheme) if crafted.targeted else None,
        "image": quality,
        "volumes_ml": volumes,
        "changed_voxels": {name: int((difference_map(clean_labels, adversarial_labels).array == value).sum())
                           for value, name in DIFFERENCE.items()},
        "budget": _budget(job, clean, quality),
        "warnings": _warnings(clean_labels, truth, crafted, job),
    }  # fmt: skip


def _budget(job: Job, clean: Image, quality: Mapping[str, Any]) -> dict[str, Any]:
    """Return the budget asked and used: in percent of range, in source units, and on a [-1, 1] scale (paper 003's)."""
    asked: dict[str, Any] = {"epsilon": job.epsilon}
    used: dict[str, Any] = {"l2_of_range": _joint_l2(quality), "linf_percent": quality["linf_percent"]}
    if job.norm == "linf":
        ranges = {name: float(span) for name, span in zip(clean.names, clean.ranges, strict=True)}
        asked |= {
            "percent_of_range": 100 * job.epsilon,
            "on_minus_one_to_one": 2 * job.epsilon,
            "source_units": {name: job.epsilon * span for name, span in ranges.items()},
        }
        used["source_units"] = {name: scores["linf"] for name, scores in quality["channels"].items()}
    return {"norm": job.norm, "asked": asked, "used": used}


def _warnings(clean_labels: LabelMap, truth: LabelMap | None, crafted: Crafted, job: Job) -> list[str]:
    notes = []
    if not clean_labels.values:
        notes.append("the model finds nothing on the clean image: agreement has nothing to lose")
    if truth is None and not crafted.targeted and not clean_labels.values:
        notes.append("untargeted without truth moves away from the clean prediction, which is empty here")
    if job.epsilon == 0:
        notes.append("epsilon is 0: the adversarial image is the clean one")
    return notes


def _history(crafted: Crafted, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row a step as the loop saw it, and a last row as measured on the saved image."""
    rows = [{**record.numbers(), "measured": "in loop"} for record in crafted.history]
    against = metrics["target"] or metrics["adversarial"] or metrics["agreement"]
    quality = metrics["image"]
    l2 = _joint_l2(quality)
    mean_square = l2**2 / crafted.image.array.size
    last = {
        "step": len(rows),
        "loss": "",
        "dice": against["dice"]["mean"],
        "linf": None if quality["linf_percent"] is None else quality["linf_percent"] / 100,
        "l2": l2,
        "psnr": -10 * math.log10(mean_square) if mean_square > 0 else float("inf"),
        "measured": "on the saved image",
    }
    return [*rows, last]


def _joint_l2(quality: Mapping[str, Any]) -> float:
    """Return the norm of the whole change, channels divided by their ranges: what an L2 budget bounds."""
    return math.sqrt(sum((scores["l2_of_range"] or 0.0) ** 2 for scores in quality["channels"].values()))


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
