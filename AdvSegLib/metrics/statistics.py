"""Paired comparisons of scores: Wilcoxon signed-rank, corrections for many tests, bootstrap intervals, effect sizes.

Scores are one number a case, in the same order on both sides; a pair of which either side is None is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest

Alternative = Literal["two-sided", "greater", "less"]
Floats = NDArray[np.float64]
Scores = Sequence[float | None]
RESAMPLES = 5000
DIGITS = 12
"""Decimals of a difference of scores that count; what lies beyond is rounding."""


@dataclass(frozen=True)
class PairedTest:
    """A Wilcoxon signed-rank test of ``a - b`` over ``pairs`` cases, ``ties`` of which did not differ.

    ``effect`` is the matched-pairs rank-biserial correlation, -1 to 1: positive where ``a`` is the larger.
    """

    pairs: int
    ties: int
    statistic: float
    p: float
    effect: float
    mean_difference: float

    def to_dict(self) -> dict[str, Any]:
        """Return the test as JSON data."""
        return asdict(self)


def wilcoxon_signed_rank(a: Scores, b: Scores, alternative: Alternative = "two-sided") -> PairedTest:
    """Test whether paired scores differ, by scipy: exact where there are few pairs.

    Pairs that do not differ are dropped, as Wilcoxon did; where none differs p is 1. Raises BadRequest for sides of
    other lengths, no pair at all, and scores that are not finite.

    >>> wilcoxon_signed_rank([3.0, 5.0, 4.0], [1.0, 2.0, 0.0], "greater").p
    0.125
    """
    difference = _differences(a, b)
    moved = difference[difference != 0]
    pairs, ties = len(difference), int(len(difference) - len(moved))
    mean = float(difference.mean())
    if not len(moved):
        return PairedTest(pairs, ties, 0.0, 1.0, 0.0, mean)
    from scipy.stats import wilcoxon

    found = wilcoxon(moved, alternative=alternative)
    return PairedTest(pairs, ties, float(found.statistic), float(found.pvalue), rank_biserial(a, b), mean)


def rank_biserial(a: Scores, b: Scores) -> float:
    """Return ``(W+ - W-) / (W+ + W-)``, W the sums of ranks of the differences above and below 0 (Kerby 2014).

    >>> rank_biserial([2.0, 3.0, 1.0], [1.0, 1.0, 4.0])
    0.0
    """
    from scipy.stats import rankdata

    difference = _differences(a, b)
    difference = difference[difference != 0]
    if not len(difference):
        return 0.0
    ranks = rankdata(np.abs(difference))
    return float((ranks * np.sign(difference)).sum() / ranks.sum())


def cohen_dz(a: Scores, b: Scores) -> float | None:
    """Return mean difference over its standard deviation (n - 1); None where that has no value."""
    difference = _differences(a, b)
    if len(difference) < 2 or np.ptp(difference) == 0:
        return None
    return float(difference.mean() / difference.std(ddof=1))


def bonferroni(p: Sequence[float], tests: int | None = None) -> list[float]:
    """Return p values times the number of tests (default: how many are given), at most 1.

    >>> bonferroni([0.01, 0.6])
    [0.02, 1.0]
    """
    count = len(p) if tests is None else tests
    if count < len(p):
        raise BadRequest(f"{len(p)} p values cannot come from {count} tests")
    return [min(1.0, float(value) * count) for value in _probabilities(p)]


def bonferroni_rejections(p: Floats, alpha: float) -> NDArray[np.bool_]:
    """Return which hypotheses are rejected at family-wise error ``alpha``: ``p <= alpha / N``."""
    values = _probabilities(p)
    return np.asarray(values <= alpha / max(1, values.size))


def holm_rejections(p: Floats, alpha: float) -> NDArray[np.bool_]:
    """Return which hypotheses Holm's step-down rejects at family-wise error ``alpha``: never fewer than Bonferroni.

    In ascending order the k-th of N is compared with ``alpha / (N - k + 1)``; at the first that is larger it ends.

    >>> holm_rejections(np.array([0.02, 0.01, 0.9]), 0.05)
    array([ True,  True, False])
    """
    values = _probabilities(p)
    flat = values.reshape(-1)
    order = np.argsort(flat, kind="stable")
    below = flat[order] <= alpha / np.arange(flat.size, 0, -1)
    count = flat.size if below.all() else int(np.argmin(below))
    rejected = np.zeros(flat.size, bool)
    rejected[order[:count]] = True
    return rejected.reshape(values.shape)


def bootstrap_interval(
    values: Scores, confidence: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the mean over cases, by scipy; None for fewer than two cases."""
    present = _finite([value for value in values if value is not None])
    if not 0 < confidence < 1:
        raise BadRequest(f"confidence must lie between 0 and 1, not {confidence}")
    if len(present) < 2:
        return None
    if np.ptp(present) == 0:
        return float(present[0]), float(present[0])
    from scipy.stats import bootstrap

    found = bootstrap(
        (present,), np.mean, confidence_level=confidence, n_resamples=resamples, method="percentile",
        random_state=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired(a: Scores, b: Scores) -> tuple[Floats, Floats]:
    """Return both sides of the pairs of which neither is None; BadRequest where there is none."""
    if len(a) != len(b):
        raise BadRequest(f"paired scores need as many cases on both sides, not {len(a)} and {len(b)}")
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not both:
        raise BadRequest("no case has a score on both sides: nothing to compare")
    return _finite([x for x, _ in both]), _finite([y for _, y in both])


def _differences(a: Scores, b: Scores) -> Floats:
    """Return ``a - b``, pair by pair, without the last digits: 0.9 - 0.8 and 0.4 - 0.3 are to be the same rank."""
    x, y = paired(a, b)
    return np.asarray(np.round(x - y, DIGITS), np.float64)


def _finite(values: Sequence[float]) -> Floats:
    found = np.asarray(values, np.float64)
    if not np.isfinite(found).all():
        raise BadRequest("scores must be finite numbers")
    return found


def _probabilities(p: Sequence[float] | Floats) -> Floats:
    values = np.asarray(p, np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise BadRequest("p values lie between 0 and 1")
    return values
