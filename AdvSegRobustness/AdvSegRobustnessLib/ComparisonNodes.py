"""Several runs side by side: the same attack on several models, or a sweep of budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AdvSegLib.errors import BadRequest
from AdvSegRobustnessLib.PlotNodes import Axis, addChart
from AdvSegRobustnessLib.Roles import ROLE_ATTRIBUTE
from AdvSegRobustnessLib.RunFolder import readMetrics
from AdvSegRobustnessLib.SceneChange import addFolder, putInFolder, wholeOrNothing
from AdvSegRobustnessLib.TableNodes import DICE, addTable

AXES = ("model", "epsilon")
EPSILONS = {"linf": "epsilon (% of range)", "l2": "epsilon (L2, of range)"}
"""Title of the budget's column, by norm."""
SCORES = {"clean Dice": "clean", "attacked Dice": "adversarial", "agreement": "agreement", "target Dice": "target"}
"""Column of each mean Dice, and where ``metrics.json`` has it."""


def addComparison(
    scene: Any, runs: Sequence[tuple[str, Path]], title: str, axis: str = "model"
) -> tuple[Any, list[Any]]:
    """Return a table (one row a run) and charts, in a folder ``title`` of the subject hierarchy.

    ``axis="model"``: rows as given, Dice as bars by model. ``axis="epsilon"``: rows by growing budget, Dice and PSNR
    against epsilon; all runs then have one norm. The second chart shows Dice by structure: against the truth where
    all runs had one, else agreement with each model's clean prediction.

    Raises BadRequest, and adds nothing, for another axis, no run, two of one label, or a damaged folder.
    """
    if axis not in AXES:
        raise BadRequest(f"unknown axis '{axis}'; known: {', '.join(AXES)}")
    labels = [label for label, _ in runs]
    if not runs or len(set(labels)) != len(labels):
        raise BadRequest(f"a comparison needs runs of distinct labels, not {labels}")
    found = [(label, readMetrics(Path(folder))) for label, folder in runs]
    if axis == "epsilon":
        if _norm(found) is None:
            raise BadRequest("runs of different norms have no common axis of epsilon")
        found = sorted(found, key=lambda run: _budget(run[1]))
    with wholeOrNothing(scene):
        return _add(scene, found, title, axis)


def _add(scene: Any, runs: list[tuple[str, dict[str, Any]]], title: str, axis: str) -> tuple[Any, list[Any]]:
    columns, structures = _columns(runs, axis)
    table = addTable(scene, f"comparison ({title})", columns)
    epsilon = EPSILONS[_norm(runs) or "linf"]
    x = Axis(epsilon, epsilon) if axis == "epsilon" else Axis(axis, axis, named=True)
    means = [name for name in SCORES if name in columns]
    against = "epsilon" if axis == "epsilon" else "model"
    plans = [
        (means, f"Dice against {against} ({title})", "mean Dice", True),
        (structures, f"Dice of structures against {against} ({title})", _kind(runs)[0], True),
        (
            [name for name in ("PSNR (dB)",) if name in columns],
            f"PSNR against {against} ({title})",
            "PSNR (dB)",
            False,
        ),
    ]
    charts, series = [], []
    for names, chartTitle, yTitle, unit in plans:
        if names:
            chart, more = addChart(scene, table, names, x, chartTitle, yTitle, unit=unit)
            charts.append(chart)
            series.extend(more)
    for role, nodes in (("comparison", [table]), ("comparison-chart", charts), ("comparison-series", series)):
        for node in nodes:
            node.SetAttribute(ROLE_ATTRIBUTE, role)
    putInFolder(scene, addFolder(scene, title), [table, *charts, *series])
    return table, charts


def _columns(runs: list[tuple[str, dict[str, Any]]], axis: str) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the table's columns, those without a number left out, and the titles of the columns of structures."""
    first = {"run" if axis == "epsilon" else axis: [label for label, _ in runs]}
    if norm := _norm(runs):
        first[EPSILONS[norm]] = [_budget(metrics) for _, metrics in runs]
    numbers = {title: [_mean(metrics[key]) for _, metrics in runs] for title, key in SCORES.items()}
    numbers["PSNR (dB)"] = [_rounded(metrics["image"]["psnr"], 2) for _, metrics in runs]
    numbers["L-inf (% of range)"] = [_rounded(metrics["image"]["linf_percent"], 3) for _, metrics in runs]
    _, key = _kind(runs)
    names = dict.fromkeys(name for _, metrics in runs for name in metrics[key]["dice"] if name != "mean")
    structures = {
        f"{name} Dice" if name in (*first, *numbers) else name: [
            _rounded(metrics[key]["dice"].get(name), DICE) for _, metrics in runs
        ]
        for name in names
    }
    filled = {
        title: cells for title, cells in {**numbers, **structures}.items() if any(cell is not None for cell in cells)
    }
    return {**first, **filled}, [name for name in structures if name in filled]


def _kind(runs: list[tuple[str, dict[str, Any]]]) -> tuple[str, str]:
    """Return what the structures' scores are called, and where ``metrics.json`` has them."""
    if all(metrics["adversarial"] for _, metrics in runs):
        return "attacked Dice", "adversarial"
    return "agreement", "agreement"


def _norm(runs: list[tuple[str, dict[str, Any]]]) -> str | None:
    """Return the norm of all runs' budgets; None where they differ."""
    norms = {metrics["budget"]["norm"] for _, metrics in runs}
    return norms.pop() if len(norms) == 1 and norms <= set(EPSILONS) else None


def _budget(metrics: Mapping[str, Any]) -> float:
    """Return the budget asked, as its column's title says: in L-inf percent of the range."""
    asked = float(metrics["budget"]["asked"]["epsilon"])
    return round(100 * asked if metrics["budget"]["norm"] == "linf" else asked, 6)


def _mean(overlap: Mapping[str, Any] | None) -> float | None:
    return None if overlap is None else _rounded(overlap["dice"]["mean"], DICE)


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(value, decimals)
