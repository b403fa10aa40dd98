"""Slices of drawn heads, for 2-D networks: they are slices of the heads, mostly through the tumour."""

from __future__ import annotations

import numpy as np
import pytest

from AdvSegLib.cases.brain_phantom import brain_phantom
from AdvSegLib.cases.brain_slice import SLICES, brain_slice
from AdvSegLib.errors import BadRequest

SIZE = 24


def test_a_slice_is_one_of_its_heads():
    image, labels = brain_phantom(2, SIZE)
    for seed in range(2 * SLICES, 2 * SLICES + 3):
        part, truth = brain_slice(seed, SIZE)
        same = [k for k in range(SIZE) if np.array_equal(image.array[:, k], part.array)]
        assert same
        assert np.array_equal(labels.array[same[0]], truth.array)
        assert part.names == ("t1", "t1gd", "t2", "flair")
        assert part.grid.spacing == pytest.approx(image.grid.spacing[1:])


def test_seeds_are_slices_that_differ_and_most_show_tumour():
    drawn = [brain_slice(seed, SIZE) for seed in range(2 * SLICES)]
    assert len({part.array.tobytes() for part, _ in drawn}) > SLICES
    assert np.mean([bool(truth.values) for _, truth in drawn]) > 0.6
    again = brain_slice(3, SIZE)
    assert np.array_equal(again[0].array, drawn[3][0].array)


def test_negative_seeds_are_refused():
    with pytest.raises(BadRequest, match="negative"):
        brain_slice(-1, SIZE)
