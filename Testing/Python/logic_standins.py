"""What the tests of the module's logic share: a worker that is played, and child processes that misbehave."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "AdvSegRobustness"))

TIMEOUT = 180.0


def waitUntil(condition: Callable[[], bool], what: str, timeout: float = TIMEOUT) -> None:
    """Return when a condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout} s in vain: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Tell whether a process runs (one that ended and was not waited for counts as ended)."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").exists()


class PlayedWorker:
    """A worker without a process: the test says what it says."""

    program = "played-python"

    def __init__(self, logFolder: Path) -> None:
        self.logFolder = logFolder
        self.sent: list[dict[str, Any]] = []
        self.says: list[dict[str, Any]] = []
        self.greeted = False
        self.running = False
        self.terminated = False
        self.stubborn = False

    def start(self) -> None:
        self.running = True

    def send(self, request: dict[str, Any]) -> None:
        self.sent.append(request)

    def poll(self) -> list[dict[str, Any]]:
        said, self.says = self.says, []
        self.greeted = self.greeted or any(event["event"] == "hello" for event in said)
        return said

    def log(self, count: int = 8) -> list[str]:
        return ["one", "two", "three", "four"][-count:]

    def terminate(self) -> None:
        self.terminated = True
        self.running = self.stubborn

    def reap(self) -> bool:
        return not self.running

    def close(self, timeout: float = 3.0) -> None:
        self.running = False

    @property
    def jobs(self) -> list[str]:
        """The IDs of the jobs it was sent."""
        return [request["id"] for request in self.sent if request["do"] != "cancel"]

    @property
    def cancels(self) -> list[str]:
        """The IDs it was told to cancel."""
        return [request["id"] for request in self.sent if request["do"] == "cancel"]

    def greet(self) -> None:
        self.says.append({"event": "hello", "id": None})

    def done(self, name: str, out: Path) -> None:
        self.says.append({"event": "done", "id": name, "out": str(out), "summary": {}, "seconds": 1.0})
