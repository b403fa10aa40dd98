"""Tasks one after the other, on a worker that is started when there is something to do, and anew where it died."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled, explain
from AdvSegRobustnessLib.Tasks import Task
from AdvSegRobustnessLib.Worker import Worker, deathMessage, silenceMessage

CANCEL_SECONDS = 5.0
"""How long a worker may take to stop at its next step before its process is ended."""
HELLO_SECONDS = 120.0
"""How long a worker may take to say hello: it does so before it loads anything large."""
POLITE_SECONDS = 3.0
"""How long :meth:`TaskQueue.close` lets a worker tidy up."""
ENDINGS = ("done", "failed", "cancelled")


class TaskQueue:
    """Works off tasks when pumped; nothing here waits for the worker, but for :meth:`close`."""

    def __init__(
        self,
        startWorker: Callable[[Path], Worker],
        temporaryFolder: Callable[[], TemporaryDirectory[str]] = TemporaryDirectory,
        *,
        cancelSeconds: float = CANCEL_SECONDS,
        helloSeconds: float = HELLO_SECONDS,
    ) -> None:
        self._startWorker, self._temporaryFolder = startWorker, temporaryFolder
        self._cancelSeconds, self._helloSeconds = cancelSeconds, helloSeconds
        self._tasks: deque[Task] = deque()
        self._inbox: deque[dict[str, Any]] = deque()
        self._worker: Worker | None = None
        self._logs: dict[int, TemporaryDirectory[str]] = {}
        self._dying: list[Worker] = []
        self._current: str | None = None
        self._completing = False
        self._unheard = False
        self._sent = 0
        self._startedAt = 0.0
        self._cancelBy: float | None = None

    @property
    def tasks(self) -> list[Task]:
        """What has not ended, in order."""
        return list(self._tasks)

    @property
    def running(self) -> bool:
        """Whether a worker runs."""
        return self._worker is not None and self._worker.running

    def log(self, count: int = 50) -> list[str]:
        """Return the worker's last lines of log."""
        return self._worker.log(count) if self._worker is not None else []

    def add(self, task: Task) -> None:
        """Put a task at the end; the next :meth:`pump` begins it."""
        self._tasks.append(task)

    def pump(self) -> None:
        """Take in what the worker has said, and begin the next task. Callbacks may raise: all is in order."""
        if self._completing:
            return  # a result is being shown, and whoever shows it lets timers fire
        self._dying = [worker for worker in self._dying if not self._gone(worker)]
        if self._worker is not None:
            self._inbox.extend(self._worker.poll())
            while self._inbox:
                self._take(self._inbox.popleft())
            self._watch()
        self._next()

    def cancel(self, task: Task) -> None:
        """Drop a task that waits; ask the worker to stop one that runs, and end it where it does not."""
        if task not in self._tasks or task.cancelling:
            return
        task.cancelling = True
        if self._current is None or task is not self._tasks[0]:
            self._end(task, Cancelled(f"{task.name}: cancelled"))
        elif self._worker is not None:
            self._cancelBy = time.monotonic() + self._cancelSeconds
            self._worker.send({"do": "cancel", "id": self._current})

    def cancelAll(self) -> None:
        """Cancel every task, the waiting ones first, so that none of them begins."""
        for task in reversed(self.tasks):
            self.cancel(task)

    def close(self) -> None:
        """End the worker and everything it started, then the tasks."""
        busy = self._current is not None
        for worker in [*self._dying, *filter(None, [self._worker])]:
            worker.close(POLITE_SECONDS if busy else 0.0)  # one that does nothing has nothing to tidy up
            self._forget(worker)
        self._dying, self._worker, self._current = [], None, None
        self._inbox.clear()
        for task in reversed(self.tasks):
            self._end(task, Cancelled(f"{task.name}: cancelled"))

    # -- events ---------------------------------------------------------------------------------------------------

    def _take(self, event: dict[str, Any]) -> None:
        """Act on one event."""
        if event["event"] == "died":
            return self._mourn(event)
        if not self._tasks or self._current is None or event.get("id") not in (self._current, None):
            return None
        task = self._tasks[0]
        if event["id"] is None and event["event"] in ("hello", "bye"):
            return task.announce(event)
        self._unheard = False
        task.hear(event)
        if event["event"] not in ENDINGS or event["id"] is None:
            return task.announce(event)
        self._current = self._cancelBy = None
        self._conclude(task, event)
        return None

    def _conclude(self, task: Task, event: dict[str, Any]) -> None:
        """A run of the task has ended: end the task, or go on with its next run."""
        if task.cancelling or event["event"] == "cancelled":
            self._end(task, Cancelled(f"{task.name}: cancelled"), event)
        elif event["event"] == "failed":
            kind = BadRequest if event["kind"] == "bad-request" else AdvSegError
            self._runFailed(task, kind, event["message"], event)
        else:
            self._goOn(task, event)

    def _runFailed(self, task: Task, kind: type[AdvSegError], message: str, event: dict[str, Any]) -> None:
        """A run of the task has failed: so has the task, unless it goes on without that run."""
        if task.survives(kind(message)):
            return self._goOn(task, event)
        label = f"{task.label()}: " if task.label() else ""
        before = f"all {task.runs} runs failed; the last, " if task.failures else ""
        return self._end(task, kind(f"{before}{label}{message}"), event)

    def _goOn(self, task: Task, event: dict[str, Any]) -> None:
        """Make the result of the task where all its runs have ended; :meth:`_next` begins the next one."""
        if task.runsDone < len(task.requests):
            return task.announce(event)
        self._completing = True
        try:
            error = completed(task)
        finally:
            self._completing = False
        return self._end(task, error, event)

    def _mourn(self, event: dict[str, Any]) -> None:
        """The worker is dead: the task at hand fails, and says why; the next one gets a new worker.

        One that worked before and died without a word of this job was dead already when it was given the job: another
        one gets it.
        """
        assert self._worker is not None
        task = self._tasks[0] if self._current is not None else None
        if task is not None and self._unheard and not task.cancelling:
            self._lose()
            return
        greeted = self._worker.greeted
        message = deathMessage(self._worker, event["code"], event["log"], task.stage if task is not None else "")
        self._lose()
        if task is None:
            return
        task.events.append(event)
        if task.cancelling:
            self._end(task, Cancelled(message), event)
        elif greeted:
            self._runFailed(task, AdvSegError, message, event)
        else:  # nor would it with the next run
            self._end(task, AdvSegError(message), event)

    def _watch(self) -> None:
        """End a worker that does not stop, or never said hello."""
        worker, now = self._worker, time.monotonic()
        if worker is None:
            return
        if self._cancelBy is not None and now >= self._cancelBy:
            self._lose()
            self._end(self._tasks[0], Cancelled(f"{self._tasks[0].name}: cancelled; its process had to be ended"))
        elif not worker.greeted and now - self._startedAt >= self._helloSeconds:
            message = silenceMessage(worker, self._helloSeconds)
            self._lose()
            if self._tasks:
                self._end(self._tasks[0], AdvSegError(message))

    # -- work -----------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Send the next request of the first task."""
        if self._current is not None or not self._tasks:
            return
        task = self._tasks[0]
        try:
            self._ensureWorker()
        except AdvSegError as error:
            self._end(task, error)
            return
        assert self._worker is not None
        self._sent += 1
        self._current = f"{self._sent}"
        self._unheard = self._worker.greeted  # one that is new has not worked for anybody before
        task.begin()
        self._worker.send({**task.requests[task.runsDone], "id": self._current})

    def _ensureWorker(self) -> None:
        if self._worker is not None:
            return
        logs = self._temporaryFolder()
        try:
            worker = self._startWorker(Path(logs.name))
            worker.start()
        except BaseException:
            logs.cleanup()
            raise
        self._worker, self._startedAt = worker, time.monotonic()
        self._logs[id(worker)] = logs

    def _end(self, task: Task, error: Exception | None, event: dict[str, Any] | None = None) -> None:
        """Take a task off the queue, in order before anybody is told."""
        if task in self._tasks:
            if task is self._tasks[0]:
                self._current = self._cancelBy = None
            self._tasks.remove(task)
        if error is not None:
            task.fail(error)
        try:
            if event is not None:
                task.announce(event)
        finally:
            task.farewell()

    def _lose(self) -> None:
        """End the worker, without waiting for it; what it may still say does not count."""
        worker, self._worker = self._worker, None
        self._current = self._cancelBy = None
        self._inbox.clear()
        if worker is not None:
            worker.terminate()
            self._dying.append(worker)

    def _gone(self, worker: Worker) -> bool:
        if worker.reap():
            self._forget(worker)
            return True
        return False

    def _forget(self, worker: Worker) -> None:
        logs = self._logs.pop(id(worker), None)
        if logs is not None:
            logs.cleanup()


def completed(task: Task) -> Exception | None:
    """Let a task make its result, and return what went wrong."""
    try:
        task.complete()
    except AdvSegError as error:
        return error
    except Exception as error:
        logging.getLogger(__name__).exception("%s: results could not be shown", task.name)
        return AdvSegError(explain(error))
    return None
