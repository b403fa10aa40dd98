"""Polite kills during a training: finish the iteration, save, and leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")


@dataclass
class Request:
    """Whether somebody has asked the training to stop."""

    made: bool = False


@contextmanager
def polite_stop() -> Iterator[Request]:
    """Turn SIGTERM, Ctrl-C and hang-up into a request; a second one acts at once, as it did before.

    In a thread that is not the main one signals are not ours, and nothing changes.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        request.made = True
        signal.signal(number, before[number])

    try:
        for name in SIGNALS:
            if hasattr(signal, name):
                number = getattr(signal, name)
                before[number] = signal.getsignal(number)
                signal.signal(number, ask)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
