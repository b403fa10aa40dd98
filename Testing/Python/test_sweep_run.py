"""Runs on a process pool: failures, lost workers, killed drivers, several drivers; always the same results."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fixtures_sweeps import a_store, a_study, lasting_lines, setup_of

from AdvSegLib.benchmark import Store, run_plan
from AdvSegLib.benchmark.driver import MOST_AHEAD
from AdvSegLib.benchmark.pool import Pool
from AdvSegLib.benchmark.running import Tally
from AdvSegLib.benchmark.status import Status, status_of
from AdvSegLib.errors import AdvSegError, Cancelled

HERE = Path(__file__).parent
SECONDS = 60


def run(store: Store, workers: int = 1, **options: Any) -> Tally:
    return run_plan(store, Pool(setup_of(store.plan()), workers), **options)


def driver(store: Store, workers: int = 2, **options: Any) -> subprocess.Popen[str]:
    """Start a driver in a process of its own."""
    code = (
        "import sys; from fixtures_sweeps import *; from AdvSegLib.benchmark import *; "
        "from AdvSegLib.benchmark.pool import Pool; s = Store(sys.argv[1]);"
        f"print(run_plan(s, Pool(setup_of(s.plan()), {workers}), **{options!r}))"
    )
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(store.folder)], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def wait_until(happened: Any, what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def count(store: Store) -> int:
    return len(store.keys())


def is_whole(status: Status) -> bool:
    return status.done == status.units and not (status.failed or status.retrying or status.foreign or status.damaged)


def test_every_unit_once_and_the_same_from_any_number_of_workers(tmp_path: Path) -> None:
    stores = [a_store(tmp_path / str(workers), a_study(20, budgets=[0.1, 0.2])) for workers in (1, 3)]
    for store, workers in zip(stores, (1, 3), strict=True):
        tally = run(store, workers)
        assert (tally.committed, tally.failed) == (80, 0)
    first, second = map(lasting_lines, stores)
    assert first == second
    assert len(first) == 80
    assert len({line.split(b'"mean":')[1] for line in first.values()}) == 80  # every unit has draws of its own


def test_nothing_is_computed_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    store = a_store(tmp_path / "s", a_study(4, options={"log": str(log)}))
    assert run(store).committed == 8
    events: list[str] = []
    assert run(store, hear=lambda event, **facts: events.append(event)).committed == 0
    assert events == []  # no worker was even started
    victim = next(iter(store.plan().units()))
    store._path("records", victim.key).unlink()
    assert run(store).committed == 1
    assert Counter(log.read_text().split()) == Counter({u.key: 1 + (u == victim) for u in store.plan().units()})


def test_a_shard_is_a_part_and_the_shards_are_the_whole(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(7))
    assert [run(store, shard=(number, 3)).committed for number in (1, 2, 3)] == [6, 4, 4]
    assert is_whole(status_of(store))


ATTACKS = [{"attack": "well"}, {"name": "bad", "attack": "bad", "do": "refuse"}]


def test_what_cannot_be_computed_is_said_once_and_stops_nobody(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(3, attacks=ATTACKS))
    tally = run(store)
    assert (tally.committed, tally.failed, tally.attempts_failed) == (3, 3, 3)
    status = status_of(store)
    assert (status.done, status.failed, status.causes) == (3, 3, {"a unit that cannot be computed": 3})
    assert run(store).attempts_failed == 0
    assert run(store, retry_failed=True).attempts_failed == 3


@pytest.mark.parametrize(
    ("do", "said"),
    [("fail", "a unit that fails"), ("crash", "ZeroDivisionError: a unit with a bug"), ("die", "the worker died")],
)
def test_failures_are_tried_again_as_often_as_the_plan_says(tmp_path: Path, do: str, said: str) -> None:
    attacks = [{"attack": "well"}, {"name": "bad", "attack": "bad", "do": do}]
    store = a_store(tmp_path / "s", a_study(1, attacks=attacks, retries=2))
    tally = run(store)
    assert (tally.committed, tally.failed, tally.attempts_failed) == (1, 1, 3)
    assert tally.workers_lost == (3 if do == "die" else 0)
    (line,) = status_of(store).failures
    assert said in line
    assert "(3 attempts)" in line


def test_attempts_are_counted_over_runs(tmp_path: Path) -> None:
    attacks = [{"attack": "bad", "do": "fail"}]
    store = a_store(tmp_path / "s", a_study(1, attacks=attacks, retries=2))
    (unit,) = store.plan().units()
    store.fail(unit.key, unit.names(), 2, False, "before", {})
    assert run(store).attempts_failed == 1


def test_what_fails_once_has_a_record_that_says_so(tmp_path: Path) -> None:
    attacks = [{"attack": "bad", "do": "once", "marks": str(tmp_path)}]
    store = a_store(tmp_path / "s", a_study(2, attacks=attacks))
    assert run(store).committed == 2
    for unit in store.plan().units():
        record = store.read(unit.key)
        assert record is not None
        assert record.run["attempts"] == 2


def test_a_unit_that_hangs_costs_its_worker_not_the_run(tmp_path: Path) -> None:
    attacks = [{"attack": "well"}, {"name": "bad", "attack": "bad", "do": "hang"}]
    store = a_store(tmp_path / "s", a_study(1, attacks=attacks, retries=0))
    tally = run(store, timeout=1.0)
    assert (tally.committed, tally.failed) == (1, 1)
    assert "longer than 1 s" in status_of(store).failures[0]


def test_a_result_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(1, task="fixtures_sweeps:NotFinite", retries=0))
    assert run(store).failed == 2
    assert "not JSON data" in status_of(store).failures[0]


def test_where_nothing_works_the_run_ends(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(50, attacks=[{"attack": "bad", "do": "fail"}]))
    with pytest.raises(AdvSegError, match="5 attempts in a row failed"):
        run(store, give_up_after=5)


def test_a_worker_that_cannot_start_is_said(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s")
    plan = store.plan()
    engine = Pool(type(setup_of(plan))("fixtures_sweeps:Nobody", {}, plan.sources, True), 1)
    with pytest.raises(AdvSegError, match=r"a worker cannot start: task .*Nobody"):
        run_plan(store, engine)


def test_workers_that_die_while_starting_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os\nfrom fixtures_sweeps import Numbers\nclass Deadly(Numbers):\n"
        "    def warm_up(self):\n        os._exit(9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    store = a_store(tmp_path / "s", a_study(1, task="deadly:Deadly"))
    with pytest.raises(AdvSegError, match="5 workers in a row died while starting"):
        run(store)


def test_cancelling_leaves_what_is_done_and_no_worker(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(50, options={"seconds": 0.05, "log": None}))
    pids: list[int] = []
    with pytest.raises(Cancelled):
        run(store, 2, hear=lambda event, **f: pids.append(f["pid"]) if event == "ready" else None,
            cancelled=lambda: count(store) >= 3)  # fmt: skip
    before = count(store)
    assert 3 <= before < 100
    wait_until(lambda: not any(map(is_alive, pids)), "workers to end")
    assert count(store) == before
    assert run(store, 2).committed == 100 - before


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Killer(threading.Thread):
    """Sends ``kills`` SIGKILLs to workers drawn at random, spread over the first part of a run."""

    def __init__(self, store: Store, kills: int, until: int, patience: float = SECONDS) -> None:
        super().__init__(daemon=True)
        self.patience = patience
        self.store, self.left, self.until = store, kills, until
        self.pids: dict[int, int] = {}
        self.hits = 0
        self.draw = random.Random(5)

    def hear(self, event: str, **facts: Any) -> None:
        if event == "ready":
            self.pids[facts["slot"]] = facts["pid"]

    def run(self) -> None:
        marks = sorted(self.draw.sample(range(1, self.until), self.left))
        for mark in marks:
            wait_until(lambda mark=mark: count(self.store) >= mark and self.pids, f"unit {mark}", self.patience)
            time.sleep(self.draw.random() * 0.01)
            slot = self.draw.choice(sorted(self.pids))
            os.kill(self.pids.pop(slot), signal.SIGKILL)
            self.hits += 1


@pytest.mark.slow
def test_2000_units_under_20_kills_are_2000_results(tmp_path: Path) -> None:
    disturbed, quiet = (a_store(tmp_path / name, a_study(1000)) for name in ("disturbed", "quiet"))
    killer = Killer(disturbed, 20, 1900)
    killer.start()
    tally = run(disturbed, 2, hear=killer.hear)
    killer.join(5)
    assert killer.hits == 20
    assert tally.workers_lost == 20
    assert (tally.committed, tally.duplicates, tally.failed) == (2000, 0, 0)
    assert run(quiet, 2).committed == 2000
    assert is_whole(status_of(disturbed, verify=True))
    assert lasting_lines(disturbed) == lasting_lines(quiet)


@pytest.mark.slow
def test_a_run_goes_on_after_kill_9_of_its_driver(tmp_path: Path) -> None:
    log = tmp_path / "log"
    study = a_study(60, options={"seconds": 0.02, "log": str(log)})
    store = a_store(tmp_path / "s", study)
    for mark in (15, 60):
        process = driver(store)
        wait_until(lambda mark=mark: count(store) >= mark, f"{mark} units")
        children = children_of(process.pid)
        process.kill()
        process.communicate()
        wait_until(lambda pids=children: not any(map(is_alive, pids)), "the workers of a dead driver to end")
    before = count(store)
    assert before < 120
    assert run(store, 2).committed == 120 - before
    assert is_whole(status_of(store, verify=True))
    again = Counter(log.read_text().split())
    assert set(again) == {unit.key for unit in store.plan().units()}
    assert sum(again.values()) - 120 <= 2 * 2 * MOST_AHEAD  # what two workers had in hand, two times


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except FileNotFoundError:
            continue
    return found


@pytest.mark.slow
def test_two_drivers_on_one_store_do_not_harm_each_other(tmp_path: Path) -> None:
    shared, alone = (a_store(tmp_path / name, a_study(150)) for name in ("shared", "alone"))
    drivers = [driver(shared) for _ in range(2)]
    for process in drivers:
        out, error = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, error
        assert "failed=0" in out
    run(alone, 2)
    assert is_whole(status_of(shared, verify=True))
    assert lasting_lines(shared) == lasting_lines(alone)
    assert not list((shared.folder / "partial").iterdir())


@pytest.mark.slow
def test_one_driver_dies_and_the_other_finishes(tmp_path: Path) -> None:
    store = a_store(tmp_path / "s", a_study(60, options={"seconds": 0.01, "log": None}))
    first, second = driver(store), driver(store)
    wait_until(lambda: count(store) >= 20, "20 units")
    first.kill()
    first.communicate()
    _, error = second.communicate(timeout=SECONDS)
    assert second.returncode == 0, error
    assert is_whole(status_of(store, verify=True))
