"""Paired statistics against closed forms, brute force, and their own definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AdvSegLib.errors import BadRequest
from AdvSegLib.metrics.statistics import (
    bonferroni,
    bonferroni_rejections,
    bootstrap_interval,
    cohen_dz,
    holm_rejections,
    rank_biserial,
    wilcoxon_signed_rank,
)

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def exact_two_sided(differences: list[float]) -> float:
    """Wilcoxon's p by its definition: over all 2^n signs of ranks, how often W is at least as far from its mean."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1.0
    centre = ranks.sum() / 2
    seen = abs(ranks[np.array(differences) > 0].sum() - centre)
    every = [abs((np.array(signs) * ranks).sum() - centre) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return float(np.mean(np.array(every) >= seen - 1e-9))


@pytest.mark.parametrize("seed", range(5))
def test_wilcoxon_is_the_share_of_all_sign_patterns(seed: int) -> None:
    difference = np.random.default_rng(seed).normal(0.4, 1, 9)
    found = wilcoxon_signed_rank(difference.tolist(), [0.0] * 9)
    assert found.p == pytest.approx(exact_two_sided(difference.tolist()))
    assert (found.pairs, found.ties) == (9, 0)
    assert found.mean_difference == pytest.approx(difference.mean())


def test_wilcoxon_all_in_one_direction_is_two_to_the_one_minus_n() -> None:
    found = wilcoxon_signed_rank([0.5 + k / 100 for k in range(8)], [0.1] * 8)
    assert found.p == pytest.approx(2**-7)
    assert found.effect == 1.0


def test_differences_that_only_rounding_parts_are_of_one_rank() -> None:
    """0.9 - 0.8 and 0.4 - 0.3 are 0.1: as ranks of ties four against two leave W+ - W- = 2 x 3.5 of 21."""
    a, b = [0.9, 0.8, 0.7, 0.6, 0.4, 0.2], [0.8, 0.7, 0.6, 0.5, 0.5, 0.3]
    assert len({abs(x - y) for x, y in zip(a, b, strict=True)}) > 1  # in floating point
    assert rank_biserial(a, b) == pytest.approx(1 / 3)
    assert wilcoxon_signed_rank(a, b).statistic == 7.0  # W-, two ranks of 3.5


def test_one_pair_says_nothing() -> None:
    found = wilcoxon_signed_rank([0.9], [0.1])
    assert (found.pairs, found.p, found.effect) == (1, 1.0, 1.0)


@pytest.mark.parametrize("difference", [[1.0, 1, 2, -1, 3], [0.0, 1, 1, 2, 2, -3, 0], [1.0] * 6])
def test_wilcoxon_with_ties_is_the_share_of_all_sign_patterns_of_mean_ranks(difference: list[float]) -> None:
    from scipy.stats import rankdata

    moved = np.array([value for value in difference if value])
    ranks = rankdata(np.abs(moved))
    seen = abs(ranks[moved > 0].sum() - ranks.sum() / 2)
    patterns = itertools.product((0, 1), repeat=len(ranks))
    every = [abs((np.array(signs) * ranks).sum() - ranks.sum() / 2) for signs in patterns]
    found = wilcoxon_signed_rank(difference, [0.0] * len(difference))
    assert found.p == pytest.approx(np.mean(np.array(every) >= seen - 1e-9))
    assert found.ties == len(difference) - len(moved)


def test_equal_sides_do_not_differ() -> None:
    found = wilcoxon_signed_rank([0.3, 0.4], [0.3, 0.4])
    assert (found.p, found.effect, found.ties) == (1.0, 0.0, 2)


def test_absent_scores_leave_with_their_pair() -> None:
    full = wilcoxon_signed_rank([1.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    assert wilcoxon_signed_rank([1.0, None, 2.0, 4.0, 5.0], [0.0, 1.0, 0.0, 0.0, None]) == full


@pytest.mark.parametrize(("a", "b", "message"), [
    ([1.0], [1.0, 2.0], "as many cases"),
    ([], [], "nothing to compare"),
    ([None], [1.0], "nothing to compare"),
    ([float("nan")], [1.0], "finite"),
])  # fmt: skip
def test_sides_that_cannot_be_compared(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        wilcoxon_signed_rank(a, b)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20))
def test_effect_changes_sign_with_the_sides_and_stays_in_bounds(pairs: list[tuple[float, float]]) -> None:
    a, b = (list(side) for side in zip(*pairs, strict=True))
    assert rank_biserial(a, b) == pytest.approx(-rank_biserial(b, a))
    assert -1 <= rank_biserial(a, b) <= 1


def test_cohen_dz_by_hand() -> None:
    assert cohen_dz([1.0, 2.0, 6.0], [0.0, 0.0, 0.0]) == pytest.approx(3 / np.sqrt(7))
    assert cohen_dz([1.0, 1.0], [0.0, 0.0]) is None
    assert cohen_dz([1.0], [0.0]) is None


def test_bonferroni_multiplies_and_stops_at_one() -> None:
    assert bonferroni([0.01, 0.5]) == [0.02, 1.0]
    assert bonferroni([0.01], tests=7) == pytest.approx([0.07])
    with pytest.raises(BadRequest, match="cannot come from"):
        bonferroni([0.1, 0.2], tests=1)
    with pytest.raises(BadRequest, match="between 0 and 1"):
        bonferroni([1.5])


def holm_by_definition(p: list[float], alpha: float) -> list[bool]:
    rejected = [False] * len(p)
    for step, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[place] > alpha / (len(p) - step):
            break
        rejected[place] = True
    return rejected


@given(probabilities, st.floats(0.001, 0.5))
def test_holm_is_its_definition_and_never_weaker_than_bonferroni(p: list[float], alpha: float) -> None:
    found = holm_rejections(np.array(p), alpha)
    assert found.tolist() == holm_by_definition(p, alpha)
    assert (found | ~bonferroni_rejections(np.array(p), alpha)).all()


def test_holm_keeps_shape_and_the_family_wise_error(rng: np.random.Generator) -> None:
    assert holm_rejections(np.full((2, 3), 0.001), 0.05).shape == (2, 3)
    errors = [holm_rejections(rng.random(20), 0.1).any() for _ in range(3000)]
    assert np.mean(errors) < 0.1 + 3 * np.sqrt(0.09 / 3000)


def test_bootstrap_interval_holds_the_mean_and_follows_its_seed(rng: np.random.Generator) -> None:
    values = rng.normal(0.5, 0.1, 40).tolist()
    low, high = bootstrap_interval(values) or (1.0, 0.0)
    normal = 1.96 * np.std(values) / np.sqrt(40)
    assert low < np.mean(values) < high
    assert high - low == pytest.approx(2 * normal, rel=0.1)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([*values, None]) == (low, high)


def test_bootstrap_of_too_little_or_of_no_spread() -> None:
    assert bootstrap_interval([0.5]) is None
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)
    with pytest.raises(BadRequest, match="confidence"):
        bootstrap_interval([0.1, 0.2], 1.5)
