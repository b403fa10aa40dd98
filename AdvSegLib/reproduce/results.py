"""From a recipe to results: which units its tables and figures need, and what their records add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from AdvSegLib.errors import unknown_name
from AdvSegLib.reproduce.arms import Arm, fill
from AdvSegLib.reproduce.cells import Cell, corrected, summarised
from AdvSegLib.reproduce.claims import Verdict, cells_of, judge
from AdvSegLib.reproduce.data import DataSet
from AdvSegLib.reproduce.measure import Record, Unit
from AdvSegLib.reproduce.published import PublishedPaper
from AdvSegLib.reproduce.recipe import Claim, FigureSpec, GallerySpec, Line, PaperRecipe, TableSpec

GROUPS = {"image.ssim": "ssim", "volume.": "volume", "hd95.": "hd95", "surface.": "surface", "lesion.": "lesion"}
"""Beginning of a metric's name to the group that must be measured for it."""


@dataclass(frozen=True)
class Place:
    """What a cell or a point needs: an arm, a metric of it, and the data set it is measured on."""

    arm: Arm
    metric: str
    data: str

    @property
    def groups(self) -> frozenset[str]:
        """Groups of metrics that cost time and are measured only where wanted."""
        return frozenset(group for start, group in GROUPS.items() if self.metric.startswith(start))


@dataclass
class Wanted:
    """Which tables, figures and galleries are asked for."""

    tables: tuple[str, ...]
    figures: tuple[str, ...]
    galleries: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PaperResults:
    """Everything a report shows of one paper."""

    recipe: PaperRecipe
    printed: PublishedPaper
    scale: str
    sets: Mapping[str, DataSet]
    names: Mapping[str, str]
    missing: Mapping[str, str]
    wanted: Wanted
    records: Sequence[Record]
    tables: Mapping[str, list[Cell]] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()


def asked_for(recipe: PaperRecipe, tables: Sequence[str], figures: Sequence[str]) -> Wanted:
    """Return what is asked for by name; everything where nothing is named. BadRequest for unknown names."""
    for kind, given, known in (("table", tables, recipe.tables), ("figure", figures, recipe.figures)):
        for name in given:
            if name not in known:
                raise unknown_name(f"{kind} of {recipe.paper}:", name, known)
    if not tables and not figures:
        return Wanted(tuple(recipe.tables), tuple(recipe.figures), tuple(recipe.galleries))
    return Wanted(tuple(tables), tuple(figures))


def places(recipe: PaperRecipe, scale: str, spec: Any, *lines: Line) -> Place:
    """Return what one cell, point or picture needs."""
    values = recipe.values(scale, *(line.set for line in lines))
    arm = str(fill(values.get("arm", spec.arm), values))
    metric = str(fill(values.get("metric", spec.metric), values))
    return Place(recipe.arm(arm, scale, values), metric, str(values.get("data", next(iter(recipe.data)))))


def baseline(recipe: PaperRecipe, scale: str, spec: TableSpec, row: Line, column: Line) -> Place | None:
    """Return what a cell is tested against; None where nothing, or where it would be itself."""
    if spec.against is None or recipe.values(scale, row.set, column.set).get("untested"):
        return None
    changed = Line("against", spec.against.get("set", {}))
    place = places(recipe, scale, spec, row, column, changed)
    if "arm" in spec.against:
        values = recipe.values(scale, row.set, column.set, changed.set)
        place = Place(recipe.arm(str(fill(spec.against["arm"], values)), scale, values), place.metric, place.data)
    own = places(recipe, scale, spec, row, column)
    return None if (place.arm.key, place.metric) == (own.arm.key, own.metric) else place


def units_for(
    recipe: PaperRecipe, scale: str, wanted: Wanted, sets: Mapping[str, DataSet], missing: Mapping[str, str]
) -> list[Unit]:
    """Return every unit that what is wanted needs, each once, measured by all the groups anybody wants of it."""
    groups: dict[tuple[str, int, str], set[str]] = {}
    arms: dict[str, Arm] = {}
    pictured: set[tuple[str, int, str]] = set()
    for place, cases, picture in _needs(recipe, scale, wanted, sets):
        if place.data not in sets or any(role in missing for role in place.arm.models):
            continue
        arms[place.arm.key] = place.arm
        for index in cases:
            key = (place.data, index, place.arm.key)
            groups.setdefault(key, set()).update(place.groups)
            if picture:
                pictured.add(key)
    ordered = sorted(groups, key=lambda key: key[:2])
    return [
        Unit(data, index, arms[arm], frozenset(groups[data, index, arm]), (data, index, arm) in pictured)
        for data, index, arm in ordered
    ]


def _needs(
    recipe: PaperRecipe, scale: str, wanted: Wanted, sets: Mapping[str, DataSet]
) -> list[tuple[Place, Sequence[int], bool]]:
    found: list[tuple[Place, Sequence[int], bool]] = []

    def every(place: Place) -> Sequence[int]:
        return range(len(sets[place.data])) if place.data in sets else ()

    for name in wanted.tables:
        spec = recipe.tables[name]
        for row, column in _measured(spec):
            for one in (places(recipe, scale, spec, row, column), baseline(recipe, scale, spec, row, column)):
                if one is not None:
                    found.append((one, every(one), False))
    for name in wanted.figures:
        figure = recipe.figures[name]
        for line in figure_lines(recipe, scale, figure):
            place = places(recipe, scale, figure, *line)
            pictures = figure.kind == "pictures"
            found.append((place, [figure.case] if pictures else every(place), pictures))
    for name in wanted.galleries:
        gallery = recipe.galleries[name]
        place = places(recipe, scale, gallery, Line("", gallery.set))
        found.append((place, every(place), True))
    return found


def _measured(spec: TableSpec) -> list[tuple[Line, Line]]:
    return [(row, column) for row in spec.rows for column in spec.columns if not (row.skip or column.skip)]


def figure_lines(recipe: PaperRecipe, scale: str, figure: FigureSpec) -> list[tuple[Line, ...]]:
    """Return panel, series and point of every measurement a figure shows."""
    points = [Line("")]
    if figure.kind == "curve":
        values = fill(figure.x["values"], recipe.values(scale))
        points = [Line(str(value), {figure.x["name"]: value}) for value in values]
    return [(panel, one, point) for panel in figure.panels for one in figure.series for point in points]


def by_arm(records: Sequence[Record]) -> dict[tuple[str, str], dict[int, Record]]:
    """Return records by data set and arm, then by case."""
    found: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        found.setdefault((record.data, record.arm), {})[record.index] = record
    return found


def values_of(
    found: Mapping[tuple[str, str], Mapping[int, Record]], place: Place, sets: Mapping[str, DataSet], scale: float
) -> list[float | None]:
    """Return a metric by case, in the table's unit; None where a case has none."""
    records = found.get((place.data, place.arm.key), {})
    count = len(sets[place.data]) if place.data in sets else 0
    values = [records[index].scores.get(place.metric) if index in records else None for index in range(count)]
    return [None if value is None else value * scale for value in values]


def table_cells(
    recipe: PaperRecipe, printed: PublishedPaper, scale: str, name: str, records: Sequence[Record],
    sets: Mapping[str, DataSet], missing: Mapping[str, str],
) -> list[Cell]:  # fmt: skip
    """Return the cells of a table, row by row."""
    spec, found = recipe.tables[name], by_arm(records)
    cells = []
    for row in spec.rows:
        for column in spec.columns:
            cells.append(_cell(recipe, printed, scale, name, (row, column), found, sets, missing))
    return corrected(cells)


def _cell(
    recipe: PaperRecipe, printed: PublishedPaper, scale: str, name: str, where: tuple[Line, Line],
    found: Mapping[tuple[str, str], Mapping[int, Record]], sets: Mapping[str, DataSet], missing: Mapping[str, str],
) -> Cell:  # fmt: skip
    (row, column), spec = where, recipe.tables[name]
    theirs = printed.cell(name, row.key, column.key)
    printed_p = printed.cell(name, row.key, spec.p_columns.get(column.key, ""))
    if row.skip or column.skip:
        return Cell(row.key, column.key, "", "", theirs, printed_p, missing="not measured")
    place = places(recipe, scale, spec, row, column)
    cell = Cell(row.key, column.key, place.arm.key, place.metric, theirs, printed_p)
    why = _why_missing(place, sets, missing, found)
    if why:
        return Cell(row.key, column.key, place.arm.key, place.metric, theirs, printed_p, missing=why)
    factor = float(recipe.values(scale, row.set, column.set).get("scale", spec.scale))
    against = baseline(recipe, scale, spec, row, column)
    others = None if against is None else values_of(found, against, sets, factor)
    return summarised(cell, values_of(found, place, sets, factor), others)


def _why_missing(
    place: Place, sets: Mapping[str, DataSet], missing: Mapping[str, str],
    found: Mapping[tuple[str, str], Mapping[int, Record]],
) -> str:  # fmt: skip
    if place.data not in sets:
        return f"no folder was given for the data set '{place.data}'"
    for role in place.arm.models:
        if role in missing:
            return missing[role]
    records = found.get((place.data, place.arm.key), {})
    errors = {record.error for record in records.values() if record.error}
    return sorted(errors)[0] if errors and all(record.error for record in records.values()) else ""


def gather(results: PaperResults) -> PaperResults:
    """Return the results with the tables' cells and the verdicts on the claims."""
    recipe = results.recipe
    tables = {
        name: table_cells(recipe, results.printed, results.scale, name, results.records, results.sets, results.missing)
        for name in results.wanted.tables
    }
    cells = {(name, cell.row, cell.column): cell for name, found in tables.items() for cell in found}
    about = [claim for claim in recipe.claims if _is_about(claim, tables)]
    sizes = _parameter_counts(results) if any(claim.correlates for claim in about) else {}
    return replace(results, tables=tables, verdicts=[judge(claim, cells, sizes) for claim in about])


def _is_about(claim: Claim, tables: Mapping[str, Any]) -> bool:
    if claim.correlates:
        return claim.correlates["table"] in tables
    return any(key[0] in tables for values in claim.each for key in cells_of(claim, values))


def _parameter_counts(results: PaperResults) -> dict[str, int]:
    """Return how many parameters the model of each role has, those that are here."""
    from AdvSegLib.segmenters.catalogue import load_model

    return {
        role: sum(value.numel() for value in load_model(name).network.parameters())
        for role, name in results.names.items() if role not in results.missing
    }  # fmt: skip


def gallery_cases(results: PaperResults, gallery: GallerySpec) -> tuple[Record, Record] | None:
    """Return the records with the smallest and the largest value of a gallery's metric; None where there is none."""
    place = places(results.recipe, results.scale, gallery, Line("", gallery.set))
    records = by_arm(results.records).get((place.data, place.arm.key), {})
    scored = [(record.scores.get(place.metric), record) for record in records.values()]
    present = [(value, record) for value, record in scored if value is not None and record.picture is not None]
    if not present:
        return None
    present.sort(key=lambda item: item[0])
    return present[0][1], present[-1][1]
