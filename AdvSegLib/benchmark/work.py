"""Which unit a worker gets next: the units of one case together, so that what it loaded serves them all. Light."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from AdvSegLib.benchmark.plan import Unit

Group = Callable[[], Iterable[Unit]]
"""Gives the units of one case that are still to do; called when a worker takes the case."""


class Work:
    """Groups of units, handed out to slots by number; a slot without a group helps with the largest one left."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._groups: Iterator[Group] = iter(groups)
        self._mine: dict[int, deque[Unit]] = {}
        self._again: deque[Unit] = deque()

    def next(self, slot: int) -> Unit | None:
        """Return a unit for a slot, None where there is none at the moment."""
        mine = self._mine.setdefault(slot, deque())
        while not mine:
            group = next(self._groups, None)
            if group is None:
                return self._help(mine)
            mine.extend(group())
        return mine.popleft()

    def _help(self, mine: deque[Unit]) -> Unit | None:
        if self._again:
            return self._again.popleft()
        largest = max(self._mine.values(), key=len)
        return largest.pop() if largest else None

    def none_left(self) -> bool:
        """Tell whether there is nothing to hand out; may list a group to know."""
        unit = self.next(0)
        if unit is not None:
            self._mine[0].appendleft(unit)
        return unit is None

    def again(self, unit: Unit) -> None:
        """Take back a unit that failed: it is tried again after the others."""
        self._again.append(unit)
