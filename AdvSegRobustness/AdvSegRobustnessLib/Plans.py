"""From what was asked for to a task: nodes checked and written to files, and what becomes of the run folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.spec import Spec
from AdvSegRobustnessLib.AttackRequest import AttackRequest
from AdvSegRobustnessLib.Choices import modelSpec
from AdvSegRobustnessLib.ComparisonNodes import addComparison
from AdvSegRobustnessLib.RequestChecks import checkDevice, checkRequest, checkVolumes
from AdvSegRobustnessLib.ResultNodes import addRun, addSegmentation
from AdvSegRobustnessLib.ScanNodes import Scan, scanFromNodes
from AdvSegRobustnessLib.SceneChange import wholeOrNothing
from AdvSegRobustnessLib.StagedInputs import stageAttack, stageScan, stageSegment
from AdvSegRobustnessLib.Tasks import OnDone, OnEvent, Task


@dataclass(frozen=True)
class Comparison:
    """One attack on several models, or with several budgets."""

    table: Any
    charts: list[Any]
    results: list[Any]
    """A ResultNodes for each run that is done, in order (empty where only the table was asked for)."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why runs failed, by model or budget; they are not in the table."""


@dataclass(frozen=True)
class Planned:
    """One run of a comparison."""

    label: str
    request: AttackRequest
    scan: Scan
    spec: Spec


class Planner:
    """Makes tasks. All that can be wrong with a request is found here, before anything is started."""

    def __init__(self, scene: Any, temporaryFolder: Callable[[], TemporaryDirectory[str]]) -> None:
        self._scene, self._temporaryFolder = scene, temporaryFolder

    def segment(
        self, model: str, volumes: Sequence[Any], truth: Any, device: str, name: str | None,
        onEvent: OnEvent | None, onDone: OnDone | None,
    ) -> Task:  # fmt: skip
        """Return the task of a segmentation."""
        spec = modelSpec(model)
        checkVolumes(volumes, spec)
        checkDevice(device)
        with self._staging() as folder:
            scan = scanFromNodes(volumes, spec.channels, spec.dims)
            place = Path(folder.name)
            request, notes = stageSegment(place, model, scan, spec.scheme, truth=truth, device=device)
            request["out"] = str(place / "segmentation")
        title = name or f"{scan.reference.GetName()} {Path(model).name}"

        def finish(folders: list[Path | None]) -> Any:
            self._checkThere(scan)
            return addSegmentation(self._scene, folders[0], scan, spec.scheme, title)

        return Task("segment", title, [request], finish, folder=folder, notes=(*scan.notes, *notes),
                    onEvent=onEvent, onDone=onDone)  # fmt: skip

    def attack(
        self, request: AttackRequest, folder: str | Path | None, onEvent: OnEvent | None, onDone: OnDone | None
    ) -> Task:
        """Return the task of an attack."""
        spec = checkRequest(request)
        kept = None if folder is None else _free(Path(folder))
        with self._staging() as temporary:
            scan = scanFromNodes(request.volumes, spec.channels, spec.dims)
            place = Path(temporary.name)
            job, notes = stageAttack(place, request, scan, spec.scheme)
        run = {"do": "run", "job": job, "out": str(kept or place / "run")}

        def finish(folders: list[Path | None]) -> Any:
            return self._shown(Planned("", request, scan, spec), folders[0])

        return Task("attack", request.title(), [run], finish, folder=temporary, notes=(*scan.notes, *notes),
                    onEvent=onEvent, onDone=onDone)  # fmt: skip

    def compare(
        self, axis: str, requests: Sequence[tuple[str, AttackRequest]], folder: str | Path | None, keepRuns: bool,
        onEvent: OnEvent | None, onDone: OnDone | None,
    ) -> Task:  # fmt: skip
        """Return the task of several attacks that differ in one thing, the ``axis``: "model" or "epsilon"."""
        _checkDistinct(axis, [label for label, _ in requests])
        specs = [checkRequest(request) for _, request in requests]
        with self._staging() as temporary:
            root = Path(temporary.name, "runs") if folder is None else Path(folder)
            outs = [_free(root / _fileName(label)) for label, _ in requests]
            planned, jobs, notes = self._stageAll(Path(temporary.name), requests, specs)
        runs = [{"do": "run", "job": job, "out": str(out)} for job, out in zip(jobs, outs, strict=True)]
        title = f"{'Models' if axis == 'model' else 'Budgets'}: {requests[0][1].title()}"
        labels = [f"{axis} {plan.label}" for plan in planned]

        def finish(folders: list[Path | None]) -> Comparison:
            done = [(plan, folder) for plan, folder in zip(planned, folders, strict=True) if folder is not None]
            with wholeOrNothing(self._scene):
                results = [self._shown(plan, folder) for plan, folder in done] if keepRuns else []
                named = [(plan.label, folder) for plan, folder in done]
                table, charts = addComparison(self._scene, named, title, axis)
            why = {plan.label: str(task.failures[label]) for plan, label in zip(planned, labels, strict=True)
                   if label in task.failures}  # fmt: skip
            return Comparison(table, list(charts), results, why)

        task = Task("compare" if axis == "model" else "sweep", title, runs, finish, labels=labels, goesOn=True,
                    folder=temporary, notes=notes, onEvent=onEvent, onDone=onDone)  # fmt: skip
        return task

    def _stageAll(
        self, place: Path, requests: Sequence[tuple[str, AttackRequest]], specs: Sequence[Spec]
    ) -> tuple[list[Planned], list[dict[str, Any]], list[str]]:
        """Write the inputs of several attacks; a scan that several of them see alike is written once."""
        scans: dict[Any, tuple[Scan, list[str]]] = {}
        planned, jobs, notes = [], [], list[str]()
        for index, ((label, request), spec) in enumerate(zip(requests, specs, strict=True)):
            inputs = place / f"inputs{index}"
            inputs.mkdir()
            sight = (spec.channels, spec.dims)
            if sight not in scans:
                scan = scanFromNodes(request.volumes, spec.channels, spec.dims)
                scans[sight] = (scan, stageScan(inputs, scan))
            scan, files = scans[sight]
            job, more = stageAttack(inputs, request, scan, spec.scheme, image=files)
            planned.append(Planned(label, request, scan, spec))
            jobs.append(job)
            notes += [note for note in (*scan.notes, *more) if note not in notes]
        return planned, jobs, notes

    def _shown(self, plan: Planned, folder: Path) -> Any:
        """Add one run to the scene."""
        self._checkThere(plan.scan)
        request = plan.request
        name = f"{request.title()} {plan.label}" if plan.label else request.name
        target = request.target if request.target is not None and request.target.GetScene() is self._scene else None
        return addRun(self._scene, folder, plan.scan, plan.spec.scheme, name=name, target=target)

    def _checkThere(self, scan: Scan) -> None:
        if any(node.GetScene() is not self._scene for node in scan.nodes):
            raise BadRequest("the scan was removed from the scene meanwhile, so its results were not added")

    @contextmanager
    def _staging(self) -> Iterator[TemporaryDirectory[str]]:
        """Give a temporary folder, which is removed where its contents cannot be made."""
        folder = self._temporaryFolder()
        try:
            yield folder
        except BaseException:
            folder.cleanup()
            raise


def _free(folder: Path) -> Path:
    """Return a folder's full path; BadRequest where it holds something."""
    folder = folder.expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadRequest(f"{folder}: not a new or empty folder")
    return folder


def _fileName(label: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", label).strip("._") or "run"


def _checkDistinct(axis: str, labels: Sequence[str]) -> None:
    """Refuse nothing to compare, and the same twice."""
    if not labels:
        raise BadRequest(f"nothing to compare: name at least one {axis}")
    names = [_fileName(label).casefold() for label in labels]
    twice = next((label for label, name in zip(labels, names, strict=True) if names.count(name) > 1), None)
    if twice is not None:
        raise BadRequest(f"{axis} {twice} is named twice")
