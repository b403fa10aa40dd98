"""The chest phantom: what every film must show, whatever the seed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from AdvSegLib.cases.chest_anatomy import ChestVariation
from AdvSegLib.cases.chest_phantom import chest_cases, chest_phantom
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import chest_scheme
from AdvSegLib.volumes import Image, LabelMap

HEART, LEFT, RIGHT, LEFT_CLAVICLE, RIGHT_CLAVICLE = 1, 2, 3, 4, 5
SEEDS = range(12)
SIZE = 128


@pytest.fixture(scope="module")
def films() -> list[tuple[Image, LabelMap]]:
    return [chest_phantom(seed, SIZE) for seed in SEEDS]


def _columns(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask.any(axis=0))


def _rows(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask.any(axis=1))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def _contrast(image: Image, one: np.ndarray, other: np.ndarray) -> float:
    """Difference of medians as a fraction of the film's range."""
    film = image.array[0]
    return float((np.median(film[one]) - np.median(film[other])) / image.ranges[0])


def test_the_same_seed_draws_the_same_bits_and_another_seed_another_chest():
    first, again, other = chest_phantom(3, SIZE), chest_phantom(3, SIZE), chest_phantom(4, SIZE)
    assert np.array_equal(first[0].array, again[0].array)
    assert np.array_equal(first[1].array, again[1].array)
    assert np.abs(first[0].array - other[0].array).mean() > 5
    assert (first[1].array != other[1].array).mean() > 0.02


def test_films_look_like_a_file(films):
    for image, labels in films:
        assert image.array.shape == (1, SIZE, SIZE)
        assert image.array.dtype == np.float32
        assert image.names == ("film",)
        assert np.isfinite(image.array).all()
        assert np.array_equal(image.array, np.rint(image.array))
        assert image.lows[0] >= 0
        assert image.highs[0] <= 255
        assert image.ranges[0] > 120  # a soft film leaves part of the file's range unused
        assert image.grid.spacing == pytest.approx((350 / SIZE, 350 / SIZE))
        assert labels.grid.matches(image.grid)
    assert np.mean([image.ranges[0] for image, _ in films]) > 180


def test_every_structure_is_there_and_named(films):
    scheme = chest_scheme()
    for _, labels in films:
        assert labels.values == scheme.values
        assert labels.names == scheme.names


def test_the_heart_is_of_human_size(films):
    ratios = []
    for _, labels in films:
        lungs = np.isin(labels.array, (LEFT, RIGHT))
        ratios.append(np.ptp(_columns(labels.array == HEART)) / np.ptp(_columns(lungs)))
        area_cm2 = (labels.array == HEART).sum() * (35.0 / SIZE) ** 2
        assert 50 < area_cm2 < 190
    assert min(ratios) > 0.36
    assert max(ratios) < 0.6
    assert np.ptp(ratios) > 0.05


def test_the_patients_left_is_on_the_images_right(films):
    for _, labels in films:
        array = labels.array
        middle = {value: float(np.nonzero(array == value)[1].mean()) for value in range(1, 6)}
        assert middle[RIGHT] < middle[HEART] < middle[LEFT]
        assert middle[RIGHT_CLAVICLE] < SIZE / 2 < middle[LEFT_CLAVICLE]
        # The apex points left: the heart reaches further from the midline (between the lungs' apices) on that side.
        apices = (
            np.nonzero(array[: SIZE // 3] == RIGHT)[1].max() + np.nonzero(array[: SIZE // 3] == LEFT)[1].min()
        ) / 2
        reach = _columns(array == HEART)
        assert reach.max() - apices > 1.2 * (apices - reach.min())


def test_the_right_dome_stands_higher():
    upright = ChestVariation(rotation_deg=(0.0, 0.0), dome_step_mm=(12.0, 18.0))
    for seed in range(4):
        array = chest_phantom(seed, SIZE, upright)[1].array
        left, right = array == LEFT, array == RIGHT
        # Well inside the outer wall, where neither the heart nor the costophrenic angle is met.
        inwards = int(0.13 * SIZE)
        left_floor = np.flatnonzero(left[:, _columns(left).max() - inwards]).max()
        right_floor = np.flatnonzero(right[:, _columns(right).min() + inwards]).max()
        assert right_floor < left_floor


def test_lungs_are_dark_and_the_heart_is_no_brighter_than_its_neighbours(films):
    to_mediastinum, to_abdomen = [], []
    for image, labels in films:
        array = labels.array
        heart, lungs = array == HEART, np.isin(array, (LEFT, RIGHT))
        assert 0.2 < _contrast(image, heart, lungs) < 0.75
        rows, columns = np.indices(array.shape)
        top, bottom = _rows(heart)[[0, -1]]
        left, right = _columns(heart)[[0, -1]]
        above = (
            (array == 0)
            & (rows < top)
            & (rows > top - 0.06 * SIZE)
            & (np.abs(columns - (left + right) / 2) < 0.05 * SIZE)
        )
        below = (rows > bottom + 0.04 * SIZE) & (rows < bottom + 0.12 * SIZE) & (columns > left) & (columns < right)
        to_mediastinum.append(_contrast(image, heart, above))
        to_abdomen.append(_contrast(image, heart, below))
    assert np.abs(to_mediastinum).max() < 0.2
    assert np.abs(np.mean(to_mediastinum)) < 0.12
    assert max(to_abdomen) < 0.1


def test_clavicles_cross_the_upper_lungs(films):
    for _, labels in films:
        for clavicle, lung in ((LEFT_CLAVICLE, LEFT), (RIGHT_CLAVICLE, RIGHT)):
            bone, field = labels.array == clavicle, labels.array == lung
            upper = _rows(field)[0] + 0.4 * np.ptp(_rows(field))
            assert _rows(bone).max() < upper
            columns = _columns(bone & (np.arange(SIZE)[:, None] > _rows(field)[0]))
            # Lung goes on above and below the bone somewhere: it was painted over the lung.
            crossed = [
                field[: np.flatnonzero(bone[:, c]).min(), c].any()
                and field[np.flatnonzero(bone[:, c]).max() :, c].any()
                for c in columns
            ]
            assert sum(crossed) > 0.02 * SIZE
            assert np.ptp(_columns(bone)) > 3 * np.median(bone.sum(axis=0)[_columns(bone)])


def test_clavicles_and_ribs_leave_traces(films):
    """A clavicle must be brighter than the lung beside it, else nobody could outline it."""
    seen = [
        _contrast(image, np.isin(labels.array, (4, 5)), _beside(np.isin(labels.array, (4, 5)), labels.array))
        for image, labels in films
    ]
    assert np.mean(seen) > 0.03


def _beside(bone: np.ndarray, labels: np.ndarray) -> np.ndarray:
    near = np.zeros_like(bone)
    for step in (4, 5, -4, -5):
        near |= np.roll(bone, step, axis=0)
    return near & np.isin(labels, (LEFT, RIGHT))


@pytest.mark.parametrize("seed", [0, 5, 9])
def test_the_same_anatomy_comes_out_at_any_size(seed):
    small_image, small = chest_phantom(seed, 128)
    large_image, large = chest_phantom(seed, 256)
    for value in chest_scheme().values:
        halved = (large.array == value).reshape(128, 2, 128, 2).mean(axis=(1, 3)) >= 0.5
        assert _dice(small.array == value, halved) > 0.9
    assert _dice(small.array == HEART, large.onto(small.grid).array == HEART) > 0.97
    averaged = large_image.array[0].reshape(128, 2, 128, 2).mean(axis=(1, 3))
    assert np.corrcoef(averaged.ravel(), small_image.array.ravel())[0, 1] > 0.98


def test_cases_are_drawn_when_asked_for_and_travel():
    cases = chest_cases(8, seed=40, size=64)
    assert [case.identifier for case in cases][-1] == "chest-0007"
    image, labels = chest_phantom(42, 64)
    assert np.array_equal(cases[2].image().array, image.array)
    assert np.array_equal(cases[2].truth().array, labels.array)
    assert np.array_equal(pickle.loads(pickle.dumps(cases[2])).image().array, image.array)


def test_variation_does_what_it_says():
    plain = ChestVariation(marker_chance=0.0, border_chance=0.0)
    deep = chest_phantom(1, 64, ChestVariation(marker_chance=0.0, border_chance=0.0, bits=12))[0]
    assert 3000 < deep.highs[0] <= 4095
    wide, narrow = (
        chest_phantom(1, 64, ChestVariation(cardiothoracic_ratio=(ratio, ratio)))[1].array == HEART
        for ratio in (0.55, 0.4)
    )
    assert np.ptp(_columns(wide)) > 1.25 * np.ptp(_columns(narrow))
    coarse = chest_phantom(1, 64, ChestVariation(marker_chance=0.0, border_chance=0.0, quanta_per_mm2=(500.0, 500.0)))[
        0
    ]
    fine = chest_phantom(1, 64, plain)[0]

    def roughness(image: Image) -> float:
        return float(np.abs(np.diff(image.array[0, 55:, 20:44])).mean())

    assert roughness(coarse) > 1.5 * roughness(fine)


def test_a_film_too_small_is_refused():
    with pytest.raises(BadRequest, match="32"):
        chest_phantom(0, 16)
