"""The task of attack sweeps: its numbers are those of a run of `advseg attack`, from whatever is in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures_models import a_bundle

from AdvSegLib.benchmark import Plan, Store, Study, make_plan, run_plan
from AdvSegLib.benchmark.attack_task import AttackTask
from AdvSegLib.benchmark.pool import Pool
from AdvSegLib.benchmark.worker import Setup
from AdvSegLib.cases.registry import open_cases
from AdvSegLib.errors import BadRequest
from AdvSegLib.job_request import Job
from AdvSegLib.jobs import run_job

SOURCE: dict[str, Any] = {"source": "phantom-chest", "options": {"count": 2, "seed": 31, "size": 32}}
RELABEL = {str(value): 1 + value % 2 for value in range(1, 6)}
ATTACKS = [
    {"attack": "fgsm"},
    {"name": "pgd-3", "attack": "pgd", "parameters": {"steps": 3}},
    {"name": "transfer", "attack": "fgsm", "surrogate": "SURROGATE", "budgets": [0.05]},
    {"name": "square", "attack": "square", "parameters": {"steps": 5}},
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return a_bundle(folder / "one", dims=2), a_bundle(folder / "two", dims=2, spec={"multiple": 4})


def a_plan(bundles: tuple[Path, Path], **fields: Any) -> Plan:
    attacks = [
        {**attack, **({"surrogate": str(bundles[1])} if "surrogate" in attack else {})}
        for attack in fields.pop("attacks", ATTACKS)
    ]
    data = {"name": "attacks", "cases": [{**SOURCE, "relabel": RELABEL}],
            "models": [{"name": "one", "path": str(bundles[0])}], "attacks": attacks,
            "budgets": [0.02, None]}  # fmt: skip
    return make_plan(Study.from_dict({**data, **fields}))


def a_datalist(folder: Path) -> tuple[dict[str, Any], Path, Path]:
    """Write a case as files, and return a source that reads it, the image and the truth."""
    (case,) = open_cases("phantom-chest", count=1, seed=31, size=32)
    image, truth = case.write(folder)
    (folder / "list.json").write_text(json.dumps({"training": [{"image": image.name, "label": truth.name}]}))
    return {"source": "datalist", "path": str(folder / "list.json"), "relabel": RELABEL}, image, truth


def a_task(plan: Plan) -> AttackTask:
    task = AttackTask(plan.options, plan.sources)
    task.warm_up()
    return task


def test_a_unit_is_what_a_run_of_the_same_seed_measures(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """`run_job` saves the image, reads it back, loads everything from files: another way to the same numbers."""
    source, image, truth = a_datalist(tmp_path / "data")
    plan = a_plan(bundles, cases=[source])
    task = a_task(plan)
    units = list(plan.units_of(plan.cases[0]))
    assert len(units) == 2 + 2 + 1 + 2
    for number, unit in enumerate(units):
        request = unit.attack.request
        job = Job(
            str(bundles[0]), (str(image),), request["attack"], truth=str(truth), surrogate=request["surrogate"],
            epsilon=unit.budget, parameters=request["parameters"], relabel=RELABEL, seed=unit.seed,
        )  # fmt: skip
        run = run_job(job, tmp_path / str(number))
        wanted = json.loads((run / "metrics.json").read_text())
        found = json.loads(json.dumps(task.run(unit)))
        assert found.pop("steps") >= 1
        assert found == {k: v for k, v in wanted.items() if k not in ("model", "surrogate", "attack")}


def test_results_do_not_depend_on_what_came_before(bundles: tuple[Path, Path]) -> None:
    plan = a_plan(bundles)
    units = list(plan.units())
    forwards, backwards = a_task(plan), a_task(plan)
    first = {unit.key: dict(forwards.run(unit)) for unit in units}
    second = {unit.key: dict(backwards.run(unit)) for unit in reversed(units)}
    assert first == second


def test_cases_and_models_are_loaded_once(bundles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = a_plan(bundles)
    task = a_task(plan)
    loaded: list[str] = []
    from AdvSegLib.cases.base import Case
    from AdvSegLib.loading import Fresh

    draw, load = Case.image, Fresh.model
    monkeypatch.setattr(Case, "image", lambda self: loaded.append(self.identifier) or draw(self))
    monkeypatch.setattr(Fresh, "model", lambda self, *a: loaded.append(Path(a[0]).name) or load(self, *a))
    for unit in plan.units():
        task.run(unit)
    assert sorted(loaded) == ["chest-0000", "chest-0001", "one", "two"]


def test_a_pool_computes_the_same(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    plan = a_plan(bundles, attacks=ATTACKS[:2], budgets=[0.02])
    store = Store(tmp_path / "s")
    store.keep_plan(plan)
    tally = run_plan(store, Pool(Setup(plan.task, plan.options, plan.sources), 1))
    assert (tally.committed, tally.failed) == (4, 0)
    task = a_task(plan)
    for unit in plan.units():
        record = store.read(unit.key)
        assert record is not None
        assert record.result == json.loads(json.dumps(task.run(unit)))
        assert record.run["device"]
        assert record.run["versions"]["torch"]


def test_a_model_or_case_that_changed_is_refused(tmp_path: Path) -> None:
    from AdvSegLib.segmenters.catalogue import load_model

    one, two = a_bundle(tmp_path / "one", dims=2), a_bundle(tmp_path / "two", dims=2, spec={"multiple": 4})
    source, image, _ = a_datalist(tmp_path / "data")
    plan = a_plan((one, two), cases=[source], attacks=ATTACKS[:1])
    unit = next(plan.units())
    a_task(plan).run(unit)
    assert load_model(str(one)).spec != load_model(str(two)).spec
    (one / "configs" / "metadata.json").write_bytes((two / "configs" / "metadata.json").read_bytes())
    with pytest.raises(BadRequest, match=r"model .*one is not what it was"):
        a_task(plan).run(unit)
    a_bundle(one, dims=2)
    (other,) = open_cases("phantom-chest", count=1, size=32, seed=5)
    other.image().write(image)
    with pytest.raises(BadRequest, match="is not what it was when planned"):
        a_task(plan).run(unit)
    image.unlink()
    with pytest.raises(BadRequest):
        a_task(plan).run(unit)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ({"attack": "pdg"}, "did you mean 'pgd'"),
        ({"attack": "pgd", "parameters": {"stepz": 3}}, "'steps'"),
        ({"attack": "pgd", "steps": 3}, "unknown field 'steps'"),
        ({"attack": "pgd", "norm": "l7"}, "norm"),
        ({"attack": "pgd", "aim": {"kind": "from-file", "file": "x.nii"}}, "pgd"),
        ({"attack": "pgd", "surrogate": "nobody"}, "unknown model 'nobody'"),
    ],
)
def test_an_attack_that_no_job_would_take_is_refused_when_planned(
    bundles: tuple[Path, Path], attack: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        make_plan(Study.from_dict({"name": "n", "cases": [SOURCE], "models": ["chest"], "attacks": [attack]}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"models": ["brian"]}, "did you mean 'brain'"),
        ({"models": [{"name": "m", "folder": "x"}]}, "unknown field of a model 'folder'"),
        ({"cases": [{"source": "brats", "path": "/absent"}]}, "absent"),
        ({"cases": [{"source": "phantom-chest", "options": {"count": 1, "cuont": 2}}]}, "cuont"),
        ({"options": {"device": "cpu"}}, "device"),
    ],
)
def test_what_cannot_be_found_is_refused_when_planned(fields: dict[str, Any], said: str) -> None:
    data = {"name": "n", "cases": [SOURCE], "models": ["chest"], "attacks": ["fgsm"]}
    with pytest.raises(BadRequest, match=said):
        make_plan(Study.from_dict({**data, **fields}))
