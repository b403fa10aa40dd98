"""Curves of a metric over a budget or over steps, as inline SVG, means with bootstrap intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from AdvSegLib.metrics.statistics import bootstrap_interval
from AdvSegLib.reports.charts import INK, LINE, MUTED, STYLE, inline

COLOURS = ("#2b7bba", "#d1601f", "#3f9b57", "#9161c2", "#c2447f", "#8a7a2f", "#5f6b7a", "#1ea0a8")
"""Series colours that read on light and dark pages."""


@dataclass(frozen=True)
class Curve:
    """A series: x, mean, lower and upper end of the interval of the mean."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One chart of a figure."""

    title: str
    svg: Markup
    alt: str


def curve(name: str, samples: Sequence[tuple[float, Sequence[float | None]]]) -> Curve:
    """Return a series from the values by case at each x; points without a value are left out."""
    points = []
    for x, values in samples:
        present = [value for value in values if value is not None]
        if not present:
            continue
        average = sum(present) / len(present)
        low, high = bootstrap_interval(present, resamples=1000) or (average, average)
        points.append((float(x), average, low, high))
    return Curve(name, tuple(points))


def draw(key: str, title: str, curves: Sequence[Curve], labels: Mapping[str, str], *, legend: bool) -> Panel:
    """Return one chart; ``key`` keeps its SVG names apart from another's, ``labels`` are those of x and y."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = [item for item in curves if item.points]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(4.6, 3.0), layout="constrained")
        axes = figure.subplots()
        for index, item in enumerate(shown):
            _plot(axes, item, COLOURS[index % len(COLOURS)])
        _dress(axes, labels)
        _scale(axes, shown, steps=labels.get("x") == "step")
        if legend and len(shown) > 1:
            axes.legend(frameon=False, labelcolor=INK, fontsize=7.5)
        stream = io.StringIO()
        hidden = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=hidden)
    return Panel(title, inline(stream.getvalue(), key), _in_words(title, shown))


def _plot(axes: Any, item: Curve, colour: str) -> None:
    x, mean, low, high = zip(*item.points, strict=True)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, mean, color=colour, linewidth=1.5, marker="o", markersize=3, label=item.name)


def _dress(axes: Any, labels: Mapping[str, str]) -> None:
    axes.set_xlabel(labels.get("x", ""), color=MUTED)
    axes.set_ylabel(labels.get("y", ""), color=MUTED)
    axes.tick_params(colors=MUTED, length=0, pad=4)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(y=0.12)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)


def _scale(axes: Any, curves: Sequence[Curve], *, steps: bool) -> None:
    """Begin at zero where margins would go below it; count steps in whole numbers."""
    lows = [low for item in curves for _, _, low, _ in item.points]
    bottom, top = axes.get_ylim()
    if lows and min(lows) >= 0 > bottom:
        highest = max(high for item in curves for *_, high in item.points)
        top = top if highest > 0 else 1.0
        axes.set_ylim(-0.03 * top, top)
    if steps:
        axes.xaxis.get_major_locator().set_params(integer=True)


def _in_words(title: str, curves: Sequence[Curve]) -> str:
    parts = [
        f"{item.name or 'mean'} from {item.points[0][1]:.3g} at {item.points[0][0]:g} to {item.points[-1][1]:.3g} at "
        f"{item.points[-1][0]:g}"
        for item in curves
    ]
    return f"{title}: " + "; ".join(parts)
