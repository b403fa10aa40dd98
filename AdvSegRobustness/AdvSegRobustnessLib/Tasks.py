"""A piece of work that is under way: what it has told so far, and how it ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from AdvSegLib.errors import AdvSegError, Cancelled

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
EVENTS_KEPT = 2000
SAVING = "saving and measuring"
"""The stage after the walk, which may have ended before its last step."""


class Owner(Protocol):
    """Who works on a task."""

    def cancel(self, task: Task) -> None:
        """Stop it."""

    def wait(self, task: Task, timeout: float | None) -> None:
        """Return when it has ended, or TimeoutError."""


class Task:
    """A segmentation, attack, comparison, sweep or phantom that was asked for.

    Attributes: ``kind`` ("segment", "attack", "compare", "sweep", "phantom"); ``name``; ``state`` ("waiting",
    "running", "done", "failed", "cancelled"); ``cancelling`` (Cancel was asked for, its end has not come yet);
    ``stage`` (the worker's last, e.g. "attacking"); ``step`` and ``steps`` of the run at hand; ``runs`` and
    ``runsDone`` (a sweep has one run an epsilon); ``numbers`` (loss, dice, iou, linf, l2, psnr of the last step);
    ``events`` (of the worker, see docs/reference/worker.md, the last two thousand); ``notes`` (what was done otherwise
    than asked, warnings); ``summaries`` (the worker's ``summary`` of each run that ended); ``failures`` (why runs of a
    comparison or sweep failed, by their label: the others are done all the same); ``result`` (what the call returns
    when it waits) once done; ``error`` (BadRequest, AdvSegError or Cancelled) once failed or cancelled.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        requests: Sequence[Mapping[str, Any]],
        finish: Callable[[list[Path | None]], Any],
        *,
        labels: Sequence[str] = (),
        goesOn: bool = False,
        folder: TemporaryDirectory[str] | None = None,
        notes: Sequence[str] = (),
        onEvent: OnEvent | None = None,
        onDone: OnDone | None = None,
    ) -> None:
        """Take the worker's requests (without ids), and what makes the result of their folders once all are done.

        ``labels`` name the runs in error messages; with ``goesOn`` a run that fails does not stop the others, and its
        folder is None. ``folder`` is removed when the task ends, however it ends.
        """
        self.kind, self.name, self.state = kind, name, WAITING
        self.requests, self.labels = list(requests), list(labels)
        self.folders: list[Path | None] = []
        self.failures: dict[str, AdvSegError] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.notes, self.summaries = list(notes), list[dict[str, Any]]()
        self.stage, self.step, self.steps = "", 0, 0
        self.numbers: dict[str, Any] = {}
        self.result: Any = None
        self.error: Exception | None = None
        self.cancelling = False
        self.owner: Owner | None = None
        self._finish: Callable[[list[Path | None]], Any] | None = finish
        self._goesOn = goesOn
        self._folder = folder
        self._onEvent, self._onDone = onEvent, onDone
        self._began = self._endedAt = self._runBegan = None  # type: float | None

    # -- for whoever asked for it ---------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in (DONE, FAILED, CANCELLED)

    @property
    def runs(self) -> int:
        """How many runs it takes."""
        return max(1, len(self.requests))

    @property
    def runsDone(self) -> int:
        """How many of them have ended."""
        return len(self.folders)

    @property
    def fraction(self) -> float:
        """How much of all steps is done, 0 to 1: for a progress bar."""
        if self.state == DONE:
            return 1.0
        walked = self.step / self.steps if self.steps else 0.0
        return min(1.0, (self.runsDone + walked) / self.runs)

    @property
    def elapsed(self) -> float:
        """Seconds since it began to run, until it ended."""
        return 0.0 if self._began is None else (self._endedAt or time.monotonic()) - self._began

    @property
    def remaining(self) -> float | None:
        """Seconds of walking left, by the pace so far; None where nobody can tell."""
        if self.ended or self._runBegan is None or self.step < 1:
            return None
        pace = (time.monotonic() - self._runBegan) / self.step
        return pace * (self.steps - self.step + self.steps * (self.runs - self.runsDone - 1))

    def cancel(self) -> None:
        """Stop it: at once where it waits, at the next step where it runs; after some seconds its process is ended."""
        if self.owner is not None and not self.ended:
            self.owner.cancel(self)

    def wait(self, timeout: float | None = None) -> Any:
        """Work until it has ended and return its result; raise its error, or TimeoutError (the task then goes on)."""
        if self.owner is not None and not self.ended:
            self.owner.wait(self, timeout)
        if self.error is not None:
            raise self.error
        return self.result

    # -- for whoever works on it ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that it runs."""
        self.state = RUNNING
        self._began = self._began or time.monotonic()

    def hear(self, event: dict[str, Any]) -> None:
        """Take in a worker's event."""
        self.events.append(event)
        kind = event["event"]
        if kind == "stage":
            self.stage = event["stage"]
            if self.stage == SAVING:
                self.step = self.steps
        elif kind == "step":
            if event["step"] == 0 or self._runBegan is None:
                self._runBegan = time.monotonic()
            self.step, self.steps, self.numbers = event["step"], event["steps"], event["numbers"]
        elif kind == "log" and event["level"] != "info":
            self.notes.append(event["message"])
        elif kind == "done":
            self._runEnded(event)

    def announce(self, event: dict[str, Any]) -> None:
        """Pass an event on to whoever wants to know."""
        if self._onEvent is not None:
            self._onEvent(self, event)

    def survives(self, error: AdvSegError) -> bool:
        """Note that the run at hand failed; tell whether the task goes on: where any run is left to show."""
        if not self._goesOn or (self.runsDone + 1 == self.runs and not any(self.folders)):
            return False
        label = self.label() or f"run {self.runsDone + 1}"
        self.failures[label] = error
        self.notes.append(f"{label} failed: {error}")
        self.folders.append(None)
        self._betweenRuns()
        return True

    def complete(self) -> None:
        """Make the result of the complete runs, and be done."""
        assert self._finish is not None
        self.result = self._finish(self.folders)
        self._end(DONE)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.error = error
        self._end(CANCELLED if isinstance(error, Cancelled) else FAILED)

    def farewell(self) -> None:
        """Tell whoever wants to know that it has ended; once."""
        told, self._onDone = self._onDone, None
        if told is not None:
            told(self)

    def label(self) -> str:
        """Return the name of the run at hand, where there are several."""
        return self.labels[self.runsDone] if self.runsDone < len(self.labels) else ""

    def _runEnded(self, event: dict[str, Any]) -> None:
        self.folders.append(Path(event["out"]))
        summary = event.get("summary", {})
        self.summaries.append(summary)
        self.notes += [note for note in summary.get("warnings", ()) if note not in self.notes]
        self._betweenRuns()

    def _betweenRuns(self) -> None:
        self.step = self.steps = 0
        self._runBegan = None

    def _end(self, state: str) -> None:
        self.state, self._endedAt = state, time.monotonic()
        self._finish = None  # it holds the scan's voxels, and a panel may hold the task
        if self._folder is not None:
            self._folder.cleanup()


OnEvent = Callable[[Task, dict[str, Any]], None]
"""``onEvent(task, event)``: of every worker event, after the task's attributes were brought up to date."""
OnDone = Callable[[Task], None]
"""``onDone(task)``: once, when the task is done, failed or cancelled; look at ``task.state``."""
