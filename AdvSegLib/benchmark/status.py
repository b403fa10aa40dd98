"""How far a sweep is: counted from the store's listing, or from every record read. Light."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from AdvSegLib.benchmark.records import Damaged
from AdvSegLib.benchmark.store import Store

STATUS_SCHEMA = "advseg.sweep-status/1"
SHOWN = 20


@dataclass(frozen=True)
class Status:
    """Counts of a plan's units: ``done + failed + retrying + missing == units``.

    ``failed`` will not be tried again, ``retrying`` failed and will be. ``foreign`` records belong to no unit of the
    plan. ``failures`` and ``damaged`` list the first of each; ``causes`` counts all failures by their message, and
    ``unreadable`` all damaged files: a record counts as done nevertheless, a record of a failure as failed.
    """

    name: str
    units: int
    done: int
    failed: int
    retrying: int
    missing: int
    foreign: int
    causes: dict[str, int]
    failures: list[str]
    damaged: list[str]
    unreadable: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON data."""
        return {"schema": STATUS_SCHEMA, **asdict(self)}


def status_of(store: Store, *, verify: bool = False) -> Status:
    """Return how far a store is; ``verify`` reads every record, else they are only counted."""
    plan = store.plan()
    recorded, troubled = store.keys("records"), store.keys("failures")
    counts: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    failures: list[str] = []
    damaged: list[str] = []
    for unit in plan.units():
        key = bytes.fromhex(unit.key)
        try:
            if key in recorded:
                counts["done"] += 1
                if verify:
                    store.read(unit.key)
                continue
            failure = store.failure(unit.key) if key in troubled else None
        except Damaged as error:
            damaged.append(str(error))
            counts["failed"] += key not in recorded
            continue
        counts["missing" if failure is None else "failed" if failure["final"] else "retrying"] += 1
        if failure is not None:
            causes[failure["error"]] += 1
            if len(failures) < SHOWN:
                failures.append(f"{unit}: {failure['error']} ({failure['attempts']} attempts)")
    return Status(
        plan.name, len(plan), counts["done"], counts["failed"], counts["retrying"], counts["missing"],
        len(recorded) - counts["done"], dict(causes.most_common(SHOWN)), failures, damaged[:SHOWN],
        len(damaged),
    )  # fmt: skip
