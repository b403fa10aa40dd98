"""What the queue of tasks knows of a worker, and what is said of one that is dead or silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from AdvSegRobustnessLib.ChildProcess import describeExit
from AdvSegRobustnessLib.Interpreter import HOW_TO_CHANGE

LOG_LINES = 3
"""Last lines of its log that a message holds."""


class Worker(Protocol):
    """What :class:`~.WorkerProcess.WorkerProcess` is to the queue."""

    program: str
    greeted: bool
    running: bool

    def start(self) -> None:
        """Start it."""

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request."""

    def poll(self) -> list[dict[str, Any]]:
        """Return new events."""

    def log(self, count: int = 8) -> list[str]:
        """Return its last words."""

    def terminate(self) -> None:
        """Ask its tree to end."""

    def reap(self) -> bool:
        """Kill it where it does not, and tell whether it has ended."""

    def close(self, timeout: float = 3.0) -> None:
        """End it and wait."""


def deathMessage(worker: Worker, code: int, log: Sequence[str], stage: str) -> str:
    """Return, on one line, why a worker died, and its last words; of one that never said hello, what to do."""
    cause, last = describeExit(code), _lastWords(log)
    if worker.greeted:
        return f"the computing process died{f' while {stage}' if stage else ''} ({cause}){last}"
    return f"{worker.program}: cannot run AdvSegLib's worker ({cause}){last}; {HOW_TO_CHANGE}"


def silenceMessage(worker: Worker, seconds: float) -> str:
    """Return what is said of a worker that runs, and never said hello."""
    last = _lastWords(worker.log(LOG_LINES))
    return f"{worker.program}: no word from AdvSegLib's worker in {seconds:g} s{last}; {HOW_TO_CHANGE}"


def _lastWords(log: Sequence[str]) -> str:
    return f"; its last words: {' | '.join(log[-LOG_LINES:])}" if log else ""
