"""MI-FGSM, diverse inputs, SegPGD, CosPGD and APGD against plain loops over single samples, in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from fixtures_walks import DISC, FIVE, REGIONS, THREE, AWalk, drawn, draws, into_ball, steepest
from torch import Tensor, nn
from torch.nn import functional as F

from AdvSegLib.attacks import PGD
from AdvSegLib.attacks.apgd import APGD, checkpoints
from AdvSegLib.attacks.diversity import Smaller, seen_smaller
from AdvSegLib.attacks.momentum import MomentumFGSM
from AdvSegLib.attacks.pixelwise import CosPGD, SegPGD
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import BadRequest

SETTINGS = [
    (2, "linf", False),
    (2, "linf", True),
    (3, "linf", False),
    (3, "linf", True),
    (2, "l2", False),
    (3, "l2", True),
]
EPS = {"linf": 0.1, "l2": 0.6}
everywhere = pytest.mark.parametrize(("dims", "norm", "targeted"), SETTINGS)


def cross_entropy_map(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def slope(walk: AWalk, x: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, Tensor]:
    logits, leaf = walk.logits_of(x)
    value = loss(logits, labels)
    return float(value.detach()), torch.autograd.grad(value, leaf)[0]


def same(ours: Tensor, expected: list[Tensor]) -> None:
    assert (ours - torch.cat(expected)).abs().max() < 1e-10


# --- MI-FGSM and diverse inputs -------------------------------------------------------------------------------------


@everywhere
def test_momentum_equals_a_plain_loop(dims: int, norm: str, targeted: bool) -> None:
    walk, eps, steps, decay = AWalk(dims, THREE, targeted=targeted), EPS[norm], 9, 0.8
    expected = []
    for k in range(3):
        clean, labels = walk.x[k : k + 1], walk.labels[k : k + 1]
        x, momentum = clean, torch.zeros_like(clean)
        for _ in range(steps):
            _, g = slope(walk, x, labels, lambda z, y: cross_entropy_map(z, y).mean())
            momentum = decay * momentum + g / g.abs().sum()
            x = into_ball(x + walk.sign * eps / steps * steepest(momentum, norm), clean, eps, norm)
        expected.append(x)
    same(walk.run(MomentumFGSM(steps=steps, decay=decay), Budget.fixed(eps, norm)).adversarial, expected)  # type: ignore[arg-type]


def test_momentum_without_decay_is_ifgsm_and_with_it_is_not() -> None:
    walk, budget = AWalk(2, THREE), Budget.fixed(0.1)
    plain = walk.run(PGD(steps=8, alpha=1 / 8, loss="ce"), budget).adversarial
    assert (walk.run(MomentumFGSM(steps=8, decay=0.0), budget).adversarial - plain).abs().max() < 1e-12
    assert (walk.run(MomentumFGSM(steps=8), budget).adversarial - plain).abs().max() > 1e-3


@pytest.mark.parametrize("dims", [2, 3])
def test_diverse_inputs_equal_a_plain_loop(dims: int) -> None:
    walk, eps, steps = AWalk(dims, THREE), 0.1, 6
    shape, linear = tuple(walk.x.shape[2:]), "bilinear" if dims == 2 else "trilinear"
    generator, x, taken = draws(), walk.x, 0
    for step in range(steps):
        u = drawn(generator, 2 + dims)[0]
        if step == 0:
            momentum = torch.zeros_like(x)
        leaf = x.detach().clone().requires_grad_(True)
        if u[0] < 0.7:
            taken += 1
            scale = 0.6 + 0.4 * float(u[1])
            size = [max(1, round(n * scale)) for n in shape]
            first = [math.floor(float(u[2 + a]) * (shape[a] - size[a] + 1)) for a in range(dims)]
            pads = [p for a in reversed(range(dims)) for p in (first[a], shape[a] - size[a] - first[a])]
            seen = F.pad(F.interpolate(leaf, size, mode=linear, align_corners=False), pads)  # 0 is the lowest value
            logits = walk.network(seen)
            for a in range(dims):
                logits = logits.narrow(2 + a, first[a], size[a])
            logits = F.interpolate(logits, shape, mode=linear, align_corners=False)
        else:
            logits = walk.network(leaf)
        (g,) = torch.autograd.grad(cross_entropy_map(logits, walk.labels).flatten(1).mean(1).sum(), leaf)
        for k in range(3):
            momentum[k] = momentum[k] + g[k] / g[k].abs().sum()
        x = (x + eps / steps * momentum.sign()).clamp(walk.x - eps, walk.x + eps).clamp(0, 1)
    assert 0 < taken < steps
    attack = MomentumFGSM(steps=steps, diversity=0.7, diversity_scale=0.6)
    assert (walk.run(attack, Budget.fixed(eps)).adversarial - x).abs().max() < 1e-10


def test_a_smaller_look_keeps_logits_on_their_voxels() -> None:
    ramp = torch.linspace(0, 1, 40, dtype=torch.float64).expand(1, 1, 30, 40)
    seen = seen_smaller(lambda x: x, ramp, Smaller((24, 32), (3, 6)), torch.zeros(1, 1, 1, 1))
    assert (seen - ramp)[..., 1:-1].abs().max() < 0.02
    whole = seen_smaller(lambda x: x, ramp, Smaller((30, 40), (0, 0)), torch.zeros(1, 1, 1, 1))
    assert torch.equal(whole, ramp)


def test_diversity_does_not_stop_by_what_it_did_not_see() -> None:
    with pytest.raises(BadRequest, match="not both"):
        MomentumFGSM(diversity=0.5, stop_at=0.2)


# --- SegPGD and CosPGD ----------------------------------------------------------------------------------------------


def weighted(kind: str, targeted: bool, share: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        ce, p = cross_entropy_map(logits, labels), logits.detach().softmax(1)
        for place in itertools.product(*(range(n) for n in labels.shape)):
            of_place = (place[0], slice(None), *place[1:])
            label = int(labels[place])
            if kind == "segpgd":
                right = int(logits[of_place].argmax()) == label
                weight = 1 - share if right != targeted else share
            else:
                alike = float(p[of_place][label] / p[of_place].norm())
                weight = 1 - alike if targeted else alike
            total = total + weight * ce[place]
        return total / labels.numel()

    return loss


@pytest.mark.parametrize("attack", [SegPGD(steps=5, alpha=0.3), CosPGD(steps=5, alpha=0.3)], ids=["segpgd", "cospgd"])
@everywhere
def test_weighted_pgd_equals_a_plain_loop(attack: PGD, dims: int, norm: str, targeted: bool) -> None:
    walk, eps = AWalk(dims, FIVE, targeted=targeted, n=2, side=5 if dims == 2 else 3), EPS[norm]
    expected = []
    for k in range(2):
        clean, labels = walk.x[k : k + 1], walk.labels[k : k + 1]
        x = clean
        for step in range(5):
            _, g = slope(walk, x, labels, weighted(attack.name, targeted, step / (2 * 5)))
            x = into_ball(x + walk.sign * 0.3 * eps * steepest(g, norm), clean, eps, norm)
        expected.append(x)
    same(walk.run(attack, Budget.fixed(eps, norm)).adversarial, expected)  # type: ignore[arg-type]


def test_targeted_cospgd_falls_where_a_published_port_swings() -> None:
    """The port flips the step's sign at every iteration: its loss reads 1.6441, 1.6445, 1.6441."""
    walk = AWalk(3, THREE, targeted=True)
    for attack in (CosPGD(steps=12, alpha=0.08), SegPGD(steps=12, alpha=0.08)):
        result = walk.run(attack, Budget.fixed(0.2))
        before, after = (
            cross_entropy_map(walk.network(x), walk.labels).flatten(1).mean(1) for x in (walk.x, result.adversarial)
        )
        assert (after < before - 0.01).all()
    losses = [record.loss for record in walk.run(CosPGD(steps=12, alpha=0.08), Budget.fixed(0.2)).history]
    assert all(bool((later < earlier).all()) for earlier, later in itertools.pairwise(losses))


def test_temperature_divides_the_weighted_logits() -> None:
    walk, budget = AWalk(2, THREE), Budget.fixed(0.1)
    for kind in (CosPGD, SegPGD):
        cool = walk.run(kind(steps=4, temperature=7.0), budget).adversarial
        cooled = AWalk(2, THREE)
        with torch.no_grad():
            for p in cooled.network[-1].parameters():  # type: ignore[index,union-attr]
                p /= 7.0
        assert (cool - cooled.run(kind(steps=4), budget).adversarial).abs().max() < 1e-12


# --- APGD -----------------------------------------------------------------------------------------------------------


def plain_apgd(
    f: Callable[[Tensor], tuple[float, Tensor]], clean: Tensor, eps: float, norm: str, steps: int
) -> tuple[Tensor, int]:
    """Algorithm 1 of Croce and Hein 2020, climbing ``f``; also how often it went back."""
    places = [0.0, 0.22]
    while places[-1] < 1:
        places.append(places[-1] + max(places[-1] - places[-2] - 0.03, 0.06))
    w = sorted({math.ceil(round(p * steps, 9)) for p in places})
    x, back = [clean], 0
    seen, value, gradient = [], [], []
    best, best_x, best_gradient = -math.inf, clean, clean
    eta, eta_at_check, best_at_check = 2 * eps, 2 * eps, math.nan
    for k in range(steps):
        at, g = f(x[k])
        seen.append(at)
        value.append(at)
        gradient.append(g)
        if at > best:
            best, best_x, best_gradient = at, x[k], g
        if k == 0:
            best_at_check = best
        elif k in w:
            since = w[w.index(k) - 1]
            rises = sum(seen[i + 1] > value[i] for i in range(since, k))
            condition_1 = rises < 0.75 * (k - since)
            condition_2 = eta == eta_at_check and best == best_at_check
            eta_at_check, best_at_check = eta, best
            if condition_1 or condition_2:
                eta, back = eta / 2, back + 1
                x[k], value[k], gradient[k] = best_x, best, best_gradient
        z = into_ball(x[k] + eta * steepest(gradient[k], norm), clean, eps, norm)
        if k:
            z = into_ball(x[k] + 0.75 * (z - x[k]) + 0.25 * (x[k] - x[k - 1]), clean, eps, norm)
        x.append(z)
    at, _ = f(x[-1])
    return (x[-1] if at > best else best_x), back


@everywhere
def test_apgd_equals_algorithm_1(dims: int, norm: str, targeted: bool) -> None:
    walk, eps = AWalk(dims, THREE, targeted=targeted), EPS[norm]
    expected, backs = [], []
    for k in range(3):
        clean, labels = walk.x[k : k + 1], walk.labels[k : k + 1]
        image, back = plain_apgd(
            lambda x, labels=labels: slope(  # type: ignore[misc]
                walk, x, labels, lambda z, y: walk.sign * cross_entropy_map(z, y).mean()
            ),
            clean, eps, norm, 37,
        )  # fmt: skip
        expected.append(image)
        backs.append(back)
    assert min(backs) > 0
    same(walk.run(APGD(steps=37), Budget.fixed(eps, norm)).adversarial, expected)  # type: ignore[arg-type]


def test_apgd_checkpoints_are_the_papers() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sum(checkpoints(100).values()) == 99
    for steps in range(1, 60):
        after = list(checkpoints(steps))
        assert after == sorted(set(after))
        assert all(0 < w < steps for w in after)
        assert list(itertools.accumulate(checkpoints(steps).values())) == after


@pytest.mark.parametrize("loss", ["ce", "dice", "margin", "ce-masked", "js", "ce-balanced"])
@pytest.mark.parametrize("scheme", [THREE, REGIONS, DISC], ids=["softmax", "sigmoid", "binary"])
def test_apgd_ends_at_the_best_image_it_saw(loss: str, scheme: object) -> None:
    from AdvSegLib.losses import get_loss

    tracked = "ce" if loss in ("ce-masked", "ce-balanced") else loss
    for targeted in (False, True):
        walk = AWalk(2, scheme, targeted=targeted)  # type: ignore[arg-type]
        ends = []
        for steps in (1, 5, 20):
            result = walk.run(APGD(steps=steps, loss=loss), Budget.fixed(0.1))
            target = walk.scheme.encode(walk.labels, torch.float64)
            with torch.no_grad():
                worth = [
                    walk.sign * get_loss(tracked)(walk.network(x), target, walk.scheme, sign=walk.sign)
                    for x in (walk.x, result.adversarial)
                ]
            assert (worth[1] >= worth[0] - 1e-12).all()
            if tracked == loss:
                seen = torch.stack([walk.sign * record.loss for record in result.history]).amax(0)
                assert (worth[1] >= seen - 1e-12).all()
            ends.append(worth[1])
        assert (ends[2] >= ends[0]).all()


def test_apgd_is_no_weaker_than_pgd() -> None:
    walk, budget = AWalk(2, THREE), Budget.fixed(0.1)
    ends = []
    for attack in (PGD(steps=40, loss="ce"), APGD(steps=40)):
        with torch.no_grad():
            ends.append(cross_entropy_map(walk.network(walk.run(attack, budget).adversarial), walk.labels).mean())
    assert ends[1] > ends[0] - 1e-3


def test_a_flat_network_moves_nothing_and_breaks_nothing() -> None:
    walk = AWalk(2, THREE)
    nn.init.zeros_(walk.network[-1].weight)  # type: ignore[index,arg-type,union-attr]
    for attack in (MomentumFGSM(), SegPGD(), CosPGD(), APGD(steps=12)):
        for norm in ("linf", "l2"):
            result = walk.run(attack, Budget.fixed(0.1, norm))  # type: ignore[arg-type]
            assert torch.equal(result.adversarial, walk.x)
