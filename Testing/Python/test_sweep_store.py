"""The store: once means once, whole means whole, and what goes wrong is said."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fixtures_sweeps import a_store, a_study
from hypothesis import given, settings
from hypothesis import strategies as st

from AdvSegLib.benchmark import Damaged, Record, Store
from AdvSegLib.benchmark.records import decode
from AdvSegLib.benchmark.status import status_of
from AdvSegLib.errors import AdvSegError

HERE = Path(__file__).parent


def a_record(store: Store, number: int = 0, **run: object) -> Record:
    unit = list(store.plan().units())[number]
    return Record.of(unit, {"dice": {"mean": 0.1 + number}}, {"attempts": 1, **run})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return a_store(tmp_path / "store")


def test_a_record_comes_back_as_it_went(store: Store) -> None:
    record = a_record(store)
    assert store.read(record.key) is None
    assert store.commit(record)
    assert store.read(record.key) == record
    assert store.keys() == {bytes.fromhex(record.key)}
    assert not list((store.folder / "partial").iterdir())


def test_a_record_is_committed_once(store: Store) -> None:
    record = a_record(store, host="first")
    assert store.commit(record)
    assert not store.commit(a_record(store, host="second"))
    assert store.read(record.key) == record


def test_of_many_who_commit_at_once_one_does(store: Store) -> None:
    records = [a_record(store, host=str(number)) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(store.commit, records))
    assert sum(won) == 1
    assert store.read(records[0].key) == records[won.index(True)]


def test_a_file_system_without_hard_links_will_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    record = a_record(store)
    assert store.commit(record)
    assert not store.commit(a_record(store, host="second"))
    assert store.read(record.key) == record


def test_a_record_outranks_failures(store: Store) -> None:
    record = a_record(store)
    store.fail(record.key, record.names, 2, False, "because", {})
    assert store.failure(record.key)["attempts"] == 2  # type: ignore[index]
    store.commit(record)
    assert store.failure(record.key) is None
    assert not list((store.folder / "failures").glob("*/*"))


@settings(max_examples=200)
@given(cut=st.integers(0, 400), noise=st.binary(max_size=8), place=st.integers(0, 400))
def test_any_damage_to_a_result_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes, place: int
) -> None:
    record = a_record(a_store(tmp_path_factory.mktemp("s") / "s"))
    whole = record.encode()
    first = whole.index(b"\n")
    for damaged in (whole[: min(cut, len(whole) - 1)], whole[:place] + noise + whole[place + len(noise) :]):
        try:
            found = decode(damaged, record.key, "here")
        except Damaged:
            continue
        assert damaged[:first] == whole[:first]  # nothing of the result was touched
        assert found.result == record.result


def test_a_record_in_another_ones_place_is_noticed(store: Store) -> None:
    first, second = a_record(store, 0), a_record(store, 1)
    store.commit(first)
    there = store._path("records", second.key)
    there.parent.mkdir(exist_ok=True)
    there.write_bytes(store._path("records", first.key).read_bytes())
    with pytest.raises(Damaged, match="another unit"):
        store.read(second.key)
    assert len(status_of(store, verify=True).damaged) == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"[", b"\xff\x00", b'{"schema": "advseg.failure/1"}', b"3"])
def test_a_damaged_failure_is_noticed(store: Store, data: bytes) -> None:
    record = a_record(store)
    store.fail(record.key, record.names, 1, False, "because", {})
    store._path("failures", record.key).write_bytes(data)
    with pytest.raises(Damaged, match=r"\.json"):
        store.failure(record.key)


def test_leftovers_of_the_killed_are_removed_and_those_of_the_living_are_not(store: Store) -> None:
    store.prepare()
    for name, age in (("old", 10**6), ("new", 10)):
        path = store.folder / "partial" / name
        path.write_text("half")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    store.prepare()
    assert [path.name for path in (store.folder / "partial").iterdir()] == ["new"]


def run_command(store: Store, **options: object) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from fixtures_sweeps import *; from AdvSegLib.benchmark import *; "
        "from AdvSegLib.benchmark.pool import Pool; s = Store(sys.argv[1]); run_plan(s, Pool(setup_of(s.plan()), 1))"
    )
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return subprocess.run(
        [sys.executable, "-c", code, str(store.folder)], capture_output=True, text=True, cwd=HERE,
        env={**os.environ, "PYTHONPATH": path}, **options,
    )  # type: ignore[call-overload, no-any-return]  # fmt: skip


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def goes_on(store: Store) -> None:
    """Assert that the store holds no half-written file, and that another run completes it."""
    for path in (store.folder / "records").glob("*/*"):
        assert store.read(path.stem) is not None
    done = run_command(store)
    assert done.returncode == 0, done.stderr
    assert status_of(store, verify=True).done == len(store.plan())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 kB: real, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_stops_a_run_with_all_that_was_committed(small_disk: Path) -> None:
    store = a_store(small_disk / "store", a_study(40))
    done = run_command(store)
    assert done.returncode == 1
    assert "No space left" in last_line(done), done.stderr
    committed = status_of(store, verify=True)
    assert 0 < committed.done < committed.units
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    goes_on(store)


def test_a_write_that_is_cut_short_leaves_no_record(tmp_path: Path) -> None:
    """A limit of file size stands in for a disk that fills within one write."""
    store = a_store(tmp_path / "store")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = run_command(store, preexec_fn=limit)
    assert done.returncode == 1
    assert "cannot write" in last_line(done), done.stderr
    assert not list((store.folder / "partial").iterdir())
    assert status_of(store).done == 0
    goes_on(store)


@contextmanager
def read_only(folder: Path) -> Iterator[str]:
    """Make a folder read-only, and give what the system says of it; to root only a mount is read-only."""
    if os.getuid() == 0:
        mounts = (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)])
        if any(subprocess.run(["mount", *options], capture_output=True).returncode for options in mounts):
            pytest.skip("root, and mounting is not permitted here")
        yield "Read-only file system"
        subprocess.run(["umount", folder], check=True)
        return
    parts = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in parts:
        path.chmod(0o555)
    yield "Permission denied"
    for path in parts:
        path.chmod(0o755)


def test_a_read_only_store_is_said_before_anything_is_computed(store: Store) -> None:
    store.commit(a_record(store))
    with read_only(store.folder) as reason:
        done = run_command(store)
        assert done.returncode == 1
        assert f"cannot write ({reason})" in last_line(done), done.stderr
        assert status_of(store, verify=True).done == 1
    goes_on(store)


def test_results_that_are_not_json_are_failures_not_records(store: Store) -> None:
    record = a_record(store)
    with pytest.raises(AdvSegError, match="not JSON"):
        store.commit(Record(record.key, record.names, 0, {"psnr": float("inf")}))
    assert not store.has(record.key)
