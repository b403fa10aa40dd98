"""DAG and ALMA-prox against plain loops over single samples, in float64; the proximal steps against other solvers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_walks import DISC, FIVE, REGIONS, THREE, TWO, AWalk, drawn, draws
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor, nn

from AdvSegLib.attacks import PGD
from AdvSegLib.attacks.dag import DAG
from AdvSegLib.attacks.minimum_norm import ALMAProx
from AdvSegLib.attacks.proximal import penalty, penalty_slope, proximal
from AdvSegLib.budgets import Budget
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Goal, Targeted, Untargeted

Array = NDArray[np.float64]
FREE = Budget.fixed(1.0)
EVERY = [(2, s, t) for s in (FIVE, THREE, TWO, REGIONS, DISC) for t in (False, True)]
EVERY += [(3, s, t) for s in (FIVE, TWO, REGIONS) for t in (False, True)]
every_goal = pytest.mark.parametrize(("dims", "scheme", "targeted"), EVERY)


# --- DAG ------------------------------------------------------------------------------------------------------------


def decisions(walk: AWalk, sample: int) -> list[tuple[tuple[int, ...], int]]:
    """Each decision of a sample: where it is, and the class wanted (a lone channel's: on or off)."""
    target = walk.target(sample)[0]
    if walk.scheme.activation == "softmax":
        wanted = target.argmax(0)
        return [(place, int(wanted[place])) for place in np.ndindex(*wanted.shape)]
    return [(place, int(target[place])) for place in np.ndindex(*target.shape)]


def plain_dag(
    walk: AWalk, sample: int, steps: int, gamma: float, adversarial: str, success: float
) -> tuple[Tensor, int]:
    """Algorithm 1 of Xie et al. 2017 on one image."""
    clean = walk.x[sample : sample + 1]
    draw = drawn(draws(), *clean.shape[2:])[0] if adversarial == "random" else None
    softmax, x = walk.scheme.activation == "softmax", clean
    for step in range(steps):
        logits, leaf = walk.logits_of(x)
        z, pull, active = logits[0], torch.zeros((), dtype=torch.float64), 0
        everyone = decisions(walk, sample)
        for place, wanted in everyone:
            if softmax:
                of = z[(slice(None), *place)]
                right = int(of.argmax()) == wanted
                wrong = [c for c in range(len(of)) if c != wanted]
                if draw is not None and walk.sign > 0:
                    rival = sorted(wrong, key=lambda c, w=wanted: (c - w) % len(of))[int(draw[place] * len(wrong))]  # type: ignore[misc]
                else:
                    rival = max(wrong, key=lambda c: float(of[c].detach()))
                towards = of[rival] - of[wanted]
            else:
                right = bool(z[place] > 0) == bool(wanted)
                towards = -z[place] if wanted else z[place]
            if right == (walk.sign > 0):
                active += 1
                pull = pull + walk.sign * towards
        if 1 - active / len(everyone) >= success:
            return x, step
        (r,) = torch.autograd.grad(pull, leaf)
        x = (x + gamma * r / r.abs().max()).clamp(0, 1)
    return x, steps


@every_goal
def test_dag_equals_algorithm_1(dims: int, scheme: LabelScheme, targeted: bool) -> None:
    walk = AWalk(dims, scheme, targeted=targeted, n=2, side=5 if dims == 2 else 3)
    for adversarial in ("random", "runner-up"):
        result = walk.run(DAG(steps=7, gamma=0.02, adversarial=adversarial), FREE)
        for k in range(2):
            expected, _ = plain_dag(walk, k, 7, 0.02, adversarial, 1.0)
            assert (result.adversarial[k : k + 1] - expected).abs().max() < 1e-10
            assert result.perturbation[k].any()


def test_dag_ends_each_sample_when_it_is_turned() -> None:
    walk = AWalk(2, THREE, n=4, side=5)
    result = walk.run(DAG(steps=60, gamma=0.05, success=0.6), FREE)
    ends = [plain_dag(walk, k, 60, 0.05, "random", 0.6) for k in range(4)]
    assert len({step for _, step in ends}) > 1
    assert min(step for _, step in ends) < 60
    assert (result.adversarial - torch.cat([x for x, _ in ends])).abs().max() < 1e-10


# --- ALMA-prox ------------------------------------------------------------------------------------------------------


def solved_linf(delta: Array, metric: Array, weight: float, low: Array, high: Array) -> Array:
    """The minimum of a convex, piecewise quadratic function of the bound: try every piece and every end of one."""
    inside = np.clip(delta, low, high)
    ends = np.unique(np.concatenate([[0.0], np.abs(inside).ravel()]))
    found = list(ends)
    for left, right in itertools.pairwise(ends):
        clipped = np.abs(inside) >= right
        t = ((metric * np.abs(delta))[clipped].sum() - weight) / metric[clipped].sum()
        found.append(min(max(t, left), right))

    def cost(t: float) -> float:
        return float((metric * (np.clip(inside, -t, t) - delta) ** 2).sum() / 2 + weight * t)

    best = min(found, key=cost)
    return np.clip(inside, -best, best)


def solved_l2(delta: Array, metric: Array, weight: float, low: Array, high: Array) -> Array:
    def shrunk(s: float) -> Array:
        return np.clip(metric * delta / (metric + weight / s), low, high)

    most = float(np.linalg.norm(np.clip(delta, low, high)))
    if np.linalg.norm(metric * delta) <= weight or most == 0:
        return np.zeros_like(delta)
    s = brentq(lambda s: np.linalg.norm(shrunk(s)) - s, 1e-12 * most, most * (1 + 1e-9), xtol=1e-16, rtol=1e-15)
    return shrunk(s)


SOLVED = {"linf": solved_linf, "l2": solved_l2}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("weight", [0.0, 0.03, 0.7, 5.0, 500.0])
def test_proximal_steps_equal_other_solvers(norm: str, weight: float) -> None:
    rng = np.random.default_rng(2)
    delta, metric = rng.normal(size=(6, 2, 4, 5)), rng.uniform(0.01, 3, size=(6, 2, 4, 5))
    low, high = -rng.uniform(0, 1.5, size=delta.shape), rng.uniform(0, 1.5, size=delta.shape)
    delta[0], low[1], high[1] = 0, 0, 0
    tensors = [torch.from_numpy(a) for a in (delta, metric)]
    bounds = [torch.from_numpy(a) for a in (low, high)]
    ours = proximal(norm, *tensors, torch.full((6,), weight, dtype=torch.float64), *bounds)  # type: ignore[arg-type]
    for k in range(6):
        expected = SOLVED[norm](delta[k], metric[k], weight, low[k], high[k])
        assert np.abs(ours[k].numpy() - expected).max() < (1e-11 if norm == "linf" else 1e-9)
    huge = proximal(
        norm, tensors[0].float() * 1e3, tensors[1].float() * 1e30, torch.ones(6), *(b.float() for b in bounds)
    )  # type: ignore[arg-type]
    assert huge.isfinite().all()


def test_penalty_slope_is_the_derivative_of_the_penalty() -> None:
    y = torch.linspace(-3, 3, 61, dtype=torch.float64).requires_grad_(True)
    for rho, mu in ((0.01, 1.0), (2.0, 0.3), (700.0, 1e-6)):
        r, m = torch.tensor(rho).double(), torch.tensor(mu).double()
        (g,) = torch.autograd.grad(penalty(y, r, m).sum(), y)
        assert torch.allclose(g, penalty_slope(y.detach(), r, m), rtol=1e-12, atol=1e-14)


def plain_slope(y: float, rho: float, mu: float, published: bool) -> float:
    if y >= 0:
        return (mu * y if published else mu) + 2 * mu * rho * y + rho * rho * y * y / 2
    return mu / (1 - max(rho, 1.0) * y) ** 2


def constraint(of: Tensor, wanted: int, sign: int, spread: Tensor) -> Tensor:
    """One decision's constraint: below 0 once turned."""
    if of.ndim == 0:
        return sign * (of if wanted else -of) / spread + 1e-4
    others = torch.cat([of[:wanted], of[wanted + 1 :]]).max()
    if len(of) < (3 if sign > 0 else 4):
        return sign * (of[wanted] - others) / spread + 1e-4
    top = of.sort(descending=True).values
    return (sign * (of[wanted] - others) + 1e-4) / (top[0] - (top[2] if sign > 0 else (top[2] + top[3]) / 2) + 1e-8)


def plain_alma(
    walk: AWalk, sample: int, steps: int, rate: float, norm: str, success: float, published: bool, first: float
) -> tuple[Tensor, bool]:
    """ALMA-prox as Rony et al. 2023 and their code have it, one number at a time."""
    clean = walk.x[sample : sample + 1]
    x, everyone, softmax = clean, decisions(walk, sample), walk.scheme.activation == "softmax"
    count = len(everyone)
    mu, rho, lately, earlier = [first] * count, [0.01] * count, [False] * count, [0.0] * count
    w, found, s, best, best_x, most, most_x = 1.0, None, 0.0, math.inf, None, -1, clean
    for i in range(steps + 1):
        logits, leaf = walk.logits_of(x)
        z = logits[0]
        spread = (z - z.mean(0) if softmax else z).square().mean().sqrt()
        raw, turned = [], []
        for place, wanted in everyone:
            of = z[(slice(None), *place)] if softmax else z[place]
            right = int(of.argmax()) == wanted if softmax else bool(of > 0) == bool(wanted)
            turned.append(right == (walk.sign < 0))
            raw.append(constraint(of, wanted, walk.sign, spread))
        reached = sum(turned) / count >= success
        change = x - clean
        length = float(change.abs().max() if norm == "linf" else change.norm())
        if reached and length < best:
            best, best_x = length, x
        if sum(turned) > most:
            most, most_x = sum(turned), x
        if i == steps:
            break
        if reached and found is None and i < steps // 2:
            found = i
        w = min(max(w / (1.02 if reached else 0.98), 0.1), 1.0)
        c = [w * float(r.detach()) for r in raw]
        dropped = int((1 - success) * count * i / (steps - 1))
        kept = [value <= sorted(c)[count - dropped - 1] for value in c]
        lately = [a or b for a, b in zip(lately, turned, strict=True)]
        if i == 0:
            earlier = list(c)
        elif (i + 1) % 10 == 0:
            for d in range(count):
                if not (lately[d] or c[d] * kept[d] <= 0.95 * earlier[d]):
                    rho[d] *= 2
            earlier, lately = list(c), [False] * count
        if i:
            for d in range(count):
                new = plain_slope(c[d], rho[d], mu[d], published) if kept[d] else 0.0
                mu[d] = min(max(0.8 * mu[d] + 0.2 * new, 1e-12), 1.0)
        loss = sum(w * r * plain_slope(c[d], rho[d], mu[d], published) for d, r in enumerate(raw) if kept[d])
        (g,) = torch.autograd.grad(loss, leaf)  # type: ignore[arg-type]
        since = steps // 2 if found is None else found
        bend = 0.1 / 0.9 * max(steps - since, 1)
        step = rate * bend / (max(i - since, 0) + bend)
        s = 0.8 * s + 0.2 * g.numpy() ** 2
        metric = np.maximum(np.sqrt(s / (1 - 0.8 ** (i + 1))), 1e-8)
        moved = (x - clean).numpy() - step * g.numpy() / metric
        at = clean.numpy()
        x = clean + torch.from_numpy(SOLVED[norm](moved, metric, step, -at, 1 - at))
    return (most_x if best_x is None else best_x), best_x is not None


@pytest.mark.parametrize("norm", ["linf", "l2"])
@every_goal
def test_alma_equals_a_plain_loop(dims: int, scheme: LabelScheme, targeted: bool, norm: str) -> None:
    walk = AWalk(dims, scheme, targeted=targeted, n=1, side=4 if dims == 2 else 2)
    published, first = (dims == 3) != targeted, 1.0 if targeted else 0.3
    attack = ALMAProx(
        steps=23, rate=0.04, success=0.6, multiplier=first, variant="authors" if published else "paper"
    )  # fmt: skip
    expected, _ = plain_alma(walk, 0, 23, 0.04, norm, 0.6, published, first)
    ours = walk.run(attack, Budget.fixed(1.0 if norm == "linf" else 100.0, norm)).adversarial  # type: ignore[arg-type]
    assert (ours - expected).abs().max() < 1e-10


def test_the_plain_loop_meets_success() -> None:
    """Else the comparison above would never see a norm shrink again."""
    for walk in (AWalk(2, FIVE, n=1, side=4), AWalk(3, REGIONS, n=1, side=2, targeted=True)):
        _, reached = plain_alma(walk, 0, 23, 0.04, "linf", 0.6, False, 1.0 if walk.sign < 0 else 0.3)
        assert reached


def shapes(n: int, side: int = 16) -> tuple[Tensor, Tensor]:
    x, y = torch.rand(n, 1, side, side) * 0.3, torch.zeros(n, side, side, dtype=torch.int64)
    for k in range(n):
        for label, size in ((1, 6), (2, 5)):
            a, b = torch.randint(0, side - size, (2,)).tolist()
            x[k, 0, a : a + size, b : b + size] = 0.3 + 0.25 * label + 0.1 * torch.rand(size, size)
            y[k, a : a + size, b : b + size] = label
    return x, y


@pytest.fixture(scope="module")
def trained() -> tuple[Segmenter, Tensor]:
    """A network that has learned to find two squares, and two images of them."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
        nn.Conv2d(12, 3, 3, padding=1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(150):
        x, y = shapes(8)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    images, _ = shapes(2)
    return Segmenter(network.double(), Spec.plain(THREE, dims=2)), images.double()


def share_reached(segmenter: Segmenter, x: Tensor, goal: Goal) -> Tensor:
    return ((segmenter.predict(x) == goal.labels) == (goal.sign < 0)).flatten(1).double().mean(1)


def bisected(segmenter: Segmenter, x: Tensor, goal: Goal, success: float, norm: str) -> Tensor:
    """The smallest epsilon at which PGD turns ``success`` of each sample, by the loss that does it soonest."""
    low, high = torch.zeros(len(x)), torch.full((len(x),), 1.0 if norm == "linf" else 8.0)
    for _ in range(6):
        middle, reached = (low + high) / 2, torch.zeros(len(x), dtype=torch.bool)
        for k in range(len(x)):
            one = slice(k, k + 1)
            here = Goal(goal.labels[one], goal.sign)
            for loss in ("ce", "ce-masked"):
                attack, budget = PGD(steps=20, loss=loss), Budget.fixed(float(middle[k]), norm)  # type: ignore[arg-type]
                found = attack(segmenter, x[one], here, budget).adversarial
                reached[k] |= bool(share_reached(segmenter, found, here) >= success)
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("targeted", "success"), [(False, 0.4), (True, 0.95)])
def test_alma_needs_no_more_than_pgd_at_its_smallest_budget(
    trained: tuple[Segmenter, Tensor], norm: str, targeted: bool, success: float
) -> None:
    segmenter, x = trained
    clean = segmenter.predict(x)
    goal = Targeted(torch.where(clean == 1, 0, clean)) if targeted else Untargeted(clean)
    budget = Budget.fixed(1.0 if norm == "linf" else 100.0, norm)  # type: ignore[arg-type]
    result = ALMAProx(steps=150, rate=0.01, success=success)(segmenter, x, goal, budget)
    assert (share_reached(segmenter, result.adversarial, goal) >= success).all()
    size = result.perturbation.flatten(1).norm(dim=1, p=math.inf if norm == "linf" else 2)
    reference = bisected(segmenter, x, goal, success, norm)
    assert (size <= 1.1 * reference).all()


def test_alma_keeps_to_a_budget_that_is_asked_for(trained: tuple[Segmenter, Tensor]) -> None:
    segmenter, x = trained
    for norm, epsilon in (("linf", 0.02), ("l2", 0.1)):
        attack, budget = ALMAProx(steps=15, rate=0.01), Budget.fixed(epsilon, norm)  # type: ignore[arg-type]
        change: Any = attack(segmenter, x, Untargeted(segmenter.predict(x)), budget).perturbation.flatten(1)
        assert (change.norm(dim=1, p=math.inf if norm == "linf" else 2) <= epsilon + 1e-12).all()


def test_flat_networks_move_nothing_and_break_nothing() -> None:
    for scheme in (FIVE, TWO, DISC):
        walk = AWalk(2, scheme)
        nn.init.zeros_(walk.network[-1].weight)  # type: ignore[index,arg-type,union-attr]
        for attack in (DAG(steps=4), ALMAProx(steps=12)):
            assert torch.equal(walk.run(attack, FREE).adversarial, walk.x)
