"""How the worker listens and speaks: JSON lines in and out, on streams nothing else in the process can touch."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NoReturn

from AdvSegLib.errors import AdvSegError, BadRequest, explain
from AdvSegLib.schemas import check_schema

LINE_LIMIT = 1 << 20
"""Longest request in bytes."""
BACKLOG = 1000
"""With more events than this unread, steps are dropped: whoever comes back to read them does not miss those."""
MESSAGE_LIMIT = 1000


def take_streams() -> tuple[int, int]:
    """Return private copies of stdin and stdout; to the rest of the process stdin is empty and stdout is stderr.

    Libraries print, in Python and below it, and a child process may read: neither may reach the protocol.
    """
    sys.stdout.flush()
    requests, answers = os.dup(0), os.dup(1)
    for descriptor in (requests, answers):
        with suppress(OSError, AttributeError):  # some parents (Node) hand over pipes that do not block
            os.set_blocking(descriptor, True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # in order with what is printed there
    return requests, answers


def read_lines(descriptor: int, limit: int = LINE_LIMIT) -> Iterator[bytes | None]:
    """Yield each line as it arrives, the last one with or without its newline; None for one longer than ``limit``.

    Reads the descriptor itself: a thread that waits in a buffered stream keeps Python from exiting.
    """
    line = bytearray()
    with suppress(OSError):  # a terminal that went away
        while block := os.read(descriptor, 1 << 16):
            *ended, rest = block.split(b"\n")
            for part in ended:
                line += part
                yield bytes(line) if len(line) <= limit else None
                line.clear()
            line += rest
            del line[limit + 1 :]  # too long already, and need not be held to know it
    if line:
        yield bytes(line) if len(line) <= limit else None


def decode(line: bytes | None) -> dict[str, Any]:
    """Return a request line's JSON object; BadRequest where it is none, or holds NaN."""
    if line is None:
        raise BadRequest(f"request: longer than {LINE_LIMIT} bytes")
    try:
        request = json.loads(line.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"request: not readable as JSON ({error})") from error
    if not isinstance(request, dict):
        raise BadRequest("request: a JSON object is needed")
    return request


def check_request(request: Mapping[str, Any]) -> None:
    """Raise BadRequest for a request that does not follow its schema."""
    check_schema("worker_request", request, "request")


def failure(error: Exception) -> dict[str, Any]:
    """Return what a ``failed`` event says of an error; ``code`` is the exit code the command line would give."""
    if isinstance(error, BadRequest):
        return {"kind": "bad-request", "code": 2, "message": one_line(error)}
    foreseen = isinstance(error, AdvSegError | OSError)
    return {"kind": "error", "code": 1, "message": one_line(error if foreseen else explain(error))}


def one_line(text: object) -> str:
    """Return a text on one line of bounded length."""
    return " ".join(str(text).split())[:MESSAGE_LIMIT]


class Events:
    """Writes events by a thread of its own: no attack waits for a slow reader, and no signal tears a line.

    ``lost`` is set, and ``on_lost`` called once, when nobody can read them any more.
    """

    def __init__(self, descriptor: int, on_lost: Callable[[], None]) -> None:
        self.lost = threading.Event()
        self._descriptor = descriptor
        self._on_lost = on_lost
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="events", daemon=True)
        self._writer.start()

    def send(self, event: str, request: str | None, /, **facts: Any) -> None:
        """Send an event of the request with this id; what is not finite becomes null."""
        if event == "step" and self._lines.qsize() > BACKLOG:
            return
        data = strict({"event": event, "id": request, **facts})
        self._lines.put(json.dumps(data, allow_nan=False).encode("ascii") + b"\n")

    def close(self, timeout: float | None = None) -> None:
        """Wait until all is written, at most ``timeout`` seconds."""
        self._lines.put(None)
        self._writer.join(timeout)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                while line and not self.lost.is_set():
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                self.lost.set()
                self._on_lost()


def strict(value: Any) -> Any:
    """Return JSON data with null for every number JSON has no word for.

    >>> strict({"psnr": float("inf"), "dice": [0.5, float("nan")]})
    {'psnr': None, 'dice': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
