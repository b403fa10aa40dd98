"""The same plans on a local Ray cluster, killed actors and all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_sweeps import a_store, a_study, lasting_lines, setup_of
from test_sweep_run import Killer, is_whole, run

from AdvSegLib.benchmark import Store, run_plan
from AdvSegLib.benchmark.running import Tally
from AdvSegLib.benchmark.status import status_of
from AdvSegLib.errors import AdvSegError, BadRequest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def ray_of_our_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Ray's processes import what this one can."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # else Ray kills workers where others fill the memory
    yield
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()


def run_on_ray(store: Store, **options: object) -> Tally:
    pytest.importorskip("ray")
    from AdvSegLib.benchmark.ray_engine import RayEngine

    return run_plan(store, RayEngine(setup_of(store.plan()), 2), **options)  # type: ignore[arg-type]


def test_2000_units_under_20_killed_actors_are_what_a_pool_computes(tmp_path: Path) -> None:
    disturbed, quiet = (a_store(tmp_path / name, a_study(1000)) for name in ("disturbed", "quiet"))
    killer = Killer(disturbed, 20, 1900, patience=300)  # an actor starts in a second or in half a minute
    killer.start()
    tally = run_on_ray(disturbed, hear=killer.hear)
    killer.join(5)
    assert killer.hits == tally.workers_lost == 20
    assert (tally.committed, tally.duplicates, tally.failed) == (2000, 0, 0)
    run(quiet, 2)
    assert is_whole(status_of(disturbed, verify=True))
    assert lasting_lines(disturbed) == lasting_lines(quiet)


def test_failures_are_told_as_on_a_pool(tmp_path: Path) -> None:
    attacks = [
        {"attack": "well"},
        {"name": "no", "attack": "no", "do": "refuse"},
        {"name": "bug", "attack": "bug", "do": "crash"},
    ]
    store = a_store(tmp_path / "s", a_study(2, attacks=attacks, retries=1))
    tally = run_on_ray(store)
    assert (tally.committed, tally.failed, tally.attempts_failed) == (2, 4, 6)
    causes = status_of(store).causes
    assert causes["a unit that cannot be computed"] == 2
    assert any("ZeroDivisionError: a unit with a bug" in cause for cause in causes)
    again = run_on_ray(store)
    assert (again.committed, again.attempts_failed) == (0, 0)


def test_a_worker_that_cannot_start_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from AdvSegLib.benchmark.ray_engine import RayEngine

    store = a_store(tmp_path / "s")
    plan = store.plan()
    engine = RayEngine(type(setup_of(plan))("fixtures_sweeps:Nobody", {}, plan.sources, True), 1)
    with pytest.raises(AdvSegError, match=r"a worker cannot start: task .*Nobody"):
        run_plan(store, engine)


def test_no_cluster_is_one_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from AdvSegLib.benchmark.ray_engine import RayEngine

    with pytest.raises(AdvSegError, match=r"Ray: no cluster at 127\.0\.0\.1:1"):
        RayEngine(setup_of(a_store(tmp_path / "s").plan()), 1, "127.0.0.1:1")


def test_without_ray_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AdvSegLib.benchmark.ray_engine import RayEngine

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadRequest, match=r"advseglib\[ray\]"):
        RayEngine(setup_of(a_store(tmp_path / "s").plan()), 1)
