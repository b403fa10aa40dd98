"""What an engine is: places for workers that somebody else (a process pool, Ray) starts and feeds. Light."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from AdvSegLib.benchmark.plan import Unit
from AdvSegLib.benchmark.worker import Outcome


class Slot(Protocol):
    """A place for one worker, which computes one unit at a time."""

    def start(self) -> Future[dict[str, Any]]:
        """Start a worker, in place of one that was lost; the future gives the facts of ``Worker.open``."""

    def submit(self, unit: Unit) -> Future[Outcome]:
        """Hand a unit to the worker; the future raises one of the engine's ``lost`` where the worker dies."""

    def stop(self) -> None:
        """End the worker at once, whatever it does."""


class Engine(Protocol):
    """Slots, and how to tell that a worker was lost from any other failure."""

    name: str
    lost: tuple[type[BaseException], ...]

    @property
    def slots(self) -> Sequence[Slot]:
        """The places for workers."""

    def close(self) -> None:
        """End every worker at once, and what the engine started for them."""
