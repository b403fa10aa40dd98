"""A child process whose output goes to files that are tailed, and whose whole tree can be ended. No threads."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from AdvSegLib.errors import AdvSegError

GRACE_SECONDS = 3.0
"""How long a process that was asked to end may take before it is killed."""
LOG_BYTES = 1 << 16
"""How much of the end of a log is looked at."""


class ChildProcess:
    """A program with its standard output and error in ``logFolder``, and a pipe to its standard input.

    Nothing here waits, but for :meth:`close`. It runs in a group of its own, so that its children end with it.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], logFolder: Path) -> None:
        self.command = [str(part) for part in command]
        self._environment = dict(environment)
        self._folder = Path(logFolder)
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._rest = b""
        self._killAt: float | None = None

    def start(self) -> None:
        """Start the program; AdvSegError where there is none."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._outputFile, "wb") as output, open(self._errorFile, "wb") as errors:
                self._process = subprocess.Popen(
                    self.command, env=self._environment, cwd=self._folder, stdin=subprocess.PIPE, stdout=output,
                    stderr=errors, bufsize=0, **_ownGroup(),
                )  # fmt: skip
        except OSError as error:
            raise AdvSegError(f"{self.command[0]}: cannot be started ({error.strerror or error})") from error
        self._output = open(self._outputFile, "rb")  # noqa: SIM115 - read until close()

    @property
    def running(self) -> bool:
        """Whether the program runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def asked(self) -> bool:
        """Whether it was asked to end."""
        return self._killAt is not None

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def write(self, data: bytes) -> None:
        """Write to the program's standard input; nothing where nobody listens any more."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(data)

    def lines(self) -> list[bytes]:
        """Return the lines that were completed on its standard output since the last call."""
        if self._output is None:
            return []
        *complete, self._rest = (self._rest + self._output.read()).split(b"\n")
        return complete

    def log(self, count: int = 8) -> list[str]:
        """Return the last lines of its standard error that say anything."""
        if not self._errorFile.exists():
            return []
        with open(self._errorFile, "rb") as file:
            file.seek(max(0, os.path.getsize(self._errorFile) - LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]

    def terminate(self) -> None:
        """Ask the whole tree to end; :meth:`reap` kills what has not ended some seconds later."""
        if self._process is None or self.asked:
            return
        self._killAt = time.monotonic() + GRACE_SECONDS
        _signalTree(self._process, kill=False)

    def reap(self) -> bool:
        """Kill the tree where it had its time to end; tell whether nothing of it is left to wait for."""
        if self.running and self._killAt is not None and time.monotonic() >= self._killAt:
            self.kill()
        return not self.running

    def kill(self) -> None:
        """End the whole tree at once."""
        if self._process is not None:
            self._killAt = self._killAt or time.monotonic()
            _signalTree(self._process, kill=True)

    def close(self, timeout: float = GRACE_SECONDS) -> None:
        """End the tree, at most so many seconds politely, and let go of files and pipes. Waits."""
        if self._process is not None:
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
            self.kill()  # what its children started may outlive it
            self._process.wait()
        self.letGo()

    def letGo(self) -> None:
        """Close files and pipes of a process that has ended."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # what was still to be written finds nobody
                self._process.stdin.close()
        if self._output is not None:
            self._output.close()
            self._output = None

    @property
    def _outputFile(self) -> Path:
        return self._folder / "stdout.txt"

    @property
    def _errorFile(self) -> Path:
        return self._folder / "stderr.txt"


def describeExit(code: int) -> str:
    """Return why a process ended, in words.

    >>> describeExit(3), describeExit(-9)
    ('exit code 3', 'killed by SIGKILL; memory may have run out')
    """
    if code >= 0:
        return f"exit code {code}" if code < 1 << 16 else f"exit code 0x{code:08X}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + ("; memory may have run out" if name == "SIGKILL" else "")


def _ownGroup() -> dict[str, Any]:
    """Return what makes a process the head of its own group, without a console window."""
    if os.name == "nt":
        flags = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")
        return {"creationflags": sum(getattr(subprocess, flag, 0) for flag in flags)}
    return {"start_new_session": True}


def _signalTree(process: subprocess.Popen[bytes], *, kill: bool) -> None:
    """Send a signal to a process and all it started; on Windows the tree ends at once, for there is no polite way."""
    if os.name == "nt":
        with suppress(OSError):
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        if process.poll() is None:
            process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):  # the group is gone (macOS says: not permitted)
        os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
