"""Tables of a sweep: all units, in order, no silent gap; the same whoever computed them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from fixtures_sweeps import a_store, a_study
from hypothesis import given
from hypothesis import strategies as st

from AdvSegLib.benchmark import Damaged, Record, Store
from AdvSegLib.benchmark.collect import collect, flat
from AdvSegLib.benchmark.status import status_of
from AdvSegLib.errors import AdvSegError, BadRequest


def fill(store: Store, leave: int = 0, host: str = "here") -> None:
    """Commit a made-up record for all units but the last ``leave``; every other one has a column more."""
    units = list(store.plan().units())
    for number, unit in enumerate(units[: len(units) - leave]):
        result: dict[str, Any] = {"dice": {"mean": number / 7, "tumour, core": None}, "notes": ["a", 'b"c\n']}
        if number % 2:
            result["late"] = number
        store.commit(Record.of(unit, result, {"attempts": 1, "host": host}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return a_store(tmp_path / "store", a_study(4, budgets=[0.1, None]))


def test_tables_hold_every_unit_in_the_order_of_the_plan(store: Store, tmp_path: Path) -> None:
    fill(store)
    assert collect(store, csv_out=tmp_path / "t.csv", json_out=tmp_path / "t.json").units == 16
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    data = json.loads((tmp_path / "t.json").read_text())
    units = list(store.plan().units())
    for number, (unit, row, entry) in enumerate(zip(units, rows, data["units"], strict=True)):
        assert row["key"] == entry["key"] == unit.key
        assert (row["case"], row["attack"], int(row["seed"])) == (unit.case.name, unit.attack.name, unit.seed)
        assert row["epsilon"] == ("" if unit.budget is None else str(unit.budget))
        assert float(row["dice.mean"]) == entry["result"]["dice"]["mean"] == number / 7
        assert row["dice.tumour, core"] == ""
        assert json.loads(row["notes"]) == ["a", 'b"c\n']
        assert row["late"] == (str(number) if number % 2 else "")
    assert (data["missing"], data["failed"]) == (0, 0)


def test_tables_do_not_tell_who_computed_them(tmp_path: Path) -> None:
    tables = []
    for host in ("a", "b"):
        store = a_store(tmp_path / host)
        fill(store, host=host)
        collect(store, csv_out=tmp_path / f"{host}.csv", json_out=tmp_path / f"{host}.json")
        tables.append([(tmp_path / f"{host}.{kind}").read_bytes() for kind in ("csv", "json")])
    assert tables[0] == tables[1]


def test_gaps_are_refused_and_named(store: Store, tmp_path: Path) -> None:
    fill(store, leave=3)
    units = list(store.plan().units())
    store.fail(units[-1].key, units[-1].names(), 4, True, "out of memory", {})
    with pytest.raises(AdvSegError, match="2 of 16 units are missing and 1 failed"):
        collect(store, csv_out=tmp_path / "t.csv", gaps_out=tmp_path / "gaps.csv")
    assert not (tmp_path / "t.csv").exists()
    with open(tmp_path / "gaps.csv", newline="", encoding="utf-8") as stream:
        gaps = list(csv.DictReader(stream))
    assert [(gap["key"], gap["state"]) for gap in gaps] == [
        (units[-3].key, "missing"), (units[-2].key, "missing"), (units[-1].key, "failed"),
    ]  # fmt: skip
    assert (gaps[-1]["attempts"], gaps[-1]["error"]) == ("4", "out of memory")
    found = collect(store, csv_out=tmp_path / "t.csv", allow_gaps=True)
    assert (found.units, found.missing, found.failed) == (13, 2, 1)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 14


def test_a_damaged_record_stops_the_tables_and_nothing_is_written(store: Store, tmp_path: Path) -> None:
    fill(store)
    unit = list(store.plan().units())[5]
    path = store._path("records", unit.key)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Damaged, match=unit.key):
        collect(store, csv_out=tmp_path / "t.csv", json_out=tmp_path / "t.json", allow_gaps=True)
    assert not list(tmp_path.glob("*t.*"))
    assert len(status_of(store, verify=True).damaged) == 1
    assert status_of(store).done == 16  # what only counts does not read


def test_what_exists_is_not_replaced(store: Store, tmp_path: Path) -> None:
    fill(store)
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(BadRequest, match="exists"):
        collect(store, csv_out=tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "mine"
    collect(store, csv_out=tmp_path / "t.csv", force=True)
    with pytest.raises(BadRequest, match="no folder"):
        collect(store, csv_out=tmp_path / "absent" / "t.csv")


def test_records_of_another_plan_are_counted_as_foreign(store: Store, tmp_path: Path) -> None:
    other = a_store(tmp_path / "other", a_study(2, seed=9))
    fill(other)
    for path in (other.folder / "records").glob("*/*"):
        target = store._path("records", path.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    status = status_of(store)
    assert (status.done, status.missing, status.foreign) == (0, 16, 4)


names = st.text(st.characters(exclude_characters=".", codec="utf-8"), min_size=1, max_size=3)
trees = st.recursive(
    st.none() | st.floats(allow_nan=False) | st.text(max_size=3) | st.booleans(),
    lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(names, trees, min_size=1, max_size=3))
def test_flat_names_lead_back_to_the_values(data: dict[str, Any]) -> None:
    def leaves(tree: Any) -> int:
        return sum(map(leaves, tree.values())) if isinstance(tree, dict) else 1

    found = flat(data)
    assert len(found) == leaves(data)
    for name, value in found.items():
        inner: Any = data
        for part in name.split("."):
            inner = inner[part]
        assert inner is value
