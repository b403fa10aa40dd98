"""A paper's recipe: its data, models, settings, tables, figures, claims and our readings of what it leaves open.

YAML, read by an allow-list of fields. Settings come in four scales: ``paper`` (on a folder of data), ``phantom``
(without data), ``quick`` (few phantoms) and ``quick-data`` (few cases of a folder); each says in words how it was
scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.reproduce.arms import Arm, fill

RECIPES = Path(__file__).parent / "recipes"
SCALES = ("paper", "phantom", "quick", "quick-data")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Line:
    """A row or column of a table, a series or panel of a figure: its name, and the values it sets."""

    key: str
    set: Mapping[str, Any] = field(default_factory=dict)
    skip: bool = False
    """A row whose cells stand for nothing we can measure."""


@dataclass(frozen=True)
class TableSpec:
    """A table: every cell is the mean over cases of a metric under an arm, both filled in from row and column.

    ``against`` says what each cell is tested against: another ``arm``, or the same with other values (``set``).
    ``p_columns`` maps a column to the printed table's column of its p values. ``display`` is ``table`` or ``heat``,
    which colours harm: ``low`` or ``high`` values.
    """

    title: str
    arm: str
    metric: str
    rows: tuple[Line, ...]
    columns: tuple[Line, ...]
    scale: float = 1.0
    digits: int = 3
    unit: str = ""
    against: Mapping[str, Any] | None = None
    p_columns: Mapping[str, str] = field(default_factory=dict)
    display: str = "table"
    note: str = ""
    harm: str = "low"


@dataclass(frozen=True)
class FigureSpec:
    """A figure: ``curve`` (a metric over values of ``x``), ``trace`` (over the steps of a walk) or ``pictures``."""

    title: str
    kind: str
    arm: str
    metric: str = ""
    x: Mapping[str, Any] = field(default_factory=dict)
    series: tuple[Line, ...] = (Line(""),)
    panels: tuple[Line, ...] = (Line(""),)
    scale: float = 1.0
    y: str = ""
    case: int = 0
    note: str = ""
    show: str = "prediction"


@dataclass(frozen=True)
class GallerySpec:
    """The worst and the best case of an arm by a metric."""

    title: str
    arm: str
    metric: str
    set: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0


@dataclass(frozen=True)
class Claim:
    """A claim of the paper as relations between cells, written ``table | row | column``.

    ``order`` lists cells from the largest to the smallest mean; ``least`` and ``most`` bound one ``cell``; ``near``
    says that two cells differ by at most ``within``; ``for`` repeats the claim over values. ``correlates`` (``table``,
    ``column`` and ``rows``, row to model role) says that the cells' means correlate with the models' parameter counts
    by at most ``most`` in size.
    """

    text: str
    where: str
    order: tuple[str, ...] = ()
    cell: str = ""
    least: float | None = None
    most: float | None = None
    near: tuple[str, ...] = ()
    within: float = 0.0
    correlates: Mapping[str, Any] = field(default_factory=dict)
    each: tuple[Mapping[str, Any], ...] = ({},)


@dataclass(frozen=True)
class ModelRole:
    """A model the recipe needs: what it is called here, what the paper used, how to get it."""

    name: str
    paper: str = ""
    train: str = ""


@dataclass(frozen=True)
class PaperRecipe:
    """Everything that reproduces one paper."""

    paper: str
    title: str
    source: str
    data: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Mapping[str, Any]]
    scaled: Mapping[str, str]
    models: Mapping[str, ModelRole]
    readings: tuple[str, ...]
    arms: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, TableSpec]
    figures: Mapping[str, FigureSpec] = field(default_factory=dict)
    galleries: Mapping[str, GallerySpec] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    clinical: tuple[str, ...] = ()
    unit: float | None = None
    not_available: str = ""

    def arm(self, name: str, scale: str, *values: Mapping[str, Any]) -> Arm:
        """Return an arm, filled from the scale's settings and ``values``, later ones first."""
        if name not in self.arms:
            raise unknown_name("arm", name, self.arms)
        return Arm.from_template(self.arms[name], self.values(scale, *values))

    def values(self, scale: str, *values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a scale with ``values`` laid over."""
        merged: dict[str, Any] = dict(self.settings.get(scale, {}))
        for more in values:
            merged |= dict(more)
        return merged

    def metric(self, template: str, scale: str, *values: Mapping[str, Any]) -> str:
        """Return a metric's name, filled in."""
        return str(fill(template, self.values(scale, *values)))


def recipe_names() -> tuple[str, ...]:
    """Return the papers there are recipes of."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


@cache
def load_paper(name: str) -> PaperRecipe:
    """Return the recipe of a paper; BadRequest for an unknown one and for a recipe that is malformed."""
    import yaml

    path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name("paper", name, recipe_names())
    try:
        return read_paper(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (BadRequest, yaml.YAMLError) as error:
        raise BadRequest(f"{path.name}: {' '.join(str(error).split())}") from error


def read_paper(data: Mapping[str, Any]) -> PaperRecipe:
    """Read a recipe from plain data."""
    parts = dict(data)
    parts["models"] = {role: _read(ModelRole, item, f"model {role}") for role, item in data["models"].items()}
    parts["tables"] = {str(key): _table(item, f"table {key}") for key, item in data["tables"].items()}
    parts["figures"] = {str(key): _figure(item, f"figure {key}") for key, item in data.get("figures", {}).items()}
    parts["galleries"] = {
        str(key): _read(GallerySpec, item, f"gallery {key}") for key, item in data.get("galleries", {}).items()
    }
    parts["claims"] = tuple(_claim(item) for item in data.get("claims", ()))
    for name in ("readings", "clinical"):
        parts[name] = tuple(data.get(name, ()))
    recipe = _read(PaperRecipe, parts, "recipe")
    for scale in SCALES:
        if scale not in recipe.settings or scale not in recipe.scaled:
            raise BadRequest(f"the scale '{scale}' lacks its settings, or the words that say how it was scaled")
    return recipe


def _table(data: Mapping[str, Any], where: str) -> TableSpec:
    found = {name: lines(data.get(name, ()), where) for name in ("rows", "columns")}
    return _read(TableSpec, {**data, **found}, where)


def _figure(data: Mapping[str, Any], where: str) -> FigureSpec:
    found = {name: lines(data[name], where) for name in ("series", "panels") if name in data}
    return _read(FigureSpec, {**data, **found}, where)


def _claim(data: Mapping[str, Any]) -> Claim:
    parts = {key: value for key, value in data.items() if key != "for"}
    for name in ("order", "near"):
        if name in parts:
            parts[name] = tuple(parts[name])
    repeats = data.get("for", {})
    parts["each"] = tuple(dict(zip(repeats, found, strict=True)) for found in product(*repeats.values()))
    return _read(Claim, parts, f"claim '{str(data.get('text', ''))[:40]}'")


def lines(data: Any, where: str) -> tuple[Line, ...]:
    """Read rows or columns: a list of lines, or ``{each: [...], of: [...]}``, every one of the first with the second.

    >>> [line.key for line in lines({"each": [{"key": "a"}], "of": [{"key": "b"}, {"key": "c"}]}, "x")]
    ['a / b', 'a / c']
    """
    if isinstance(data, Mapping):
        outer, inner = lines(data["each"], where), lines(data["of"], where)
        return tuple(
            Line(f"{one.key} / {other.key}", {**one.set, **other.set}, one.skip or other.skip)
            for one, other in product(outer, inner)
        )
    if not isinstance(data, Sequence):
        raise BadRequest(f"{where}: rows and columns are lists, not {type(data).__name__}")
    return tuple(_read(Line, {**item, "key": str(item["key"])}, where) for item in data)


def _read(kind: type[Read], data: Mapping[str, Any], where: str) -> Read:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            raise unknown_name(f"field of {where}:", name, known)
    try:
        return kind(**data)
    except TypeError as error:
        raise BadRequest(f"{where}: {error}") from error
