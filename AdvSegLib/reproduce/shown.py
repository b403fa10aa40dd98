"""What the page shows of results: tables as rows of cells, figures as charts or grids of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from AdvSegLib.reports.formats import DASH, fixed, short
from AdvSegLib.reproduce.arms import fill
from AdvSegLib.reproduce.cells import Cell
from AdvSegLib.reproduce.charts import Panel, curve, draw
from AdvSegLib.reproduce.measure import Record
from AdvSegLib.reproduce.pictures import Snapshot, as_uri
from AdvSegLib.reproduce.recipe import FigureSpec, Line
from AdvSegLib.reproduce.results import PaperResults, by_arm, gallery_cases, places, values_of

WORDS = {"paper_iou": "IoU", "iou": "IoU", "dice": "Dice", "dice1": "Dice", "diff": "Diff", "pa": "accuracy"}
"""Parts of a metric's name as a caption has them."""


@dataclass(frozen=True)
class ShownCell:
    """A cell as text: printed, ours, the rest in a sentence; ``heat`` is the harm, 0 to 1, None without colour."""

    printed: str
    ours: str
    difference: str
    star: bool
    detail: str
    missing: str
    heat: float | None = None


@dataclass(frozen=True)
class Shot:
    """A picture of a grid, and what stands below it."""

    title: str
    uri: str
    caption: str
    marked: bool


@dataclass(frozen=True)
class ShownFigure:
    """A figure: charts, or rows of pictures; None is a gap that keeps the columns."""

    number: str
    title: str
    note: str
    panels: tuple[Panel, ...] = ()
    rows: tuple[tuple[str, tuple[Shot | None, ...]], ...] = ()
    missing: tuple[str, ...] = ()


def table_rows(results: PaperResults, name: str) -> list[tuple[str, list[ShownCell]]]:
    """Return a table's rows, each with its cells."""
    spec = results.recipe.tables[name]
    cells = {(cell.row, cell.column): cell for cell in results.tables[name]}
    means = [cell.mean for cell in cells.values() if cell.mean is not None]
    span = (min(means), max(means)) if means and spec.display == "heat" else None
    return [
        (
            row.key,
            [
                _shown(cells[row.key, column.key], _digits(spec, row, column), span, spec.harm)
                for column in spec.columns
            ],
        )
        for row in spec.rows
    ]


def _digits(spec: Any, row: Line, column: Line) -> int:
    return int(column.set.get("digits", row.set.get("digits", spec.digits)))


def _shown(cell: Cell, digits: int, span: tuple[float, float] | None, harm: str) -> ShownCell:
    printed = DASH if cell.published is None else cell.published.text
    ours = DASH if cell.mean is None else fixed(cell.mean, digits)
    if cell.deviation is not None:
        ours += f" ± {fixed(cell.deviation, digits)}"
    difference = (
        "" if cell.difference is None else ("+" if cell.difference > 0 else "") + fixed(cell.difference, digits)
    )
    heat = None
    if span is not None and cell.mean is not None:
        heat = (cell.mean - span[0]) / ((span[1] - span[0]) or 1.0)
        heat = heat if harm == "high" else 1.0 - heat
    return ShownCell(printed, ours, difference, bool(cell.significant), _detail(cell, digits), cell.missing, heat)


def _detail(cell: Cell, digits: int) -> str:
    if cell.mean is None:
        return cell.missing
    parts = [f"n = {cell.count}"]
    if cell.low is not None and cell.high is not None:
        parts.append(f"95 % interval of the mean {fixed(cell.low, digits)} to {fixed(cell.high, digits)}")
    if cell.p is not None:
        parts.append(f"Wilcoxon p = {short(cell.p, 3)}, corrected {short(cell.corrected, 3)}")
    if cell.effect is not None:
        parts.append(f"rank-biserial {fixed(cell.effect, 2)}")
    if cell.dz is not None:
        parts.append(f"dz {fixed(cell.dz, 2)}")
    if cell.published_p is not None:
        parts.append(f"printed p {cell.published_p.text}")
    return "; ".join(parts)


def shown_figure(results: PaperResults, number: str) -> ShownFigure:
    """Return a figure, ready for the page."""
    figure = results.recipe.figures[number]
    if figure.kind == "pictures":
        return _pictures(results, number, figure)
    found = by_arm(results.records)
    panels, missing = [], dict[str, None]()
    for index, panel in enumerate(figure.panels):
        curves = []
        for one in figure.series:
            samples = _samples(results, figure, panel, one, found, missing)
            curves.append(curve(one.key, samples))
        labels = {"x": str(figure.x.get("label", "step")), "y": figure.y}
        if any(item.points for item in curves):
            key = f"{results.recipe.paper}-{number}-{index}"
            panels.append(draw(key, panel.key or figure.title, curves, labels, legend=index == 0))
    return ShownFigure(number, figure.title, figure.note, tuple(panels), missing=tuple(missing))


def _samples(
    results: PaperResults, figure: FigureSpec, panel: Line, one: Line,
    found: Mapping[tuple[str, str], Mapping[int, Record]], missing: dict[str, None],
) -> list[tuple[float, Sequence[float | None]]]:  # fmt: skip
    recipe, scale = results.recipe, results.scale
    if figure.kind == "trace":
        place = places(recipe, scale, figure, panel, one)
        _note_missing(results, place.arm.models, missing)
        return _trace(list(found.get((place.data, place.arm.key), {}).values()), place.metric, figure.scale)
    samples: list[tuple[float, Sequence[float | None]]] = []
    for value in fill(figure.x["values"], recipe.values(scale)):
        place = places(recipe, scale, figure, panel, one, Line("", {figure.x["name"]: value}))
        _note_missing(results, place.arm.models, missing)
        samples.append((float(value), values_of(found, place, results.sets, figure.scale)))
    return samples


def _note_missing(results: PaperResults, roles: Sequence[str], missing: dict[str, None]) -> None:
    missing |= {results.missing[role]: None for role in roles if role in results.missing}


def _trace(records: Sequence[Record], metric: str, scale: float) -> list[tuple[float, Sequence[float | None]]]:
    count = max((len(record.trace) for record in records), default=0)
    samples: list[tuple[float, Sequence[float | None]]] = []
    for step in range(count):
        values = [record.trace[step].get(metric) for record in records if step < len(record.trace)]
        samples.append((float(step), [None if value is None else value * scale for value in values]))
    return samples


def _pictures(results: PaperResults, number: str, figure: FigureSpec) -> ShownFigure:
    found, missing = by_arm(results.records), dict[str, None]()
    rows: list[tuple[str, tuple[Shot | None, ...]]] = []
    for panel in figure.panels:
        shots: list[Shot | None] = []
        noises: list[Shot | None] = []
        for one in figure.series:
            place = places(results.recipe, results.scale, figure, panel, one)
            record = found.get((place.data, place.arm.key), {}).get(figure.case)
            _note_missing(results, place.arm.models, missing)
            if record is None or record.picture is None:
                if record is not None and record.error:
                    missing[record.error] = None
                continue
            caption = _score(record, place.metric, figure.scale)
            noises.append(_noise(one.key, record.picture) if figure.show == "noise" else None)
            shots.append(Shot(one.key, as_uri(record.picture), caption, record.picture.marked))
        if shots:
            rows.append((panel.key, tuple(shots)))
        if any(noises):
            rows.append(("" if panel.key else "noise", tuple(noises)))
    return ShownFigure(number, figure.title, figure.note, rows=tuple(rows), missing=tuple(missing))


def _noise(key: str, picture: Snapshot) -> Shot | None:
    if picture.noise is None:
        return None
    return Shot(f"{key}: noise", as_uri(picture, noise=True, outlines=False), "", True)


def _score(record: Record, metric: str, scale: float) -> str:
    value = record.scores.get(metric)
    first, *parts = metric.split(".")
    first = "own clean prediction:" if first == "truth" and record.against_prediction else WORDS.get(first, first)
    words = " ".join([first, *(WORDS.get(part, part) for part in parts)])
    return f"{words} {DASH if value is None else fixed(value * scale, 1 if scale > 1 else 3)}"


def galleries(results: PaperResults) -> list[ShownFigure]:
    """Return the worst and best case of each gallery."""
    shown = []
    for name in results.wanted.galleries:
        gallery = results.recipe.galleries[name]
        ends = gallery_cases(results, gallery)
        if ends is None:
            continue
        place = places(results.recipe, results.scale, gallery, Line("", gallery.set))
        alone = ends[0] is ends[1]
        titled = [("only case", ends[0])] if alone else list(zip(("lowest", "highest"), ends, strict=True))
        shots = tuple(
            Shot(f"{title}: {record.case}", as_uri(record.picture), _score(record, place.metric, gallery.scale),
                 record.picture.marked)
            for title, record in titled if record.picture is not None
        )  # fmt: skip
        shown.append(ShownFigure(name, gallery.title, "", rows=(("", shots),)))
    return shown
