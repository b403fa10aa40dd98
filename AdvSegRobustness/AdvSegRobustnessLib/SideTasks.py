"""Tasks that are a command of their own, beside the worker: they begin at once, and any number may run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegRobustnessLib.ChildProcess import ChildProcess, describeExit
from AdvSegRobustnessLib.TaskQueue import completed
from AdvSegRobustnessLib.Tasks import Task

BAD_REQUEST_CODE = 2
"""The exit code by which ``advseg`` says that the request was wrong."""


class SideTasks:
    """Runs commands that write a folder, and lets their tasks make something of it."""

    def __init__(self) -> None:
        self._running: list[tuple[Task, ChildProcess, Path, TemporaryDirectory[str]]] = []
        self._dying: list[tuple[ChildProcess, TemporaryDirectory[str]]] = []

    @property
    def tasks(self) -> list[Task]:
        """What has not ended."""
        return [task for task, *_ in self._running]

    def add(self, task: Task, child: ChildProcess, out: Path, logs: TemporaryDirectory[str]) -> None:
        """Start a task's command, which writes the folder ``out``; AdvSegError where it cannot be started."""
        try:
            child.start()
        except AdvSegError:
            logs.cleanup()
            raise
        self._running.append((task, child, out, logs))
        task.begin()

    def pump(self) -> None:
        """End the tasks whose command has ended."""
        self._dying = [item for item in self._dying if not _buried(*item)]
        for item in list(self._running):
            task, child, out, logs = item
            if item in self._running and not child.running:
                self._running.remove(item)
                error = _outcome(task, child, out)
                _buried(child, logs)
                if error is not None:
                    task.fail(error)
                task.farewell()

    def cancel(self, task: Task) -> None:
        """End a task's command and all it started."""
        for item in list(self._running):
            if item[0] is task:
                self._running.remove(item)
                item[1].terminate()
                self._dying.append((item[1], item[3]))
                task.fail(Cancelled(f"{task.name}: cancelled"))
                task.farewell()

    def cancelAll(self) -> None:
        """Cancel every task."""
        for task in self.tasks:
            self.cancel(task)

    def close(self) -> None:
        """End every command, and wait for it."""
        self.cancelAll()
        for child, logs in self._dying:
            child.close()
            logs.cleanup()
        self._dying = []


def _outcome(task: Task, child: ChildProcess, out: Path) -> Exception | None:
    """Let a task make its result of what its command has written; return what went wrong."""
    if child.code == 0:
        task.folders.append(out)
        return completed(task)
    assert child.code is not None
    words = child.log(1)
    kind = BadRequest if child.code == BAD_REQUEST_CODE else AdvSegError
    return kind(f"{task.name}: {words[-1] if words else describeExit(child.code)}")


def _buried(child: ChildProcess, logs: TemporaryDirectory[str]) -> bool:
    if not child.reap():
        return False
    child.letGo()
    logs.cleanup()
    return True
