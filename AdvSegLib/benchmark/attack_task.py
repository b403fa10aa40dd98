"""The task of attack sweeps: load a case and a model, craft, measure what was crafted. Light until it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.attacks import make_attack
from AdvSegLib.benchmark.canonical import canonical, digest
from AdvSegLib.benchmark.plan import Unit
from AdvSegLib.benchmark.tasks import Task
from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.job_request import Job
from AdvSegLib.loading import Warm

if TYPE_CHECKING:
    from AdvSegLib.cases.base import Case
    from AdvSegLib.parameters import Parameters
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.volumes import Image, LabelMap

JOB_FIELDS = (
    "attack", "parameters", "norm", "aim", "keep", "region", "surrogate", "precision", "windows", "checkpoint",
    "statistics", "resolution",
)  # fmt: skip
"""What an attack of a study may say: the fields of a job that are about neither case, model nor machine."""
MODELS_KEPT = 16
CASES_KEPT = 2


@dataclass(frozen=True, eq=False)
class Loaded:
    """A case in memory, and what the last model predicts on it, by its place."""

    image: Image
    truth: LabelMap | None
    predictions: dict[str, LabelMap] = field(default_factory=dict)

    def sha256(self) -> str:
        """Return the hash of intensities, geometry, channel names and truth."""
        content = hashlib.sha256(canonical(list(self.image.names)))
        for part in (self.image, self.truth):
            if part is not None:
                content.update(canonical([part.array.dtype.str, list(part.array.shape), part.grid.affine.tolist()]))
                content.update(part.array.data)
        return content.hexdigest()


class AttackTask(Task):
    """A unit is an attack on a case as a model sees it; its result is that of a run's ``metrics.json``.

    Measured on the adversarial image in float32, the numbers that a run saves and reads back, segmented by the
    unmodified pipeline. No image is kept: ``advseg attack`` with the unit's seed makes it again. Cases, models and
    clean predictions stay loaded; a model or case that is not what it was when planned is refused.
    """

    schema = "advseg.attack-unit/1"  # raise it with METRICS_SCHEMA, and where an attack's numbers change

    def __init__(self, options: Mapping[str, Any], sources: tuple[Mapping[str, Any], ...], slot: int = 0) -> None:
        super().__init__(options, sources, slot)
        self.device = "cpu"
        self.release()

    def release(self) -> None:
        """Forget cases and models."""
        self._models = Warm(models=MODELS_KEPT)
        self._checked: dict[str, Segmenter] = {}
        self._cases = lru_cache(maxsize=None)(self._open_source)
        self._loaded = lru_cache(maxsize=CASES_KEPT)(self._load)

    def warm_up(self) -> str:
        """Choose the device: workers on one machine take its GPUs in turn."""
        import torch

        count = torch.cuda.device_count()
        self.device = f"cuda:{self.slot % count}" if count else "cpu"
        return torch.cuda.get_device_name(self.device) if count else "cpu"

    def list_cases(self, source: int) -> list[str]:
        """Return the identifiers of a source's cases."""
        return list(self._cases(source))

    def hash_case(self, source: int, identifier: str) -> str:
        """Return the SHA-256 of a case's intensities, geometry, channel names and truth."""
        return self._load(source, identifier).sha256()

    def place_model(self, entry: Mapping[str, Any]) -> str:
        """Return a shipped model's name, or the folder the study gives as ``path``."""
        for name in entry:
            if name not in ("name", "path"):
                raise unknown_name("field of a model", str(name), ("name", "path"))
        return str(entry.get("path", entry["name"]))

    def hash_model(self, where: str) -> str:
        """Return the SHA-256 of a model's weights, of its network's definition and of how it prepares its input."""
        return model_hash(self._models.model(where, self.device), where)

    def check_attack(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job's fields of an attack, defaults filled in; BadRequest for what a job would refuse."""
        for name in entry:
            if name not in ("name", "budgets", *JOB_FIELDS):
                raise unknown_name("field", str(name), ("name", "budgets", *JOB_FIELDS))
        given = {name: entry[name] for name in JOB_FIELDS if name in entry}
        job = Job.from_dict({"model": "model", "image": "image", **given})
        aim, region = job.make_aim(), job.make_region()
        if job.files != ("image",):
            raise BadRequest("a file is of one case; a sweep draws target and region: take another kind")
        request = {name: value for name, value in job.to_dict().items() if name in JOB_FIELDS}
        request["parameters"] = spelled_out(make_attack(job.attack, **job.parameters))
        for name, made in (("aim", aim), ("region", region)):
            request[name] = None if made is None else {"kind": made.name, **spelled_out(made)}
        if job.surrogate is not None:
            request["surrogate_sha256"] = self.hash_model(job.surrogate)
        return request

    def check_budget(self, request: Mapping[str, Any], budget: float | None) -> float | None:
        """Return the budget as a number, except where an attack bounds itself."""
        return self._job(request, budget).resolved().epsilon

    def run(self, unit: Unit) -> dict[str, Any]:
        """Craft and measure; the numbers of ``metrics.json``, without its names."""
        from AdvSegLib.crafting import craft
        from AdvSegLib.evaluation import measure
        from AdvSegLib.segmenters.memory import Relief

        case = self._case(unit)
        job = self._job(unit.attack.request, unit.budget, model=unit.model.name, seed=unit.seed)
        segmenter = job.prepare(self._model(unit.model.where, unit.model.sha256), crafts=job.surrogate is None)
        crafted_on = segmenter
        if job.surrogate is not None:
            crafted_on = job.prepare(self._model(job.surrogate, unit.attack.request["surrogate_sha256"]))
        crafted = craft(
            crafted_on, case.image, make_attack(job.attack, **job.parameters),
            truth=case.truth, target=job.make_aim(), keep=job.keep, region=job.make_region(),  # type: ignore[arg-type]
            epsilon=job.epsilon, norm=job.norm, seed=job.seed, precision=job.precision,  # type: ignore[arg-type]
            statistics=job.statistics, resolution=job.resolution,  # type: ignore[arg-type]
        )  # fmt: skip
        judge = Relief(segmenter)
        place = f"{unit.model.where} {job.windows}"
        if place not in case.predictions:
            case.predictions.clear()  # units come model by model, and label maps are large
            case.predictions[place] = judge.run(lambda s: s.segment(case.image))
        attacked = judge.run(lambda s: s.segment(crafted.image))
        job = replace(job, epsilon=crafted.budget.epsilon)
        crafted = replace(crafted, notes=tuple(dict.fromkeys((*crafted.notes, *judge.notes))))
        metrics = measure(job, case.image, crafted.image, case.predictions[place], attacked, case.truth, crafted,
                          segmenter.scheme)  # fmt: skip
        kept = {name: value for name, value in metrics.items() if name not in ("model", "surrogate", "attack")}
        return {**kept, "steps": len(crafted.history)}

    def _job(self, request: Mapping[str, Any], budget: float | None, model: str = "model", seed: int = 0) -> Job:
        known = {item.name for item in fields(Job)}
        given = {name: value for name, value in request.items() if name in known}
        return Job(**{**given, "model": model, "image": ("image",), "epsilon": budget, "seed": seed})

    def _open_source(self, source: int) -> dict[str, Case]:
        from AdvSegLib.cases.registry import open_cases

        entry = self.sources[source]
        cases = open_cases(entry["source"], entry.get("path"), **entry.get("options", {}))
        found = {case.identifier: case for case in cases}
        if len(found) != len(cases):
            raise BadRequest(f"cases[{source}]: {len(cases) - len(found)} cases have an identifier of another's")
        return found

    def _load(self, source: int, identifier: str) -> Loaded:
        cases = self._cases(source)
        if identifier not in cases:
            raise BadRequest(f"case {identifier} is not in '{self.sources[source]['source']}' any more")
        case, entry = cases[identifier], self.sources[source]
        truth = None if case.read_truth is None else case.truth()
        if truth is not None and entry.get("relabel"):
            truth = truth.relabelled({int(old): int(new) for old, new in entry["relabel"].items()})
        return Loaded(case.image(), truth)

    def _case(self, unit: Unit) -> Loaded:
        """Return the unit's case, the one that was planned."""
        ref = unit.case
        misses = self._loaded.cache_info().misses
        loaded = self._loaded(ref.source, ref.id)
        if self._loaded.cache_info().misses > misses and loaded.sha256() != ref.sha256:
            self._loaded.cache_clear()
            raise BadRequest(f"case {ref.name} is not what it was when planned; plan again with --update")
        return loaded

    def _model(self, where: str, sha256: str) -> Segmenter:
        """Return a model, the one that was planned; it stays loaded."""
        segmenter = self._models.model(where, self.device)
        if self._checked.get(where) is not segmenter:
            if model_hash(segmenter, where) != sha256:
                raise BadRequest(f"model {where} is not what it was when planned; plan again with --update")
            self._checked[where] = segmenter
        return segmenter


def model_hash(segmenter: Segmenter, where: str | Path) -> str:
    """Return the SHA-256 of what a model loaded from ``where`` is: its weights, spec and network's definition.

    The definition counts because a network's strides or activations leave no trace in its weights. An ensemble is its
    members, in order, and how they are combined.
    """
    from AdvSegLib.segmenters.bundle import INFERENCE, weights_hash
    from AdvSegLib.segmenters.catalogue import model_folder
    from AdvSegLib.segmenters.ensemble import Ensemble, member_folders

    folder = model_folder(where)
    try:
        definition = json.loads((folder / INFERENCE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"{folder / INFERENCE}: not readable as JSON ({error})") from error
    if not isinstance(segmenter, Ensemble):
        return digest([weights_hash(segmenter.network), segmenter.spec.to_dict(), definition["network_def"]])
    places = member_folders(folder, definition["ensemble"])
    members = [model_hash(member, place) for member, place in zip(segmenter.members, places, strict=True)]
    return digest([segmenter.combine, members])


def spelled_out(made: Parameters) -> dict[str, Any]:
    """Return every parameter of a thing, defaults too, one spelling a value: 1 is 1.0 where a float is meant."""
    floats = {entry["name"] for entry in made.parameters() if entry["type"] == "float"}
    values = asdict(made)
    return {name: float(v) if name in floats and isinstance(v, int) else v for name, v in values.items()}


__all__ = ["AttackTask", "model_hash"]
