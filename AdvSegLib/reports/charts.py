"""Charts as inline SVG that takes its colours from the page, so that it is right in light, dark and print."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from AdvSegLib.reports.formats import decibel, fixed, number

SAVED = "on the saved image"
INKS = {"#010101": "var(--ink)", "#020202": "var(--muted)", "#030303": "var(--line)",
        "#040404": "var(--clean)", "#050505": "var(--adversarial)", "#060606": "var(--card)"}  # fmt: skip
"""Stand-in colours that matplotlib draws with, and the page's colours that replace them."""
INK, MUTED, LINE, CLEAN, ADVERSARIAL, CARD = INKS
SIZE = (5.2, 2.5)
STYLE = {"svg.fonttype": "none", "font.size": 9.0, "axes.linewidth": 0.8}


@dataclass(frozen=True)
class Chart:
    """A chart and its title; ``note`` says what is not drawn, ``alt`` what it shows in words."""

    title: str
    svg: Markup
    note: str
    alt: str


@dataclass(frozen=True)
class Track:
    """A quantity over steps: as the loop saw it, and as measured on the saved image."""

    loop: tuple[tuple[float, float], ...]
    saved: tuple[tuple[float, float], ...]
    steps: tuple[float, float]
    """First and last step of the whole history, so that charts share their axis."""
    infinite: int
    """Rows left out because the value is infinite."""


def track(history: Sequence[Mapping[str, Any]], key: str) -> Track:
    """Return a column of the history; empty, absent and infinite values are left out."""
    loop: list[tuple[float, float]] = []
    saved: list[tuple[float, float]] = []
    infinite = 0
    steps = [number(row.get("step", index)) or 0.0 for index, row in enumerate(history)] or [0.0]
    for step, row in zip(steps, history, strict=False):
        value = number(row.get(key))
        if value is None:
            continue
        if math.isinf(value):
            infinite += 1
            continue
        (saved if row.get("measured") == SAVED else loop).append((step, value))
    return Track(tuple(loop), tuple(saved), (min(steps), max(steps)), infinite)


def charts(history: Sequence[Mapping[str, Any]], against: str) -> list[Chart]:
    """Return the charts of Dice (with ``against``) and PSNR over steps, those that have anything to show."""
    wanted = (("dice", f"Mean Dice with {against}", (-0.03, 1.03), fixed), ("psnr", "PSNR, dB", None, decibel))
    found = []
    for key, title, limits, written in wanted:
        data = track(history, key)
        if data.loop or data.saved:
            note = "Steps of infinite PSNR (nothing changed yet) are not drawn." if data.infinite else ""
            found.append(Chart(title, draw(key, data, limits), note, _in_words(title, data, written)))
    return found


def draw(key: str, data: Track, limits: tuple[float, float] | None = None) -> Markup:
    """Return one chart; ``key`` keeps its SVG names apart from another chart's on the page."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        _plot(axes, data)
        _dress(axes, data, limits)
        stream = io.StringIO()
        hidden = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=hidden)
    return inline(stream.getvalue(), key)


def _plot(axes: Any, data: Track) -> None:
    joined = [*data.loop[-1:], *data.saved]
    if data.loop:
        dots = {"marker": "o", "markersize": 3.5} if len(data.loop) <= 30 else {}
        axes.plot(*zip(*data.loop, strict=True), color=CLEAN, linewidth=1.6, solid_capstyle="round", **dots)
    if len(joined) > 1:
        axes.plot(*zip(*joined, strict=True), color=ADVERSARIAL, linewidth=1.1, linestyle=(0, (2, 2.5)))
    if data.saved:
        axes.plot(*zip(*data.saved, strict=True), color=ADVERSARIAL, marker="D", markersize=7, linestyle="none",
                  markeredgecolor=CARD, markeredgewidth=1.2, zorder=5, clip_on=False)  # fmt: skip


def _dress(axes: Any, data: Track, limits: tuple[float, float] | None) -> None:
    """Give the axes calm lines and whole steps."""
    from matplotlib.ticker import MaxNLocator

    first, last = data.steps
    edge = 0.03 * max(last - first, 1.0)
    axes.set_xlim(first - edge, last + edge)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    if limits:
        axes.set_ylim(limits)
    else:
        axes.margins(y=0.18)
    axes.set_xlabel("step", color=MUTED)
    axes.tick_params(colors=MUTED, length=0, pad=5)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)


def inline(svg: str, key: str) -> Markup:
    """Make matplotlib's SVG file a part of a page: no header, no outside addresses, names and colours of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r"\s(width|height)=\"[\d.]+pt\"", "", svg, count=2)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", svg)
    for stand_in, colour in INKS.items():
        svg = svg.replace(stand_in, colour)
    return Markup(svg)


def _in_words(title: str, data: Track, written: Any) -> str:
    parts = []
    if data.loop:
        (first, a), (last, b) = data.loop[0], data.loop[-1]
        parts.append(f"{written(a)} at step {first:.0f} to {written(b)} at step {last:.0f} in the loop")
    parts += [f"{written(value)} {SAVED}" for _, value in data.saved]
    return f"{title}: " + ", ".join(parts)
