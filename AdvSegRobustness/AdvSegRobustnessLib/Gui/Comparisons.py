"""Comparisons in the scene: their tables, and the charts of each."""

from __future__ import annotations

from typing import Any

from ..Roles import ROLE_ATTRIBUTE

COMPARISON = "comparison"


def findComparisons(scene: Any) -> list[Any]:
    """Return the tables of comparisons and sweeps, oldest first."""
    return [table for table in _nodes(scene, "vtkMRMLTableNode") if table.GetAttribute(ROLE_ATTRIBUTE) == COMPARISON]


def chartsOf(scene: Any, table: Any) -> list[Any]:
    """Return the charts whose series are of a table."""
    return [chart for chart in _nodes(scene, "vtkMRMLPlotChartNode") if _plots(chart, table)]


def _plots(chart: Any, table: Any) -> bool:
    series = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    return any(item is not None and item.GetTableNode() is table for item in series)


def _nodes(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
