"""Columns of a table as plot series, and charts of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer

SERIES_COLORS = (
    (0.12, 0.47, 0.71), (0.84, 0.15, 0.16), (0.17, 0.63, 0.17), (1.00, 0.50, 0.05), (0.58, 0.40, 0.74),
    (0.55, 0.34, 0.29), (0.89, 0.47, 0.76), (0.50, 0.50, 0.50), (0.74, 0.74, 0.13), (0.09, 0.75, 0.81),
)  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """What a chart's x axis is: a column of numbers, or one of names (then the series are bars)."""

    column: str
    title: str
    named: bool = False


def addChart(
    scene: Any, table: Any, columns: Sequence[str], axis: Axis, title: str, yTitle: str, *, unit: bool = False
) -> tuple[Any, list[Any]]:
    """Return a chart of columns of a table and its series; ``unit`` fixes the y axis to 0 - 1, as for Dice."""
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", title)
    series = [_series(scene, table, column, axis, index, title) for index, column in enumerate(columns)]
    for node in series:
        chart.AddAndObservePlotSeriesNodeID(node.GetID())
    chart.SetTitle(title)
    chart.SetXAxisTitle(axis.title)
    chart.SetYAxisTitle(yTitle)
    chart.SetLegendVisibility(len(columns) > 1)
    if unit:
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0.0, 1.02)
    return chart, series


def _series(scene: Any, table: Any, column: str, axis: Axis, index: int, title: str) -> Any:
    # A series' name is what the legend shows.
    node = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", column)
    node.SetDescription(title)
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetYColumnName(column)
    kind = slicer.vtkMRMLPlotSeriesNode
    if axis.named:
        node.SetPlotType(kind.PlotTypeBar)
        node.SetLabelColumnName(axis.column)
    else:
        node.SetPlotType(kind.PlotTypeScatter)
        node.SetXColumnName(axis.column)
        node.SetMarkerStyle(kind.MarkerStyleCircle)
        node.SetMarkerSize(6)
        node.SetLineStyle(kind.LineStyleSolid)
        node.SetLineWidth(2)
    node.SetColor(*SERIES_COLORS[index % len(SERIES_COLORS)])
    return node
