"""The files of a reproduction, written whole or not at all: ``report.html``, two CSV files and ``results.json``."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.provenance import now, versions
from AdvSegLib.reproduce.page import verdict_counts, write_page
from AdvSegLib.runs import staged_folder
from AdvSegLib.segmenters.bundle import write_json

if TYPE_CHECKING:
    from AdvSegLib.reproduce.results import PaperResults

SCHEMA = "advseg.reproduction/1"
CELL_COLUMNS = (
    "paper", "scale", "table", "row", "column", "published", "published_mean", "published_deviation", "published_p",
    "n", "mean", "deviation", "low", "high", "difference", "p", "corrected", "effect", "dz", "missing", "metric",
    "arm",
)  # fmt: skip


def write_results(out: Path, papers: Sequence[PaperResults], seconds: float) -> Path:
    """Write the folder ``out``; BadRequest where it already holds something."""
    made = versions()
    footer = f"{now()} · {seconds / 60:.1f} minutes · " + ", ".join(f"{name} {text}" for name, text in made.items())
    with staged_folder(out) as stage:
        write_page(stage / "report.html", papers, footer)
        _write_csv(stage / "cells.csv", CELL_COLUMNS, cell_rows(papers))
        _write_csv(stage / "cases.csv", *_case_rows(papers))
        write_json(stage / "results.json", {
            "schema": SCHEMA, "versions": made, "seconds": round(seconds, 1),
            "papers": [_paper(item) for item in papers],
        })  # fmt: skip
    return out


def cell_rows(papers: Iterable[PaperResults]) -> list[dict[str, Any]]:
    """Return every cell of every table as a row."""
    rows = []
    for results in papers:
        for table, cells in results.tables.items():
            for cell in cells:
                printed = cell.published
                rows.append({
                    "paper": results.recipe.paper, "scale": results.scale, "table": table, **asdict(cell),
                    "n": cell.count, "difference": cell.difference,
                    "published": None if printed is None else printed.text,
                    "published_mean": None if printed is None else printed.mean,
                    "published_deviation": None if printed is None else printed.deviation,
                    "published_p": None if cell.published_p is None else cell.published_p.text,
                })  # fmt: skip
    return rows


def _case_rows(papers: Sequence[PaperResults]) -> tuple[list[str], list[dict[str, Any]]]:
    rows, names = [], dict[str, None]()
    for results in papers:
        for record in results.records:
            names |= dict.fromkeys(record.scores)
            rows.append({
                "paper": results.recipe.paper, "data": record.data, "case": record.case, "arm": record.arm,
                "against_prediction": record.against_prediction, "seconds": round(record.seconds, 3),
                "error": record.error, **record.scores,
            })  # fmt: skip
    first = ["paper", "data", "case", "arm", "against_prediction", "seconds", "error"]
    return [*first, *names], rows


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def _paper(results: PaperResults) -> dict[str, Any]:
    recipe = results.recipe
    return {
        "paper": recipe.paper,
        "citation": results.printed.citation,
        "scale": results.scale,
        "scaled": recipe.scaled[results.scale],
        "readings": list(recipe.readings),
        "models": {role: {"name": name, "missing": results.missing.get(role)} for role, name in results.names.items()},
        "data": {name: {"cases": len(cases), "drawn": cases.drawn} for name, cases in results.sets.items()},
        "claims": [item.to_dict() for item in results.verdicts],
        "verdicts": verdict_counts(results),
        "tables": {name: [_finite(cell.to_dict()) for cell in cells] for name, cells in results.tables.items()},
        "traces": [
            {"data": record.data, "case": record.case, "arm": record.arm, "steps": list(record.trace)}
            for record in results.records if record.trace
        ],
    }  # fmt: skip


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in data.items()
    }
