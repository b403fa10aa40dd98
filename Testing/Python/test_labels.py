"""Label schemes: encode and decode are inverse, and schemes that make no sense are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import Label, LabelScheme, Region, chest_scheme

SCHEMES = {
    "softmax": LabelScheme.softmax("a", "b", "c"),
    "brats": LabelScheme.brats(),
    "brats regions": LabelScheme.brats_regions(),
    "sigmoid": LabelScheme.sigmoid("x", "y"),
    "binary": LabelScheme.binary("disc"),
    "chest": chest_scheme(),
}


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_decoding_encoded_labels_gives_them_back(name, data):
    scheme = SCHEMES[name]
    shape = data.draw(st.sampled_from([(1, 4, 5), (2, 3, 4, 2)]))
    values = np.array((0, *scheme.values))
    labels = torch.from_numpy(values[data.draw(arrays(np.int64, shape, elements=st.integers(0, len(values) - 1)))])
    targets = scheme.encode(labels)
    assert targets.shape == (shape[0], scheme.channels, *shape[1:])
    assert set(targets.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(scheme.decode(targets - 0.5), labels)


def test_brats_regions_nest_as_the_challenge_defines_them():
    scheme = LabelScheme.brats_regions()
    whole, core, enhancing = scheme.encode(torch.tensor([[0, 1, 2, 4]]))[0]
    assert whole.tolist() == [0, 1, 1, 1]  # whole tumour: 1, 2, 4
    assert core.tolist() == [0, 1, 0, 1]  # tumour core: 1, 4
    assert enhancing.tolist() == [0, 0, 0, 1]


def test_later_sigmoid_channels_paint_over_earlier_ones():
    logits = torch.tensor([[[1.0, 1.0, -1.0, -1.0]], [[1.0, -1.0, 1.0, -1.0]]])[None]
    assert LabelScheme.sigmoid("under", "over").decode(logits).tolist() == [[[2, 1, 2, 0]]]


def test_softmax_decodes_to_label_values_not_channel_numbers():
    logits = torch.eye(4)[None, :, :, None]
    assert LabelScheme.brats().decode(logits).flatten().tolist() == [0, 1, 2, 4]


def test_softmax_targets_are_one_hot_with_background_first():
    targets = LabelScheme.brats().encode(torch.tensor([[0, 4]]))[0]
    assert targets.T.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_probabilities_follow_the_activation():
    logits = torch.tensor([[[0.0], [np.log(3.0)]]], dtype=torch.float64)
    assert LabelScheme.softmax("a").probabilities(logits).flatten().tolist() == pytest.approx([0.25, 0.75])
    assert LabelScheme.sigmoid("a", "b").probabilities(logits).flatten().tolist() == pytest.approx([0.5, 0.75])


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_survives_json(name):
    scheme = SCHEMES[name]
    assert LabelScheme.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: LabelScheme("softmax", ()), "at least one"),
        (lambda: LabelScheme("softmax", (Label(0, "air"),)), "not 0"),
        (lambda: LabelScheme("softmax", (Label(1, "a"), Label(1, "b"))), "distinct"),
        (lambda: LabelScheme.softmax("a", "a"), "distinct"),
        (lambda: LabelScheme.softmax("mean"), "mean"),
        (lambda: LabelScheme("argmax", (Label(1, "a"),)), "unknown activation 'argmax'"),
        (lambda: LabelScheme("binary", (Label(1, "a"), Label(2, "b"))), "one label"),
        (lambda: LabelScheme("sigmoid", (Label(1, "a"),), ((2,),)), "members"),
        (lambda: LabelScheme("sigmoid", (Label(1, "a"),), ((),)), "members"),
        (lambda: LabelScheme("softmax", (Label(1, "a"), Label(2, "b")), ((1, 2), (2,))), "only a sigmoid"),
        (lambda: replace(LabelScheme.brats(), regions=(Region("WT", (1, 3)),)), "unions"),
        (lambda: LabelScheme.from_dict({"activation": "softmax"}), "labels"),
        (lambda: LabelScheme.from_dict({"activation": "softmax", "labels": [{"value": "x"}]}), "label scheme"),
    ],
)
def test_schemes_that_make_no_sense_are_refused(build, words):
    with pytest.raises(BadRequest, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_unknown_labels_are_named_with_a_hint_for_brats_2023():
    with pytest.raises(BadRequest, match=r"\[3\].*4 enhancing tumour.*BraTS 2023"):
        LabelScheme.brats().check([0, 1, 3])
    with pytest.raises(BadRequest, match=r"truth holds labels \[7, 9\]") as caught:
        LabelScheme.brats().check([9, 7, 1], "truth")
    assert "2023" not in str(caught.value)
    LabelScheme.brats().check([0, 1, 2, 4])


@pytest.mark.parametrize("scheme", [LabelScheme.brats(), LabelScheme.brats_regions(), LabelScheme.binary("x")])
def test_decoding_against_a_loop_over_voxels_ties_included(scheme: LabelScheme) -> None:
    """Of equal softmax logits the first channel wins; later sigmoid channels paint over earlier ones."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(-2, 3, (2, scheme.channels, 6, 7, 5), generator=generator).float()
    expected = torch.zeros(2, 6, 7, 5, dtype=torch.int64)
    for n, i, j, k in np.ndindex(2, 6, 7, 5):
        z = logits[n, :, i, j, k].tolist()
        if scheme.activation == "softmax":
            expected[n, i, j, k] = (0, *scheme.values)[z.index(max(z))]
        else:
            on = [value for value, logit in zip(scheme.values, z, strict=True) if logit > 0]
            expected[n, i, j, k] = on[-1] if on else 0
    assert torch.equal(scheme.decode(logits), expected)
    masks = torch.stack(scheme.masks(logits))
    assert int(masks.sum(0).max()) <= 1
