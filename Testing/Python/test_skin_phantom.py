"""The skin phantom: what every dermoscopy image must show, whatever the seed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import ndimage

from AdvSegLib.cases.skin_phantom import SCHEME, SkinVariation, skin_cases_drawn, skin_phantom
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Image, LabelMap

SIZE = 96


@pytest.fixture(scope="module")
def images() -> list[tuple[Image, LabelMap]]:
    return [skin_phantom(seed, SIZE) for seed in range(8)]


def test_the_same_seed_draws_the_same_bits_and_another_seed_another_lesion():
    first, again, other = skin_phantom(5, SIZE), skin_phantom(5, SIZE), skin_phantom(6, SIZE)
    assert np.array_equal(first[0].array, again[0].array)
    assert np.array_equal(first[1].array, again[1].array)
    assert (first[1].array != other[1].array).mean() > 0.02


def test_images_look_like_a_file(images):
    for image, labels in images:
        assert image.array.shape == (3, SIZE, SIZE)
        assert image.names == ("red", "green", "blue")
        assert np.array_equal(image.array, np.rint(image.array))
        assert image.lows.min() >= 0
        assert image.highs.max() <= 255
        assert labels.values == (1,)
        assert labels.names == SCHEME.names


def test_the_lesion_is_one_patch_on_skin_of_its_own_tone(images):
    contrasts = []
    for image, labels in images:
        lesion = labels.array == 1
        parts = ndimage.label(lesion)[0]
        assert np.bincount(parts[parts > 0]).max() > 0.97 * lesion.sum()
        assert 0.02 < lesion.mean() < 0.6
        ring = ndimage.binary_dilation(lesion, iterations=12) & ~ndimage.binary_dilation(lesion, iterations=5)
        red, green, blue = (float(np.median(channel[ring])) for channel in image.array)
        assert red > green > 0.75 * blue  # skin
        core = ndimage.binary_erosion(lesion, iterations=4)
        contrasts.append(float(np.median(image.array[1][core])) / green)
    assert max(contrasts) < 0.97
    assert np.mean(contrasts) < 0.8


def test_hairs_are_drawn_when_asked_for():
    bare = skin_phantom(3, SIZE, SkinVariation(hairs=(0, 1), corner_chance=0.0))[0]
    hairy = skin_phantom(3, SIZE, SkinVariation(hairs=(30, 31), corner_chance=0.0))[0]
    dark = [float((image.array[0] < 90).mean()) for image in (bare, hairy)]
    assert dark[1] > dark[0] + 0.01


def test_the_same_lesion_comes_out_at_any_size():
    _, small = skin_phantom(2, 64)
    _, large = skin_phantom(2, 128)
    halved = (large.array == 1).reshape(64, 2, 64, 2).mean(axis=(1, 3)) >= 0.5
    assert 2 * (halved & (small.array == 1)).sum() / (halved.sum() + (small.array == 1).sum()) > 0.97


def test_cases_are_drawn_when_asked_for_and_travel():
    cases = skin_cases_drawn(2, seed=7, size=48)
    image, labels = skin_phantom(8, 48)
    again = pickle.loads(pickle.dumps(cases[1]))
    assert np.array_equal(again.image().array, image.array)
    assert np.array_equal(again.truth().array, labels.array)
    with pytest.raises(BadRequest, match="32"):
        skin_phantom(0, 8)
