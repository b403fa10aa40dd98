"""Charts of an audit as inline SVG in the page's colours."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from AdvSegLib.audit.suite import OWN_SOFTMAX
from AdvSegLib.reports.charts import ADVERSARIAL, CLEAN, INK, LINE, MUTED, STYLE, inline

ROW = 0.24
"""Height of one bar's row in inches."""


def attack_bars(rows: Sequence[Mapping[str, Any]], clean: float, worst: float, key: str) -> Markup:
    """Return Dice left by each attack; those on the model's own softmax in one colour, the others in another."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = [row for row in rows if row["mean"] is not None and row["role"] != "unbounded"]
    with rc_context({**STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(7.4, 0.7 + ROW * (len(shown) + 2)), layout="constrained")
        axes = figure.subplots()
        names = ["no attack", *(row["title"] for row in shown), "worst case of each image"]
        values = [clean, *(row["mean"] for row in shown), worst]
        plain = [True, *(row["role"] in OWN_SOFTMAX for row in shown), False]
        neutral = [True, *(row["role"] == "control" for row in shown), False]
        colours = [MUTED if grey else CLEAN if own else ADVERSARIAL for own, grey in zip(plain, neutral, strict=True)]
        places = range(len(names))
        axes.barh(places, values, color=colours, height=0.62)
        for place, value in zip(places, values, strict=True):
            axes.text(value + 0.012, place, f"{value:.3f}", va="center", color=INK, fontsize=8)
        axes.set_yticks(list(places), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        _dress(axes, "mean Dice left")
        axes.tick_params(axis="y", colors=INK)
        return _svg(figure, key)


def temperature_curve(rows: Sequence[Mapping[str, Any]], key: str) -> Markup | None:
    """Return Dice left by the same PGD over the temperature that divides the logits; None for fewer than two."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    points = sorted(
        (float(row["parameters"].get("temperature", 1.0)), row["mean"])
        for row in rows
        if row["mean"] is not None and (row["key"] == "pgd-dice" or row["key"].startswith("pgd-dice-T"))
    )
    if len(points) < 2:
        return None
    scaled = next((row["mean"] for row in rows if row["key"] == "pgd-dice-scaled"), None)
    with rc_context({**STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(5.2, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*points, strict=True), color=ADVERSARIAL, marker="o", markersize=4.5, linewidth=1.6)
        if scaled is not None:
            axes.axhline(scaled, color=CLEAN, linewidth=1.1, linestyle=(0, (2, 2.5)))
            axes.text(points[-1][0], scaled + 0.03, "logits at unit spread", color=CLEAN, ha="right", fontsize=8)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        _dress(axes, "temperature the attacker divides the logits by")
        axes.set_ylabel("mean Dice left", color=MUTED)
        return _svg(figure, key)


def _dress(axes: Any, title: str) -> None:
    axes.set_xlabel(title, color=MUTED)
    axes.tick_params(colors=MUTED, length=0, pad=5)
    axes.grid(axis="both" if axes.get_xscale() == "log" else "x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.minorticks_off()
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)


def _svg(figure: Any, key: str) -> Markup:
    stream = io.StringIO()
    hidden = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=hidden)
    return inline(stream.getvalue(), key)
