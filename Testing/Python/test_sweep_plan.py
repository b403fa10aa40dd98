"""Studies and plans: what is refused, what a key depends on, and that a plan survives its file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures_sweeps import TASK, a_store, a_study
from hypothesis import given
from hypothesis import strategies as st

from AdvSegLib.benchmark import Plan, Store, Study, load_study, make_plan
from AdvSegLib.benchmark.plan import AttackRef, CaseRef, ModelRef
from AdvSegLib.errors import AdvSegError, BadRequest

GOOD: dict[str, Any] = {
    "name": "s", "cases": [{"source": "numbers"}], "models": ["m"], "attacks": ["a"], "task": TASK,
}  # fmt: skip


def a_plan(**fields: Any) -> Plan:
    plan = Plan(
        "p", "t", "s/1", 0, 3, {}, ({"source": "x"},), (CaseRef(0, "c", "c", "1"), CaseRef(0, "d", "d", "2")),
        (ModelRef("m", "m", "3"), ModelRef("n", "n", "4")),
        (AttackRef("a", {"attack": "a"}, (0.1, 0.2)), AttackRef("b", {"attack": "b"}, (None,))),
    )  # fmt: skip
    return replace(plan, **fields)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cases": []}, "'cases' is missing"),
        ({"cases": "numbers"}, "must be a list"),
        ({"cases": [{"path": "x"}]}, "needs 'source'"),
        ({"cases": [{"source": "x", "pth": "y"}]}, "'path'"),
        ({"cases": [{"source": "x", "first": 0}]}, "first"),
        ({"cases": [{"source": "x", "only": "c"}]}, "only must be a list"),
        ({"models": [3]}, "needs 'name'"),
        ({"attacks": [{"name": "x"}]}, "needs 'attack'"),
        ({"budgets": []}, "must be a list"),
        ({"budgets": 0.1}, "must be a list"),
        ({"budgets": [-0.1]}, "no budget"),
        ({"budgets": [float("nan")]}, "no budget"),
        ({"budgets": [True]}, "no budget"),
        ({"budgets": [0.1, 0.1]}, "twice"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"retries": 1000}, "retries"),
        ({"options": []}, "options"),
        ({"schema": "advseg.study/9"}, "schema"),
        ({"butgets": [1]}, "did you mean 'budgets'"),
        ({"name": 3}, "name must be text"),
    ],
)
def test_a_study_that_says_nonsense_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        Study.from_dict({**GOOD, **change})


@pytest.mark.parametrize("text", ["- a", "name: [", "", "3", "\x00"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(BadRequest, match=r"s\.yaml"):
        load_study(tmp_path / "s.yaml")
    with pytest.raises(BadRequest, match="absent"):
        load_study(tmp_path / "absent.yaml")


def test_paths_start_at_the_study(tmp_path: Path) -> None:
    text = "name: s\ncases: [{source: folder, path: data}]\nmodels: [{name: m, path: ../m}, brain]\nattacks: [pgd]\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "s.yaml").write_text(text)
    study = load_study(tmp_path / "in" / "s.yaml")
    assert study.cases[0]["path"] == str(tmp_path / "in" / "data")
    assert study.models == ({"name": "m", "path": str(tmp_path / "m")}, {"name": "brain"})


def test_units_are_the_product_and_keys_distinct() -> None:
    units = list(a_plan().units())
    assert len(units) == len(a_plan()) == 2 * 2 * 3
    assert len({unit.key for unit in units}) == 12
    assert {(u.case.id, u.model.name, u.attack.name, u.budget) for u in units} == {
        (c, m, a, b) for c in "cd" for m in "mn" for a, b in (("a", 0.1), ("a", 0.2), ("b", None))
    }
    assert all(0 <= unit.seed < 2**63 for unit in units)
    assert len({unit.seed for unit in units}) == 12


CHANGES = {
    "unit_schema": "s/2", "seed": 1, "options": {"o": 1}, "cases": (CaseRef(0, "c", "c", "9"),),
    "models": (ModelRef("m", "m", "9"),), "attacks": (AttackRef("a", {"attack": "a", "steps": 2}, (0.1,)),),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_key_follows_every_content(name: str) -> None:
    first = next(a_plan().units()).key
    assert next(a_plan(**{name: CHANGES[name]}).units()).key != first


def test_a_key_knows_no_names_and_places() -> None:
    moved = a_plan(
        name="other", retries=0, sources=({"source": "y"},),
        cases=(CaseRef(0, "c", "pre-c", "1"),), models=(ModelRef("new", "there", "3"),),
        attacks=(AttackRef("other", {"attack": "a"}, (0.1,)),),
    )  # fmt: skip
    assert next(moved.units()).key == next(a_plan().units()).key


def test_keys_stay_what_they_were() -> None:
    """Whoever changes this hash makes every store in the world compute anew."""
    text = (
        '{"attack":{"attack":"a"},"budget":0.1,"case":{"id":"c","sha256":"1"},"model":"3","options":{},'
        '"schema":"s/1","seed":0}'
    )
    first = next(a_plan().units())
    assert first.key == hashlib.sha256(text.encode()).hexdigest()
    assert first.seed == int(first.key[:16], 16) // 2


@pytest.mark.parametrize(
    "fields",
    [
        {"cases": (CaseRef(0, "c", "c", "1"), CaseRef(1, "c", "x", "1"))},
        {"cases": (CaseRef(0, "c", "c", "1"), CaseRef(1, "d", "c", "2"))},
        {"models": (ModelRef("m", "m", "3"), ModelRef("n", "n", "3"))},
        {"models": (ModelRef("m", "m", "3"), ModelRef("m", "n", "4"))},
        {"attacks": (AttackRef("a", {"x": 1}, (1.0,)), AttackRef("b", {"x": 1}, (1.0,)))},
    ],
)
def test_two_names_for_one_thing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="are the same"):
        a_plan(**fields)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(5, budgets=[0.1, None], seed=4))
    plan = store.plan()
    assert plan == Plan.from_dict(json.loads((store.folder / "plan.json").read_text()), "x")
    assert [unit.key for unit in plan.units()] == [
        unit.key for unit in make_plan(a_study(5, budgets=[0.1, None], seed=4), trust=True).units()
    ]


@given(st.binary(max_size=60))
def test_garbage_for_a_plan_is_one_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("s")
    (folder / "plan.json").write_bytes(data)
    with pytest.raises(AdvSegError, match="plan"):
        Store(folder).plan()


def test_a_plan_that_was_edited_is_refused(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s")
    path = store.folder / "plan.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(AdvSegError, match="changed after it was planned"):
        store.plan()


def test_another_plan_replaces_one_only_when_told_so(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(2))
    store.keep_plan(make_plan(a_study(2), trust=True))
    bigger = make_plan(a_study(2, attacks=("a", "b", "c")), trust=True)
    with pytest.raises(BadRequest, match="--update"):
        store.keep_plan(bigger)
    before = {unit.key for unit in store.plan().units()}
    store.keep_plan(bigger, update=True)
    assert before < {unit.key for unit in store.plan().units()}
    assert len(list(store.folder.glob("plan-*.json"))) == 1


def test_a_folder_of_something_else_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadRequest, match="not empty"):
        a_store(tmp_path)
    with pytest.raises(BadRequest, match="no plan"):
        Store(tmp_path / "absent").plan()


def test_cases_are_chosen_by_number_and_name() -> None:
    def names(**entry: Any) -> list[str]:
        study = Study.from_dict({**GOOD, "cases": [{"source": "numbers", "options": {"count": 4}, **entry}]})
        return [case.name for case in make_plan(study, trust=True).cases]

    assert names(first=2) == ["case-00000", "case-00001"]
    assert names(only=["case-00003"], prefix="x-") == ["x-case-00003"]
    with pytest.raises(BadRequest, match="no case 'nobody'"):
        names(only=["nobody"])


def test_hashing_in_several_processes_gives_the_same_plan() -> None:
    assert make_plan(a_study(6), trust=True, workers=2) == make_plan(a_study(6), trust=True)


def test_foreign_code_needs_trust() -> None:
    with pytest.raises(BadRequest, match="--trust"):
        make_plan(a_study())
    for name in ("nobody:Task", "json:loads", "AdvSegLib.benchmark.tasks:Nobody", "attac"):
        with pytest.raises(BadRequest, match="task"):
            make_plan(replace(a_study(), task=name), trust=True)
