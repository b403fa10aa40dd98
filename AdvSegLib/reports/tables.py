"""The tables of a report: plain text in rows, every number from ``metrics.json``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from AdvSegLib.reports.content import RunContent
from AdvSegLib.reports.formats import MINUS, decibel, fixed, percent, relative_change, short

COMPARISONS = (
    ("clean", "Clean vs truth"),
    ("adversarial", "Adversarial vs truth"),
    ("agreement", "Adversarial vs clean"),
    ("target_before", "Clean vs target"),
    ("target", "Adversarial vs target"),
)
"""What may be compared with what, and how a column calls it."""


@dataclass(frozen=True)
class Group:
    """A heading over the columns below it."""

    title: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A table row; ``kind`` is label, mean, region or whole."""

    kind: str
    name: str
    cells: tuple[str, ...]
    colour: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Table:
    """Groups of columns and lines of cells."""

    groups: tuple[Group, ...]
    lines: tuple[Line, ...]


def given(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the comparisons this run has, as key and title."""
    return [(key, title) for key, title in COMPARISONS if metrics.get(key)]


def overlap_table(content: RunContent) -> Table:
    """Return Dice and IoU of each label, their mean, and each region, for every comparison of the run."""
    metrics, scheme = content.metrics, content.scheme
    pairs = given(metrics)
    lines = [Line("label", item.name, _scores(metrics, pairs, item.name), item.color) for item in scheme.labels]
    lines.append(Line("mean", "Mean over labels", _scores(metrics, pairs, "mean")))
    lines += [Line("region", item.name, _scores(metrics, pairs, item.name, "_regions")) for item in scheme.regions]
    return Table(tuple(Group(title, ("Dice", "IoU")) for _, title in pairs), tuple(lines))


def _scores(metrics: Mapping[str, Any], pairs: list[tuple[str, str]], name: str, suffix: str = "") -> tuple[str, ...]:
    return tuple(
        fixed(metrics[key].get(measure + suffix, {}).get(name)) for key, _ in pairs for measure in ("dice", "iou")
    )


def whole_table(content: RunContent) -> Table:
    """Return pixel accuracy and paper 002's IoU of the whole label map for every comparison."""
    lines = tuple(
        Line("whole", title, (fixed(scores.get("pixel_accuracy"), 4), fixed(scores.get("paper_iou"))))
        for key, title in given(content.metrics)
        for scores in (content.metrics[key],)
    )
    return Table((Group("Whole label map", ("Pixel accuracy", "IoU of paper 002")),), lines)


def volume_table(content: RunContent) -> Table:
    """Return the size of each label and region, clean and adversarial: in ml, or in pixels of a picture."""
    volumes = content.metrics["volumes_ml"]
    flat = content.clean.grid.rank == 2
    per_unit = content.clean.grid.voxel_ml if flat else 1.0
    digits = 2 if max(value for sizes in volumes.values() for value in sizes.values()) >= 1 else 4

    def size(which: str, name: str) -> str:
        value = volumes.get(which, {}).get(name)
        if value is None:
            return short(None)
        return fixed(value / per_unit, 0) if flat else fixed(value, digits)

    def line(kind: str, name: str, colour: tuple[int, int, int] | None = None) -> Line:
        change = relative_change(volumes["clean"].get(name), volumes["adversarial"].get(name))
        return Line(kind, name, (*(size(which, name) for which in columns), change), colour)

    columns = [which for which in ("truth", "clean", "adversarial") if which in volumes]
    lines = [line("label", item.name, item.color) for item in content.scheme.labels]
    lines += [line("region", item.name) for item in content.scheme.regions]
    titles = (*(which.capitalize() for which in columns), "Change")
    return Table((Group("Area, pixels" if flat else "Volume, ml", titles),), tuple(lines))


def quality_table(content: RunContent) -> Table:
    """Return the image quality of each channel, and of the worst one where there are several."""
    quality = content.metrics["image"]
    lines = [Line("label", name, tuple(_quality(scores))) for name, scores in quality["channels"].items()]
    if len(lines) > 1:
        lines.append(Line("mean", "Worst of all", tuple(_quality(quality))))
    units = ("RMSE", "L2", "L∞")
    return Table((Group("Likeness", ("PSNR", "SSIM")), Group("Change, source units", units),
                  Group("Change, relative to range", ("L2", "L∞"))), tuple(lines))  # fmt: skip


def _quality(scores: Mapping[str, Any]) -> Iterator[str]:
    yield decibel(scores["psnr"])
    yield fixed(scores["ssim"], 4)
    yield from (short(scores[key], trim=False) for key in ("rmse", "l2", "linf", "l2_of_range"))
    yield percent(scores["linf_percent"])


def budget_table(metrics: Mapping[str, Any]) -> Table:
    """Return the budget asked and used: of the range, on the scale [-1, 1], and in each channel's units."""
    budget = metrics["budget"]
    asked, used = budget["asked"], budget["used"]
    if budget["norm"] != "linf":
        rows = [
            ("L2 of the change, each channel divided by its range", short(asked["epsilon"]), short(_joint_l2(metrics)))
        ]
    else:
        linf = used.get("linf_percent")
        rows = [
            ("Percent of the clean range", percent(asked.get("percent_of_range")), percent(linf)),
            (
                f"On a [{MINUS}1, 1] scale",
                short(asked.get("on_minus_one_to_one")),
                short(None if linf is None else linf / 50),
            ),
        ]
        rows += [
            (f"Source units, {name}", short(value), short(used.get("source_units", {}).get(name)))
            for name, value in asked.get("source_units", {}).items()
        ]
    groups = (Group("Budget", ("Asked", "Used")),)
    return Table(groups, tuple(Line("label", name, (first, second)) for name, first, second in rows))


def _joint_l2(metrics: Mapping[str, Any]) -> float | None:
    """Return the L2 of the whole change, channels together, as an L2 budget bounds it."""
    each = [scores["l2_of_range"] for scores in metrics["image"]["channels"].values()]
    present = [value for value in each if value is not None]
    return math.sqrt(sum(value * value for value in present)) if present else None
