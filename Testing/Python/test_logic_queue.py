"""The queue of tasks against a worker that is played: every order of events, every way to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logic_standins import PlayedWorker

pytest.importorskip("slicer")

from AdvSegRobustnessLib import TaskQueue as module
from AdvSegRobustnessLib.TaskQueue import TaskQueue
from AdvSegRobustnessLib.Tasks import Task
from AdvSegRobustnessLib.WorkerProcess import WorkerProcess

from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled


class Stage:
    """A queue, the workers it has started, and tasks that tell what became of them."""

    def __init__(self, **options: Any) -> None:
        self.workers: list[PlayedWorker] = []
        self.ended: list[Task] = []
        self.queue = TaskQueue(self.start, **options)

    def start(self, logs: Path) -> PlayedWorker:
        self.workers.append(PlayedWorker(logs))
        return self.workers[-1]

    @property
    def worker(self) -> PlayedWorker:
        return self.workers[-1]

    def task(
        self,
        name: str = "task",
        runs: int = 1,
        finish: Callable[[list[Path]], Any] = lambda folders: [str(folder) for folder in folders],
        **options: Any,
    ) -> Task:
        requests = [{"do": "run", "out": f"{name}{index}"} for index in range(runs)]
        options = {"onDone": self.ended.append, **options}
        task = Task("attack", name, requests, finish, labels=[f"run {n}" for n in range(runs)], **options)
        self.queue.add(task)
        return task

    def begun(self, **options: Any) -> Task:
        """Return a task whose job the worker has."""
        task = self.task(**options)
        self.queue.pump()
        self.worker.greet()
        return task

    def says(self, event: str, **facts: Any) -> None:
        self.worker.says.append({"event": event, "id": self.worker.jobs[-1], **facts})
        self.queue.pump()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_one_after_the_other_on_one_worker(stage: Stage) -> None:
    one, two = stage.task("one"), stage.task("two")
    assert (one.state, stage.workers) == ("waiting", [])
    stage.queue.pump()
    assert (one.state, two.state) == ("running", "waiting")
    assert len(stage.worker.jobs) == 1
    stage.says("done", out="/one", summary={}, seconds=1)
    assert (one.state, one.result, two.state) == ("done", ["/one"], "running")
    stage.says("done", out="/two", summary={}, seconds=1)
    assert two.result == ["/two"]
    assert len(stage.workers) == 1
    assert stage.ended == [one, two]
    assert stage.queue.tasks == []


def test_a_task_tells_how_far_it_is(stage: Stage) -> None:
    heard: list[str] = []
    task = stage.begun(runs=2, onEvent=lambda task, event: heard.append(f"{event['event']} {task.fraction:.3f}"))
    assert task.remaining is None
    stage.says("stage", stage="attacking")
    assert task.stage == "attacking"
    numbers = {"loss": 0.5, "dice": 0.9}
    stage.says("step", step=0, steps=4, numbers=numbers)
    stage.says("step", step=2, steps=4, numbers=numbers)
    assert (task.step, task.steps, task.numbers, task.fraction) == (2, 4, numbers, 0.25)
    assert task.remaining is not None
    assert task.remaining >= 0
    stage.says("done", out="/a", summary={"warnings": ["mind the gap"], "dice": {"clean": 1}}, seconds=1)
    assert (task.runsDone, task.fraction, task.state) == (1, 0.5, "running")
    stage.says("log", level="warning", message="a library warns")
    stage.says("done", out="/b", summary={"warnings": ["mind the gap"]}, seconds=1)
    assert task.fraction == 1
    assert task.notes == ["mind the gap", "a library warns"]
    assert task.summaries[0]["dice"] == {"clean": 1}
    assert heard[0] == "hello 0.000"
    assert heard[-1] == "done 1.000"


@pytest.mark.parametrize(("kind", "error"), [("bad-request", BadRequest), ("error", AdvSegError)])
def test_a_failure_names_the_run_and_the_worker_goes_on(stage: Stage, kind: str, error: type[Exception]) -> None:
    task, other = stage.begun(runs=2), stage.task("other")
    stage.says("done", out="/a", summary={}, seconds=1)
    stage.says("failed", kind=kind, code=1, message="no heart in it")
    assert (task.state, task.result) == ("failed", None)
    assert type(task.error) is error
    assert str(task.error) == "run 1: no heart in it"
    with pytest.raises(error, match="no heart"):
        task.wait()
    assert other.state == "running"
    assert len(stage.workers) == 1


def test_a_run_that_fails_does_not_stop_the_others_of_a_comparison(stage: Stage) -> None:
    task = stage.begun(runs=3, goesOn=True, finish=list)
    stage.says("step", step=1, steps=2, numbers={})
    stage.says("failed", kind="bad-request", code=1, message="no heart in it")
    assert (task.state, task.runsDone, task.step) == ("running", 1, 0)
    stage.says("stage", stage="attacking")
    stage.worker.says.append({"event": "died", "id": None, "code": -9, "log": []})
    stage.queue.pump()
    assert (task.state, task.runsDone, len(stage.workers)) == ("running", 2, 2)
    stage.worker.greet()
    stage.says("done", out="/c", summary={}, seconds=1)
    assert (task.state, task.error, task.result) == ("done", None, [None, None, Path("/c")])
    assert list(task.failures) == ["run 0", "run 1"]
    assert type(task.failures["run 0"]) is BadRequest
    assert task.notes[0] == "run 0 failed: no heart in it"
    assert "killed by SIGKILL" in task.notes[1]


def test_a_comparison_of_which_every_run_fails_has_failed(stage: Stage) -> None:
    task = stage.begun(runs=2, goesOn=True)
    stage.says("failed", kind="bad-request", code=1, message="first")
    stage.says("failed", kind="bad-request", code=1, message="second")
    assert (task.state, task.result) == ("failed", None)
    assert isinstance(task.error, BadRequest)
    assert str(task.error) == "all 2 runs failed; the last, run 1: second"
    assert stage.queue.tasks == []


def test_cancelling_a_comparison_keeps_nothing(stage: Stage) -> None:
    task = stage.begun(runs=3, goesOn=True)
    stage.says("done", out="/a", summary={}, seconds=1)
    stage.queue.cancel(task)
    stage.says("failed", kind="error", code=1, message="while it was cancelled")
    assert (task.state, task.result) == ("cancelled", None)


def test_a_worker_that_never_greets_is_not_tried_for_every_run(stage: Stage) -> None:
    task = stage.task(runs=5, goesOn=True)
    stage.queue.pump()
    stage.worker.says.append({"event": "died", "id": None, "code": 1, "log": ["No module named torch"]})
    stage.queue.pump()
    assert (task.state, len(stage.workers)) == ("failed", 1)


def test_a_log_folder_that_cannot_be_made_fails_the_task_and_the_queue_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    queue = TaskQueue(lambda logs: WorkerProcess(["python"], {}, tmp_path / "file" / "logs"))
    task = Task("attack", "a", [{"do": "run"}], list)
    queue.add(task)
    queue.pump()
    assert task.state == "failed"
    assert "cannot be started" in str(task.error)
    assert queue.tasks == []


def test_a_dead_worker_fails_its_task_and_the_next_gets_a_new_one(stage: Stage) -> None:
    task, other = stage.begun(), stage.task("other")
    stage.says("stage", stage="attacking")
    first = stage.worker
    first.says.append({"event": "died", "id": None, "code": -9, "log": ["a", "b", "c", "d"]})
    stage.queue.pump()
    assert task.state == "failed"
    message = "the computing process died while attacking (killed by SIGKILL; memory may have run out)"
    assert str(task.error) == f"run 0: {message}; its last words: b | c | d"
    assert first.terminated
    assert (other.state, len(stage.workers)) == ("running", 2)
    stage.says("done", out="/o", summary={}, seconds=1)
    assert other.state == "done"


def test_an_interpreter_that_cannot_run_the_worker_is_named(stage: Stage) -> None:
    task = stage.task()
    stage.queue.pump()
    stage.worker.says.append({"event": "died", "id": None, "code": 1, "log": ["No module named numpy"]})
    stage.queue.pump()
    assert str(task.error).startswith("played-python: cannot run AdvSegLib's worker (exit code 1)")
    assert "No module named numpy" in str(task.error)
    assert "ADVSEG_PYTHON" in str(task.error)


def test_a_worker_that_never_greets_is_given_up() -> None:
    stage = Stage(helloSeconds=0.0)
    task = stage.task()
    stage.queue.pump()
    stage.queue.pump()
    assert task.state == "failed"
    assert "played-python: no word from AdvSegLib's worker" in str(task.error)
    assert stage.worker.terminated


def test_a_job_given_to_a_worker_that_had_died_goes_to_another_once(stage: Stage) -> None:
    first, second = stage.begun(name="first"), stage.task("second")
    stage.says("done", out="/a", summary={}, seconds=1)
    assert (first.state, second.state) == ("done", "running")
    for count, state in ((2, "running"), (2, "failed")):
        stage.worker.says.append({"event": "died", "id": None, "code": -9, "log": []})
        stage.queue.pump()
        assert (len(stage.workers), second.state) == (count, state)


def test_an_idle_worker_that_dies_is_replaced_without_a_word(stage: Stage) -> None:
    stage.begun()
    stage.says("done", out="/a", summary={}, seconds=1)
    stage.worker.says.append({"event": "died", "id": None, "code": 1, "log": []})
    stage.queue.pump()
    task = stage.begun()
    assert len(stage.workers) == 2
    stage.says("done", out="/b", summary={}, seconds=1)
    assert task.state == "done"


def test_cancel_asks_first_and_shows_nothing(stage: Stage) -> None:
    shown: list[Any] = []
    task, other = stage.begun(finish=shown.append), stage.task("other")
    stage.queue.cancel(task)
    stage.queue.cancel(task)
    assert stage.worker.cancels == [stage.worker.jobs[0]]
    assert (task.state, task.cancelling) == ("running", True)
    stage.worker.done(stage.worker.jobs[0], Path("/a"))  # it was too late: the run is whole, and yet unwanted
    stage.queue.pump()
    assert task.state == "cancelled"
    assert isinstance(task.error, Cancelled)
    assert shown == []
    assert not stage.worker.terminated
    assert other.state == "running"


def test_a_worker_that_does_not_stop_is_ended() -> None:
    stage = Stage(cancelSeconds=0.0)
    task, other = stage.begun(), stage.task("other")
    stage.queue.pump()
    first = stage.worker
    first.stubborn = True
    stage.queue.cancel(task)
    stage.queue.pump()
    assert task.state == "cancelled"
    assert first.terminated
    assert stage.queue._dying == [first]
    assert first.logFolder.exists()
    first.running = False
    stage.queue.pump()
    assert stage.queue._dying == []
    assert not first.logFolder.exists()
    assert other.state == "running"


def test_a_waiting_task_is_dropped_at_once(stage: Stage) -> None:
    stage.begun()
    waiting = stage.task("waiting")
    stage.queue.cancel(waiting)
    assert waiting.state == "cancelled"
    assert stage.worker.cancels == []
    early = Stage()
    task = early.task()
    early.queue.cancel(task)
    early.queue.pump()
    assert (task.state, early.workers) == ("cancelled", [])


def test_results_that_cannot_be_shown_fail_the_task(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(folders: list[Path]) -> None:
        raise BadRequest("not of this scan")

    def crash(folders: list[Path]) -> None:
        raise ZeroDivisionError("a bug")

    task = stage.begun(finish=refuse)
    stage.says("done", out="/a", summary={}, seconds=1)
    assert (task.state, str(task.error)) == ("failed", "not of this scan")
    task = stage.begun(finish=crash)
    stage.says("done", out="/a", summary={}, seconds=1)
    assert "unexpected ZeroDivisionError: a bug" in str(task.error)
    assert "results could not be shown" in caplog.text


@pytest.mark.parametrize("ending", ["done", "failed", "cancel", "died", "crash", "close"])
def test_temporary_folders_go_however_it_ends(stage: Stage, ending: str) -> None:
    folder = TemporaryDirectory()
    seen: list[bool] = []

    def finish(folders: list[Path]) -> None:
        seen.append(Path(folder.name).exists())
        if ending == "crash":
            raise ValueError("a bug")

    task = stage.begun(finish=finish, folder=folder)
    if ending in ("done", "crash"):
        stage.says("done", out="/a", summary={}, seconds=1)
        assert seen == [True]
    elif ending == "failed":
        stage.says("failed", kind="error", code=1, message="no")
    elif ending == "cancel":
        stage.queue.cancel(task)
        stage.says("cancelled")
    elif ending == "died":
        stage.says("died", code=1, log=[])
    else:
        stage.queue.close()
    assert task.ended
    assert not Path(folder.name).exists()
    stage.queue.close()
    assert not any(worker.logFolder.exists() for worker in stage.workers)


def test_a_callback_that_raises_leaves_all_in_order(stage: Stage) -> None:
    def upset(*anything: Any) -> None:
        raise RuntimeError("the panel is gone")

    task, other = stage.begun(onEvent=upset, onDone=stage.ended.append), stage.task("other")
    stage.worker.done(stage.worker.jobs[0], Path("/a"))
    for _ in range(2):  # hello, done
        with pytest.raises(RuntimeError, match="panel"):
            stage.queue.pump()
    assert (task.state, stage.ended) == ("done", [task])
    stage.queue.pump()
    assert other.state == "running"


def test_a_callback_may_begin_the_next_task_and_pump(stage: Stage) -> None:
    began: list[Task] = []

    def another(task: Task) -> None:
        began.append(stage.task("next"))
        stage.queue.pump()

    stage.begun(onDone=another)
    stage.says("done", out="/a", summary={}, seconds=1)
    assert began[0].state == "running"
    stage.says("done", out="/b", summary={}, seconds=1)
    assert began[0].result == ["/b"]


def test_pumping_while_a_result_is_shown_does_nothing(stage: Stage) -> None:
    task = stage.begun(runs=1, finish=lambda folders: stage.queue.pump() or len(stage.worker.jobs))
    stage.task("other")
    stage.says("done", out="/a", summary={}, seconds=1)
    assert task.result == 1


def test_a_worker_that_cannot_be_started_fails_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()

    def refuse(logs: Path) -> PlayedWorker:
        raise BadRequest("no Python")

    stage.queue._startWorker = refuse
    one, two = stage.task("one"), stage.task("two")
    stage.queue.pump()
    stage.queue.pump()
    assert [str(task.error) for task in (one, two)] == ["no Python", "no Python"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_task_ends_once_whatever_happens(data: st.DataObject) -> None:
    stage = Stage()
    tasks: list[Task] = []
    for _ in range(data.draw(st.integers(1, 25))):
        act = data.draw(
            st.sampled_from(["add", "pump", "done", "failed", "cancelled", "step", "died", "cancel", "late"])
        )
        worker = stage.queue._worker
        current = stage.queue._current
        if act == "add":
            tasks.append(
                stage.task(f"task{len(tasks)}", runs=data.draw(st.integers(1, 3)), goesOn=data.draw(st.booleans()))
            )
        elif act == "pump":
            stage.queue.pump()
        elif act == "cancel" and tasks:
            stage.queue.cancel(data.draw(st.sampled_from(tasks)))
        elif isinstance(worker, PlayedWorker):
            if act == "died":
                worker.says.append({"event": "died", "id": None, "code": 1, "log": []})
            elif act == "late" and worker.jobs:  # of a job that ended, or a second ending of one
                worker.done(worker.jobs[0], Path("/late"))
            elif current is not None and act in ("done", "failed", "cancelled", "step"):
                facts = {
                    "done": {"out": "/x", "summary": {}, "seconds": 0},
                    "failed": {"kind": "error", "code": 1, "message": "m"},
                    "step": {"step": 1, "steps": 3, "numbers": {}},
                }
                worker.says.append({"event": act, "id": current, **facts.get(act, {})})
            stage.queue.pump()
        waiting = [task for task in tasks if not task.ended]
        assert stage.queue.tasks == waiting, "in order, and none lost"
        assert sum(task.state == "running" for task in tasks) <= 1
        assert stage.ended == sorted(stage.ended, key=stage.ended.index)
        assert len(stage.ended) == len({id(task) for task in stage.ended}) == len(tasks) - len(waiting)
    stage.queue.close()
    assert all(task.ended for task in tasks)
    assert len(stage.ended) == len(tasks)
    for task in tasks:
        assert (task.state == "done") == (task.error is None)
        assert (task.state == "cancelled") == isinstance(task.error, Cancelled)
    assert module.CANCEL_SECONDS > 1
