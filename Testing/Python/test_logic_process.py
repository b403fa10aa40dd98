"""Child processes of the Slicer module: tailed, ended with all they started, and what they say of their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from logic_standins import alive, waitUntil

pytest.importorskip("slicer")

from AdvSegRobustnessLib import ChildProcess as module
from AdvSegRobustnessLib.ChildProcess import ChildProcess, describeExit
from AdvSegRobustnessLib.WorkerProcess import WorkerProcess

from AdvSegLib.errors import AdvSegError

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
WITH_CHILD = """
import os, signal, subprocess, sys, time
{ignore}
child = subprocess.Popen([sys.executable, "-c", "import signal, time; {ignore} time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN);"


def a_process(tmp_path: Path, code: str) -> ChildProcess:
    process = ChildProcess([sys.executable, "-c", code], dict(os.environ), tmp_path / "logs é 日本")
    process.start()
    return process


def all_lines(process: ChildProcess, count: int) -> list[bytes]:
    found: list[bytes] = []
    waitUntil(lambda: len(found.extend(process.lines()) or found) >= count, f"{count} lines")
    return found


def test_lines_arrive_whole_even_where_they_are_written_in_pieces(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "for part in ['one', ' line\\ntwo\\nthr', 'ee\\n', 'no end']:\n"
        "    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.05)"
    )
    process = a_process(tmp_path, code)
    assert [line.rstrip() for line in all_lines(process, 3)] == [b"one line", b"two", b"three"]
    waitUntil(lambda: not process.running, "its end")
    assert process.lines() == []
    assert process.code == 0
    process.close()


def test_what_it_is_told_arrives(tmp_path: Path) -> None:
    process = a_process(tmp_path, "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)")
    process.write(b"abc\n")
    process.write(b"def\n")
    assert [line.rstrip() for line in all_lines(process, 2)] == [b"cba", b"fed"]
    process.close()
    process.write(b"nobody listens\n")


def test_log_gives_the_last_lines_that_say_anything(tmp_path: Path) -> None:
    process = a_process(tmp_path, "import sys\nfor n in range(20000): print('line', n, '\\n', file=sys.stderr)")
    waitUntil(lambda: not process.running, "its end")
    assert process.log(2) == ["line 19998", "line 19999"]
    process.close()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    process = ChildProcess([str(tmp_path / "no python")], {}, tmp_path / "logs")
    with pytest.raises(AdvSegError, match="no python: cannot be started"):
        process.start()
    assert not process.running
    assert process.code is None


@posix
@pytest.mark.parametrize("ignore", ["", IGNORE])
def test_the_whole_tree_ends_even_where_it_does_not_want_to(
    tmp_path: Path, ignore: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.3)
    process = a_process(tmp_path, WITH_CHILD.format(ignore=ignore))
    grandchild = int(all_lines(process, 1)[0])
    assert alive(grandchild)
    began = time.monotonic()
    process.terminate()
    assert time.monotonic() - began < 0.2, "terminate() must not wait"
    waitUntil(process.reap, "the process's end", 10)
    waitUntil(lambda: not alive(grandchild), "the grandchild's end", 10)
    process.close()


@posix
def test_close_ends_a_tree_that_ignores_politeness(tmp_path: Path) -> None:
    process = a_process(tmp_path, WITH_CHILD.format(ignore=IGNORE))
    grandchild = int(all_lines(process, 1)[0])
    process.close(timeout=0.2)
    assert not process.running
    waitUntil(lambda: not alive(grandchild), "the grandchild's end", 10)


def test_windows_ends_the_tree_by_taskkill(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    class Process:
        pid = 4242
        killed = False

        def poll(self) -> int | None:
            return None

        def kill(self) -> None:
            self.killed = True

    def run(command: list[str], **options: Any) -> None:
        called.append(command)
        raise FileNotFoundError("taskkill")  # an installation without it: the process itself is ended at least

    process = Process()
    monkeypatch.setattr(module.os, "name", "nt")
    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module.subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(module.subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    module._signalTree(process, kill=False)  # type: ignore[arg-type]
    assert called == [["taskkill", "/F", "/T", "/PID", "4242"]]
    assert process.killed
    assert module._ownGroup() == {"creationflags": 0x08000200}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1"),
        (-15, "killed by SIGTERM"),
        (-99, "killed by signal 99"),
        (0xC0000005, "exit code 0xC0000005"),
    ],
)
def test_exits_in_words(code: int, words: str) -> None:
    assert describeExit(code).startswith(words)


def a_worker(tmp_path: Path, code: str) -> WorkerProcess:
    worker = WorkerProcess([sys.executable, "-c", code], dict(os.environ), tmp_path / "logs")
    worker.start()
    return worker


def events_until(worker: WorkerProcess, last: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    waitUntil(lambda: bool(found.extend(worker.poll()) or [e for e in found if e["event"] == last]), last)
    return found


def test_a_death_is_told_once_after_the_last_words(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "print('some banner of the interpreter')\n"
        "print('[1, 2]')\n"
        'print(\'{"event": "hello", "id": null}\')\n'
        'print(\'{"event": "stage", "id": "1", "stage": "reading"}\')\n'
        "print('a cause', file=sys.stderr); sys.exit(3)"
    )
    worker = a_worker(tmp_path, code)
    assert not worker.greeted
    events = events_until(worker, "died")
    assert [event["event"] for event in events] == ["hello", "stage", "died"]
    assert worker.greeted
    assert events[-1]["code"] == 3
    assert events[-1]["log"] == ["a cause"]
    assert worker.poll() == []
    worker.close()


def test_an_end_that_was_asked_for_is_no_death(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "import time; time.sleep(600)")
    worker.terminate()
    waitUntil(worker.reap, "its end", 10)
    assert worker.poll() == []


@posix
def test_killed_worker_leaves_no_orphans(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, WITH_CHILD.format(ignore=IGNORE))
    line: list[bytes] = []
    waitUntil(lambda: bool(line.extend(worker.child.lines()) or line), "the grandchild")
    process = worker.child._process
    assert isinstance(process, subprocess.Popen)
    os.kill(process.pid, signal.SIGKILL)
    assert events_until(worker, "died")[-1]["code"] == -signal.SIGKILL
    waitUntil(lambda: not alive(int(line[0])), "the orphan's end", 10)
    worker.close()
