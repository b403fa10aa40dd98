"""The fundus phantom: what every photograph must show, whatever the seed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import ndimage

from AdvSegLib.cases.fundus_phantom import SCHEME, FundusVariation, fundus_cases_drawn, fundus_phantom
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Image, LabelMap, read_image

SEEDS = range(6)
SIZE = 96


@pytest.fixture(scope="module")
def eyes() -> list[tuple[Image, LabelMap]]:
    return [fundus_phantom(seed, SIZE) for seed in SEEDS]


def test_the_same_seed_draws_the_same_bits_and_another_seed_another_eye():
    first, again, other = fundus_phantom(3, SIZE), fundus_phantom(3, SIZE), fundus_phantom(4, SIZE)
    assert np.array_equal(first[0].array, again[0].array)
    assert np.array_equal(first[1].array, again[1].array)
    assert np.abs(first[0].array - other[0].array).mean() > 3


def test_photographs_look_like_a_file(eyes):
    for image, labels in eyes:
        assert image.array.shape == (3, SIZE, SIZE)
        assert image.names == ("red", "green", "blue")
        assert np.array_equal(image.array, np.rint(image.array))
        assert image.lows.min() >= 0
        assert image.highs.max() <= 255
        assert labels.grid.matches(image.grid)
        assert labels.values == (1,)
        assert labels.names == SCHEME.names


def test_the_disc_is_one_round_patch_of_human_size(eyes):
    for _, labels in eyes:
        disc = labels.array == 1
        assert ndimage.label(disc)[1] == 1
        assert 0.015 < disc.mean() < 0.16  # the two real ones at hand: 0.026 and 0.082
        rows, columns = (np.ptp(np.flatnonzero(disc.any(axis=axis))) + 1 for axis in (1, 0))
        assert 0.7 < rows / columns < 1.6
        assert disc.sum() > 0.68 * rows * columns  # an ellipse fills 0.785 of its box


def test_the_retina_is_red_and_the_disc_brighter_and_yellower(eyes):
    steps = []
    for image, labels in eyes:
        disc = ndimage.binary_erosion(labels.array == 1, iterations=2)
        outside = ~ndimage.binary_dilation(labels.array == 1, iterations=6)
        red, green, blue = (float(np.median(channel[outside])) for channel in image.array)
        assert red > 1.8 * green > 1.8 * blue
        steps.append(float(np.median(image.array[1][disc]) / max(green, 1.0)))
        assert steps[-1] > 1.15
    assert np.mean(steps) > 1.6  # the two real ones: 4.7 and 1.4 of means


def test_vessels_cross_the_disc(eyes):
    """Inside the disc green falls well below its median somewhere: the trunks leave through it."""
    for image, labels in eyes:
        green = image.array[1][ndimage.binary_erosion(labels.array == 1, iterations=2)]
        assert np.percentile(green, 2) < 0.8 * np.median(green)


def test_real_photographs_have_the_same_order_of_channels(real_data):
    for name in ("G_14_R_1", "G_5_R_1"):
        image = read_image(real_data(f"fundus_ozbulak/{name}_image.png"))
        mask = read_image(real_data(f"fundus_ozbulak/{name}_mask.png")).array[0] > 127
        red, green, blue = (float(np.median(channel[~mask])) for channel in image.array)
        assert red > 1.8 * green > 1.8 * blue
        assert 0.015 < mask.mean() < 0.16


def test_the_same_eye_comes_out_at_any_size():
    _, small = fundus_phantom(2, 64)
    _, large = fundus_phantom(2, 128)
    halved = (large.array == 1).reshape(64, 2, 64, 2).mean(axis=(1, 3)) >= 0.5
    shared = 2 * (halved & (small.array == 1)).sum() / (halved.sum() + (small.array == 1).sum())
    assert shared > 0.96


def test_cases_are_drawn_when_asked_for_and_travel():
    cases = fundus_cases_drawn(3, seed=40, size=48)
    image, labels = fundus_phantom(42, 48)
    again = pickle.loads(pickle.dumps(cases[2]))
    assert cases[2].identifier == "fundus-0002"
    assert np.array_equal(again.image().array, image.array)
    assert np.array_equal(again.truth().array, labels.array)


def test_variation_does_what_it_says_and_small_pictures_are_refused():
    small, large = (
        (fundus_phantom(1, 64, FundusVariation(disc_radius=(radius, radius)))[1].array == 1).sum()
        for radius in (0.2, 0.4)
    )
    assert large > 3 * small
    with pytest.raises(BadRequest, match="32"):
        fundus_phantom(0, 16)
