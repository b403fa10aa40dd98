"""A cell: the published number beside ours, how sure ours is, and whether it differs from what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from AdvSegLib.metrics.statistics import bonferroni, bootstrap_interval, cohen_dz, wilcoxon_signed_rank
from AdvSegLib.reproduce.published import Published

ALPHA = 0.05
NO_VALUE = "no case has a value"


@dataclass(frozen=True)
class Cell:
    """One cell of a table; numbers in the table's unit, None where there is none and ``missing`` says why.

    ``values`` are by case, in the order of the cases; ``p`` is Wilcoxon's, two-sided, paired by case, ``corrected``
    the same times the number of tests in the table; ``effect`` is the rank-biserial correlation, ``dz`` Cohen's.
    """

    row: str
    column: str
    arm: str
    metric: str
    published: Published | None = None
    published_p: Published | None = None
    values: tuple[float | None, ...] = ()
    mean: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    corrected: float | None = None
    effect: float | None = None
    dz: float | None = None
    missing: str = ""

    @property
    def count(self) -> int:
        """Number of cases with a value."""
        return sum(value is not None for value in self.values)

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        if self.mean is None or self.published is None:
            return None
        return self.mean - self.published.mean

    @property
    def significant(self) -> bool | None:
        """Whether the corrected p is at most 0.05; None where nothing was tested."""
        return None if self.corrected is None else self.corrected <= ALPHA

    def to_dict(self) -> dict[str, Any]:
        """Return the cell as JSON data."""
        data = asdict(self)
        return {**data, "values": list(self.values), "n": self.count, "difference": self.difference}


def summarised(cell: Cell, values: Sequence[float | None], against: Sequence[float | None] | None) -> Cell:
    """Return the cell with mean, deviation (n - 1), bootstrap interval of the mean, and the paired test."""
    present = [value for value in values if value is not None]
    if not present:
        return replace(cell, values=tuple(values), missing=cell.missing or NO_VALUE)
    interval = bootstrap_interval(present)
    cell = replace(
        cell, values=tuple(values), mean=float(np.mean(present)),
        deviation=float(np.std(present, ddof=1)) if len(present) > 1 else None,
        low=None if interval is None else interval[0], high=None if interval is None else interval[1],
    )  # fmt: skip
    if against is None or not any(a is not None and b is not None for a, b in zip(values, against, strict=True)):
        return cell
    test = wilcoxon_signed_rank(list(values), list(against))
    return replace(cell, p=test.p, effect=test.effect, dz=cohen_dz(list(values), list(against)))


def corrected(cells: Sequence[Cell]) -> list[Cell]:
    """Return cells with p values corrected by Bonferroni over all tests among them."""
    tested = [cell for cell in cells if cell.p is not None]
    found: Mapping[tuple[str, str], float] = {
        (cell.row, cell.column): p
        for cell, p in zip(tested, bonferroni([cell.p or 0.0 for cell in tested]), strict=True)
    }
    return [replace(cell, corrected=found.get((cell.row, cell.column))) for cell in cells]
