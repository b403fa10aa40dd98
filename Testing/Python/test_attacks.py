"""The gradient sign family against implementations written apart from the engine, in float64."""

from __future__ import annotations

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from AdvSegLib.attacks import ATTACKS, FGSM, PGD, Attack, IterativeFGSM, TargetedIterativeFGSM, make_attack
from AdvSegLib.attacks.walking import Look, Walk
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.labels import LabelScheme
from AdvSegLib.parameters import parameter
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec
from AdvSegLib.targets import Targeted, Untargeted, constant_target

SCHEME = LabelScheme.softmax("a", "b")
Array = NDArray[np.float64]


# --- a second implementation, in NumPy, of a network that mixes channels voxel by voxel -----------------------------


class VoxelwiseOracle:
    """``z = W x + b`` at every voxel; losses and their gradients by hand, one sample at a time."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight, self.bias = weight, bias

    def probabilities(self, x: Array) -> Array:
        z = np.einsum("kc,c...->k...", self.weight, x) + self.bias.reshape(-1, *[1] * (x.ndim - 1))
        e = np.exp(z - z.max(0))
        return np.asarray(e / e.sum(0))

    def gradient(self, x: Array, labels: NDArray[np.int64], loss: str) -> Array:
        p = self.probabilities(x)
        y = np.stack([labels == k for k in range(len(p))]).astype(float)
        if loss == "ce":
            dz = (p - y) / labels.size
        else:
            dp = np.zeros_like(p)
            for k in range(1, len(p)):
                shared, total, g = (p[k] * y[k]).sum(), (p[k] + y[k]).sum(), 1e-5
                if loss == "dice":
                    dp[k] = -(2 * y[k] * (total + g) - (2 * shared + g)) / (total + g) ** 2
                else:
                    union = total - shared
                    dp[k] = -(y[k] * (union + g) - (shared + g) * (1 - y[k])) / (union + g) ** 2
            dp /= len(p) - 1
            dz = p * (dp - (dp * p).sum(0))
        return np.einsum("kc,k...->c...", self.weight, dz)

    def walk(self, x0: Array, labels: NDArray[np.int64], loss: str, eps: Array, alpha: Array, steps: int, sign: int,
             low: Array, high: Array) -> Array:  # fmt: skip
        x = x0.copy()
        for _ in range(steps):
            x = x + sign * alpha * np.sign(self.gradient(x, labels, loss))
            x = x0 + np.clip(x - x0, -eps, eps)
            x = np.clip(x, low, high)
        return x


@pytest.fixture
def voxelwise() -> tuple[VoxelwiseOracle, Segmenter]:
    rng = np.random.default_rng(5)
    weight, bias = rng.normal(size=(3, 2)), rng.normal(size=3)
    network = nn.Conv3d(2, 3, 1).double()
    with torch.no_grad():
        network.weight.copy_(torch.from_numpy(weight).view(3, 2, 1, 1, 1))
        assert network.bias is not None
        network.bias.copy_(torch.from_numpy(bias))
    return VoxelwiseOracle(weight, bias), Segmenter(network, Spec.plain(SCHEME, channels=2))


def a_batch(channels: int = 2, n: int = 3, side: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(n, channels, side, side + 1, side + 2, generator=generator, dtype=torch.float64)
    x = x * torch.tensor([1.0, 40.0])[:channels].view(1, -1, 1, 1, 1) - 2.0
    return x, torch.randint(0, 3, (n, side, side + 1, side + 2), generator=generator)


@pytest.mark.parametrize("loss", ["dice", "iou", "ce"])
@pytest.mark.parametrize(("attack", "steps", "share"), [
    (FGSM(), 1, 1.0), (IterativeFGSM(steps=7), 7, 1 / 7), (PGD(steps=60), 60, 1 / 20), (PGD(steps=10), 10, 1 / 4),
    (PGD(steps=9, alpha=0.3), 9, 0.3),
])  # fmt: skip
@pytest.mark.parametrize("targeted", [False, True])
def test_equals_numpy_by_hand(
    voxelwise: tuple[VoxelwiseOracle, Segmenter], attack: FGSM, steps: int, share: float, loss: str, targeted: bool
) -> None:
    oracle, segmenter = voxelwise
    x, labels = a_batch()
    goal = Targeted(labels) if targeted else Untargeted(labels)
    result = dataclasses.replace(attack, loss=loss)(segmenter, x, goal, Budget.of_range(x, 0.05))
    for sample in range(len(x)):
        one = x[sample].numpy()
        low, high = one.min((1, 2, 3), keepdims=True), one.max((1, 2, 3), keepdims=True)
        eps = 0.05 * (high - low)
        expected = oracle.walk(
            one, labels[sample].numpy(), loss, eps, share * eps, steps, -1 if targeted else 1, low, high
        )
        assert np.abs(result.adversarial[sample].numpy() - expected).max() < 1e-10
        assert np.abs(result.perturbation[sample].numpy()).max() > 0


# --- the same against plain torch loops on networks with context ----------------------------------------------------


def plain_pgd(network: nn.Module, x0: Tensor, y: Tensor, eps: float, alpha: float, steps: int, sign: int) -> Tensor:
    """L-infinity PGD as the paper prints it, cross-entropy on one-hot labels, images valid in [0, 1]."""
    x = x0.clone()
    for _ in range(steps):
        x.requires_grad_(True)
        loss = nn.functional.cross_entropy(network(x), y, reduction="none").mean(dim=tuple(range(1, y.ndim))).sum()
        loss.backward()
        assert x.grad is not None
        x = (x.detach() + sign * alpha * x.grad.sign()).clamp(x0 - eps, x0 + eps).clamp(0, 1)
    return x


def plain_l2_pgd(network: nn.Module, x0: Tensor, y: Tensor, eps: float, alpha: float, steps: int) -> Tensor:
    x = x0.clone()
    for _ in range(steps):
        x.requires_grad_(True)
        loss = nn.functional.cross_entropy(network(x), y, reduction="none").mean(dim=tuple(range(1, y.ndim))).sum()
        (g,) = torch.autograd.grad(loss, x)
        out = []
        for k in range(len(x)):
            d = x[k].detach() + alpha * g[k] / max(float(g[k].norm()), 1e-12) - x0[k]
            out.append((x0[k] + d * min(1.0, eps / max(float(d.norm()), 1e-12))).clamp(0, 1))
        x = torch.stack(out)
    return x


def a_network(dims: int, scheme: LabelScheme = SCHEME) -> nn.Module:
    torch.manual_seed(11)
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(conv(1, 6, 3, padding=1), nn.Tanh(), conv(6, scheme.channels, 3, padding=1)).double()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_pgd_equals_a_plain_loop(dims: int, sign: int) -> None:
    network = a_network(dims)
    x = torch.rand(2, 1, *[7] * dims, dtype=torch.float64)
    y = torch.randint(0, 3, (2, *[7] * dims))
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=dims))
    goal = Untargeted(y) if sign > 0 else Targeted(y)
    result = PGD(steps=15, alpha=0.1, loss="ce")(segmenter, x, goal, Budget.fixed(0.04))
    assert (result.adversarial - plain_pgd(network, x, y, 0.04, 0.004, 15, sign)).abs().max() < 1e-10


def test_l2_pgd_equals_a_plain_loop() -> None:
    network = a_network(2)
    x = torch.rand(3, 1, 9, 9, dtype=torch.float64)
    y = torch.randint(0, 3, (3, 9, 9))
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=2))
    result = PGD(steps=12, alpha=0.2, loss="ce")(segmenter, x, Untargeted(y), Budget.fixed(0.7, "l2"))
    assert (result.adversarial - plain_l2_pgd(network, x, y, 0.7, 0.14, 12)).abs().max() < 1e-10
    assert (result.perturbation.flatten(1).norm(dim=1) <= 0.7 * (1 + 1e-15)).all()
    one_step = FGSM(loss="ce")(segmenter, x, Untargeted(y), Budget.fixed(0.7, "l2"))
    assert (one_step.adversarial - plain_l2_pgd(network, x, y, 0.7, 0.7, 1)).abs().max() < 1e-10


@pytest.mark.parametrize("scheme", [LabelScheme.brats(), LabelScheme.brats_regions(), LabelScheme.binary("disc")])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_batch_equals_its_singles(scheme: LabelScheme, norm: str) -> None:
    segmenter = Segmenter(a_network(3, scheme), Spec.plain(scheme, intensity=Intensity("zscore"), multiple=4))
    x = torch.rand(3, 1, 6, 7, 5, dtype=torch.float64) * torch.tensor([1.0, 100.0, 3.0]).view(3, 1, 1, 1, 1)
    y = torch.tensor((0, *scheme.values))[torch.randint(0, len(scheme.values) + 1, (3, 6, 7, 5))]
    epsilon = 0.1 if norm == "linf" else 0.5
    attack = PGD(steps=4)
    together = attack(segmenter, x, Untargeted(y), Budget.of_range(x, epsilon, norm)).adversarial  # type: ignore[arg-type]
    for k in range(3):
        one = slice(k, k + 1)
        alone = attack(segmenter, x[one], Untargeted(y[one]), Budget.of_range(x[one], epsilon, norm))  # type: ignore[arg-type]
        assert (together[one] - alone.adversarial).abs().max() < 1e-10 * float(x[one].abs().max())


def test_ifgsm_steps_add_up_to_epsilon_and_alpha_is_eps_over_n() -> None:
    budget = Budget.fixed(0.08)
    assert IterativeFGSM(steps=10).stride(budget) * 10 == pytest.approx(0.08)
    assert FGSM().stride(budget) == 0.08
    assert PGD().stride(budget) == pytest.approx(0.08 / 20)
    assert PGD(steps=50).stride(budget) == pytest.approx(0.08 / 20)


def test_targeted_loss_falls_and_untargeted_loss_rises() -> None:
    network = a_network(3)
    segmenter = Segmenter(network, Spec.plain(SCHEME))
    x = torch.rand(2, 1, 8, 8, 8, dtype=torch.float64)
    clean = segmenter.predict(x)
    target = constant_target(clean, 1)
    down = TargetedIterativeFGSM(steps=8)(segmenter, x, Targeted(target), Budget.fixed(0.1)).history
    up = IterativeFGSM(steps=8)(segmenter, x, Untargeted(clean), Budget.fixed(0.1)).history
    assert all(bool((b.loss < a.loss).all()) for a, b in itertools.pairwise(down))
    assert all(bool((b.loss > a.loss).all()) for a, b in itertools.pairwise(up))
    assert up[0].dice.tolist() == [1.0, 1.0]


def test_saved_float32_never_exceeds_epsilon() -> None:
    """Large intensities make float32 rounding visible: the bound must hold when measured in float64."""
    network = a_network(2).float()
    spec = Spec.plain(SCHEME, dims=2, intensity=Intensity("range"))
    x = torch.rand(1, 1, 32, 32) * 777.7 + 12345.6
    y = torch.randint(0, 3, (1, 32, 32))
    for epsilon in (0.01, 0.05, 1 / 3):
        for attack in (FGSM(), IterativeFGSM(), PGD(steps=7, alpha=0.9)):
            result = attack(Segmenter(network, spec), x, Untargeted(y), Budget.of_range(x, epsilon))
            change = (result.adversarial.double() - x.double()).abs().max()
            assert change <= epsilon * float(x.max() - x.min())
            assert result.adversarial.min() >= x.min()
            assert result.adversarial.max() <= x.max()


def test_zero_gradient_does_not_move() -> None:
    """sign(0) is 0: a channel the network ignores stays as it is."""
    network = nn.Conv2d(2, 3, 1).double()
    with torch.no_grad():
        network.weight[:, 1] = 0
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    result = PGD(steps=5)(
        Segmenter(network, Spec.plain(SCHEME, dims=2, channels=2)), x, Untargeted(torch.ones(1, 6, 6).long()),
        Budget.of_range(x, 0.1),
    )  # fmt: skip
    assert not result.perturbation[:, 1].any()
    assert result.perturbation[:, 0].any()


def test_random_start_follows_the_seed_and_stays_in_the_ball() -> None:
    segmenter = Segmenter(a_network(2), Spec.plain(SCHEME, dims=2))
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    goal = Untargeted(torch.ones(2, 8, 8).long())
    for norm in ("linf", "l2"):
        attack, budget = PGD(steps=2, alpha=0.1, random_start=True), Budget.fixed(0.3, norm)  # type: ignore[arg-type]
        runs = [attack(segmenter, x, goal, budget, seed=s) for s in (1, 1, 2)]
        assert torch.equal(runs[0].adversarial, runs[1].adversarial)
        assert not torch.equal(runs[0].adversarial, runs[2].adversarial)
        assert float(runs[0].history[0].linf.max()) > 0
        assert all(
            float(r.history[0].linf.max() if norm == "linf" else r.history[0].l2.max()) <= 0.3 + 1e-9 for r in runs
        )


@dataclasses.dataclass(frozen=True)
class Creeping(Attack):
    """Adds 0.01 a step; thinks its first image best, and has arrived at its third."""

    name: ClassVar[str] = "creeping"
    summary: ClassVar[str] = "for tests"
    steps: int = parameter(6, "number of steps")

    def merit(self, look: Look) -> Tensor:
        return torch.full((len(look.x),), -float(look.step))

    def finished(self, look: Look) -> Tensor:
        return torch.arange(len(look.x)) < (look.step >= 2)

    def advance(self, walk: Walk, look: Look) -> Tensor:
        return look.x + 0.01


def test_a_sample_leaves_with_the_image_at_which_it_arrived() -> None:
    """Its best image by merit may be another one, which has not reached the goal; who stays ends at the best."""
    segmenter = Segmenter(a_network(2), Spec.plain(SCHEME, dims=2))
    x = torch.full((4, 1, 4, 4), 0.5, dtype=torch.float64)
    result = Creeping()(segmenter, x, Untargeted(torch.ones(4, 4, 4).long()), Budget.fixed(1.0))
    moved = result.perturbation.flatten(1).mean(1).tolist()
    assert moved == pytest.approx([0.02, 0.03, 0.04, 0.05])
    two = Creeping(steps=3)(segmenter, x[:2], Untargeted(torch.ones(2, 4, 4).long()), Budget.fixed(1.0))
    assert two.perturbation.flatten(1).mean(1).tolist() == pytest.approx([0.02, 0.0])


def test_progress_sees_every_step_and_cancel_stops_at_the_next() -> None:
    segmenter = Segmenter(a_network(2), Spec.plain(SCHEME, dims=2))
    x, seen = torch.rand(1, 1, 8, 8, dtype=torch.float64), []
    goal = Untargeted(torch.ones(1, 8, 8).long())

    def note(step: int, steps: int, record: object) -> None:
        seen.append((step, steps))

    PGD(steps=4)(segmenter, x, goal, Budget.fixed(0.1), progress=note)
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]
    seen.clear()
    with pytest.raises(Cancelled, match="before step 3 of 100"):
        PGD()(segmenter, x, goal, Budget.fixed(0.1), progress=note, cancel=lambda: len(seen) == 2)


def test_a_loss_that_is_not_finite_is_an_error_not_an_image() -> None:
    network = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        network.weight.fill_(float("nan"))
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=2))
    with pytest.raises(AdvSegError, match="not finite"):
        FGSM()(segmenter, torch.rand(1, 1, 4, 4), Untargeted(torch.ones(1, 4, 4).long()), Budget.fixed(0.1))


def test_a_finite_loss_with_a_gradient_that_is_not_is_an_error_too() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = (x - x).sqrt()  # 0, with the gradient infinity minus infinity
            return torch.cat([flat, flat, flat + x], 1)

    segmenter = Segmenter(Root(), Spec.plain(SCHEME, dims=2))
    with pytest.raises(AdvSegError, match="not finite"):
        FGSM()(segmenter, torch.rand(1, 1, 4, 4), Untargeted(torch.ones(1, 4, 4).long()), Budget.fixed(0.1))


def test_weights_are_left_alone() -> None:
    network = a_network(2)
    before = [p.clone() for p in network.parameters()]
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=2))
    FGSM()(segmenter, torch.rand(1, 1, 8, 8).double(), Untargeted(torch.ones(1, 8, 8).long()), Budget.fixed(0.1))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(("parameters", "message"), [
    ({"steps": 0}, "steps must be >= 1, not 0"), ({"steps": 2.5}, "steps must be int, not 2.5"),
    ({"steps": True}, "steps must be int"), ({"loss": "mse"}, "loss must be one of"),
    ({"alpha": -1.0}, "alpha must be >= 0"),
    ({"stepz": 3}, "did you mean 'steps'"),
    ({"alpha": float("nan")}, "alpha must be a finite"), ({"alpha": float("inf")}, "alpha must be a finite"),
])  # fmt: skip
def test_bad_parameters_are_named(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        make_attack("pgd", **parameters)


def test_registry_is_complete_and_names_its_sources() -> None:
    assert list(ATTACKS)[:4] == ["fgsm", "i-fgsm", "ti-fgsm", "pgd"]
    for attack in ATTACKS.values():
        assert attack.summary
        assert attack.source
        assert all(item["doc"] for item in attack.parameters())
    with pytest.raises(BadRequest, match="did you mean 'pgd'"):
        make_attack("pdg")
