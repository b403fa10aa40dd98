"""Numbers as table nodes: a run's overlap by structure, and its history by iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import vtk

DICE = 4
"""Decimals of scores; the full numbers are in the run folder."""
MILLILITRES = 3
DIGITS = 6
"""Significant digits of history's numbers."""
HISTORY_TITLES = {
    "step": "iteration", "loss": "loss", "dice": "Dice", "iou": "IoU", "linf": "L-inf (share of range)",
    "l2": "L2 (of range)", "psnr": "PSNR (dB)",
}  # fmt: skip
"""Titles of the history's columns; ASCII, because VTK's charts drop other letters."""


def addTable(scene: Any, name: str, columns: Mapping[str, Sequence[Any]]) -> Any:
    """Return a new table node; a column of texts becomes strings, one of numbers float64 with NaN for None."""
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetUseFirstColumnAsRowHeader(False)
    node.SetLocked(True)
    modified = node.StartModify()
    for title, cells in columns.items():
        node.AddColumn(_column(title, cells))
        node.SetColumnTitle(title, title)
    node.EndModify(modified)
    return node


def addMetricsTable(scene: Any, metrics: Mapping[str, Any], name: str) -> Any:
    """Return a run's table: a row a structure, a region, and the mean over structures.

    Columns ``structure``, ``clean Dice``, ``attacked Dice`` (against the truth), ``agreement`` (attacked with clean
    prediction), ``target Dice``, ``HD95 (mm)``, ``ml clean``, ``ml attacked``; one without any number is left out.
    """
    return addTable(scene, name, metricsColumns(metrics))


def metricsColumns(metrics: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the columns of :func:`addMetricsTable`."""
    agreement = metrics["agreement"]
    names = [name for name in agreement["dice"] if name != "mean"] + list(agreement.get("dice_regions", {})) + ["mean"]
    volumes = metrics["volumes_ml"]
    columns: dict[str, list[Any]] = {
        "clean Dice": [_score(metrics["clean"], "dice", name) for name in names],
        "attacked Dice": [_score(metrics["adversarial"], "dice", name) for name in names],
        "agreement": [_score(agreement, "dice", name) for name in names],
        "target Dice": [_score(metrics["target"], "dice", name) for name in names],
        "HD95 (mm)": [_score(metrics["adversarial"] or agreement, "hd95", name) for name in names],
        "ml clean": [_rounded(volumes["clean"].get(name), MILLILITRES) for name in names],
        "ml attacked": [_rounded(volumes["adversarial"].get(name), MILLILITRES) for name in names],
    }
    filled = {title: cells for title, cells in columns.items() if any(cell is not None for cell in cells)}
    return {"structure": names, **filled}


def addHistoryTable(scene: Any, rows: Sequence[Mapping[str, float]], name: str) -> Any:
    """Return the table of a run's iterations; the last row was measured on the saved image."""
    return addTable(scene, name, {title: [_short(row[key]) for row in rows] for key, title in HISTORY_TITLES.items()})


def columnOf(tableNode: Any, title: str) -> list[Any]:
    """Return a column's cells, top to bottom."""
    column = tableNode.GetTable().GetColumnByName(title)
    return [column.GetValue(row) for row in range(column.GetNumberOfValues())]


def _column(title: str, cells: Sequence[Any]) -> Any:
    text = any(isinstance(cell, str) for cell in cells)
    column = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
    column.SetName(title)
    column.SetNumberOfValues(len(cells))
    for row, cell in enumerate(cells):
        column.SetValue(row, str(cell) if text else math.nan if cell is None else float(cell))
    return column


def _score(overlap: Mapping[str, Any] | None, kind: str, name: str) -> float | None:
    if overlap is None:
        return None
    scores = {**overlap.get(kind, {}), **overlap.get(f"{kind}_regions", {})}
    return _rounded(scores.get(name), DICE)


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(value, decimals)


def _short(value: float) -> float:
    return float(np.format_float_positional(value, DIGITS, fractional=False)) if math.isfinite(value) else math.nan
