"""Losses against MONAI, torch and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses import GAMMA, LOSSES, bce, cross_entropy, get_loss, published_soft_dice, soft_dice, soft_iou

SOFTMAX = LabelScheme.softmax("a", "b", "c")
SIGMOID = LabelScheme.brats_regions()


def a_problem(scheme: LabelScheme) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    logits = torch.randn(3, scheme.channels, 4, 5, 6, dtype=torch.float64) * 3
    values = torch.tensor((0, *scheme.values))
    labels = values[torch.randint(0, len(values), (3, 4, 5, 6))]
    return logits, scheme.encode(labels, torch.float64)


@pytest.mark.parametrize("scheme", [SOFTMAX, SIGMOID])
@pytest.mark.parametrize("jaccard", [False, True])
def test_overlap_losses_equal_monai(scheme: LabelScheme, jaccard: bool) -> None:
    from monai.losses import DiceLoss

    logits, target = a_problem(scheme)
    softmax = scheme.activation == "softmax"
    oracle = DiceLoss(
        include_background=not softmax, softmax=softmax, sigmoid=not softmax, jaccard=jaccard, reduction="none",
        smooth_nr=GAMMA * (2 if jaccard else 1), smooth_dr=GAMMA * (2 if jaccard else 1),
    )  # fmt: skip
    # MONAI writes Jaccard as 2 I / (2 (sum - I)): its smoothing is halved by the 2
    expected = oracle(logits, target).flatten(2).mean(2).mean(1)
    loss = soft_iou if jaccard else soft_dice
    assert torch.allclose(loss(logits, target, scheme), expected, atol=1e-12)


def test_soft_dice_as_printed_divides_by_all_channels() -> None:
    logits, target = a_problem(SOFTMAX)
    ours, printed = soft_dice(logits, target, SOFTMAX), published_soft_dice(logits, target, SOFTMAX)
    assert torch.allclose(1 - printed, (1 - ours) * 3 / 4, atol=1e-14)
    leaf = logits.clone().requires_grad_()
    (a,) = torch.autograd.grad(soft_dice(leaf, target, SOFTMAX).sum(), leaf)
    (b,) = torch.autograd.grad(published_soft_dice(leaf, target, SOFTMAX).sum(), leaf)
    assert torch.equal(a.sign(), b.sign())


def test_cross_entropy_and_bce_equal_torch() -> None:
    logits, target = a_problem(SOFTMAX)
    expected = F.cross_entropy(logits, target.argmax(1), reduction="none").flatten(1).mean(1)
    assert torch.allclose(cross_entropy(logits, target, SOFTMAX), expected, atol=1e-12)
    logits, target = a_problem(SIGMOID)
    p = logits.sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).flatten(1).mean(1)
    assert torch.allclose(bce(logits, target, SIGMOID), expected, atol=1e-9)
    assert torch.equal(cross_entropy(logits, target, SIGMOID), bce(logits, target, SIGMOID))


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("scheme", [SOFTMAX, SIGMOID])
def test_losses_are_per_sample(name: str, scheme: LabelScheme) -> None:
    logits, target = a_problem(scheme)
    together = get_loss(name)(logits, target, scheme)
    alone = [get_loss(name)(logits[k : k + 1], target[k : k + 1], scheme) for k in range(3)]
    assert together.shape == (3,)
    assert torch.allclose(together, torch.cat(alone), atol=1e-14)


def test_an_absent_structure_predicted_nowhere_scores_one() -> None:
    scheme = LabelScheme.binary("x")
    logits = torch.full((1, 1, 8, 8), -200.0, dtype=torch.float64)
    empty = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    assert float(soft_dice(logits, empty, scheme)) == pytest.approx(0, abs=1e-12)
    assert float(soft_iou(logits, empty, scheme)) == pytest.approx(0, abs=1e-12)


def test_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean 'dice'"):
        get_loss("dicee")
