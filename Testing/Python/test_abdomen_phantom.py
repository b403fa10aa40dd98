"""The abdominal phantom: what every slice must show, whatever the seed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from AdvSegLib.cases.abdomen_phantom import (
    SCHEME,
    AbdomenVariation,
    abdomen_cases_drawn,
    abdomen_phantom,
)
from AdvSegLib.cases.gi_tract import ORGANS
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Image, LabelMap

LARGE, SMALL, STOMACH = 1, 2, 3
SIZE = 96
SEEDS = range(12)


@pytest.fixture(scope="module")
def slices() -> list[tuple[Image, LabelMap]]:
    return [abdomen_phantom(seed, SIZE) for seed in SEEDS]


def test_labels_are_those_of_the_real_data_sets_reader():
    assert tuple(SCHEME.names.values()) == tuple(organ.replace("_", " ") for organ in ORGANS)
    assert SCHEME.activation == "sigmoid"


def test_the_same_seed_draws_the_same_bits_and_another_seed_another_body():
    first, again, other = abdomen_phantom(3, SIZE), abdomen_phantom(3, SIZE), abdomen_phantom(4, SIZE)
    assert np.array_equal(first[0].array, again[0].array)
    assert np.array_equal(first[1].array, again[1].array)
    assert (first[1].array != other[1].array).mean() > 0.02


def test_slices_look_like_a_file(slices):
    for image, labels in slices:
        assert image.array.shape == (3, SIZE, SIZE)
        assert image.names == ("slice-1", "slice", "slice+1")
        assert np.array_equal(image.array, np.rint(image.array))
        assert image.lows.min() >= 0
        assert image.highs.max() < 65536
        assert image.grid.spacing == pytest.approx((380 / SIZE, 380 / SIZE))
        assert set(labels.values) <= {1, 2, 3}
        assert labels.values


def test_air_around_the_body_is_dark_and_fat_is_bright(slices):
    for image, _ in slices:
        plane = image.array[1]
        corner = plane[: SIZE // 12, : SIZE // 12]
        assert np.median(corner) < 0.15 * np.percentile(plane, 99)


def test_organs_lie_where_they_do_in_people(slices):
    middles = {LARGE: [], SMALL: [], STOMACH: []}
    for _, labels in slices:
        for value, found in middles.items():
            places = np.argwhere(labels.array == value)
            if len(places):
                found.append(places.mean(axis=0) / SIZE)
    assert all(len(found) >= 4 for found in middles.values())
    assert np.mean(middles[STOMACH], axis=0)[1] > 0.55  # the patient's left, on the image's right
    assert np.mean(middles[STOMACH], axis=0)[0] < 0.5  # in front
    assert 0.35 < np.mean(middles[SMALL], axis=0)[1] < 0.65
    sizes = [(labels.array > 0).mean() for _, labels in slices]
    smallest, largest = min(sizes), max(sizes)
    assert smallest > 0.01
    assert largest < 0.3


def test_the_stomach_is_of_upper_slices_and_bowel_of_lower_ones():
    def present(level: float, value: int) -> float:
        at = AbdomenVariation(level=(level, level))
        return float(np.mean([(abdomen_phantom(seed, 64, 1, at)[1].array == value).sum() for seed in range(6)]))

    assert present(0.1, STOMACH) > 3 * present(0.85, STOMACH)
    assert present(0.85, SMALL) > 1.5 * present(0.1, SMALL)


def test_neighbouring_slices_show_the_same_body_a_little_further_on(slices):
    for image, _ in slices:
        above, middle, below = (plane.ravel() for plane in image.array)
        near = np.corrcoef(above, middle)[0, 1]
        assert 0.97 < near < 0.9999
        assert np.corrcoef(above, below)[0, 1] <= near + 0.002
    one = abdomen_phantom(3, SIZE, 1)
    assert one[0].array.shape == (1, SIZE, SIZE)
    assert np.array_equal(one[1].array, abdomen_phantom(3, SIZE, 3)[1].array)


def test_cases_are_drawn_when_asked_for_and_travel():
    cases = abdomen_cases_drawn(2, seed=9, size=48, slices=1)
    image, labels = abdomen_phantom(10, 48, 1)
    again = pickle.loads(pickle.dumps(cases[1]))
    assert np.array_equal(again.image().array, image.array)
    assert np.array_equal(again.truth().array, labels.array)


@pytest.mark.parametrize(("size", "slices"), [(16, 3), (64, 2), (64, 0), (64, -1)])
def test_impossible_slices_are_refused(size, slices):
    with pytest.raises(BadRequest):
        abdomen_phantom(0, size, slices)
