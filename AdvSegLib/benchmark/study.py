"""A study: the readable file in which somebody says what a sweep is about. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from AdvSegLib.errors import BadRequest, unknown_name

STUDY_SCHEMA = "advseg.study/1"
CASE_FIELDS = ("source", "path", "options", "relabel", "first", "only", "prefix")
MAX_RETRIES = 100

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """Cases x models x attacks x budgets, as written; every entry is a mapping.

    ``cases`` name a source with its ``path`` and ``options`` (see :func:`AdvSegLib.cases.registry.open_cases`), and
    may take only the ``first`` N, or ``only`` the listed identifiers, named with a ``prefix``. ``models`` have a
    ``name``, and a ``path`` where they are not shipped. ``attacks`` have a ``name`` (by default that of the attack),
    the task's own fields, and may have ``budgets`` of their own. A budget is a fraction of each channel's range, or
    None: the attack's own. ``task`` says what a unit is, ``options`` are the task's. A unit that failed is tried again
    ``retries`` times.
    """

    name: str
    cases: tuple[Entry, ...]
    models: tuple[Entry, ...]
    attacks: tuple[Entry, ...]
    budgets: tuple[float | None, ...] = (None,)
    seed: int = 0
    task: str = "attack"
    options: Entry = field(default_factory=dict)
    retries: int = 3

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Study:
        """Read a study; BadRequest for what is unknown, missing, empty or of the wrong kind."""
        data = dict(data)
        if data.pop("schema", STUDY_SCHEMA) != STUDY_SCHEMA:
            raise BadRequest(f"study: schema must be '{STUDY_SCHEMA}'")
        known = [item.name for item in fields(cls)]
        for name in data:
            if name not in known:
                raise unknown_name("study field", str(name), known)
        for name in ("name", "cases", "models", "attacks"):
            if not data.get(name):
                raise BadRequest(f"study: '{name}' is missing or empty")
        for name in ("name", "task"):
            if not isinstance(data.get(name, ""), str):
                raise BadRequest(f"study: {name} must be text, not {data[name]!r}")
        data["cases"] = _entries(data["cases"], "cases", "source")
        data["models"] = _entries(data["models"], "models", "name")
        data["attacks"] = tuple(_attack(entry) for entry in _entries(data["attacks"], "attacks", "attack"))
        if "budgets" in data:
            data["budgets"] = check_budgets(data["budgets"], "budgets")
        for name, high in (("seed", 2**63 - 1), ("retries", MAX_RETRIES)):
            _check_whole(data.get(name, 0), name, high)
        if not isinstance(data.setdefault("options", {}), Mapping):
            raise BadRequest(f"study: options must be a mapping, not {data['options']!r}")
        return cls(**data)


def load_study(path: Path) -> Study:
    """Read a study from YAML or JSON; BadRequest names file and cause. Relative paths in it start at its folder."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise BadRequest(f"{path}: not readable as YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(data, Mapping):
        raise BadRequest(f"{path}: a study is a mapping with name, cases, models and attacks")
    try:
        study = Study.from_dict(data)
    except BadRequest as error:
        raise BadRequest(f"{path}: {error}") from error
    cases, models = (tuple(_placed(entry, path.parent) for entry in part) for part in (study.cases, study.models))
    attacks = tuple(_surrogate_placed(entry, path.parent) for entry in study.attacks)
    return replace(study, cases=cases, models=models, attacks=attacks)


def _placed(entry: Entry, folder: Path) -> Entry:
    return {**entry, "path": str((folder / str(entry["path"])).resolve())} if "path" in entry else entry


def _surrogate_placed(entry: Entry, folder: Path) -> Entry:
    """Return an attack whose surrogate, where it is a folder seen from the study, is named by its whole path."""
    name = entry.get("surrogate")
    place = folder / name if isinstance(name, str) and name else None
    return entry if place is None or not place.is_dir() else {**entry, "surrogate": str(place.resolve())}


def check_budgets(data: Any, where: str) -> tuple[float | None, ...]:
    """Return budgets as numbers >= 0 or None, each once; BadRequest otherwise."""
    if isinstance(data, str) or not isinstance(data, Sequence) or not data:
        raise BadRequest(f"study: {where} must be a list of numbers (null: the attack's own), not {data!r}")
    for value in data:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value < float("inf")):
            raise BadRequest(f"study: {where}: {value!r} is no budget; give a finite number >= 0 or null")
    budgets = tuple(None if value is None else float(value) for value in data)
    if len(set(budgets)) != len(budgets):
        raise BadRequest(f"study: {where}: {list(data)} names a budget twice")
    return budgets


def _entries(data: Any, where: str, main: str) -> tuple[Entry, ...]:
    """Return a list of mappings that all have ``main``; a bare text stands for ``{main: text}``."""
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise BadRequest(f"study: {where} must be a list, not {data!r}")
    entries = tuple({main: entry} if isinstance(entry, str) else entry for entry in data)
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or not isinstance(entry.get(main), str):
            raise BadRequest(f"study: {where}[{index}] needs '{main}', a text")
        if where == "cases":
            _check_case(entry, f"cases[{index}]")
    return entries


def _check_case(entry: Entry, where: str) -> None:
    for name in entry:
        if name not in CASE_FIELDS:
            raise unknown_name(f"field of {where}", str(name), CASE_FIELDS)
    if "first" in entry:
        _check_whole(entry["first"], f"{where}: first", 2**31, low=1)
    for name, kind in (("options", Mapping), ("relabel", Mapping), ("only", list), ("path", str), ("prefix", str)):
        if name in entry and not isinstance(entry[name], kind):
            raise BadRequest(f"study: {where}: {name} must be a {kind.__name__.lower()}, not {entry[name]!r}")


def _attack(entry: Entry) -> Entry:
    """Return an attack with a name and checked budgets of its own, if any."""
    own = {"budgets": check_budgets(entry["budgets"], "budgets of an attack")} if "budgets" in entry else {}
    return {"name": entry["attack"], **entry, **own}


def _check_whole(value: Any, what: str, high: int, low: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadRequest(f"study: {what} must be a whole number of {low} to {high}, not {value!r}")
