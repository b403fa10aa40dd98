"""What a unit's key hangs on when models and attacks are real ones; and states of a store that few sweeps reach."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures_models import a_bundle
from fixtures_sweeps import a_store, a_study, setup_of

from AdvSegLib.benchmark import Record, Study, load_study, make_plan
from AdvSegLib.benchmark.attack_task import AttackTask
from AdvSegLib.benchmark.collect import collect
from AdvSegLib.benchmark.driver import Driver
from AdvSegLib.benchmark.status import SHOWN, status_of
from AdvSegLib.benchmark.work import Work
from AdvSegLib.benchmark.worker import Outcome, Worker
from AdvSegLib.errors import BadRequest
from AdvSegLib.evaluation import METRICS_SCHEMA
from AdvSegLib.segmenters.bundle import CARD, INFERENCE, METADATA
from AdvSegLib.segmenters.ensemble import save_ensemble

CHEST: dict[str, Any] = {"source": "phantom-chest", "options": {"count": 1, "seed": 31, "size": 32}}


def hash_of(folder: Path) -> str:
    return AttackTask({}, ()).hash_model(str(folder))


def edit(path: Path, **fields: Any) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **fields}))


def test_a_models_hash_is_of_what_it_computes_and_of_nothing_else(tmp_path: Path) -> None:
    """Strides leave no trace in weights or spec, and change every result."""
    folder = a_bundle(tmp_path / "one", dims=2)
    first = hash_of(folder)
    edit(folder / METADATA, results={"audit": {"masked": False}}, name="otherwise called")
    (folder / CARD).write_text("# another card\n")
    moved = folder.rename(tmp_path / "moved")
    assert hash_of(moved) == first
    network = json.loads((moved / INFERENCE).read_text())["network_def"]
    edit(moved / INFERENCE, network_def={**network, "strides": [1]})
    assert hash_of(moved) != first


def test_an_ensembles_hash_knows_its_members_and_how_they_are_combined(tmp_path: Path) -> None:
    one, two = a_bundle(tmp_path / "one", dims=2), a_bundle(tmp_path / "two", dims=2)
    edit(two / METADATA, advseg={**json.loads((two / METADATA).read_text())["advseg"], "multiple": 8})
    made = save_ensemble(tmp_path / "mean", [str(one), str(two)])
    first = hash_of(made)
    assert hash_of(save_ensemble(tmp_path / "logits", [str(one), str(two)], "logits")) != first
    assert hash_of(save_ensemble(tmp_path / "same", [str(one), str(one)])) != first
    assert hash_of(save_ensemble(tmp_path / "again", [str(one), str(two)], title="called otherwise")) == first
    section = json.loads((two / METADATA).read_text())["advseg"]
    edit(two / METADATA, advseg={**section, "intensity": {"kind": "range"}})  # how a member sees, not what it weighs
    assert hash_of(made) != first


def request_of(**attack: Any) -> dict[str, Any]:
    return AttackTask({}, ()).check_attack({"name": "x", **attack})


def test_a_request_has_one_spelling() -> None:
    assert request_of(attack="pgd", parameters={"temperature": 2}) == request_of(
        attack="pgd", parameters={"temperature": 2.0}
    )
    assert request_of(attack="pgd", parameters={"temperature": 1}) == request_of(attack="pgd")
    short = {"kind": "heart-symbol", "structure": "heart"}
    long = {**short, "size": "large", "area": None}
    assert request_of(attack="asma", aim=short) == request_of(attack="asma", aim=long)
    assert request_of(attack="asma", aim=short) != request_of(attack="asma", aim={**short, "size": "small"})
    box = {"kind": "box", "structure": "heart"}
    assert "margin_mm" in request_of(attack="pgd", region=box)["region"]


def test_a_surrogate_is_known_by_its_content_and_found_from_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved, it is the same unit; its path in a study starts at the study's folder, wherever one plans."""
    keys = []
    for name in ("here", "there"):
        a_bundle(tmp_path / name / "other", dims=2)
        attack = {"attack": "fgsm", "surrogate": "other", "budgets": [0.05]}
        study = {"name": "n", "cases": [CHEST], "models": ["chest"], "attacks": [attack]}
        (tmp_path / name / "study.yaml").write_text(json.dumps(study))
        monkeypatch.chdir(tmp_path)
        plan = make_plan(load_study(Path(name) / "study.yaml"))
        assert plan.attacks[0].request["surrogate"] == str(tmp_path / name / "other")
        keys.append([unit.key for unit in plan.units()])
    assert keys[0] == keys[1]
    other = a_bundle(tmp_path / "there" / "other", dims=2, spec={"multiple": 4})
    plan = make_plan(load_study(Path("there") / "study.yaml"))
    assert other.is_dir()
    assert next(plan.units()).key != keys[0][0]


def test_one_attack_in_two_spellings_is_refused() -> None:
    attacks = [{"name": "a", "attack": "pgd"}, {"name": "b", "attack": "pgd", "parameters": {"temperature": 1}}]
    data = {"name": "n", "cases": [CHEST], "models": ["chest"], "attacks": attacks, "budgets": [0.05]}
    with pytest.raises(BadRequest, match="are the same"):
        make_plan(Study.from_dict(data))


def test_the_units_schema_is_raised_with_that_of_the_metrics() -> None:
    """A unit's result is a run's metrics: where they change, records of old are no answer any more."""
    assert (AttackTask.schema, METRICS_SCHEMA) == ("advseg.attack-unit/1", "advseg.metrics/1")


def test_a_plan_of_another_schema_is_not_computed_under_its_old_keys(tmp_path: Path) -> None:
    """Code of today would commit its results under keys that promise those of yesterday."""
    plan = replace(a_store(tmp_path / "s").plan(), unit_schema="test.numbers/0")
    facts = Worker(setup_of(plan), 0).open()
    assert "results of schema 'test.numbers/0', this version computes 'test.numbers/1'" in facts["error"]
    assert "error" not in Worker(setup_of(a_store(tmp_path / "t").plan()), 0).open()


def test_a_unit_that_fails_here_and_was_committed_elsewhere_has_not_failed(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s")
    plan = store.plan()
    unit = next(plan.units())
    driver = Driver(store, plan, None)  # type: ignore[arg-type]
    store.commit(Record.of(unit, {"mean": 1.0}, {}))  # by another driver, while this one's worker died of it
    driver._failed(unit, Outcome(unit.key, None, {}, "the worker died"), Work([]))
    assert store.failure(unit.key) is None
    assert (driver.tally.failed, driver.tally.attempts_failed, driver.tally.duplicates) == (0, 0, 1)


def test_a_plan_that_was_killed_while_being_written_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "s" / "partial").mkdir(parents=True)
    (tmp_path / "s" / "partial" / "plan-1-ab").write_text("{")
    assert len(a_store(tmp_path / "s").plan()) == 6
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.txt").write_text("mine")
    with pytest.raises(BadRequest, match="is not empty and holds no plan"):
        a_store(tmp_path / "t")


def test_every_unit_is_counted_and_every_damaged_file_too(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(15))
    units = list(store.plan().units())
    for unit in units[: SHOWN + 5]:
        store.fail(unit.key, unit.names(), 1, False, "once", {})
        (store.folder / "failures" / unit.key[:2] / f"{unit.key}.json").write_text("{")
    found = status_of(store)
    assert (found.unreadable, len(found.damaged)) == (SHOWN + 5, SHOWN)
    assert found.done + found.failed + found.retrying + found.missing == found.units == 30


def test_two_tables_do_not_go_to_one_file(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s")
    with pytest.raises(BadRequest, match="a file of its own"):
        collect(store, csv_out=tmp_path / "t", json_out=tmp_path / "." / "t", allow_gaps=True)
    assert not (tmp_path / "t").exists()
