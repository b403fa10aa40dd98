"""The numbers the papers print, read from data files; a cell that is not at hand is None and never filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from AdvSegLib.errors import BadRequest, unknown_name

VALUES = Path(__file__).parent / "values"
NUMBER = re.compile(
    r"(?P<mean>\d+(?:\.\d+)?(?:e-?\d+)?)(?P<percent>%?)(?: ± (?P<deviation>\d+(?:\.\d+)?)%?)?(?P<star>\*?)"
)


@dataclass(frozen=True)
class Published:
    """A printed cell: its text, and what it says. Percent signs are kept in ``text``, the number is as printed."""

    text: str
    mean: float
    deviation: float | None = None
    starred: bool = False


@dataclass(frozen=True)
class PublishedTable:
    """A printed table: cells by (row, column)."""

    caption: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Published]


@dataclass(frozen=True)
class PublishedPaper:
    """What a paper prints: its tables by number, and sentences that carry numbers or claims."""

    name: str
    citation: str
    tables: Mapping[str, PublishedTable] = field(default_factory=dict)
    statements: tuple[Mapping[str, str], ...] = ()

    def cell(self, table: str, row: str, column: str) -> Published | None:
        """Return a printed cell; None where the paper, or our copy of it, has none."""
        found = self.tables.get(table)
        return None if found is None else found.cells.get((row, column))


def parse_cell(text: str) -> Published | None:
    """Read a cell as printed; None for a dash.

    >>> parse_cell("0.561 ± 0.077*")
    Published(text='0.561 ± 0.077*', mean=0.561, deviation=0.077, starred=True)
    >>> parse_cell("47% ± 18%").mean, parse_cell("6.628e-4").mean, parse_cell("-")
    (47.0, 0.0006628, None)
    """
    if text == "-":
        return None
    match = NUMBER.fullmatch(text)
    if match is None:
        raise BadRequest(f"a printed cell cannot be read: '{text}'")
    deviation = match["deviation"]
    return Published(text, float(match["mean"]), None if deviation is None else float(deviation), bool(match["star"]))


@cache
def published(paper: str) -> PublishedPaper:
    """Return what a paper prints; BadRequest for a paper we have no values of, and a file that is not rectangular."""
    path = VALUES / f"{paper}.yaml"
    if not path.is_file():
        raise unknown_name("paper", paper, [item.stem for item in VALUES.glob("*.yaml")])
    import yaml

    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    tables = {str(number): _table(number, table) for number, table in data["tables"].items()}
    return PublishedPaper(data["paper"], " ".join(data["citation"].split()), tables, tuple(data.get("statements", ())))


def _table(number: Any, data: Mapping[str, Any]) -> PublishedTable:
    columns = tuple(str(column) for column in data["columns"])
    cells = {}
    for row, texts in data["rows"].items():
        if len(texts) != len(columns):
            raise BadRequest(f"table {number}: row '{row}' has {len(texts)} cells, not {len(columns)}")
        for column, text in zip(columns, texts, strict=True):
            cell = parse_cell(str(text))
            if cell is not None:
                cells[str(row), column] = cell
    return PublishedTable(str(data["caption"]), tuple(map(str, data["rows"])), columns, cells)
