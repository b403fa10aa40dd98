"""``advseg worker``: jobs as JSON lines on stdin, events as JSON lines on stdout, models and images kept in between.

One thread listens, the main one works, a third speaks. The protocol is in docs/reference/worker.md.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from AdvSegLib import __version__
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.loading import Warm
from AdvSegLib.worker_protocol import Events, check_request, decode, failure, one_line, read_lines, take_streams
from AdvSegLib.worker_tasks import TASKS, Call, job_of

REQUEST_SCHEMA = "advseg.worker-request/1"
EVENT_SCHEMA = "advseg.worker-event/1"
PRELOADED = (
    "matplotlib.figure", "monai.networks.nets", "AdvSegLib.crafting", "AdvSegLib.evaluation",
    "AdvSegLib.reports.run_report",
)  # fmt: skip
LAST_WORDS_SECONDS = 2.0
"""How long an interrupted worker waits for a reader that does not read."""


def serve(on_eof: str = "finish") -> None:
    """Serve requests from this process's stdin until told to quit, or until stdin ends.

    At the end of stdin the jobs at hand are finished (``finish``) or cancelled (``cancel``). Takes the process's
    streams for good. Raises KeyboardInterrupt as signals do, and Cancelled when nobody can read its events any more.
    """
    requests, answers = take_streams()
    worker = Worker(answers, on_eof)
    worker.greet()
    threading.Thread(target=worker.listen, args=(requests,), name="requests", daemon=True).start()
    worker.work()


@dataclass(eq=False)
class _Task:
    """A request that waits or runs, and whether somebody thought better of it."""

    request: dict[str, Any]
    started: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """The request's id."""
        return str(self.request["id"])


class Worker:
    """Answers requests one at a time, in order; each ends in one event: ``done``, ``failed`` or ``cancelled``."""

    def __init__(self, answers: int, on_eof: str) -> None:
        self._events = Events(answers, lambda: self._stop("nobody reads the events"))
        self._on_eof = on_eof
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._live: dict[str, _Task] = {}
        self._lock = threading.Lock()
        self._reason = ""
        self._current: str | None = None
        self._cache = Warm(heard=self._loaded)

    def greet(self) -> None:
        """Say hello, before anything else is said, and pass on from now on what libraries warn of."""
        self._events.send(
            "hello", None, schema=EVENT_SCHEMA, requests=REQUEST_SCHEMA, version=__version__, pid=os.getpid()
        )
        logging.getLogger().addHandler(_Log(self._events, lambda: self._current))
        logging.captureWarnings(True)
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # kept images are so on purpose

    def work(self) -> None:
        """Work until stopped, in the main thread: the one that signals interrupt."""
        patience = None
        try:
            _preload()
            while (task := self._tasks.get()) is not None:
                self._answer(task)
        except KeyboardInterrupt:
            patience = LAST_WORDS_SECONDS
            self._stop("interrupted")
            for task in list(self._live.values()):
                self._end(task, "cancelled")
            raise
        finally:
            self._events.send("bye", None, reason=self._reason or "error")
            self._events.close(patience)
        if self._events.lost.is_set():
            raise Cancelled(self._reason)

    def listen(self, descriptor: int) -> None:
        """Take in requests until told to quit, or until there are no more."""
        for number, line in enumerate(read_lines(descriptor), 1):
            if (line is None or line.strip()) and not self._hear(line, number):
                return self._stop("quit")
        return self._stop("end of input", cancel=self._on_eof == "cancel")

    def _stop(self, reason: str, *, cancel: bool = True) -> None:
        """End once the jobs at hand are done, or cancel them."""
        with self._lock:
            self._reason = self._reason or reason
            for task in list(self._live.values()) if cancel else []:
                self._cancel(task)
        self._tasks.put(None)

    def _hear(self, line: bytes | None, number: int) -> bool:
        """Act on a line, or queue it; tell whether to go on listening."""
        name = None
        try:
            request = decode(line)
            name = request["id"] if isinstance(request.get("id"), str) else None
            check_request(request)
            if request["do"] == "quit":
                return False
            if request["do"] == "cancel":
                self._hear_cancel(request["id"])
            else:
                self._queue(_Task({**request, "job": job_of(request)}))
        except Exception as error:
            # A failed event would be taken for the end of a job that runs under this name.
            self._events.send("failed", None if name in self._live else name, **failure(error), line=number)
        return True

    def _queue(self, task: _Task) -> None:
        with self._lock:
            if self._reason:
                raise AdvSegError(f"request: the worker ends ({self._reason})")
            if task.name in self._live:
                raise BadRequest(f"request: id '{task.name}' is that of a request which has not ended")
            self._events.send("accepted", task.name, do=task.request["do"], ahead=len(self._live))
            self._live[task.name] = task
        self._tasks.put(task)

    def _hear_cancel(self, name: str) -> None:
        with self._lock:
            if name in self._live:
                self._cancel(self._live[name])
            else:  # it may have ended while the request was on its way: no failure of anything
                self._events.send("log", name, level="info", message="nothing to cancel: no such request, or it ended")

    def _cancel(self, task: _Task) -> None:
        """Drop a task that waits; leave one that runs to notice. The lock is held."""
        task.cancelled.set()
        if not task.started:
            del self._live[task.name]
            self._events.send("cancelled", task.name)

    def _answer(self, task: _Task) -> None:
        """Do a task, and send the one event that ends it."""
        with self._lock:
            if task.cancelled.is_set():
                return
            task.started = True
        self._current = task.name
        began = time.perf_counter()
        try:
            call = Call(task.request, self._events, self._cache, lambda: self._is_cancelled(task))
            facts = TASKS[task.request["do"]](call)
            self._end(task, "done", **facts, seconds=round(time.perf_counter() - began, 3))
        except Cancelled:
            self._end(task, "cancelled")
        except Exception as error:
            if not isinstance(error, AdvSegError | OSError):
                self._cache.release()  # memory ran out, or nobody knows what is left in it
                if os.environ.get("ADVSEG_DEBUG"):
                    traceback.print_exc()
            self._end(task, "failed", **failure(error))
        _free_gpu()

    def _end(self, task: _Task, event: str, **facts: Any) -> None:
        with self._lock:
            if self._live.pop(task.name, None) is None:
                return  # a signal came after its last word
        self._current = None
        self._events.send(event, task.name, **facts)

    def _is_cancelled(self, task: _Task) -> bool:
        return task.cancelled.is_set() or self._events.lost.is_set()

    def _loaded(self, what: str, source: str, warm: bool) -> None:
        self._events.send("loaded", self._current, what=what, source=source, warm=warm)


class _Log(logging.Handler):
    """Sends what libraries warn of as events of the request at hand."""

    def __init__(self, events: Events, current: Callable[[], str | None]) -> None:
        super().__init__(logging.WARNING)
        self._events = events
        self._current = current

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        message = one_line(record.getMessage())
        self._events.send("log", self._current(), level=record.levelname.lower(), message=message)


def _preload() -> None:
    """Load what takes seconds before the first job asks for it; that job will say what is missing."""
    for module in PRELOADED:
        with suppress(ImportError):
            import_module(module)


def _free_gpu() -> None:
    """Give unused GPU memory back: an idle worker sits beside an application that draws with the same card."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
