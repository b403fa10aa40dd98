"""The paper's claims, held against our cells and against the paper's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from AdvSegLib.errors import BadRequest
from AdvSegLib.metrics.statistics import wilcoxon_signed_rank
from AdvSegLib.reports.formats import DASH
from AdvSegLib.reproduce.arms import fill
from AdvSegLib.reproduce.cells import Cell
from AdvSegLib.reproduce.recipe import Claim

Cells = Mapping[tuple[str, str, str], Cell]
"""Cells by table, row and column."""


@dataclass(frozen=True)
class Verdict:
    """What became of a claim: of ``checked`` relations ``held`` held here, ``in_print`` of ``printed`` do in print.

    ``p`` is the largest one-sided Wilcoxon p of the relations between two cells.
    """

    text: str
    where: str
    checked: int
    held: int
    printed: int
    in_print: int
    p: float | None
    seen: str

    @property
    def word(self) -> str:
        """held, not held, held in part, or not available."""
        if not self.checked:
            return "not available"
        return "held" if self.held == self.checked else "not held" if not self.held else "held in part"

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON data."""
        return {**asdict(self), "verdict": self.word}


def judge(claim: Claim, cells: Cells, sizes: Mapping[str, int] | None = None) -> Verdict:
    """Check a claim; relations with a cell that has no value are left out. ``sizes`` are parameters by model role."""
    if claim.correlates:
        return _correlation(claim, cells, sizes or {})
    checked = held = printed = in_print = 0
    largest: float | None = None
    seen: list[str] = []
    for values in claim.each:
        ours = _relations(claim, values, lambda key: _ours(cells, key))
        theirs = _relations(claim, values, lambda key: _theirs(cells, key))
        checked, held = checked + len(ours), held + sum(ours)
        printed, in_print = printed + len(theirs), in_print + sum(theirs)
        for p in _tests(claim, values, cells):
            largest = p if largest is None else max(largest, p)
        seen += _seen(claim, values, cells)
    return Verdict(claim.text, claim.where, checked, held, printed, in_print, largest, "; ".join(seen[:6]))


def _correlation(claim: Claim, cells: Cells, sizes: Mapping[str, int]) -> Verdict:
    """Check how far means go along with parameter counts, by Pearson's correlation; at least three are needed."""
    table, column = str(claim.correlates["table"]), str(claim.correlates["column"])
    points = []
    for row, role in claim.correlates["rows"].items():
        mean = _ours(cells, (table, row, column))
        if mean is not None and role in sizes:
            points.append((float(sizes[role]), mean))
    x, y = [point[0] for point in points], [point[1] for point in points]
    if len(points) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return Verdict(claim.text, claim.where, 0, 0, 0, 0, None, "")
    from scipy.stats import pearsonr

    found = pearsonr(x, y)
    r, p = float(found.statistic), float(found.pvalue)
    held = claim.most is None or abs(r) <= claim.most
    listed = ", ".join(f"{size / 1e6:.1f} M: {mean:.3f}" for size, mean in points)
    return Verdict(
        claim.text,
        claim.where,
        1,
        int(held),
        0,
        0,
        p,
        f"r = {r:.2f}, two-sided p = {p:.2g}, n = {len(points)} ({listed})",
    )


def cell_key(text: str) -> tuple[str, str, str]:
    """Return table, row and column of ``table | row | column``.

    >>> cell_key("1 | white-box | 0.01")
    ('1', 'white-box', '0.01')
    """
    parts = tuple(part.strip() for part in text.split("|"))
    if len(parts) != 3:
        raise BadRequest(f"a cell is named 'table | row | column', not '{text}'")
    return parts  # type: ignore[return-value]


def cells_of(claim: Claim, values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the cells a claim speaks of, in its order."""
    named = [*claim.order, *claim.near, *([claim.cell] if claim.cell else [])]
    return [cell_key(str(fill(text, values))) for text in named]


def _relations(
    claim: Claim, values: Mapping[str, Any], mean: Callable[[tuple[str, str, str]], float | None]
) -> list[bool]:
    """Return whether each relation holds that can be checked."""
    found = [mean(key) for key in cells_of(claim, values)]
    if claim.cell:
        (one,) = found
        if one is None:
            return []
        return [bool((claim.least is None or one >= claim.least) and (claim.most is None or one <= claim.most))]
    pairs = [(a, b) for a, b in pairwise(found) if a is not None and b is not None]
    if claim.near:
        return [abs(a - b) <= claim.within for a, b in pairs]
    return [a > b for a, b in pairs]


def _ours(cells: Cells, key: tuple[str, str, str]) -> float | None:
    cell = cells.get(key)
    return None if cell is None else cell.mean


def _theirs(cells: Cells, key: tuple[str, str, str]) -> float | None:
    cell = cells.get(key)
    return None if cell is None or cell.published is None else cell.published.mean


def _tests(claim: Claim, values: Mapping[str, Any], cells: Cells) -> list[float]:
    if not claim.order:
        return []
    found = []
    for first, second in pairwise(cells_of(claim, values)):
        a, b = cells.get(first), cells.get(second)
        if a is None or b is None or len(a.values) != len(b.values):
            continue
        if any(x is not None and y is not None for x, y in zip(a.values, b.values, strict=True)):
            found.append(wilcoxon_signed_rank(list(a.values), list(b.values), "greater").p)
    return found


def _seen(claim: Claim, values: Mapping[str, Any], cells: Cells) -> list[str]:
    means = [_ours(cells, key) for key in cells_of(claim, values)]
    if all(mean is None for mean in means):
        return []
    sign = " > " if claim.order else " ~ "
    return [sign.join(DASH if mean is None else f"{mean:.3g}" for mean in means)]
