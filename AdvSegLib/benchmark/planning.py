"""From a study to a plan: cases listed and pinned by content, models pinned, attacks checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from AdvSegLib.benchmark.plan import AttackRef, CaseRef, ModelRef, Plan
from AdvSegLib.benchmark.study import Study
from AdvSegLib.benchmark.tasks import Task, load_task
from AdvSegLib.errors import AdvSegError, BadRequest

Hear = Callable[[int, int], None]
Listed = tuple[int, str]


def make_plan(study: Study, *, workers: int = 1, trust: bool = False, hear: Hear = lambda done, of: None) -> Plan:
    """Return the plan of a study; every case is read or drawn once, by ``workers`` processes, to hash its content.

    ``hear(done, of)`` is told of every case. Raises BadRequest for what cannot be found, or not be attacked so.
    """
    task = load_task(study.task, trust)(study.options, study.cases)
    attacks = tuple(_attack(task, entry, study.budgets) for entry in study.attacks)
    places = [(str(entry["name"]), task.place_model(entry)) for entry in study.models]
    models = tuple(ModelRef(name, where, task.hash_model(where)) for name, where in places)
    listed = [(index, name) for index, entry in enumerate(study.cases) for name in _chosen(task, index, entry)]
    cases = []
    with _hasher(study, task, min(workers, len(listed)), trust) as hashes:
        for (source, identifier), sha256 in zip(listed, hashes(listed), strict=True):
            prefix = str(study.cases[source].get("prefix", ""))
            cases.append(CaseRef(source, identifier, prefix + identifier, sha256))
            hear(len(cases), len(listed))
    return Plan(
        study.name, study.task, task.schema, study.seed, study.retries, task.options,
        tuple(dict(entry) for entry in study.cases), tuple(cases), models, attacks,
    )  # fmt: skip


def _attack(task: Task, entry: Mapping[str, Any], budgets: tuple[float | None, ...]) -> AttackRef:
    try:
        request = task.check_attack(entry)
        asked = tuple(task.check_budget(request, budget) for budget in entry.get("budgets", budgets))
    except BadRequest as error:
        raise BadRequest(f"study: attack '{entry['name']}': {error}") from error
    return AttackRef(str(entry["name"]), request, asked)


def _chosen(task: Task, source: int, entry: Mapping[str, Any]) -> list[str]:
    """Return the identifiers of a source's cases that the study takes."""
    found = task.list_cases(source)
    if "only" in entry:
        missing = [name for name in entry["only"] if name not in found]
        if missing:
            raise BadRequest(f"study: cases[{source}] has no case '{missing[0]}' ({len(found)} others)")
        found = [name for name in found if name in entry["only"]]
    found = found[: entry.get("first", len(found))]
    if not found:
        raise BadRequest(f"study: cases[{source}] gives no case")
    return found


@contextmanager
def _hasher(study: Study, task: Task, workers: int, trust: bool) -> Iterator[Callable[[list[Listed]], Iterator[str]]]:
    """Give what hashes cases in order: in this process, or in several."""
    if workers <= 1:
        yield lambda listed: (task.hash_case(*case) for case in listed)
        return
    options = (study.task, trust, dict(study.options), tuple(dict(entry) for entry in study.cases))
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, options) as pool:
        try:
            yield lambda listed: pool.map(_hash, listed)
        except BrokenExecutor as error:
            raise AdvSegError(f"a process that hashes cases was killed ({error}); fewer --workers?") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_TASK: list[Task] = []


def _start(name: str, trust: bool, options: Mapping[str, Any], sources: tuple[Mapping[str, Any], ...]) -> None:
    _TASK[:] = [load_task(name, trust)(options, sources)]


def _hash(case: Listed) -> str:
    return _TASK[0].hash_case(*case)
