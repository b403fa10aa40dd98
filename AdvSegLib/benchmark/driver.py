"""Feeding the slots of an engine, and putting what comes back into a store. Light."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from AdvSegLib.benchmark.engines import Engine, Slot
from AdvSegLib.benchmark.plan import Plan, Unit
from AdvSegLib.benchmark.records import Record
from AdvSegLib.benchmark.store import Store
from AdvSegLib.benchmark.work import Work
from AdvSegLib.benchmark.worker import Outcome
from AdvSegLib.errors import AdvSegError, Cancelled

MAX_STARTS = 5
"""Workers that die one after another before one of them is ready: it is not the units' fault."""
AHEAD_SECONDS, MOST_AHEAD = 2.0, 16
"""How much work a slot is handed beforehand, so that short units do not wait for messages."""

Hear = Callable[..., None]


@dataclass
class Tally:
    """What one driver did: units it committed, found committed by another meanwhile, gave up, saw fail."""

    committed: int = 0
    duplicates: int = 0
    failed: int = 0
    attempts_failed: int = 0
    workers_lost: int = 0


@dataclass(eq=False)
class Place:
    """A slot, the future of its start while it starts, and the units handed to it, the first being computed."""

    number: int
    slot: Slot
    starting: Future[Any] | None = None
    units: dict[Future[Outcome], Unit] = field(default_factory=dict)
    since: float = 0.0
    seconds: float = math.inf

    @property
    def wants(self) -> bool:
        """Whether the slot should be handed another unit."""
        ahead = min(MOST_AHEAD, 1 + int(AHEAD_SECONDS / max(self.seconds, 1e-3)))
        return self.starting is None and len(self.units) < ahead

    @property
    def overdue(self) -> float:
        """Seconds since the first unit began."""
        return time.monotonic() - self.since if self.units else 0.0


@dataclass
class Driver:
    """One run: feeds the slots of an engine until nothing is left to do.

    Correct whoever else works on the store: a unit is skipped where it has a record when its turn comes, and a record
    is committed once. ``give_up_after`` attempts that fail in a row end the run; a unit that takes longer than
    ``timeout`` seconds costs its worker. ``hear(event, **facts)`` is told of ``ready``, ``lost``, ``done`` and
    ``failed``.
    """

    store: Store
    plan: Plan
    engine: Engine
    give_up_after: int = 100
    timeout: float = math.inf
    hear: Hear = lambda event, **facts: None
    cancelled: Callable[[], bool] = lambda: False
    tally: Tally = field(default_factory=Tally)
    _bad_starts: int = 0
    _bad_units: int = 0

    def run(self, work: Work) -> Tally:
        """Work until nothing is left, and return what was done. Raises AdvSegError, Cancelled."""
        if work.none_left():
            return self.tally
        places = [Place(number, slot) for number, slot in enumerate(self.engine.slots)]
        for place in places:
            self._start(place)
        while True:
            for place in places:
                self._feed(place, work)
            if not any(place.units for place in places) and any(place.starting is None for place in places):
                return self.tally
            self._hear_from(places, work)

    def _hear_from(self, places: list[Place], work: Work) -> None:
        """Wait for whatever happens next, and act on it."""
        futures: dict[Future[Any], Place] = {future: place for place in places for future in place.units}
        futures |= {place.starting: place for place in places if place.starting is not None}
        done, _ = wait(futures, timeout=1.0, return_when=FIRST_COMPLETED)
        if self.cancelled():
            raise Cancelled("cancelled; what is committed stays")
        for future, place in futures.items():  # in the order in which units were handed out
            if future in done and future is place.starting:
                self._started(place, future)
            elif future in done and future in place.units:
                self._finished(place, future, work)
        for place in places:
            if place.overdue > self.timeout:
                self._replace(place, work, f"took longer than {self.timeout:g} s; a worker was ended")

    def _start(self, place: Place) -> None:
        place.starting = place.slot.start()

    def _started(self, place: Place, future: Future[Any]) -> None:
        try:
            facts = future.result()
        except self.engine.lost as error:
            self._bad_starts += 1
            self.tally.workers_lost += 1
            if self._bad_starts >= MAX_STARTS:
                raise AdvSegError(f"{MAX_STARTS} workers in a row died while starting ({_line(error)})") from error
            self._start(place)
            return
        if "error" in facts:
            raise AdvSegError(f"a worker cannot start: {facts['error']}")
        self._bad_starts, place.starting = 0, None
        self.hear("ready", slot=place.number, **facts)

    def _feed(self, place: Place, work: Work) -> None:
        while place.wants:
            unit = work.next(place.number)
            while unit is not None and self.store.has(unit.key):  # another driver was faster
                unit = work.next(place.number)
            if unit is None:
                return
            try:
                future = place.slot.submit(unit)
            except self.engine.lost:  # the worker died: its first unit is to blame, this one was not begun
                work.again(unit)
                self._lost(place, work, "while it waited" if not place.units else "")
                return
            if not place.units:
                place.since = time.monotonic()
            place.units[future] = unit

    def _finished(self, place: Place, future: Future[Outcome], work: Work) -> None:
        try:
            outcome = future.result()
        except self.engine.lost as error:
            self._lost(place, work, _line(error))
            return
        unit = place.units.pop(future)
        place.since = time.monotonic()
        place.seconds = outcome.run["seconds"]
        if outcome.result is None:
            self._failed(unit, outcome, work)
        else:
            self._commit(unit, outcome)
        if outcome.spoiled:
            self._replace(place, work)

    def _lost(self, place: Place, work: Work, reason: str) -> None:
        self.tally.workers_lost += 1
        self.hear("lost", slot=place.number, unit=next(iter(place.units.values()), None))
        self._replace(place, work, f"the worker died ({reason})" if reason else "the worker died")

    def _replace(self, place: Place, work: Work, blame: str = "") -> None:
        """Start another worker in a place; the unit that was being computed gets the ``blame``, the others none."""
        units = list(place.units.values())
        place.units.clear()
        self._start(place)
        if blame and units:
            first = units.pop(0)
            self._failed(first, Outcome(first.key, None, {}, blame), work)
        for unit in units:
            work.again(unit)

    def _commit(self, unit: Unit, outcome: Outcome) -> None:
        failure = self.store.failure(unit.key)
        run = {"attempts": (failure["attempts"] if failure else 0) + 1, **outcome.run}
        fresh = self.store.commit(Record.of(unit, outcome.result or {}, run))
        self.tally.committed += fresh
        self.tally.duplicates += not fresh
        self._bad_units = 0
        self.hear("done", unit=unit, fresh=fresh)

    def _failed(self, unit: Unit, outcome: Outcome, work: Work) -> None:
        if self.store.has(unit.key):  # another driver computed it meanwhile: a record outranks what failed
            self.tally.duplicates += 1
            return
        before = self.store.failure(unit.key)
        attempts = (before["attempts"] if before else 0) + 1
        final = outcome.hopeless or attempts > self.plan.retries
        self.store.fail(unit.key, unit.names(), attempts, final, outcome.error, dict(outcome.run))
        self.tally.attempts_failed += 1
        self.tally.failed += final
        self.hear("failed", unit=unit, final=final, error=outcome.error)
        self._bad_units += 1
        if self._bad_units >= self.give_up_after:
            raise AdvSegError(f"{self._bad_units} attempts in a row failed, the last: {unit}: {outcome.error}")
        if not final:
            work.again(unit)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
