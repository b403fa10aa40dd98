"""Where the panel's run folders lie until they are exported: a temporary folder that ends with the panel."""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path
from typing import Any

from AdvSegLib.errors import BadRequest


class RunFolders:
    """New folders, and which run lies in which."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._count = 0
        self._kept: dict[str, Path] = {}

    def new(self) -> Path:
        """Return a folder that does not exist yet."""
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="advseg-runs-"))
        self._count += 1
        return self._root / f"run-{self._count}"

    def keep(self, runId: str, folder: Path) -> None:
        """Remember where a run lies."""
        self._kept[runId] = folder

    def find(self, runId: str) -> Path | None:
        """Return a run's folder, None where it is of another session."""
        folder = self._kept.get(runId)
        return folder if folder is not None and folder.is_dir() else None

    def drop(self, runId: str) -> None:
        """Delete a run's folder."""
        folder = self._kept.pop(runId, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete them all."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        self._root, self._kept = None, {}


def copyFolder(source: Path, parent: Path, name: str) -> Path:
    """Copy a folder to a new one below ``parent``, whole or not at all, and return it."""
    if not parent.is_dir():
        raise BadRequest(f"{parent}: no such folder; choose one that exists")
    safe = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in name).strip(" .") or "run"
    target = next(path for path in _names(parent, safe) if not path.exists())
    staged = Path(tempfile.mkdtemp(prefix=".advseg-", dir=parent))
    try:
        shutil.copytree(source, staged / "run")
        (staged / "run").rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def writeTable(table: Any, path: Path) -> None:
    """Write a table node as CSV, titles first."""
    columns = range(table.GetNumberOfColumns())
    rows = [[table.GetColumnName(column) for column in columns]]
    rows += [[table.GetCellText(row, column) for column in columns] for row in range(table.GetNumberOfRows())]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _names(parent: Path, name: str) -> Any:
    yield parent / name
    for number in range(2, 10_000):
        yield parent / f"{name} ({number})"
