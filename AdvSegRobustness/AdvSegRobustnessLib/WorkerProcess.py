"""``advseg worker`` as a child process: requests are sent, events are polled. See docs/reference/worker.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AdvSegRobustnessLib.ChildProcess import ChildProcess


class WorkerProcess:
    """A worker. ``greeted`` tells whether it has said hello: whether its interpreter can run AdvSegLib at all."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], logFolder: Path) -> None:
        self.child = ChildProcess(command, environment, logFolder)
        self.greeted = False
        self._mourned = False

    @property
    def program(self) -> str:
        """The interpreter, as the command line names it."""
        return self.child.command[0]

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.child.running

    def start(self) -> None:
        """Start it; AdvSegError where the interpreter cannot be started."""
        self.child.start()

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request; ASCII, one line."""
        self.child.write(json.dumps(request, allow_nan=False).encode("ascii") + b"\n")

    def poll(self) -> list[dict[str, Any]]:
        """Return the events that have arrived since the last call, without waiting.

        Once it has ended unasked, the last is ``{"event": "died", "id": None, "code": exit code, "log": last lines}``.
        """
        code = self.child.code  # before its output is read: what it wrote last must come before its death
        events = [event for line in self.child.lines() if (event := self._heard(line)) is not None]
        if code is not None and not self.child.asked and not self._mourned:
            self._mourned = True
            self.child.kill()  # what it had started
            events.append({"event": "died", "id": None, "code": code, "log": self.log()})
        return events

    def log(self, count: int = 8) -> list[str]:
        """Return the last lines it has logged."""
        return self.child.log(count)

    def terminate(self) -> None:
        """Ask the whole process tree to end; see :meth:`reap`."""
        self.child.terminate()

    def reap(self) -> bool:
        """Kill what did not end in time, and tell whether it has ended; then let go of its files."""
        ended = self.child.reap()
        if ended:
            self.child.letGo()
        return ended

    def close(self, timeout: float = 3.0) -> None:
        """End the whole process tree, and wait for it."""
        self.child.close(timeout)

    def _heard(self, line: bytes) -> dict[str, Any] | None:
        """Return a line's event; what is none is an interpreter's own print, for workers print nothing else."""
        try:
            event = json.loads(line)
        except ValueError:
            return None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            return None
        self.greeted = self.greeted or event["event"] == "hello"
        return event
