"""One unit of work: a case under an arm. The adversarial image is saved and read back before it is judged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from AdvSegLib.errors import AdvSegError
from AdvSegLib.reproduce.arms import Arm
from AdvSegLib.reproduce.data import DataSet, Sample, repeated, resized
from AdvSegLib.reproduce.pictures import Snapshot, snapshot
from AdvSegLib.reproduce.scores import (
    CLINICAL,
    Scores,
    as_json,
    change_scores,
    clinical_scores,
    overlap_scores,
    relative_drops,
    similarity,
)
from AdvSegLib.volumes import Image, LabelMap

if TYPE_CHECKING:
    from AdvSegLib.crafting import Crafted
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.target_maps import TargetMap

Made = TypeVar("Made")


@dataclass(frozen=True)
class Unit:
    """A case of a data set under an arm, which groups of metrics it is measured by, and whether a picture is kept."""

    data: str
    index: int
    arm: Arm
    groups: frozenset[str] = frozenset()
    picture: bool = False


@dataclass(frozen=True)
class Record:
    """What came out: numbers, those before every step where traced, a picture, or why there is none."""

    data: str
    index: int
    case: str
    arm: str
    scores: Mapping[str, float | None] = field(default_factory=dict)
    trace: tuple[Mapping[str, float | None], ...] = ()
    picture: Snapshot | None = None
    against_prediction: bool = False
    seconds: float = 0.0
    error: str = ""


class Bench:
    """Models and data sets of a process; predictions of clean images are made once."""

    def __init__(
        self, models: Mapping[str, str], sets: Mapping[str, DataSet], device: str, unit: float | None,
        precision: str = "fp32",
    ) -> None:  # fmt: skip
        self._names, self._sets, self._device, self._unit = dict(models), dict(sets), device, unit
        self._models: dict[str, Segmenter] = {}
        self._precision = precision
        self._last: tuple[tuple[Any, ...], Crafted] | None = None
        self._clean: dict[tuple[str, str, int], LabelMap] = {}

    def model(self, role: str) -> Segmenter:
        """Return a model by its role, loaded once."""
        name = self._names[role]
        if name not in self._models:
            from AdvSegLib.segmenters.catalogue import load_model

            self._models[name] = load_model(name, self._device)
        return self._models[name]

    def run(self, unit: Unit) -> Record:
        """Measure a unit; what the library refuses on purpose becomes a record that says so."""
        started = time.perf_counter()
        data = self._sets[unit.data]
        try:
            record = self._measured(unit, fitting(data.sample(unit.index), self.model(unit.arm.model)))
        except AdvSegError as error:
            identifier = data.cases[unit.index].identifier
            return Record(unit.data, unit.index, identifier, unit.arm.key, error=f"{identifier}: {error}")
        return replace(record, seconds=time.perf_counter() - started)

    def clean_prediction(self, role: str, unit: Unit, sample: Sample) -> LabelMap:
        """Return what a model says of the clean image; those of the case in work are kept."""
        if any(kept[1:] != (unit.data, unit.index) for kept in self._clean):
            self._clean.clear()
        key = (self._names[role], unit.data, unit.index)
        if key not in self._clean:
            self._clean[key] = self.model(role).segment(sample.image)
        return self._clean[key]

    def _measured(self, unit: Unit, sample: Sample) -> Record:
        arm, segmenter = unit.arm, self.model(unit.arm.model)
        before = self.clean_prediction(arm.model, unit, sample)
        truth = sample.truth if sample.truth is not None else before
        trace: list[Mapping[str, float | None]] = []
        crafted: Crafted | None = None
        changed, after = sample.image, before
        if not arm.clean:
            watch = self._watch(unit, sample, segmenter, truth, trace) if arm.trace else None
            crafted = self._craft(unit, sample, watch)
            changed = saved_and_read(crafted.image, sample.image)
            after = segmenter.segment(changed)
        goal = crafted.goal if crafted is not None and crafted.targeted else None
        scores = self._scores(unit, sample.image, changed, truth, before, after, goal)
        if arm.trace:
            trace.append(self._step_scores(sample.image, changed, truth, after, segmenter))
        picture = snapshot(changed, sample.image, after, goal or truth, segmenter.scheme) if unit.picture else None
        return Record(
            unit.data, unit.index, sample.identifier, arm.key, as_json(scores), tuple(map(as_json, trace)), picture,
            sample.truth is None,
        )  # fmt: skip

    def _craft(self, unit: Unit, sample: Sample, watch: Any) -> Crafted:
        from AdvSegLib.attacks import make_attack
        from AdvSegLib.crafting import craft
        from AdvSegLib.regions import make_region

        arm = unit.arm
        on = self._names[arm.crafted_on or arm.model]
        key = (on, unit.data, unit.index, replace(arm, model="", crafted_on="").key)
        if watch is None and self._last is not None and self._last[0] == key:
            return self._last[1]  # what is crafted on one model is scored on several
        region = None if arm.region is None else _made(make_region, arm.region)
        keep = "prediction" if arm.keep == "truth" and sample.truth is None else arm.keep
        crafted = craft(
            self.model(arm.crafted_on or arm.model), sample.image, make_attack(str(arm.attack), **arm.parameters),
            truth=sample.truth, target=self._target(unit, sample), keep=keep, region=region,  # type: ignore[arg-type]
            epsilon=arm.fraction, seed=arm.seed, watch=watch, precision=self._precision,  # type: ignore[arg-type]
        )  # fmt: skip
        self._last = (key, crafted)
        return crafted

    def _target(self, unit: Unit, sample: Sample) -> LabelMap | TargetMap | None:
        target = unit.arm.target
        if target is None:
            return None
        if target["kind"] == "another":
            return self._another(unit, sample)
        from AdvSegLib.target_maps import make_target_map

        return _made(make_target_map, target)

    def _another(self, unit: Unit, sample: Sample) -> LabelMap:
        """Return the truth of another case, pixel on pixel: one of another size is stretched over the image."""
        cases = self._sets[unit.data]
        other = cases.sample(cases.other(unit.index, unit.arm.seed))
        labels = other.truth if other.truth is not None else self.model(unit.arm.model).segment(other.image)
        grid = sample.image.grid
        if labels.grid.shape != grid.shape:
            labels = labels.onto(resized(labels.grid, grid.shape))
        return LabelMap(labels.array, grid, labels.names)

    def _scores(
        self, unit: Unit, clean: Image, changed: Image, truth: LabelMap, before: LabelMap, after: LabelMap,
        goal: LabelMap | None,
    ) -> Scores:  # fmt: skip
        scheme = self.model(unit.arm.model).scheme
        scores = overlap_scores(truth, after, scheme, "truth") | overlap_scores(truth, before, scheme, "clean")
        scores |= relative_drops(scores)
        if goal is not None:
            scores |= overlap_scores(goal, after, scheme, "target")
        scores |= change_scores(clean, changed, self._unit)
        if "ssim" in unit.groups:
            scores |= similarity(clean, changed)
        wanted = unit.groups & set(CLINICAL)
        return scores | (clinical_scores(truth, before, after, scheme, wanted) if wanted else {})

    def _step_scores(
        self, clean: Image, changed: Image, truth: LabelMap, after: LabelMap, segmenter: Segmenter
    ) -> Scores:
        scores = overlap_scores(truth, after, segmenter.scheme, "truth")
        return scores | change_scores(clean, changed, self._unit)

    def _watch(self, unit: Unit, sample: Sample, segmenter: Segmenter, truth: LabelMap, trace: list[Any]) -> Any:
        def look(step: int, image: Image) -> None:
            trace.append(self._step_scores(sample.image, image, truth, segmenter.segment(image), segmenter))

        return look


def fitting(sample: Sample, segmenter: Segmenter) -> Sample:
    """Return a case as a network takes it: a single channel is repeated for one that takes several."""
    count = len(segmenter.spec.channels)
    if len(sample.image.names) != 1 or count == 1:
        return sample
    return replace(sample, image=repeated(sample.image, count))


def saved_and_read(changed: Image, clean: Image) -> Image:
    """Write an adversarial image, a file a channel, and return it as read again: what is judged is what was saved."""
    from AdvSegLib.volumes import read_image

    with tempfile.TemporaryDirectory(prefix="advseg-reproduce-") as folder:
        files = [changed.channel(index).write(Path(folder) / f"{index}.nrrd") for index in range(len(changed.names))]
        array = np.stack([read_image(file).array.reshape(clean.grid.shape) for file in files])
    return clean.with_array(array, mark=changed.mark)


def _made(make: Callable[..., Made], data: Mapping[str, Any]) -> Made:
    """Make a thing of a kind and its parameters."""
    return make(data["kind"], **{key: value for key, value in data.items() if key != "kind"})
