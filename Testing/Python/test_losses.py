"""Losses against voxel-by-voxel loops in NumPy and SciPy, MONAI and torch."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cosine, jensenshannon
from scipy.special import expit, log_expit, log_softmax, softmax
from torch import Tensor, nn
from torch.nn import functional as F

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.loss_names import LOSS_NAMES
from AdvSegLib.losses import (
    GAMMA,
    LOSSES,
    Loss,
    at_temperature,
    bce,
    cospgd_loss,
    cross_entropy,
    focal,
    get_loss,
    jensen_shannon,
    margin,
    masked_cross_entropy,
    published_soft_dice,
    segpgd_loss,
    soft_dice,
    soft_iou,
)
from AdvSegLib.losses.weighted import pending

Array = NDArray[np.float64]
Voxel = Callable[[Array, Array], Array]
"""From the logits and the target of one voxel, ``(K,)`` each, to the terms of its decisions."""

SOFTMAX = LabelScheme.softmax("a", "b", "c")
SIGMOID = LabelScheme.brats_regions()
BINARY = LabelScheme.binary("x")
SCHEMES = [SOFTMAX, LabelScheme.softmax("only"), SIGMOID, LabelScheme.sigmoid("a", "b"), BINARY]
NAMES = ["softmax", "two-class", "nested", "sigmoid", "binary"]
OBJECTIVES: dict[str, Loss] = {
    **LOSSES,
    "segpgd": partial(segpgd_loss, progress=0.3),
    "cospgd": cospgd_loss,
    "margin-unclamped": partial(margin, kappa=math.inf),
    "focal-half": partial(focal, gamma=0.5),
    "dice-cooled": at_temperature(soft_dice, 20.0),
}
SCALE_FREE = ("margin", "margin-unclamped", "ce-scaled", "dice-scaled")
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
both_signs = pytest.mark.parametrize("sign", [1, -1], ids=["climbed", "descended"])


def a_problem(scheme: LabelScheme, dims: int = 3, seed: int = 4, n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (4, 5, 6)[:dims]
    logits = torch.randn(n, scheme.channels, *shape, dtype=torch.float64, generator=generator) * 3
    values = torch.tensor((0, *scheme.values))
    labels = values[torch.randint(0, len(values), (n, *shape), generator=generator)]
    return logits, scheme.encode(labels, torch.float64)


def decided(logits: Tensor, scheme: LabelScheme) -> Tensor:
    on = logits == logits.amax(1, keepdim=True) if scheme.activation == "softmax" else logits > 0
    return on.to(logits.dtype)


def soft_labels(target: Tensor, scheme: LabelScheme) -> Tensor:
    noise = torch.randn(target.shape, dtype=target.dtype, generator=torch.Generator().manual_seed(1))
    return scheme.probabilities(6 * target + noise - (0 if scheme.activation == "softmax" else 3))


def gradient(loss: Loss, logits: Tensor, target: Tensor, scheme: LabelScheme, sign: int = 1) -> Tensor:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, target, scheme, sign=sign).sum(), leaf)[0]


# --- a second implementation, voxel by voxel, in NumPy and SciPy ----------------------------------------------------


class Oracle:
    """The losses of one sample, ``(K, voxels)``: a loop over voxels, each a class or K pairs (on, off)."""

    def __init__(self, logits: Array, target: Array, softmax: bool, sign: int) -> None:
        self.z, self.y, self.softmax, self.sign = logits, target, softmax, sign

    def decisions(self) -> list[tuple[Array, Array, Array]]:
        """Return logits, log-probabilities and wanted probabilities of every decision's outcomes."""
        found = []
        for v in range(self.z.shape[1]):
            z, y = self.z[:, v], self.y[:, v]
            if self.softmax:
                found.append((z, log_softmax(z), y))
            else:
                for a, b in zip(z, y, strict=True):
                    pair = np.array([a, 0.0])
                    found.append((pair, np.array([log_expit(a), log_expit(-a)]), np.array([b, 1 - b])))
        return found

    def mean(self, term: Callable[[Array, Array, Array], float]) -> float:
        return float(np.mean([term(*decision) for decision in self.decisions()]))

    def is_pending(self, z: Array, y: Array) -> bool:
        # a channel whose logit is exactly 0 is off: off is the pair's second outcome
        there = bool(z[0] > z[1]) == bool(y[0] > y[1]) if not self.softmax else int(z.argmax()) == int(y.argmax())
        return there if self.sign > 0 else not there

    def spread(self) -> float:
        z = self.z - self.z.mean(0) if self.softmax else self.z
        return math.sqrt(sum(float(a) ** 2 for a in z.ravel()) / z.size)

    def rescaled(self) -> Oracle:
        return Oracle(self.z / self.spread(), self.y, self.softmax, self.sign)

    def ce(self) -> float:
        return self.mean(lambda z, lp, y: -float(y @ lp))

    def focal(self) -> float:
        return self.mean(lambda z, lp, y: -float(np.sum(y * (1 - np.exp(lp)) ** 2 * lp)))

    def js(self) -> float:
        return self.mean(lambda z, lp, y: float(jensenshannon(np.exp(lp), y)) ** 2)

    def dice(self) -> float:
        p, y = (softmax(self.z, 0)[1:], self.y[1:]) if self.softmax else (expit(self.z), self.y)
        terms = [(2 * a @ b + GAMMA) / (a.sum() + b.sum() + GAMMA) for a, b in zip(p, y, strict=True)]
        return 1 - sum(terms) / len(terms)

    def ce_masked(self) -> float:
        return self.mean(lambda z, lp, y: -float(y @ lp) * self.is_pending(z, y))

    def ce_balanced(self) -> float:
        groups: dict[tuple[int, int], list[float]] = {}
        for index, (z, lp, y) in enumerate(self.decisions()):
            channel = 0 if self.softmax else index % len(self.z)
            groups.setdefault((channel, int(y.argmax())), []).append(-float(y @ lp) * self.is_pending(z, y))
        return float(np.mean([np.mean(group) for group in groups.values()]))

    def margin(self, kappa: float = 1.0) -> float:
        def term(z: Array, lp: Array, y: Array) -> float:
            t = int(y.argmax())
            gap = max(z[c] for c in range(len(z)) if c != t) - z[t]
            return float(min(gap, kappa) if self.sign > 0 else max(gap, -kappa))

        return self.rescaled().mean(term)

    def logit_sum(self) -> float:
        # a lone channel's logit is half for on and half against off
        return self.mean(lambda z, lp, y: -float(y @ z) if self.softmax else -float((y[0] - y[1]) * z[0]))

    def segpgd(self, progress: float) -> float:
        lam = progress / 2
        return self.mean(lambda z, lp, y: -float(y @ lp) * (1 - lam if self.is_pending(z, y) else lam))

    def cospgd(self) -> float:
        def term(z: Array, lp: Array, y: Array) -> float:
            similar = 1 - float(cosine(np.exp(lp), y))
            return -float(y @ lp) * (similar if self.sign > 0 else 1 - similar)

        return self.mean(term)


EXPECTED: dict[str, Callable[[Oracle], float]] = {
    "dice": Oracle.dice,
    "ce": Oracle.ce,
    "focal": Oracle.focal,
    "js": Oracle.js,
    "dice-ce": lambda o: o.dice() + o.ce(),
    "dice-focal": lambda o: o.dice() + o.focal(),
    "ce-masked": Oracle.ce_masked,
    "ce-balanced": Oracle.ce_balanced,
    "margin": Oracle.margin,
    "margin-unclamped": lambda o: o.margin(math.inf),
    "logit-sum": Oracle.logit_sum,
    "ce-scaled": lambda o: o.rescaled().ce(),
    "dice-scaled": lambda o: o.rescaled().dice(),
    "segpgd": lambda o: o.segpgd(0.3),
    "cospgd": Oracle.cospgd,
}


@pytest.mark.parametrize("name", list(EXPECTED))
@every_scheme
@pytest.mark.parametrize("dims", [2, 3])
@both_signs
def test_equals_a_loop_over_voxels(name: str, scheme: LabelScheme, dims: int, sign: int) -> None:
    logits, target = a_problem(scheme, dims, n=2)
    found = OBJECTIVES[name](logits, target, scheme, sign=sign)
    for sample in range(2):
        z, y = logits[sample].flatten(1).numpy(), target[sample].flatten(1).numpy()
        expected = EXPECTED[name](Oracle(z, y, scheme.activation == "softmax", sign))
        assert float(found[sample]) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("name", ["dice", "ce", "focal", "js", "logit-sum", "ce-scaled", "cospgd"])
@every_scheme
def test_soft_labels_equal_a_loop_over_voxels(name: str, scheme: LabelScheme) -> None:
    logits, target = a_problem(scheme, 2, n=2)
    target = soft_labels(target, scheme)
    found = OBJECTIVES[name](logits, target, scheme)
    for sample in range(2):
        z, y = logits[sample].flatten(1).numpy(), target[sample].flatten(1).numpy()
        expected = EXPECTED[name](Oracle(z, y, scheme.activation == "softmax", 1))
        assert float(found[sample]) == pytest.approx(expected, rel=1e-10, abs=1e-10)


# --- the standard implementations -----------------------------------------------------------------------------------


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
    a, b = (gradient(loss, logits, target, SOFTMAX) for loss in (soft_dice, published_soft_dice))
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


@every_scheme
@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
def test_focal_equals_monai(scheme: LabelScheme, gamma: float) -> None:
    from monai.losses import FocalLoss

    logits, target = a_problem(scheme)
    softmax = scheme.activation == "softmax"
    expected = FocalLoss(gamma=gamma, use_softmax=softmax, reduction="none")(logits, target).flatten(2).mean(2)
    expected = (expected.sum(1) if softmax else expected.mean(1)).double()
    # MONAI computes in float32 whatever it is given
    assert torch.allclose(focal(logits, target, scheme, gamma=gamma), expected, atol=1e-6, rtol=1e-6)


def test_compounds_equal_monai() -> None:
    from monai.losses import DiceCELoss, DiceFocalLoss

    smooth = {"smooth_nr": GAMMA, "smooth_dr": GAMMA}
    # of several channels MONAI takes the softmax's cross-entropy even where it is told sigmoid
    for name, oracle, scheme in (("dice-ce", DiceCELoss, BINARY), ("dice-focal", DiceFocalLoss, SIGMOID)):
        logits, target = (item.float() for item in a_problem(scheme, n=1))
        expected = float(oracle(sigmoid=True, **smooth)(logits, target))
        assert float(LOSSES[name](logits, target, scheme)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [jensen_shannon, focal, partial(focal, gamma=0.5), LOSSES["ce-scaled"]])
@every_scheme
def test_gradients_equal_finite_differences(loss: Loss, scheme: LabelScheme) -> None:
    logits, target = a_problem(scheme, 2, n=1)
    logits, target = logits[..., :2, :3].clone().requires_grad_(), target[..., :2, :3]
    assert torch.autograd.gradcheck(lambda z: loss(z, target, scheme), (logits,), atol=1e-7)


# --- what every loss promises ---------------------------------------------------------------------------------------

problems = {
    "scheme": st.sampled_from(SCHEMES),
    "dims": st.sampled_from([2, 3]),
    "seed": st.integers(0, 2**31),
    "sign": st.sampled_from([1, -1]),
}


@settings(max_examples=25, deadline=None)
@given(**problems)
def test_losses_are_per_sample(scheme: LabelScheme, dims: int, seed: int, sign: int) -> None:
    logits, target = a_problem(scheme, dims, seed)
    disturbed, order = logits.clone(), torch.tensor([2, 0, 1])
    disturbed[1:] *= 1e3
    for name, loss in OBJECTIVES.items():
        together = loss(logits, target, scheme, sign=sign)
        alone = [loss(logits[k : k + 1], target[k : k + 1], scheme, sign=sign) for k in range(3)]
        assert together.shape == (3,), name
        assert torch.allclose(together, torch.cat(alone), atol=1e-13, rtol=1e-13), name
        assert torch.allclose(loss(logits[order], target[order], scheme, sign=sign), together[order], atol=1e-13)
        ours, others = (gradient(loss, z, target, scheme, sign)[0] for z in (logits, disturbed))
        assert torch.allclose(ours, others, atol=1e-15, rtol=1e-12), name


@settings(max_examples=25, deadline=None)
@given(**problems)
def test_where_a_voxel_lies_and_what_a_class_is_called_do_not_matter(
    scheme: LabelScheme, dims: int, seed: int, sign: int
) -> None:
    logits, target = a_problem(scheme, dims, seed)
    shape, generator = logits.shape, torch.Generator().manual_seed(seed)
    voxels = torch.randperm(logits[0, 0].numel(), generator=generator)
    first = scheme.foreground.start or 0
    channels = torch.cat([torch.arange(first), first + torch.randperm(scheme.channels - first, generator=generator)])
    for name, loss in OBJECTIVES.items():
        expected = loss(logits, target, scheme, sign=sign)
        moved = [item.flatten(2)[..., voxels][:, channels].view(shape) for item in (logits, target)]
        assert torch.allclose(loss(*moved, scheme, sign=sign), expected, atol=1e-12, rtol=1e-12), name


@settings(max_examples=25, deadline=None)
@given(**problems, exponent=st.floats(-6, 6))
def test_scaled_losses_do_not_see_the_scale(
    scheme: LabelScheme, dims: int, seed: int, sign: int, exponent: float
) -> None:
    logits, target = a_problem(scheme, dims, seed)
    for name in SCALE_FREE:
        loss, factor = OBJECTIVES[name], 10.0**exponent
        expected = loss(logits, target, scheme, sign=sign)
        assert torch.allclose(loss(logits * factor, target, scheme, sign=sign), expected, atol=1e-10), name
        # by a power of two nothing is rounded differently, so neither is any step
        a, b = (gradient(loss, logits * c, target, scheme, sign) for c in (1.0, 2.0 ** round(exponent)))
        assert torch.equal(a.sign(), b.sign()), name


@settings(max_examples=25, deadline=None)
@given(dims=st.sampled_from([2, 3]), seed=st.integers(0, 2**31), sign=st.sampled_from([1, -1]))
def test_a_softmax_does_not_see_what_all_channels_share(dims: int, seed: int, sign: int) -> None:
    logits, target = a_problem(SOFTMAX, dims, seed)
    shift = torch.randn(logits[:, :1].shape, dtype=logits.dtype, generator=torch.Generator().manual_seed(seed)) * 9
    for name in sorted(set(OBJECTIVES) - {"bce", "logit-sum"}):
        expected = OBJECTIVES[name](logits, target, SOFTMAX, sign=sign)
        assert torch.allclose(OBJECTIVES[name](logits + shift, target, SOFTMAX, sign=sign), expected, atol=1e-10), name


@settings(max_examples=120, deadline=None)
@given(
    **problems, double=st.booleans(), magnitude=st.sampled_from([0.0, 1e-30, 1e-22, 1e-14, 1.0, 90.0, 1e3, 1e6]),
    kind=st.sampled_from(["noise", "extremes", "constant", "right", "wrong"]),
    wanted=st.sampled_from(["random", "empty", "full", "soft", "undecided"]),
)  # fmt: skip
def test_values_and_gradients_are_finite(
    scheme: LabelScheme, dims: int, seed: int, sign: int, double: bool, magnitude: float, kind: str, wanted: str
) -> None:
    dtype = torch.float64 if double else torch.float32
    logits, target = a_problem(scheme, dims, seed)
    if wanted in ("empty", "full"):
        labels = torch.full_like(target[:, 0], 0 if wanted == "empty" else scheme.values[-1])
        target = scheme.encode(labels, torch.float64)
    elif wanted == "soft":
        target = soft_labels(target, scheme)
    elif wanted == "undecided":
        target = torch.full_like(target, 1 / max(scheme.channels, 2))
    logits = {
        "noise": logits,
        "extremes": logits.sign(),
        "constant": torch.ones_like(logits),
        "right": 2 * target - 1,
        "wrong": 1 - 2 * target,
    }[kind] * magnitude
    logits, target = logits.to(dtype), target.to(dtype)
    for name, loss in OBJECTIVES.items():
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, target, scheme, sign=sign)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        assert value.dtype == dtype, name
        assert bool(value.isfinite().all()), name
        assert bool(slope.isfinite().all()), name


# --- what each is for -----------------------------------------------------------------------------------------------


@every_scheme
@both_signs
def test_saturation_hides_the_gradient_from_dice_but_not_from_logit_space(scheme: LabelScheme, sign: int) -> None:
    logits, target = a_problem(scheme)
    saturated = (logits * 5000).float()
    target = target.float()
    assert float((gradient(soft_dice, saturated, target, scheme) == 0).float().mean()) > 0.95
    for name in ("logit-sum", "ce-scaled", "dice-scaled", "margin-unclamped"):
        slope = gradient(OBJECTIVES[name], saturated, target, scheme, sign)
        assert bool((slope != 0).flatten(2).any(1).all()), name
    # what is not yet past the decision keeps its margin, at any scale
    slope = gradient(margin, saturated, target, scheme, sign)
    ahead = OBJECTIVES["ce-masked"](saturated, target, scheme, sign=sign)
    assert bool((slope.flatten(1) != 0).any(1)[ahead > 0].all())


@both_signs
def test_a_margin_stops_counting_past_the_decision_on_one_side_only(sign: int) -> None:
    # four voxels: wrong and right by a lot, wrong and right by a little
    logits = torch.tensor([[[-3.0, 3.0, -0.1, 0.1]]], dtype=torch.float64)
    target = torch.ones_like(logits)
    counts = gradient(margin, logits, target, BINARY, sign) != 0
    assert counts.flatten().tolist() == ([False, True, True, True] if sign > 0 else [True, False, True, True])


@both_signs
def test_segpgd_begins_with_the_pending_and_ends_with_all_alike(sign: int) -> None:
    for scheme in SCHEMES:
        logits, target = a_problem(scheme)
        start = segpgd_loss(logits, target, scheme, sign=sign, progress=0)
        end = segpgd_loss(logits, target, scheme, sign=sign, progress=1)
        assert torch.allclose(start, masked_cross_entropy(logits, target, scheme, sign=sign), atol=1e-14)
        assert torch.allclose(end, cross_entropy(logits, target, scheme) / 2, atol=1e-14)


@pytest.mark.parametrize("scheme", [SOFTMAX, SIGMOID, BINARY])
@pytest.mark.parametrize("name", ["cospgd", "segpgd", "ce-masked", "ce-balanced", "margin", "js", "ce-scaled"])
@both_signs
def test_signed_steps_get_where_they_aim(scheme: LabelScheme, name: str, sign: int) -> None:
    """The BMVC 2024 port of targeted CosPGD turns round at every step: 1.6441, 1.6445, 1.6441."""
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, scheme.channels, 3, padding=1))
    network = network.double().requires_grad_(False)
    x, elsewhere = torch.rand(2, 2, 1, 8, 8, dtype=torch.float64)
    target = decided(network(x if sign > 0 else elsewhere), scheme)
    losses, shares = [], []
    for _ in range(12):
        leaf = x.clone().requires_grad_()
        logits = network(leaf)
        loss = OBJECTIVES[name](logits, target, scheme, sign=sign).sum()
        losses.append(loss.item())
        shares.append(pending(logits, target, scheme, sign).double().mean().item())
        x = x + sign * 0.02 * torch.autograd.grad(loss, leaf)[0].sign()
    assert shares[-1] < shares[0]
    if name == "cospgd" and sign < 0:
        assert all(after < before for before, after in itertools.pairwise(losses))


@both_signs
def test_weights_carry_no_gradient(sign: int) -> None:
    logits, target = a_problem(SOFTMAX)
    p = logits.softmax(1)
    plain = (p - target) / logits[0, 0].numel()
    left = pending(logits, target, SOFTMAX, sign).double()[:, None]
    similar = F.cosine_similarity(p, target, dim=1)[:, None]
    weights = {
        "ce-masked": left,
        "segpgd": 0.15 + 0.7 * left,
        "cospgd": similar if sign > 0 else 1 - similar,
    }
    for name, weight in weights.items():
        assert torch.allclose(gradient(OBJECTIVES[name], logits, target, SOFTMAX, sign), weight * plain, atol=1e-14)


def test_a_tie_falls_as_the_label_map_has_it() -> None:
    logits, background = torch.zeros(1, 4, 2, 2), SOFTMAX.encode(torch.zeros(1, 2, 2, dtype=torch.int64))
    assert SOFTMAX.decode(logits).tolist() == [[[0, 0], [0, 0]]]
    assert float(masked_cross_entropy(logits, background, SOFTMAX)) == pytest.approx(math.log(4))
    assert float(masked_cross_entropy(logits, background, SOFTMAX, sign=-1)) == 0


def test_an_absent_structure_predicted_nowhere_scores_one() -> None:
    logits = torch.full((1, 1, 8, 8), -200.0, dtype=torch.float64)
    empty = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    assert float(soft_dice(logits, empty, BINARY)) == pytest.approx(0, abs=1e-12)
    assert float(soft_iou(logits, empty, BINARY)) == pytest.approx(0, abs=1e-12)


def test_a_temperature_divides_the_logits() -> None:
    logits, target = a_problem(SOFTMAX)
    for sign in (1, -1):
        found = at_temperature(masked_cross_entropy, 20)(logits, target, SOFTMAX, sign=sign)
        assert torch.equal(found, masked_cross_entropy(logits / 20, target, SOFTMAX, sign=sign))
    for bad in (0, -1, math.nan):
        with pytest.raises(BadRequest, match="temperature must be above 0"):
            at_temperature(soft_dice, bad)


def test_the_light_list_names_every_loss() -> None:
    assert tuple(LOSSES) == LOSS_NAMES
    code = "import sys, AdvSegLib.loss_names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean 'dice'"):
        get_loss("dicee")
