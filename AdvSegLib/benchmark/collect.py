"""From a store to tables, one unit in memory at a time. Light."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from AdvSegLib.benchmark.plan import Plan, Unit
from AdvSegLib.benchmark.store import Store
from AdvSegLib.errors import AdvSegError, BadRequest

TABLE_SCHEMA = "advseg.sweep/1"
GAP_FIELDS = ("case", "model", "attack", "epsilon", "key", "state", "attempts", "error")


@dataclass(frozen=True)
class Collected:
    """What a collection held: units in the tables, and the gaps."""

    units: int
    missing: int
    failed: int


def collect(
    store: Store,
    *,
    csv_out: Path | None = None,
    json_out: Path | None = None,
    gaps_out: Path | None = None,
    allow_gaps: bool = False,
    force: bool = False,
) -> Collected:
    """Write the units' results as CSV (a column a number) and JSON, in the plan's order.

    The tables depend on plan and results alone, not on who computed them when; each is written whole or not at all.
    Units without a result raise AdvSegError, unless ``allow_gaps``; ``gaps_out`` lists them either way. Raises Damaged
    for a file that is not what was written, BadRequest where an output is there already, unless ``force``.
    """
    outs = [out for out in (csv_out, json_out, gaps_out) if out is not None]
    if len({out.resolve() for out in outs}) != len(outs):
        raise BadRequest(f"every table needs a file of its own, not {', '.join(map(str, outs))}")
    for out in outs:
        if out.exists() and not force:
            raise BadRequest(f"{out}: exists; name a new file, or --force")
        if not out.parent.is_dir():
            raise BadRequest(f"{out}: no folder {out.parent} to write to")
    plan = store.plan()
    with _spool(csv_out or json_out or gaps_out) as spool:
        columns, found = _read_all(store, plan, spool, gaps_out)
        if (found.missing or found.failed) and not allow_gaps:
            raise AdvSegError(
                f"{found.missing} of {len(plan)} units are missing and {found.failed} failed; run again, or "
                "--allow-gaps ('advseg benchmark status' tells more)"
            )
        if csv_out is not None:
            _write_csv(csv_out, columns, spool)
        if json_out is not None:
            _write_json(json_out, plan, found, spool)
    return found


@contextmanager
def _spool(out: Path | None) -> Iterator[IO[str]]:
    """Give a nameless file beside the tables, whose disk must hold as much anyway."""
    folder = None if out is None else out.parent
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder) as stream:
            yield stream
    except OSError as error:
        raise AdvSegError(f"{folder}: cannot write there ({error.strerror or error})") from error


def _read_all(store: Store, plan: Plan, spool: IO[str], gaps_out: Path | None) -> tuple[list[str], Collected]:
    """Spool every unit as a line of JSON; return the columns in the order they first came, and the counts."""
    columns: dict[str, None] = {}
    counts = {"done": 0, "missing": 0, "failed": 0}
    with ExitStack() as stack:
        gaps = stack.enter_context(_gaps(gaps_out)) if gaps_out is not None else None
        for unit in plan.units():
            record = store.read(unit.key)
            if record is None:
                counts[_gap(store, unit, gaps)] += 1
                continue
            counts["done"] += 1
            columns.update(dict.fromkeys(flat(record.result)))
            spool.write(json.dumps({**unit.names(), "seed": unit.seed, "key": unit.key, "result": record.result}))
            spool.write("\n")
    return list(columns), Collected(counts["done"], counts["missing"], counts["failed"])


def _gap(store: Store, unit: Unit, gaps: csv.DictWriter[str] | None) -> str:
    """Return what kind of gap a unit is, and list it."""
    failure = store.failure(unit.key)
    state = "failed" if failure is not None else "missing"
    if gaps is not None:
        known = {name: failure[name] for name in ("attempts", "error")} if failure else {}
        gaps.writerow({**unit.names(), "key": unit.key, "state": state, **known})
    return state


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, names joined by dots; lists as JSON.

    >>> flat({"dice": {"mean": 0.5}, "warnings": []})
    {'dice.mean': 0.5, 'warnings': '[]'}
    """
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = json.dumps(value) if isinstance(value, list) else value
    return found


def _lines(spool: IO[str]) -> Iterator[dict[str, Any]]:
    spool.seek(0)
    for line in spool:
        yield json.loads(line)


def _write_csv(out: Path, columns: list[str], spool: IO[str]) -> None:
    header = ["case", "model", "attack", "epsilon", "seed", "key"]
    with _whole(out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*header, *columns])
        for row in _lines(spool):
            values = flat(row["result"])
            writer.writerow([*(row[name] for name in header), *(values.get(name) for name in columns)])


def _write_json(out: Path, plan: Plan, found: Collected, spool: IO[str]) -> None:
    head = {"schema": TABLE_SCHEMA, "name": plan.name, "plan_sha256": plan.sha256, "missing": found.missing,
            "failed": found.failed}  # fmt: skip
    with _whole(out) as stream:
        stream.write(json.dumps(head)[:-1] + ', "units": [')
        for index, row in enumerate(_lines(spool)):
            stream.write(("," if index else "") + "\n" + json.dumps(row))
        stream.write("\n]}\n")


@contextmanager
def _gaps(out: Path) -> Iterator[csv.DictWriter[str]]:
    with _whole(out) as stream:
        writer = csv.DictWriter(stream, GAP_FIELDS, lineterminator="\n")
        writer.writeheader()
        yield writer


@contextmanager
def _whole(out: Path) -> Iterator[IO[str]]:
    """Give a file beside ``out`` that takes its name when all is written; AdvSegError where it cannot be."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}-", dir=out.parent)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as stream:
                yield stream
            os.chmod(name, 0o644)
            os.replace(name, out)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AdvSegError(f"{out}: cannot write ({error.strerror or error})") from error
