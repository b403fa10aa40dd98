"""The worker as a program meets it: a process, lines in, lines out. And what keeps it warm."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from fixtures_models import a_bundle
from jsonschema import Draft202012Validator

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.job_request import Job
from AdvSegLib.jobs import run_job
from AdvSegLib.loading import Fresh, Warm
from AdvSegLib.schemas import check_schema, load_schema
from AdvSegLib.volumes import Image
from AdvSegLib.worker_protocol import Events, decode, failure, read_lines, strict
from AdvSegLib.worker_tasks import Call, _Steps

TIMEOUT = 60
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
FINAL = ("done", "failed", "cancelled")
START = "import sys; from AdvSegLib.__main__ import main; sys.exit(main(['worker', *sys.argv[1:]]))"
EVERY_STEP = "import AdvSegLib.worker_tasks as tasks; tasks.STEP_SECONDS = 0; "
STAND_IN = """
import time
from pathlib import Path
import AdvSegLib.jobs as jobs, AdvSegLib.worker as worker, AdvSegLib.worker_tasks as tasks
from AdvSegLib.errors import Cancelled
from AdvSegLib.runs import staged_folder
class Record:
    def numbers(self):
        return {"step": 0, "loss": 1.0}
def run_job(job, out, *, cache, progress, cancel, status):
    with staged_folder(out) as stage:
        status("attacking")
        for step in range(job.parameters["steps"]):
            if cancel():
                raise Cancelled("cancelled")
            progress(step, job.parameters["steps"], Record())
            time.sleep(0.002)
        (stage / "metrics.json").write_text("{}")
    return Path(out)
worker.PRELOADED, tasks._run_summary, jobs.run_job = (), lambda out: {}, run_job
"""
"""Without torch a process starts in no time: enough to see how it starts, listens and ends."""
NOISE = """
import os, subprocess, sys, warnings
def noisy(*args, run=jobs.run_job, **options):
    print("a print")
    sys.__stdout__.write("the first stdout\\n"); sys.__stdout__.flush()
    os.write(1, b"a C library\\n")
    subprocess.run([sys.executable, "-c", "import sys; print('a child', sys.stdin.read())"], check=True)
    warnings.warn("mind\\nthe gap")
    return run(*args, **options)
jobs.run_job = noisy
"""


class Client:
    """A worker process, and every event it has sent."""

    def __init__(self, *options: str, before: str = STAND_IN) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", before + START, *options], **PIPES)
        self.events: list[dict[str, Any]] = []
        self._arrived: Queue[bytes] = Queue()
        self._schema = Draft202012Validator(load_schema("worker_event"))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arrived.put(line)
        self._arrived.put(b"")

    def write(self, text: str | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text if isinstance(text, bytes) else text.encode() + b"\n")
        self.process.stdin.flush()

    def send(self, do: str, name: str | None = None, **fields: Any) -> None:
        self.write(json.dumps({"do": do, **({} if name is None else {"id": name}), **fields}))

    def take(self) -> dict[str, Any] | None:
        """Return the next event, checked; None at the end."""
        line = self._arrived.get(timeout=TIMEOUT)
        if not line:
            return None
        event: dict[str, Any] = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        self._schema.validate(event)
        self.events.append(event)
        return event

    def wait(self, *kinds: str, name: str | None = None) -> dict[str, Any]:
        """Return the next event of such a kind, of the request of that name."""
        while event := self.take():
            if event["event"] in kinds and event["id"] == name:
                return event
        raise AssertionError(f"ended without {kinds} of {name}: {self.events[-3:]}")

    def of(self, name: str | None) -> list[dict[str, Any]]:
        return [event for event in self.events if event["id"] == name]

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit code and stderr."""
        while self.take():
            pass
        assert self.process.stderr is not None
        errors = self.process.stderr.read().decode()
        return self.process.wait(TIMEOUT), errors


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scan")
    rng = np.random.default_rng(0)

    def image(name: str, size: int) -> Path:
        return Image.from_array(rng.random((1, size, size, size), np.float32) * 100).write(folder / f"{name}.nii.gz")

    return {"model": a_bundle(folder / "model"), "image": image("small", 12), "large": image("large", 48)}


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    """Start workers, and leave none behind."""
    started: list[Client] = []

    def start(*options: str, **how: Any) -> Client:
        started.append(Client(*options, **how))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait(TIMEOUT)


@pytest.fixture(scope="module")
def worker() -> Iterator[Client]:
    """One worker for all that needs no end; it tells every step. Dies with an error if it did not live through all."""
    client = Client(before=EVERY_STEP)
    assert client.wait("hello")["pid"] == client.process.pid
    yield client
    client.send("quit")
    assert client.end() == (0, "")
    assert client.events[-1] == {"event": "bye", "id": None, "reason": "quit"}


def a_job(scan: dict[str, Path], **changes: Any) -> dict[str, Any]:
    return {"model": str(scan["model"]), "image": str(scan["image"]), "attack": "pgd", "parameters": {"steps": 3},
            "seed": 4, "device": "cpu", **changes}  # fmt: skip


def endless(scan: dict[str, Path]) -> dict[str, Any]:
    return a_job(scan, image=str(scan["large"]), parameters={"steps": 10_000})


def loaded(worker: Client, name: str) -> list[tuple[str, bool]]:
    return [(event["what"], event["warm"]) for event in worker.of(name) if event["event"] == "loaded"]


def same(first: Path, second: Path) -> None:
    """Assert that two run folders hold the same, the time they took aside."""
    names = {path.name for path in first.iterdir()}
    assert names == {path.name for path in second.iterdir()}
    for name in names - {"provenance.json", "report.html"}:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    keys = [json.loads((run / "provenance.json").read_text())["key"] for run in (first, second)]
    assert keys[0] == keys[1]


def test_a_warm_run_is_told_in_order_and_equals_a_cold_one(
    worker: Client, scan: dict[str, Path], tmp_path: Path
) -> None:
    job = a_job(scan, parameters={"steps": 3, "random_start": True})
    for name in ("first", "second"):
        worker.send("run", name, job=job, out=str(tmp_path / name))
    done = worker.wait("done", name="second")
    for name, warm in (("first", False), ("second", True)):
        told = [event["event"] for event in worker.of(name)]
        assert told == ["accepted", "stage", "loaded", "loaded", "stage", *["step"] * 3, "stage", "done"]
        stages = [event["stage"] for event in worker.of(name) if "stage" in event]
        assert stages == ["reading", "attacking", "saving and measuring"]
        assert loaded(worker, name) == [("model", warm), ("image", warm)]
    steps = [event for event in worker.of("second") if event["event"] == "step"]
    assert [(event["step"], event["steps"]) for event in steps] == [(0, 3), (1, 3), (2, 3)]
    metrics = json.loads((tmp_path / "second" / "metrics.json").read_text())
    assert done["out"] == str(tmp_path / "second")
    assert done["summary"]["dice"]["agreement"] == metrics["agreement"]["dice"]["mean"]
    run_job(Job.from_dict(job), tmp_path / "cold")
    same(tmp_path / "cold", tmp_path / "first")
    same(tmp_path / "cold", tmp_path / "second")


def test_cancel_is_obeyed_within_a_step(worker: Client, scan: dict[str, Path], tmp_path: Path) -> None:
    worker.send("run", "long", job=endless(scan), out=str(tmp_path / "runs" / "long"))
    worker.wait("step", name="long")
    told = len(worker.events)
    worker.send("cancel", "long")
    worker.wait("cancelled", name="long")
    assert sum(event["event"] == "step" for event in worker.events[told:]) <= 2
    assert not any((tmp_path / "runs").iterdir())
    worker.send("cancel", "long")  # too late, as happens
    assert "nothing to cancel" in worker.wait("log", name="long")["message"]


def test_a_waiting_job_is_cancelled_at_once(worker: Client, scan: dict[str, Path], tmp_path: Path) -> None:
    worker.send("run", "now", job=endless(scan), out=str(tmp_path / "now"))
    worker.send("run", "later", job=a_job(scan), out=str(tmp_path / "later"))
    worker.send("run", "last", job=a_job(scan), out=str(tmp_path / "last"))
    worker.send("cancel", "later")
    worker.wait("cancelled", name="later")
    assert worker.of("now")[-1]["event"] != "cancelled"
    worker.send("cancel", "now")
    worker.wait("done", name="last")
    assert [event["event"] for event in worker.of("later")] == ["accepted", "cancelled"]
    assert worker.of("last")[0]["ahead"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"last"}


@pytest.mark.parametrize(("line", "says"), [
    ("{", "not readable as JSON"),
    (b"\xff\xfe{}\n", "not readable as JSON"),
    ("[" * 100_000, "not readable as JSON"),
    ("[1]", "a JSON object is needed"),
    ('{"do": "dance"}', "'dance' is not one of"),
    ('{"do": "release"}', "'id' is a required property"),
    ('{"do": "run", "job": {"model": "m", "image": "i", "attack": "pgd", "epsilon": NaN}, "out": "o"}', "NaN"),
    ('{"do": "run", "job": {}, "out": "o"}', "'id' is a required property"),
    ('{"schema": "advseg.worker-request/2", "do": "quit"}', "schema"),
    ('{"do": "quit", "force": true}', "force"),
    ('{"do": "release", "id": "' + "x" * (1 << 20) + '"}', "longer than"),
])  # fmt: skip
def test_a_bad_line_is_refused_and_nothing_else_happens(worker: Client, line: str | bytes, says: str) -> None:
    worker.write(line)
    failed = worker.wait("failed")
    assert says in failed["message"]
    assert (failed["kind"], failed["code"]) == ("bad-request", 2)
    assert failed["line"] > 0


@pytest.mark.parametrize(("changes", "says"), [
    ({"model": "brian"}, "unknown model 'brian'"),
    ({"attack": "pdg"}, "did you mean 'pgd'"),
    ({"image": "nowhere.nii.gz"}, "no such file"),
    ({"epsilons": 1}, "did you mean 'epsilon'"),
    ({"parameters": {"steps": 0}}, "steps must be"),
])  # fmt: skip
def test_a_bad_job_fails_as_on_the_command_line(
    worker: Client, scan: dict[str, Path], tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    worker.send("run", "bad", job=a_job(scan, **changes), out=str(tmp_path / "bad"))
    failed = worker.wait(*FINAL, name="bad")
    assert says in failed["message"]
    assert (failed["event"], failed["code"]) == ("failed", 2)
    assert not (tmp_path / "bad").exists()


def test_a_place_that_cannot_be_written_is_an_error(worker: Client, scan: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    worker.send("run", "nowhere", job=a_job(scan), out=str(tmp_path / "file" / "run"))
    failed = worker.wait(*FINAL, name="nowhere")
    assert (failed["event"], failed["kind"], failed["code"]) == ("failed", "error", 1)


def test_an_id_is_taken_until_its_job_ends(worker: Client, scan: dict[str, Path], tmp_path: Path) -> None:
    worker.send("run", "twin", job=endless(scan), out=str(tmp_path / "one"))
    worker.send("run", "twin", job=a_job(scan), out=str(tmp_path / "two"))
    assert "'twin'" in worker.wait("failed")["message"]  # of no request: the first twin is well
    worker.send("cancel", "twin")
    worker.wait("cancelled", name="twin")
    worker.send("run", "twin", job=a_job(scan), out=str(tmp_path / "two"))
    assert worker.wait(*FINAL, name="twin")["event"] == "done"


def test_segment_and_release(worker: Client, scan: dict[str, Path], tmp_path: Path) -> None:
    def segment(name: str) -> dict[str, Any]:
        worker.send("segment", name, model=str(scan["model"]), image=[str(scan["image"])], out=str(tmp_path / name))
        return worker.wait(*FINAL, name=name)

    done = segment("warm up")
    found = json.loads((tmp_path / "warm up" / "segment.json").read_text())
    check_schema("segment", found, "segment")
    assert done["summary"] == {"volumes_ml": found["volumes_ml"], "dice": None}
    assert (tmp_path / "warm up" / "labels.nii.gz").is_file()
    segment("warm")
    worker.send("release", "forget")
    worker.wait("done", name="forget")
    segment("cold")
    assert loaded(worker, "warm") == [("model", True), ("image", True)]
    assert loaded(worker, "cold") == [("model", False), ("image", False)]


def a_stand_in(steps: int) -> dict[str, Any]:
    return {"model": "m", "image": "i", "attack": "pgd", "parameters": {"steps": steps}}


def test_the_last_jobs_are_finished_when_a_pipe_ends(tmp_path: Path) -> None:
    jobs = [{"do": "run", "id": f"{k}", "job": a_stand_in(5), "out": str(tmp_path / f"{k}")} for k in range(2)]
    text = "\n\n".join(map(json.dumps, jobs))  # an empty line, and none at the end
    command = [sys.executable, "-c", STAND_IN + START]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["id"] for event in events if event["event"] == "done"] == ["0", "1"]
    assert events[-1] == {"event": "bye", "id": None, "reason": "end of input"}


@pytest.mark.parametrize("reason", ["quit", "end of input"])
def test_quitting_cancels_and_so_can_the_end_of_input(
    client: Callable[..., Client], tmp_path: Path, reason: str
) -> None:
    ends = client("--on-eof", "cancel")
    for name in ("running", "waiting"):
        ends.send("run", name, job=a_stand_in(1_000_000), out=str(tmp_path / name))
    ends.wait("step", name="running")
    if reason == "quit":
        ends.send("quit")
    else:
        ends.hang_up()
    assert ends.end() == (0, "")
    assert {event["id"] for event in ends.events if event["event"] == "cancelled"} == {"running", "waiting"}
    assert ends.events[-1]["reason"] == reason
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_polite_kill_is_130_and_leaves_nothing(client: Callable[..., Client], tmp_path: Path) -> None:
    killed = client()
    for name in ("running", "waiting"):
        killed.send("run", name, job=a_stand_in(1_000_000), out=str(tmp_path / name))
    killed.wait("accepted", name="waiting")
    killed.wait("step", name="running")
    killed.process.send_signal(signal.SIGTERM)
    code, errors = killed.end()
    assert (code, errors) == (130, "advseg: interrupted; nothing was written\n")
    assert sorted(event["id"] for event in killed.events if event["event"] == "cancelled") == ["running", "waiting"]
    assert killed.events[-1]["reason"] == "interrupted"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_an_idle_worker_whose_events_nobody_reads() -> None:
    with subprocess.Popen([sys.executable, "-c", STAND_IN + START], **PIPES) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write(b"?\n" * 5000)  # more complaints than a pipe holds: the worker must take them nevertheless
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130


def test_a_reader_that_goes_away_ends_the_run(tmp_path: Path) -> None:
    request = {"do": "run", "id": "x", "job": a_stand_in(1_000_000), "out": str(tmp_path / "x")}
    with subprocess.Popen([sys.executable, "-c", STAND_IN + START], **PIPES) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()  # and it stays open: only stdout tells that nobody is there
        while b'"step"' not in process.stdout.readline():
            pass
        process.stdout.close()
        assert process.wait(TIMEOUT) == 130
    assert not list(tmp_path.iterdir())


def test_only_events_reach_stdout(client: Callable[..., Client], tmp_path: Path) -> None:
    noisy = client(before=STAND_IN + NOISE)
    noisy.send("run", "loud", job=a_stand_in(3), out=str(tmp_path / "loud"))
    noisy.wait("done", name="loud")
    noisy.hang_up()
    code, errors = noisy.end()
    assert code == 0
    for noise in ("a print", "the first stdout", "a C library", "a child"):
        assert noise in errors
    (log,) = (event for event in noisy.events if event["event"] == "log")
    assert log["id"] == "loud"
    assert log["level"] == "warning"
    assert "UserWarning: mind the gap" in log["message"]


def test_models_are_kept_until_their_files_change(scan: dict[str, Path], tmp_path: Path) -> None:
    heard: list[tuple[str, bool]] = []
    warm = Warm(models=2, heard=lambda what, name, warm: heard.append((Path(name).name, warm)))
    folders = [a_bundle(tmp_path / name) for name in "abc"]
    first = warm.model(str(folders[0]), "cpu")
    assert warm.model(f"{folders[0]}/.", "cpu") is first
    a_bundle(folders[0], spec={"multiple": 4})  # written anew in place
    assert warm.model(str(folders[0]), "cpu").spec.multiple == 4
    for folder in (*folders[1:], folders[0]):
        warm.model(str(folder), "cpu")
    assert [told for _, told in heard] == [False, True, False, False, False, False]
    warm.model(str(folders[0]), "cpu")
    warm.release()
    warm.model(str(folders[0]), "cpu")
    assert [told for _, told in heard[6:]] == [True, False]


def test_images_are_kept_read_only_until_their_files_change(tmp_path: Path) -> None:
    heard: list[bool] = []
    warm = Warm(images=2, image_bytes=2 * 4 * 64, heard=lambda what, name, warm: heard.append(warm))
    array = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)

    def path(name: str, array: np.ndarray = array) -> list[str]:
        return [str(Image.from_array(array).write(tmp_path / name))]

    one = path("one.nii.gz")
    image = warm.image(one)
    assert warm.image(one) is image
    assert np.array_equal(image.array, Fresh().image(one).array)
    for kept in (image.array, image.grid.affine):
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 0
    os.utime(path("one.nii.gz", array + 1)[0], ns=(5, 5))
    assert warm.image(one).array.max() == 64
    assert heard == [False, True, False]
    wide = path("wide.nii.gz", np.tile(array, (1, 2, 1, 1)))
    warm.image(wide)  # as much as may be kept
    warm.image(one)
    warm.image(wide)
    assert heard[3:] == [False, False, False]
    header = path("pair.mhd")  # its voxels lie in another file
    warm.image(header)
    warm.image(header)
    assert heard[6:] == [False, False]
    with pytest.raises(BadRequest, match="no such file"):
        warm.image([str(tmp_path / "none.nii.gz")])


def test_a_folder_of_slices_is_known_by_all_its_files(tmp_path: Path) -> None:
    from AdvSegLib.loading import _image_stamp

    (tmp_path / "1.dcm").write_bytes(b"1")
    before = _image_stamp([str(tmp_path)])
    assert before == _image_stamp([str(tmp_path)])
    (tmp_path / "2.dcm").write_bytes(b"2")
    assert _image_stamp([str(tmp_path)]) != before


def test_lines_arrive_whole_however_they_are_cut() -> None:
    reading, writing = os.pipe()
    arrived: list[bytes | None] = []
    reader = threading.Thread(target=lambda: arrived.extend(read_lines(reading, limit=10)))
    reader.start()
    for part in (b"on", b"e\ntwo\n\nthr", b"ee", b"\n", b"x" * 200_000, b"y\n", b"0123456789\n", b"last"):
        os.write(writing, part)
    os.close(writing)
    reader.join(TIMEOUT)
    assert arrived == [b"one", b"two", b"", b"three", None, b"0123456789", b"last"]
    os.close(reading)


def test_events_are_strict_and_tell_when_nobody_reads() -> None:
    assert strict({"a": (float("-inf"), 1, "x"), "b": None}) == {"a": [None, 1, "x"], "b": None}
    reading, writing = os.pipe()
    lost = threading.Event()
    events = Events(writing, lost.set)
    events.send("step", "\udcff é", loss=float("nan"))
    assert json.loads(os.read(reading, 1000)) == {"event": "step", "id": "\udcff é", "loss": None}
    os.close(reading)
    events.send("step", "a")
    assert lost.wait(TIMEOUT)
    events.close(TIMEOUT)
    os.close(writing)


def test_steps_are_told_first_last_and_seldom_in_between() -> None:
    told: list[int] = []

    class Record:
        def numbers(self) -> dict[str, float]:
            return {"step": 0, "loss": 1.0}

    class Ear:
        def send(self, event: str, request: str, **facts: Any) -> None:
            assert facts["numbers"] == {"loss": 1.0}
            told.append(facts["step"])

    steps = _Steps(Call({"id": "a"}, Ear(), Warm(), lambda: False))  # type: ignore[arg-type]
    for step in range(700):  # of 1000: the sample has arrived
        steps(step, 1000, Record())  # type: ignore[arg-type]
    steps.flush()
    steps.flush()
    assert (told[0], told[-1]) == (0, 699)
    assert len(set(told)) == len(told)
    assert len(told) < 100


def test_failures_are_told_apart_as_exit_codes_are() -> None:
    for error, kind, code in ((BadRequest("no"), "bad-request", 2), (AdvSegError("no"), "error", 1),
                              (OSError("no"), "error", 1), (ZeroDivisionError("no"), "error", 1)):  # fmt: skip
        told = failure(error)
        assert (told["kind"], told["code"]) == (kind, code)
    assert "out of memory" in failure(MemoryError())["message"]
    assert "\n" not in failure(ValueError("two\nlines"))["message"]
    assert decode(b'\xef\xbb\xbf{"do": "quit"}') == {"do": "quit"}


def test_the_published_schemas_refuse_what_the_protocol_does_not_say() -> None:
    with pytest.raises(BadRequest):
        check_schema("worker_event", {"event": "stage", "id": None, "stage": "reading"}, "event")
    with pytest.raises(BadRequest):
        check_schema("worker_event", {"event": "bye", "id": None, "reason": "quit", "mood": "good"}, "event")


def test_the_transcript_follows_the_schemas() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "worker.md"
    (block,) = re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines():
        name = "worker_request" if line.startswith("> ") else "worker_event"
        if "dance" not in line or name == "worker_event":
            check_schema(name, json.loads(line.removeprefix("> ")), line)
