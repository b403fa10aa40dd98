"""Square against a plain loop over single samples, in float64, and what a search by queries must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fixtures_walks import DISC, REGIONS, THREE, AWalk, drawn, draws
from torch import Tensor

from AdvSegLib.attacks.square import Square, sides
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import BadRequest
from AdvSegLib.losses import get_loss


def worth(walk: AWalk, x: Tensor, sample: int, loss: str) -> float:
    with torch.no_grad():
        value = get_loss(loss)(walk.network(x), walk.target(sample), walk.scheme, sign=walk.sign)
    return walk.sign * float(value)


def paper_share(p: float, query: float) -> float:
    for after in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        p = p / 2 if query > after else p
    return p


def plain_square(walk: AWalk, sample: int, queries: int, p: float, eps: float, loss: str) -> tuple[Tensor, int]:
    """Algorithms 1 and 2 of Andriushchenko et al. 2020 on one image; also how many squares were kept."""
    clean = walk.x[sample].numpy()
    channels, *shape = clean.shape
    generator = draws()
    stripes = np.where(drawn(generator, channels, 1, *shape[1:])[0].numpy() < 0.5, eps, -eps)
    best = np.clip(clean + stripes, 0, 1)
    value, kept = worth(walk, torch.from_numpy(best)[None], sample, loss), 0
    for i in range(queries):
        share = paper_share(p, int(i / queries * 10000))
        side = max(round((share * math.prod(shape)) ** (1 / len(shape))), 1)
        u = drawn(generator, len(shape))[0].tolist()
        signs = drawn(generator, channels, *[1] * len(shape))[0].numpy() < 0.5
        delta = np.zeros_like(clean)
        window = [slice(None)]
        for a, n in enumerate(shape):
            first = math.floor(u[a] * (n - min(side, n) + 1))
            window.append(slice(first, first + min(side, n)))
        delta[tuple(window)] = np.where(signs, 2 * eps, -2 * eps)
        tried = np.clip(np.clip(best + delta, clean - eps, clean + eps), 0, 1)
        now = worth(walk, torch.from_numpy(tried)[None], sample, loss)
        if now > value:
            best, value, kept = tried, now, kept + 1
    return torch.from_numpy(best)[None], kept


@pytest.mark.parametrize("loss", ["margin", "ce"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("dims", "channels"), [(2, 1), (2, 3), (3, 2)])
def test_square_equals_the_papers_algorithms(dims: int, channels: int, targeted: bool, loss: str) -> None:
    walk = AWalk(dims, THREE, targeted=targeted, channels=channels)
    result = walk.run(Square(steps=60, share=0.4, loss=loss), Budget.fixed(0.1))
    for k in range(3):
        expected, kept = plain_square(walk, k, 60, 0.4, 0.1, loss)
        assert kept > 3
        assert (result.adversarial[k : k + 1] - expected).abs().max() < 1e-10


@pytest.mark.parametrize("scheme", [THREE, REGIONS, DISC], ids=["softmax", "sigmoid", "binary"])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_best_loss_never_falls(scheme: object, targeted: bool) -> None:
    walk = AWalk(2, scheme, targeted=targeted)  # type: ignore[arg-type]
    ends = []
    for steps in (1, 20, 80):
        result = walk.run(Square(steps=steps, share=0.3), Budget.fixed(0.1))
        ends_at = [worth(walk, result.adversarial[k : k + 1], k, "margin") for k in range(3)]
        end = torch.tensor(ends_at, dtype=torch.float64)
        seen = torch.stack([walk.sign * record.loss for record in result.history]).amax(0)
        assert (end >= seen - 1e-12).all()
        ends.append(end)
    assert (ends[2] > ends[0]).all()


def test_no_gradient_is_ever_asked_for() -> None:
    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, *g: Tensor) -> Tensor:
            raise AssertionError("a query attack went backward")

    walk = AWalk(2, THREE)
    walk.network.register_forward_pre_hook(lambda _, args: (Watched.apply(args[0]),))
    result = walk.run(Square(steps=5), Budget.fixed(0.1))
    assert len(result.history) == 5


def test_another_seed_searches_elsewhere() -> None:
    walk = AWalk(2, THREE)
    runs = [walk.run(Square(steps=9), Budget.fixed(0.1), seed=seed).adversarial for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_sides_fit_their_axes_and_the_schedule_is_the_papers() -> None:
    assert sides(0.05, (100, 100, 100)) == (37, 37, 37)
    assert sides(1.0, (3, 50)) == (3, 12)
    assert sides(0.0, (9, 9)) == (1, 1)
    square = Square(steps=10000, share=0.8)
    assert [square.share_at(i) for i in (0, 10, 11, 201, 9999)] == [0.8, 0.8, 0.4, 0.1, 0.8 / 512]
    assert Square(steps=100, share=0.8).share_at(99) == 0.8 / 512


def test_square_says_that_it_knows_one_norm() -> None:
    with pytest.raises(BadRequest, match="linf only"):
        AWalk(2, THREE).run(Square(steps=2), Budget.fixed(0.1, "l2"))
