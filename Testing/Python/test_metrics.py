"""Metrics against sums by hand, MONAI and the definitions of the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.image_quality import image_quality
from AdvSegLib.metrics.overlap import compare, overlap_of_masks, paper_iou, paper_iou_of_masks, volumes_ml
from AdvSegLib.volumes import Image

BRATS = LabelScheme.brats()


def two_maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.choice([0, 1, 2, 4], (9, 8, 7)), rng.choice([0, 1, 2, 4], (9, 8, 7))


def test_overlap_equals_sums_and_monai() -> None:
    from monai.metrics import DiceMetric

    a, b = two_maps()
    scores = compare(a, b, BRATS)
    for label in BRATS.labels:
        x, y = a == label.value, b == label.value
        assert scores["dice"][label.name] == pytest.approx(2 * (x & y).sum() / (x.sum() + y.sum()), abs=1e-12)
        assert scores["iou"][label.name] == pytest.approx((x & y).sum() / (x | y).sum(), abs=1e-12)
    onehot = [torch.from_numpy(np.stack([m == v for v in (1, 2, 4)])[None].astype(np.float32)) for m in (b, a)]
    expected = DiceMetric(include_background=True, reduction="none")(*onehot)[0].mean()
    assert scores["dice"]["mean"] == pytest.approx(float(expected), abs=1e-6)


def test_brats_regions_are_unions() -> None:
    a, b = two_maps(1)
    scores = compare(a, b, BRATS)
    whole_a, whole_b = a > 0, b > 0
    expected = 2 * (whole_a & whole_b).sum() / (whole_a.sum() + whole_b.sum())
    assert scores["dice_regions"]["WT"] == pytest.approx(expected)
    assert scores["dice_regions"]["ET"] == scores["dice"]["enhancing tumour"]
    assert set(scores["iou_regions"]) == {"WT", "TC", "ET"}


def test_absent_labels_have_one_policy() -> None:
    a = np.zeros((4, 4), int)
    b = a.copy()
    a[0], b[0] = 1, 1
    b[3] = 2
    scores = compare(a, b, BRATS)
    assert scores["dice"] == {"necrotic core": 1.0, "oedema": 0.0, "enhancing tumour": None, "mean": 0.5}
    nothing = compare(a * 0, a * 0, BRATS)
    assert nothing["dice"]["mean"] is None
    assert nothing["paper_iou"] is None
    assert nothing["pixel_accuracy"] == 1.0


def test_paper_iou_equals_the_indicator_sums_of_paper_002() -> None:
    a, b = two_maps(2)
    agree, either = 0, 0
    for y1, y2 in zip(a.flat, b.flat, strict=True):
        either += y1 + y2 != 0
        agree += y1 == y2 and y1 + y2 != 0
    assert paper_iou(a, b) == pytest.approx(agree / either)
    mask = a > 0
    assert paper_iou(mask.astype(int), (b > 0).astype(int)) == pytest.approx(
        compare(mask.astype(int), (b > 0).astype(int), LabelScheme.binary("x"))["iou"]["mean"]
    )


def test_dice_on_tensors_equals_dice_on_arrays() -> None:
    pairs = [two_maps(k) for k in range(4)] + [(np.zeros((9, 8, 7), int), two_maps(9)[0])]
    a, b = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
    masks = [[side == value for value in BRATS.values] for side in (a, b)]
    expected = [compare(x, y, BRATS) for x, y in pairs]
    dice, iou = overlap_of_masks(masks[1], masks[0])
    assert dice.tolist() == pytest.approx([scores["dice"]["mean"] for scores in expected])
    assert iou.tolist() == pytest.approx([scores["iou"]["mean"] for scores in expected])
    assert paper_iou_of_masks(masks[1], masks[0]).tolist() == pytest.approx([s["paper_iou"] for s in expected])
    nothing = [mask & False for mask in masks[0]]
    assert [side.tolist() for side in overlap_of_masks(nothing, nothing)] == [[1.0] * 5] * 2
    assert paper_iou_of_masks(nothing, nothing).tolist() == [1.0] * 5


def test_volumes_count_voxels() -> None:
    labels = np.zeros((10, 10, 10), int)
    labels[:2] = 1
    labels[2:5] = 4
    volumes = volumes_ml(labels, BRATS, 0.008)
    assert volumes["necrotic core"] == pytest.approx(200 * 0.008)
    assert volumes["TC"] == volumes["WT"] == pytest.approx(500 * 0.008)


def test_image_quality_by_hand_and_its_worst_channel() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(3)
    clean = np.stack([rng.gamma(2, 100, (12, 13, 14)), rng.normal(0, 1, (12, 13, 14))]).astype(np.float32)
    noise = np.stack([rng.normal(0, 5, (12, 13, 14)), rng.normal(0, 0.2, (12, 13, 14))]).astype(np.float32)
    a = Image.from_array(clean, names=("t1", "t2"))
    b = a.with_array(clean + noise)
    got = image_quality(a, b)
    for k, name in enumerate(("t1", "t2")):
        x, y = a.array[k].astype(float), b.array[k].astype(float)
        span = x.max() - x.min()
        scores = got["channels"][name]
        assert scores["psnr"] == pytest.approx(10 * math.log10(span**2 / ((x - y) ** 2).mean()))
        assert scores["ssim"] == pytest.approx(structural_similarity(x, y, data_range=span))
        assert scores["rmse"] == pytest.approx(math.sqrt(((x - y) ** 2).mean()))
        assert scores["l2"] == pytest.approx(math.sqrt(((x - y) ** 2).sum()))
        assert scores["linf_percent"] == pytest.approx(100 * np.abs(x - y).max() / span)
    assert got["psnr"] == min(c["psnr"] for c in got["channels"].values())
    assert got["linf_percent"] == max(c["linf_percent"] for c in got["channels"].values())


def test_an_unchanged_image_has_no_finite_psnr() -> None:
    a = Image.from_array(np.random.default_rng(0).random((1, 8, 8), dtype=np.float32))
    got = image_quality(a, a)
    assert got["psnr"] is None
    assert got["ssim"] == pytest.approx(1.0)
    assert got["linf"] == 0.0


def test_constant_and_tiny_channels_are_none_not_nan() -> None:
    a = Image.from_array(np.ones((1, 2, 2), np.float32))
    got = image_quality(a, a.with_array(a.array + 1))
    assert got["ssim"] is None
    assert got["linf_percent"] is None
    assert got["rmse"] == 1.0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(BadRequest, match="cannot be compared"):
        compare(np.zeros((2, 2), int), np.zeros((2, 3), int), BRATS)
