"""HD95, surface Dice and lesion-wise Dice against brute force and cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from AdvSegLib.errors import BadRequest
from AdvSegLib.metrics.lesions import lesion_wise
from AdvSegLib.metrics.surface import hd95, surface_dice


def blobs(seed: int, shape: tuple[int, ...] = (14, 15, 13)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    other = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    return field > np.quantile(field, 0.9), field + 0.7 * other > np.quantile(field + 0.7 * other, 0.92)


def surface_points(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    padded = np.pad(mask, 1)
    edge = padded & ~ndimage.binary_erosion(padded)
    return np.argwhere(edge) * np.asarray(spacing)


def directed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min(1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 1.5)])
def test_hd95_is_that_of_all_pairs_of_surface_voxels(seed, spacing):
    a, b = blobs(seed)
    first, second = surface_points(a, spacing), surface_points(b, spacing)
    wanted = max(np.percentile(directed(first, second), 95), np.percentile(directed(second, first), 95))
    assert hd95(a, b, spacing) == pytest.approx(wanted, rel=1e-5)
    assert hd95(b, a, spacing) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_surface_dice_counts_the_surface_near_the_other(seed):
    a, b = blobs(seed)
    spacing = (1.0, 1.0, 1.0)
    first, second = surface_points(a, spacing), surface_points(b, spacing)
    for tolerance in (0.5, 1.0, 2.5):
        near = (directed(first, second) <= tolerance).sum() + (directed(second, first) <= tolerance).sum()
        wanted = near / (len(first) + len(second))
        assert surface_dice(a, b, spacing, tolerance) == pytest.approx(wanted, rel=1e-5)


def test_surface_dice_of_equal_masks_is_one_even_at_the_images_edge():
    a = np.zeros((8, 8), bool)
    a[:3, :4] = True
    assert surface_dice(a, a, (1.0, 1.0), 0.0) == 1.0
    assert hd95(a, a, (1.0, 1.0)) == 0.0


def test_absent_structures_have_the_stated_policy():
    empty, full = np.zeros((6, 6), bool), np.ones((6, 6), bool)
    assert hd95(empty, empty, (1, 1)) is None
    assert hd95(full, empty, (1, 1)) is None
    assert surface_dice(empty, empty, (1, 1)) is None
    assert surface_dice(full, empty, (1, 1)) == 0.0


def test_masks_that_do_not_belong_together_are_refused():
    a = np.ones((4, 4), bool)
    for call in (hd95, surface_dice, lesion_wise):
        with pytest.raises(BadRequest, match="do not fit"):
            call(a, np.ones((4, 5), bool), (1, 1))
        with pytest.raises(BadRequest, match="do not fit"):
            call(a, a, (1, 1, 1))
    with pytest.raises(BadRequest, match="negative"):
        surface_dice(a, a, (1, 1), -1.0)


def box(shape: tuple[int, int, int], *corners: tuple[int, int]) -> np.ndarray:
    """Cubes from first to last index along every axis."""
    mask = np.zeros(shape, bool)
    for low, high in corners:
        mask[low:high, low:high, low:high] = True
    return mask


SHAPE = (40, 40, 40)
UNIT = (1.0, 1.0, 1.0)


def test_two_lesions_are_scored_one_by_one():
    truth = box(SHAPE, (2, 8), (25, 31))  # 216 mm³ each
    assert lesion_wise(truth, truth, UNIT).dice == 1.0
    one = lesion_wise(truth, box(SHAPE, (2, 8)), UNIT)
    assert (one.dice, one.hit, one.missed, one.invented) == (0.5, 1, 1, 0)
    plain = 2 * 216 / (432 + 216)
    assert one.dice < plain


def test_an_invented_lesion_counts_as_one_of_score_zero():
    truth = box(SHAPE, (2, 8))
    found = lesion_wise(truth, box(SHAPE, (2, 8), (30, 32)), UNIT)
    assert (found.dice, found.invented) == (0.5, 1)


def test_lesions_near_each_other_are_one_and_neighbouring_parts_join_it():
    truth = box(SHAPE, (5, 9), (11, 15))
    assert lesion_wise(truth, truth, UNIT).hit == 1
    beside = box(SHAPE, (5, 9), (11, 15), (16, 17))  # one voxel beside the lesion: part of it, not invented
    found = lesion_wise(truth, beside, UNIT)
    assert (found.hit, found.invented) == (1, 0)
    assert found.dice == pytest.approx(2 * 128 / (128 + 129))


def test_small_lesions_are_left_out_but_what_touches_them_is_not_invented():
    truth = box(SHAPE, (2, 8), (25, 28))  # the second has 27 mm³
    found = lesion_wise(truth, truth, UNIT)
    assert (found.dice, found.hit, found.invented) == (1.0, 1, 0)
    assert lesion_wise(truth, box(SHAPE, (2, 8)), UNIT).missed == 0
    assert lesion_wise(truth, truth, (2.0, 2.0, 2.0)).hit == 2  # 216 mm³ at 2 mm


def test_no_lesion_and_none_invented_is_perfect():
    empty = np.zeros(SHAPE, bool)
    assert lesion_wise(empty, empty, UNIT).dice == 1.0
    assert lesion_wise(empty, box(SHAPE, (2, 8)), UNIT).dice == 0.0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_lesion_scores_are_scores_and_count_every_component(seed):
    a, b = blobs(seed, (16, 16, 16))
    found = lesion_wise(a, b, UNIT, smallest_mm3=0.0)
    parts = ndimage.label(b, np.ones((3, 3, 3)))[1]
    assert 0.0 <= found.dice <= 1.0
    assert 0 <= found.invented <= parts
    perfect = lesion_wise(a, a, UNIT, smallest_mm3=0.0)
    assert (perfect.dice, perfect.invented, perfect.missed) == (1.0, 0, 0)
