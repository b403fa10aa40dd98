"""A unit's record as bytes: one line that depends on the unit alone, one line of how it came about. Light."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from AdvSegLib.benchmark.canonical import canonical
from AdvSegLib.benchmark.plan import Unit
from AdvSegLib.errors import AdvSegError

RECORD_SCHEMA = "advseg.record/1"


class Damaged(AdvSegError):
    """A file of the store does not hold what was written into it."""


@dataclass(frozen=True)
class Record:
    """What was computed for a unit. ``run`` tells of attempts, host, device, times and versions: never of results."""

    key: str
    names: Mapping[str, Any]
    seed: int
    result: Mapping[str, Any]
    run: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, unit: Unit, result: Mapping[str, Any], run: Mapping[str, Any]) -> Record:
        """Return the record of a unit."""
        return cls(unit.key, unit.names(), unit.seed, result, run)

    def lasting(self) -> bytes:
        """Return the first line: equal for equal units, whoever computed them."""
        return canonical(
            {
                "schema": RECORD_SCHEMA,
                "key": self.key,
                "names": dict(self.names),
                "seed": self.seed,
                "result": dict(self.result),
            }
        )

    def encode(self) -> bytes:
        """Return both lines; the second holds the first one's SHA-256. AdvSegError where a result is not JSON."""
        first = self.lasting()
        check = hashlib.sha256(first).hexdigest()
        return first + b"\n" + canonical({"sha256": check, "run": dict(self.run)}) + b"\n"


def decode(data: bytes, key: str, where: str) -> Record:
    """Read a record back; Damaged, naming ``where``, unless it is whole and that of ``key``."""
    try:
        first, second, rest = data.split(b"\n")
        lasting, about = json.loads(first), json.loads(second)
        whole = rest == b"" and about["sha256"] == hashlib.sha256(first).hexdigest()
        schema, found = lasting["schema"], lasting["key"]
        record = Record(found, lasting["names"], lasting["seed"], lasting["result"], dict(about["run"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{where}: not a whole record ({len(data)} bytes); {REMEDY}") from error
    if not whole:
        raise Damaged(f"{where}: its content does not have the hash it was written with; {REMEDY}")
    if schema != RECORD_SCHEMA:
        raise Damaged(f"{where}: a record of schema '{schema}', this version reads '{RECORD_SCHEMA}'")
    if found != key:
        raise Damaged(f"{where}: holds the record of another unit ({found[:12]}...); {REMEDY}")
    return record


REMEDY = "restore the file, or remove it and run again"
