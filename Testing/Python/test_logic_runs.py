"""The module's logic on real MRML with a real worker: goals, regions, results, and every way a run can end."""

# ruff: noqa: E402 - the module's library is found once logic_standins is there

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import signal
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logic_standins import ROOT, TIMEOUT, PlayedWorker, alive, waitUntil
from slicer_fixtures import HeadlessSlicer

slicer = pytest.importorskip("slicer")

from AdvSegRobustnessLib import Choices
from AdvSegRobustnessLib.AttackRequest import AttackRequest
from AdvSegRobustnessLib.LabelNodes import drawableTarget, labelMapFromNode, maskFromSegment
from AdvSegRobustnessLib.Logic import Comparison, RobustnessLogic
from AdvSegRobustnessLib.ScanNodes import scanFromNodes
from AdvSegRobustnessLib.SceneChange import nodeIds
from AdvSegRobustnessLib.TableNodes import columnOf
from AdvSegRobustnessLib.Voxels import scalarsOf

from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.target_maps import TARGET_MAPS

SIZE = 64
QUICK: dict[str, Any] = {"model": "chest", "attack": "fgsm", "epsilon": 0.02}
LONG: dict[str, Any] = {"model": "chest", "attack": "pgd", "parameters": {"steps": 5000}}
GOALS = {
    "constant": {"label": 2},
    "heart-symbol": {"structure": "heart", "size": "small"},
    "resized": {"structure": "heart", "factor": 0.7},
    "moved": {"structure": "heart", "image_down": -5.0},
    "erased": {"structure": "left lung"},
    "drawn": {},
    "other-case": {"align": "centre-of-mass"},
}
REGIONS = {
    "body": {},
    "structure": {"structure": "heart", "margin_mm": 3.0},
    "box": {"structure": "heart"},
    "receptive-field": {"structure": "heart"},
}


@dataclasses.dataclass
class Room:
    """A scene with a film and its truth, a logic with one worker for all tests, and its folder for temporary ones."""

    scene: Any
    logic: RobustnessLogic
    film: Any
    truth: Any
    temporary: Path

    @property
    def leftovers(self) -> list[str]:
        """Temporary folders beside the worker's own log."""
        logs = {Path(item.name).name for item in self.logic._queue._logs.values()}
        return [item.name for item in self.temporary.iterdir() if item.name not in logs]

    def voxels(self, node: Any) -> np.ndarray:
        return np.asarray(scalarsOf(node.GetImageData()))


@pytest.fixture(scope="module")
def aRoom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    temporary = tmp_path_factory.mktemp("tmp with spaces é 日本")
    with tempfile.TemporaryDirectory() as folder:
        headless = HeadlessSlicer(Path(folder))
        logic = RobustnessLogic(headless.scene, settings={"temporary": str(temporary)})
        film, truth = logic.phantom("chest", seed=7, size=SIZE)
        yield Room(headless.scene, logic, film, truth, temporary)
        logic.close()
        assert list(temporary.iterdir()) == [], "close() leaves nothing behind"
        headless.close()


@pytest.fixture
def room(aRoom: Room) -> Iterator[Room]:
    """Return the room; what a test left in the scene is taken out of it."""
    before = set(nodeIds(aRoom.scene))
    yield aRoom
    for identity in [item for item in nodeIds(aRoom.scene) if item not in before]:
        node = aRoom.scene.GetNodeByID(identity)
        if node is not None:
            aRoom.scene.RemoveNode(node)
    assert aRoom.leftovers == []
    assert not aRoom.logic.busy


@pytest.fixture
def alone() -> Iterator[HeadlessSlicer]:
    """Return a Slicer whose scene may be closed."""
    with tempfile.TemporaryDirectory() as folder:
        headless = HeadlessSlicer(Path(folder))
        yield headless
        headless.close()


def shut_in(scene: Any, **options: Any) -> tuple[RobustnessLogic, list[PlayedWorker]]:
    """Return a logic whose worker is played."""
    workers: list[PlayedWorker] = []

    def start(logs: Path) -> PlayedWorker:
        workers.append(PlayedWorker(logs))
        return workers[-1]

    return RobustnessLogic(scene, startWorker=start, **options), workers


# -- what comes out ---------------------------------------------------------------------------------------------------


def test_phantom_has_the_models_channels_and_structures(room: Room) -> None:
    spec = room.logic.modelSpec("chest")
    assert room.film.GetImageData().GetDimensions() == (SIZE, SIZE, 1)
    scan = scanFromNodes([room.film], spec.channels, spec.dims)
    labels, notes = labelMapFromNode(room.truth, scan, spec.scheme)
    assert labels.values == spec.scheme.values
    assert notes == ()
    assert [room.truth.GetSegmentation().GetNthSegment(n).GetName() for n in range(5)] == list(
        spec.scheme.names.values()
    )


def test_segment_is_what_the_library_says(room: Room) -> None:
    from AdvSegLib.segmenters.catalogue import load_model

    events: list[str] = []
    node = room.logic.segment("chest", [room.film], onEvent=lambda task, event: events.append(event["event"]))
    spec = room.logic.modelSpec("chest")
    scan = scanFromNodes([room.film], spec.channels, spec.dims)
    expected = load_model("chest").segment(scan.image)
    found, _ = labelMapFromNode(node, scan, spec.scheme)
    np.testing.assert_array_equal(found.array, expected.array)
    assert events[-1] == "done"


def test_attack_keeps_the_budget_and_the_result_adds_up(room: Room) -> None:
    result = room.logic.attack(
        model="chest", volumes=[room.film], truth=room.truth, attack="pgd", parameters={"steps": 3}, epsilon=0.03,
        name="first",
    )  # fmt: skip
    clean = room.voxels(room.film).astype(float)
    noise = room.voxels(result.adversarial[0]) - clean
    np.testing.assert_allclose(noise, room.voxels(result.perturbation[0]), atol=1e-6)
    assert 0 < np.abs(noise).max() <= 0.03 * np.ptp(clean) * (1 + 1e-6)
    assert result.name == "first"
    assert result.history.GetNumberOfRows() == 4
    assert result.target is None


def test_kept_run_folder_and_seeds(room: Room, tmp_path: Path) -> None:
    kept = [tmp_path / f"run é {n}" for n in range(3)]
    arrays = []
    for folder, seed in zip(kept, (1, 1, 2), strict=True):
        result = room.logic.attack(
            model="chest", volumes=[room.film], attack="pgd", parameters={"steps": 1, "random_start": True}, seed=seed,
            folder=folder,
        )  # fmt: skip
        arrays.append(room.voxels(result.adversarial[0]).copy())
        assert json.loads((folder / "job.json").read_text(encoding="utf-8"))["seed"] == seed
    np.testing.assert_array_equal(arrays[0], arrays[1])
    assert (arrays[0] != arrays[2]).any()
    with pytest.raises(BadRequest, match="not a new or empty folder"):
        room.logic.attack(volumes=[room.film], folder=kept[0], **QUICK)


@pytest.mark.parametrize("goal", TARGET_MAPS)
def test_every_goal(room: Room, goal: str, tmp_path: Path) -> None:
    target, expected = None, None
    if goal in Choices.NODE_GOALS:
        target = drawableTarget(room.scene, room.truth, "target")
        target.GetSegmentation().RemoveSegment("label4")
        expected = {1, 2, 3, 5}
    result = room.logic.attack(volumes=[room.film], truth=room.truth, goal=goal, goalParameters=GOALS[goal],
                               target=target, folder=tmp_path / "run", **QUICK)  # fmt: skip
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    job = json.loads((tmp_path / "run" / "job.json").read_text(encoding="utf-8"))
    assert metrics["target"] is not None
    assert job["aim"]["kind"] == goal
    if expected:
        assert result.target is target
        assert {name for name, dice in metrics["target_before"]["dice"].items() if dice == 0 and name != "mean"} == {
            "left clavicle"
        }, "what was erased from the drawing is not asked for"


def test_a_drawing_of_any_name_stands_for_the_structure_that_is_named(room: Room, tmp_path: Path) -> None:
    drawing = drawn_by_hand(room, "what I drew")
    with pytest.raises(BadRequest, match="what I drew"):
        room.logic.attack(volumes=[room.film], goal="drawn", target=drawing, keep="prediction", **QUICK)
    room.logic.attack(volumes=[room.film], goal="drawn", goalParameters={"structure": "right lung"}, target=drawing,
                      folder=tmp_path / "run", **QUICK)  # fmt: skip
    aim = json.loads((tmp_path / "run" / "job.json").read_text(encoding="utf-8"))["aim"]
    assert aim["structure"] == "right lung"


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_of_the_registry(room: Room, region: str, tmp_path: Path) -> None:
    assert set(REGIONS) | {"mask"} == {kind["name"] for kind in room.logic.regions() if not kind["node"]} - {"whole"}
    result = room.logic.attack(volumes=[room.film], truth=room.truth, region=region, regionParameters=REGIONS[region],
                               folder=tmp_path / "run", **QUICK)  # fmt: skip
    told = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["budget"]["region"]
    assert told["kind"] == region
    assert np.count_nonzero(room.voxels(result.perturbation[0])) <= told["voxels"] <= SIZE * SIZE


@pytest.mark.parametrize("wanted", ["heart", "label1"])
def test_noise_stays_in_a_segment(room: Room, wanted: str) -> None:
    spec = room.logic.modelSpec("chest")
    scan = scanFromNodes([room.film], spec.channels, spec.dims)
    result = room.logic.attack(volumes=[room.film], region="segment", regionNode=room.truth, regionSegment=wanted,
                               **QUICK)  # fmt: skip
    inside = maskFromSegment(room.truth, "label1", scan).array.reshape(SIZE, SIZE) != 0
    noise = room.voxels(result.perturbation[0])[0]
    assert noise[inside].any()
    assert not noise[~inside].any()


def test_noise_stays_in_a_markups_roi(room: Room) -> None:
    roi = room.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    bounds = np.zeros(6)
    room.film.GetRASBounds(bounds)
    middle = [(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2, (bounds[4] + bounds[5]) / 2]
    roi.SetCenter(bounds[0], *middle[1:])
    roi.SetSize(bounds[1] - bounds[0], bounds[3] - bounds[2], 10)
    result = room.logic.attack(volumes=[room.film], region="roi", regionNode=roi, **QUICK)
    columns = np.flatnonzero(room.voxels(result.perturbation[0])[0].any(axis=0))
    assert len(columns) <= SIZE // 2 + 1
    assert columns.max() - columns.min() <= SIZE // 2


def test_surrogate_is_attacked_and_the_model_judged(room: Room, tmp_path: Path) -> None:
    bundle = shutil.copytree(ROOT / "Resources" / "Models" / "chest", tmp_path / "my model é")
    room.logic.attack(volumes=[room.film], surrogate=str(bundle), folder=tmp_path / "run", **QUICK)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["surrogate"] == str(bundle)


def test_compare_and_sweep(room: Room, tmp_path: Path) -> None:
    bundle = shutil.copytree(ROOT / "Resources" / "Models" / "chest", tmp_path / "my chest")
    fields = {"volumes": [room.film], "truth": room.truth, "attack": "fgsm"}
    found = room.logic.compare(["chest", str(bundle)], epsilon=0.02, **fields)
    assert isinstance(found, Comparison)
    assert found.table.GetNumberOfRows() == 2
    assert len(found.results) == 2
    np.testing.assert_array_equal(*(room.voxels(result.adversarial[0]) for result in found.results))
    before = set(nodeIds(room.scene))
    swept = room.logic.sweep([0.0, 0.01, 0.05], model="chest", folder=tmp_path / "sweep", **fields)
    assert swept.table.GetNumberOfRows() == 3
    assert swept.results == []
    assert swept.charts
    new = [room.scene.GetNodeByID(item).GetClassName() for item in nodeIds(room.scene) if item not in before]
    assert "vtkMRMLScalarVolumeNode" not in new
    assert sorted(item.name for item in (tmp_path / "sweep").iterdir()) == ["0", "0.01", "0.05"]


def test_a_model_that_fails_does_not_take_the_others_along(room: Room, tmp_path: Path) -> None:
    broken = shutil.copytree(ROOT / "Resources" / "Models" / "chest", tmp_path / "broken")
    for file in (broken / "models").iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    fields = {"volumes": [room.film], "attack": "fgsm", "epsilon": 0.02}
    found = room.logic.compare([str(broken), "chest"], **fields)
    assert columnOf(found.table, "model") == ["chest"]
    assert len(found.results) == 1
    assert list(found.failures) == [str(broken)]
    assert "\n" not in found.failures[str(broken)]
    before = nodeIds(room.scene)
    with pytest.raises(AdvSegError, match="all 2 runs failed"):
        room.logic.sweep([0.01, 0.02], model=str(broken), volumes=[room.film], attack="fgsm")
    assert nodeIds(room.scene) == before


def test_recorded_iterations_become_a_browser(room: Room) -> None:
    result = room.logic.attack(model="chest", volumes=[room.film], attack="pgd", parameters={"steps": 4}, record=2)
    assert result.browser is not None


def test_four_channels_under_a_transform(room: Room) -> None:
    *channels, truth = room.logic.phantom("brain", seed=3, size=32)
    spec = room.logic.modelSpec("brain")
    assert [node.GetName().split()[-1] for node in channels] == list(spec.channels)
    transform = room.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "tilted")
    import vtk

    tilt = vtk.vtkTransform()
    tilt.RotateX(20)
    tilt.Translate(5, -3, 12)
    transform.SetMatrixTransformToParent(tilt.GetMatrix())
    for node in (*channels, truth):
        node.SetAndObserveTransformNodeID(transform.GetID())
    result = room.logic.attack(model="brain", volumes=channels, truth=truth, attack="fgsm", norm="l2", epsilon=3.0)
    assert len(result.adversarial) == 4
    for clean, adversarial in zip(channels, result.adversarial, strict=True):
        assert adversarial.GetParentTransformNode() is transform
        assert adversarial.GetImageData().GetDimensions() == clean.GetImageData().GetDimensions()


def drawn_by_hand(room: Room, name: str) -> Any:
    """Return a segmentation of one segment, the true heart, as the Segment Editor makes it: ID, name, no tags."""
    node = room.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} by hand")
    node.SetReferenceImageGeometryParameterFromVolumeNode(room.film)
    segment = slicer.vtkSegment()
    segment.DeepCopy(room.truth.GetSegmentation().GetSegment("label1"))
    segment.SetName(name)
    for tag in ("AdvSeg.Label", "AdvSeg.LabelName"):
        segment.RemoveTag(tag)
    node.GetSegmentation().AddSegment(segment, "Segment_1")
    return node


# -- while it runs ----------------------------------------------------------------------------------------------------


def stepping(room: Room, **options: Any) -> Any:
    """Return the task of a long attack that is well under way."""
    task = room.logic.attack(volumes=[room.film], wait=False, **LONG, **options)
    waitUntil(lambda: bool(room.logic.pump() or task.step > 1), "steps")
    return task


def test_cancel_stops_at_the_next_step_and_leaves_no_node(room: Room) -> None:
    before = nodeIds(room.scene)
    done: list[str] = []
    task = stepping(room, onDone=lambda task: done.append(task.state))
    pid = room.logic._queue._worker.child._process.pid
    assert task.remaining is not None
    assert task.remaining > 1
    task.cancel()
    with pytest.raises(Cancelled):
        task.wait(timeout=TIMEOUT)
    assert task.state == "cancelled"
    assert done == ["cancelled"]
    assert nodeIds(room.scene) == before
    assert room.logic._queue._worker.child._process.pid == pid, "the worker, and the model in it, stay"
    room.logic.segment("chest", [room.film])


def test_waiting_lets_the_application_live_and_times_out(room: Room) -> None:
    idle: list[int] = []
    room.logic._idle = lambda: idle.append(1)
    task = stepping(room)
    with pytest.raises(TimeoutError):
        task.wait(timeout=0.3)
    assert len(idle) > 3
    room.logic._idle = lambda: room.logic.cancelAll()  # somebody presses Cancel
    with pytest.raises(Cancelled):
        task.wait()
    room.logic._idle = None


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_worker_says_why_and_a_stopped_one_is_ended(room: Room) -> None:
    before = nodeIds(room.scene)
    task = stepping(room)
    worker = room.logic._queue._worker
    os.kill(worker.child._process.pid, signal.SIGKILL)
    with pytest.raises(AdvSegError, match=r"process died while attacking \(killed by SIGKILL; memory may"):
        task.wait(timeout=TIMEOUT)
    assert task.events[-1]["event"] == "died"
    task = stepping(room)
    another = room.logic._queue._worker
    assert another is not worker
    room.logic._queue._cancelSeconds = 0.2
    os.kill(another.child._process.pid, signal.SIGSTOP)
    task.cancel()
    with pytest.raises(Cancelled, match="had to be ended"):
        task.wait(timeout=TIMEOUT)
    waitUntil(lambda: bool(room.logic.pump() or not another.running), "its end")
    assert nodeIds(room.scene) == before
    room.logic._queue._cancelSeconds = 5.0


def test_a_failure_of_the_worker_is_a_bad_request_here(room: Room) -> None:
    truth = drawableTarget(room.scene, room.truth, "no heart")
    truth.GetSegmentation().RemoveSegment("label1")
    before = nodeIds(room.scene)
    with pytest.raises(BadRequest, match="heart is absent"):
        room.logic.attack(volumes=[room.film], truth=truth, region="box", regionParameters={"structure": "heart"},
                          **QUICK)  # fmt: skip
    assert nodeIds(room.scene) == before


@pytest.mark.parametrize("what", ["scene", "scan"])
def test_closing_the_scene_cancels_and_a_removed_scan_gets_no_results(
    alone: HeadlessSlicer, room: Room, what: str
) -> None:
    logic, workers = shut_in(alone.scene)
    film = alone.scene.AddNode(slicer.vtkMRMLScalarVolumeNode())
    film.Copy(room.film)
    film.SetAndObserveImageData(room.film.GetImageData())
    task = logic.attack(volumes=[film], wait=False, **QUICK)
    logic.pump()
    (worker,) = workers
    if what == "scene":
        alone.clear()
        assert worker.cancels == worker.jobs
    else:
        alone.scene.RemoveNode(film)
    before = nodeIds(alone.scene)
    worker.greet()
    worker.done(worker.jobs[0], Path("/nowhere"))
    with pytest.raises(Cancelled if what == "scene" else BadRequest, match=r"cancelled|was removed from the scene"):
        task.wait(timeout=5)
    assert nodeIds(alone.scene) == before
    logic.close()


def test_an_interpreter_without_the_library_is_named(room: Room, tmp_path: Path) -> None:
    script = tmp_path / "my python"
    script.write_text("#!/bin/sh\necho 'No module named AdvSegLib' >&2\nexit 1\n")
    script.chmod(0o755)
    logic = RobustnessLogic(room.scene, settings={"python": str(script)})
    with pytest.raises(AdvSegError, match=r"my python: cannot run .*exit code 1.*No module named.*ADVSEG_PYTHON"):
        logic.attack(volumes=[room.film], **QUICK)
    with pytest.raises(AdvSegError, match="phantom chest: No module named AdvSegLib"):
        logic.phantom("chest")
    logic.close()
    missing = RobustnessLogic(room.scene, settings={"python": str(tmp_path / "absent")})
    with pytest.raises(BadRequest, match="the module's setting: no program"):
        missing.attack(volumes=[room.film], **QUICK)
    missing.close()


def test_a_logic_that_was_forgotten_ends_its_worker_and_lets_the_scene_go(alone: HeadlessSlicer) -> None:
    """A circle of scene, observer and logic is not collected without a crash."""
    logic = RobustnessLogic(alone.scene)
    logic.segment("chest", [logic.phantom("chest", size=SIZE)[0]])
    (log,) = logic._queue._logs.values()
    pid, folder = logic._queue._worker.child._process.pid, Path(log.name)  # type: ignore[union-attr]
    dead = weakref.ref(logic)
    del logic, log
    gc.collect()
    assert dead() is None
    waitUntil(lambda: not alive(pid), "the end of a worker nobody can reach")
    assert not folder.exists()
    alone.clear()


def test_close_cancels_what_is_under_way(room: Room) -> None:
    logic, workers = shut_in(room.scene)
    tasks = [logic.attack(volumes=[room.film], wait=False, **QUICK) for _ in range(2)]
    tasks.append(logic.phantom("chest", wait=False))
    logic.pump()
    assert logic.tasks == tasks
    logic.close()
    assert [task.state for task in tasks] == ["cancelled"] * 3
    assert not workers[0].running
    assert not logic.busy


# -- bad requests -----------------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"volumes": []}, "no scan chosen: the model takes one volume for each of film"),
    ({"volumes": [None]}, "no scan chosen"),
    ({"volumes": "film"}, "give a list of volume nodes"),
    ({"model": "brain"}, r"1 volume\(s\) given, but the model takes 4: t1, t1gd, t2, flair"),
    ({"model": ""}, "no model chosen"),
    ({"model": "chst"}, "did you mean 'chest'"),
    ({"model": str(ROOT)}, "not a MONAI bundle"),
    ({"attack": "pdg"}, "did you mean 'pgd'"),
    ({"parameters": {"stesp": 3}}, "unknown parameter of fgsm"),
    ({"attack": "pgd", "parameters": {"steps": 0}}, "steps must be >= 1"),
    ({"epsilon": 5}, "a fraction of the image's range, 0 to 1, not 5; 5 % is 0.05"),
    ({"epsilon": -0.1}, "from 0 up"),
    ({"epsilon": float("nan")}, "from 0 up"),
    ({"epsilon": "0.1"}, "from 0 up"),
    ({"norm": "l1"}, "norm: one of linf, l2"),
    ({"device": "gpu"}, "device: auto, cpu"),
    ({"precision": "fp16"}, "precision: one of"),
    ({"seed": -1}, "seed: a whole number"),
    ({"record": 1.5}, "record: a whole number"),
    ({"goal": "hart-symbol"}, "did you mean 'heart-symbol'"),
    ({"goal": "heart-symbol"}, "say which structure"),
    ({"goal": "resized", "goalParameters": {"structure": "hart"}}, "did you mean 'heart'"),
    ({"goal": "resized", "goalParameters": {"structure": "heart", "factor": 99.0}}, "factor must be"),
    ({"goal": "constant", "goalParameters": {"label": 77}}, r"labels \[77\]"),
    ({"goal": "drawn"}, "choose the target segmentation"),
    ({"goalParameters": {"structure": "heart"}}, "untargeted has no parameters"),
    ({"keep": "truth"}, "needs a truth"),
    ({"keep": "prediction"}, "choose a goal"),
    ({"attack": "dag", "goal": "erased", "goalParameters": {"structure": "heart"}, "keep": "truth"}, "needs a truth"),
    ({"region": "segment"}, r"choose the segmentation \(regionNode=\)"),
    ({"region": "roi"}, "choose the Markups ROI"),
    ({"region": "bxo"}, "unknown region"),
    ({"region": "box"}, "say which structure"),
    ({"region": "mask", "regionParameters": {"file": "/no/such/file.nrrd"}}, "no such file"),
    ({"regionParameters": {"margin_mm": 3.0}}, "region whole has no parameters"),
    ({"surrogate": "brain"}, "surrogate brain: its channels"),
    ({"surrogate": "nobody"}, "unknown model 'nobody'"),
    ({"epsilom": 0.1}, "did you mean 'epsilon'"),
    ({"model": None}, "model: give a name, not None"),
    ({"attack": None}, "attack: give a name"),
    ({"goal": None}, "goal: give a name"),
    ({"region": 3}, "region: give a name, not 3"),
    ({"surrogate": 5}, "surrogate: give a name"),
    ({"parameters": None}, "parameters: give a dict"),
    ({"regionParameters": [1]}, "regionParameters: give a dict"),
    ({"relabel": [1, 2]}, "relabel: give a dict"),
    ({"truth": "truth of the film"}, "truth: give a node, not 'truth of the film'"),
]


@pytest.mark.parametrize(("fields", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_requests_are_refused_before_anything_is_started(
    room: Room, fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    logic, workers = shut_in(room.scene, settings={"temporary": str(tmp_path)})
    before = nodeIds(room.scene)
    request = {"volumes": [room.film], **QUICK, **fields}
    for call in (logic.check, logic.attack):
        with pytest.raises(BadRequest, match=words) as raised:
            call(**request)
        assert "\n" not in str(raised.value)
    assert workers == []
    assert not logic.busy
    assert nodeIds(room.scene) == before
    assert list(tmp_path.iterdir()) == []
    logic.close()


def empty_segmentation(room: Room) -> Any:
    node = drawableTarget(room.scene, room.truth, "empty")
    node.GetSegmentation().RemoveAllSegments()
    return node


def strange_names(room: Room) -> Any:
    return drawn_by_hand(room, "liver")


def named_only(room: Room) -> str:
    """Return what people write in a console: a node's name in its place."""
    return "my node"


def empty_roi(room: Room) -> Any:
    roi = room.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "far away")
    roi.SetCenter(1e5, 0, 0)
    roi.SetSize(10, 10, 10)
    return roi


@pytest.mark.parametrize(
    ("make", "field", "more", "words"),
    [
        (empty_segmentation, "target", {"goal": "drawn"}, "empty"),
        (empty_segmentation, "target", {"goal": "drawn", "goalParameters": {"structure": "heart"}}, "empty"),
        (empty_segmentation, "target", {}, "goal is 'untargeted'"),
        (strange_names, "target", {"goal": "other-case"}, "liver"),
        (strange_names, "truth", {}, "liver"),
        (empty_roi, "regionNode", {"region": "roi"}, "covers no voxel"),
        (named_only, "volumes", {}, "give a list of volume nodes"),
        (named_only, "truth", {}, "truth: give a node, not 'my node'"),
        (named_only, "target", {"goal": "drawn"}, "target: give a node, not 'my node'"),
        (named_only, "regionNode", {"region": "roi"}, "regionNode: give a node"),
        (empty_roi, "regionNode", {"region": "segment", "regionSegment": "heart"}, "no segmentation"),
        (
            strange_names,
            "regionNode",
            {"region": "segment", "regionSegment": "heart"},
            "has no segment 'heart'; it has",
        ),
    ],
)
def test_bad_nodes_are_refused_before_anything_is_started(
    room: Room, make: Any, field: str, more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    node = make(room)
    logic, workers = shut_in(room.scene, settings={"temporary": str(tmp_path)})
    before = nodeIds(room.scene)
    with pytest.raises(BadRequest, match=words):
        logic.attack(**{**QUICK, **more, "volumes": (room.film,), field: node})
    assert (workers, nodeIds(room.scene), list(tmp_path.iterdir())) == ([], before, [])
    logic.close()


def test_numbers_of_numpy_are_numbers(room: Room) -> None:
    fields = {**QUICK, "attack": "pgd", "parameters": {"steps": np.int64(1)}, "seed": np.int32(3)}
    request = AttackRequest.fromFields({**fields, "epsilon": np.float32(0.5), "volumes": [room.film]})
    room.logic.check(request)
    assert (type(request.epsilon), type(request.seed), request.parameters) == (float, int, {"steps": 1})
    comparison = room.logic.sweep(np.array([0.01, 0.5], np.float32), model="chest", volumes=[room.film], attack="fgsm")
    assert columnOf(comparison.table, "epsilon (% of range)") == pytest.approx([1.0, 50.0])


def test_bad_comparisons_phantoms_and_places(room: Room, tmp_path: Path) -> None:
    fields = {"volumes": [room.film], "attack": "fgsm"}
    with pytest.raises(BadRequest, match="nothing to compare"):
        room.logic.compare([], **fields)
    with pytest.raises(BadRequest, match=r"0\.01 is named twice"):
        room.logic.sweep([0.01, 0.02, 0.01], model="chest", **fields)
    with pytest.raises(BadRequest, match="0 to 1, not 2"):
        room.logic.sweep([0.01, 2], model="chest", **fields)
    with pytest.raises(BadRequest, match="4: t1"):
        room.logic.compare(["chest", "brain"], **fields)
    with pytest.raises(BadRequest, match="models: give a list of models, not 'chest'"):
        room.logic.compare("chest", **fields)
    with pytest.raises(BadRequest, match=r"epsilons: give a list of budgets, not 0\.1"):
        room.logic.sweep(0.1, model="chest", **fields)
    with pytest.raises(BadRequest, match="an attack needs model and volumes"):
        room.logic.attack(attack="fgsm")
    with pytest.raises(BadRequest, match="unknown phantom 'brian'; did you mean 'brain'"):
        room.logic.phantom("brian")
    with pytest.raises(BadRequest, match="size"):
        room.logic.phantom("chest", size=-3)
    nowhere, _ = shut_in(room.scene, settings={"temporary": str(tmp_path / "absent")})
    with pytest.raises(BadRequest, match="absent: cannot write there"):
        nowhere.attack(volumes=[room.film], **QUICK)
    nowhere.close()


def test_a_target_of_other_geometry_is_resampled_with_a_note(room: Room) -> None:
    other, truth = room.logic.phantom("chest", seed=9, size=SIZE * 2)
    logic, workers = shut_in(room.scene)
    task = logic.attack(volumes=[room.film], goal="other-case", target=truth, wait=False, **QUICK)
    assert any("resampled" in note for note in task.notes), task.notes
    task.cancel()
    logic.close()
    assert other.GetImageData().GetDimensions()[0] == SIZE * 2
    assert workers == []
