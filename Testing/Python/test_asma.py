"""Paper 002's attacks, step by step, against loops written from its equations and from its authors' code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from AdvSegLib.attacks import ASMA, AdaptiveMask, StaticMask
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Targeted

FOUR = LabelScheme.softmax("a", "b", "c")
TWO = LabelScheme.softmax("disc")


def a_network(dims: int, outputs: int, channels: int = 1) -> nn.Module:
    torch.manual_seed(17 + dims + outputs)
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(conv(channels, 7, 3, padding=1), nn.Tanh(), conv(7, outputs, 3, padding=1)).double()


@dataclass
class Published:
    """ASMA for one image, as the paper's equations read; ``authors`` follows their code instead where it differs."""

    network: nn.Module
    beta: float
    tau: float
    authors: bool = False
    adaptive: bool = True
    fixed: float | None = None

    def prediction(self, x: Tensor) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            return np.asarray(self.network(x[None])[0].argmax(0).numpy())

    def iou(self, predicted: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
        if self.authors:
            one, two = (predicted > 0).astype(int), (wanted > 0).astype(int)
            union = np.minimum(one + two, 1).sum()
            return 1.0 if union == 0 else float((one * two).sum() / union)
        agree = shared = either = 0
        for p, w in zip(predicted.ravel(), wanted.ravel(), strict=True):
            agree = int(p == w)
            either += int(p + w != 0)
            shared += agree * int(p + w != 0)
        return 1.0 if either == 0 else shared / either

    def step_gradient(self, x: Tensor, x0: Tensor, wanted: np.ndarray[Any, Any]) -> Tensor:
        x = x.clone().requires_grad_(True)
        z = self.network(x[None])[0]
        y = z.argmax(0)
        total = torch.zeros((), dtype=torch.float64)
        for c in range(z.shape[0]):
            mask = torch.from_numpy((wanted == c).astype(float))
            if self.adaptive:
                mask = mask * (y != c).double()
            total = total + (z[c] * mask).sum()
        if self.authors:
            total = total - ((x - x0) ** 2).sum()
        (g,) = torch.autograd.grad(total, x)
        return g

    def walk(self, x0: Tensor, wanted: np.ndarray[Any, Any], steps: int, *, unclamped: bool = False) -> list[Tensor]:
        x, seen = x0.clone(), [x0]
        iou = 0.0 if unclamped else self.iou(self.prediction(x), wanted)
        for _ in range(steps):
            alpha = self.beta * iou + self.tau if self.fixed is None else self.fixed
            free = x + alpha * self.step_gradient(x, x0, wanted)
            x = free.clamp(0, 1)
            iou = self.iou(self.prediction(free if unclamped else x), wanted)
            seen.append(x)
        return seen


class Spy:
    """A segmenter's images, step by step, taken at its network's door."""

    def __init__(self, network: nn.Module) -> None:
        self.images: list[Tensor] = []
        network.register_forward_pre_hook(lambda module, args: self.images.append(args[0].detach().clone()))


def problem(dims: int, scheme: LabelScheme, n: int = 2, side: int = 9) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(5)
    shape = [side, side + 1, side - 2][:dims]
    network = a_network(dims, scheme.channels)
    x = (1.4 * torch.rand(n, 1, *shape, dtype=torch.float64) - 0.2).clamp(0, 1)  # so that the clamp matters
    wanted = torch.randint(0, scheme.channels, (n, *shape))
    return network, x, wanted


@pytest.mark.parametrize(("dims", "scheme"), [(2, TWO), (2, FOUR), (3, TWO), (3, FOUR)])
@pytest.mark.parametrize("authors", [False, True])
def test_trajectory_equals_the_paper_step_by_step(dims: int, scheme: LabelScheme, authors: bool) -> None:
    network, x, wanted = problem(dims, scheme)
    spy = Spy(network)
    attack = ASMA(steps=12, beta=0.02, tau=0.004, variant="authors" if authors else "paper")
    attack(Segmenter(network, Spec.plain(scheme, dims=dims)), x, Targeted(wanted), Budget.fixed(1.0))
    images, spy.images = spy.images, []
    assert len(images) == 13, "one forward a step, and one for the last image"
    for sample in range(2):
        expected = Published(network, 0.02, 0.004, authors=authors).walk(x[sample], wanted[sample].numpy(), 12)
        for ours, theirs in zip(images, expected, strict=True):
            assert (ours[sample] - theirs).abs().max() < 1e-10
        assert (expected[-1] - expected[0]).abs().max() > 0.01


@pytest.mark.parametrize("authors", [False, True])
def test_multiplier_by_the_unclamped_image_as_in_the_authors_code(authors: bool) -> None:
    network, x, wanted = problem(2, FOUR)
    spy = Spy(network)
    attack = ASMA(steps=10, beta=0.05, tau=0.02, variant="authors" if authors else "paper", iou_of="unclamped")
    attack(Segmenter(network, Spec.plain(FOUR, dims=2)), x, Targeted(wanted), Budget.fixed(1.0))
    images = [spy.images[0], *spy.images[2::2]]  # between them, the unclamped ones
    for sample in range(2):
        published = Published(network, 0.05, 0.02, authors=authors)
        expected = published.walk(x[sample], wanted[sample].numpy(), 10, unclamped=True)
        for ours, theirs in zip(images, expected, strict=False):
            assert (ours[sample] - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("adaptive", [False, True])
def test_ssm_and_asm_equal_their_equations(adaptive: bool) -> None:
    network, x, wanted = problem(3, FOUR)
    spy = Spy(network)
    attack = (AdaptiveMask if adaptive else StaticMask)(steps=8, alpha=0.01)
    attack(Segmenter(network, Spec.plain(FOUR)), x, Targeted(wanted), Budget.fixed(1.0))
    images = spy.images[:9]
    for sample in range(2):
        published = Published(network, 0, 0, adaptive=adaptive, fixed=0.01)
        expected = published.walk(x[sample], wanted[sample].numpy(), 8)
        for ours, theirs in zip(images, expected, strict=True):
            assert (ours[sample] - theirs).abs().max() < 1e-10


def test_one_sigmoid_channel_walks_as_two_softmax_classes_with_opposite_logits() -> None:
    network = a_network(2, 1)
    torch.manual_seed(0)
    x, wanted = torch.rand(1, 1, 9, 9, dtype=torch.float64), torch.randint(0, 2, (1, 9, 9))
    with torch.no_grad():
        network[2].bias.sub_(network(x).mean())

    class Opposite(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = network(x)
            return torch.cat([-z, z], 1)

    attack = ASMA(steps=10, beta=0.02, tau=0.01)
    binary = attack(
        Segmenter(network, Spec.plain(LabelScheme.binary("disc"), dims=2)), x, Targeted(wanted), Budget.fixed(1.0)
    )
    softmax = attack(Segmenter(Opposite(), Spec.plain(TWO, dims=2)), x, Targeted(wanted), Budget.fixed(1.0))
    assert (binary.adversarial - softmax.adversarial).abs().max() < 1e-10
    assert (binary.perturbation).abs().max() > 0.01


@pytest.mark.parametrize("scheme", [LabelScheme.brats_regions(), LabelScheme.brats(), LabelScheme.binary("x")])
@pytest.mark.parametrize("attack", [StaticMask(steps=40, alpha=0.03), ASMA(steps=40, beta=0.05, tau=0.03)])
def test_every_scheme_walks_towards_its_target(scheme: LabelScheme, attack: StaticMask) -> None:
    torch.manual_seed(2)
    values = torch.tensor((0, *scheme.values))
    x = torch.rand(2, 1, 6, 7, 5, dtype=torch.float64)
    network = a_network(3, scheme.channels)
    with torch.no_grad():
        network[2].bias.copy_(network[2].bias - network(x).mean((0, 2, 3, 4)))
    segmenter = Segmenter(network, Spec.plain(scheme))
    wanted = segmenter.predict(torch.rand(2, 1, 6, 7, 5, dtype=torch.float64))
    assert len(wanted.unique()) == len(values), "the problem has every label"
    result = attack(segmenter, x, Targeted(wanted), Budget.fixed(1.0))
    assert (result.history[-1].iou > result.history[0].iou + 0.03).all()


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_empty_masks_give_numbers(variant: str) -> None:
    """Neither target nor prediction holds foreground: the authors' image becomes NaN; ours has arrived."""
    network = a_network(2, 2)
    with torch.no_grad():
        network[2].bias[0] += 100
    x, nothing = torch.rand(1, 1, 6, 6, dtype=torch.float64), torch.zeros(1, 6, 6).long()
    result = ASMA(steps=4, variant=variant)(
        Segmenter(network, Spec.plain(TWO, dims=2)), x, Targeted(nothing), Budget.fixed(1.0)
    )
    assert result.adversarial.isfinite().all()
    assert torch.equal(result.adversarial, x), "nothing is left to change"
    early = ASMA(steps=4, variant=variant, stop_at=0.9)
    stopped = early(Segmenter(network, Spec.plain(TWO, dims=2)), x, Targeted(nothing), Budget.fixed(1.0))
    assert len(stopped.history) == 1


def test_iou_never_exceeds_one_with_many_classes() -> None:
    network, x, _ = problem(2, FOUR)
    attack = ASMA(steps=3, variant="authors", beta=0.1, tau=0.01, stop_at=1.0)
    segmenter = Segmenter(network, Spec.plain(FOUR, dims=2))
    result = attack(segmenter, x, Targeted(segmenter.predict(x)), Budget.fixed(1.0))
    assert len(result.history) == 1, "IoU with its own prediction is 1, no more"
    assert torch.equal(result.adversarial, x)


@pytest.mark.parametrize("normalise", ["none", "linf", "l2"])
def test_samples_leave_one_by_one_as_if_alone(normalise: str) -> None:
    torch.manual_seed(1)
    network = a_network(2, 4)
    segmenter = Segmenter(network, Spec.plain(FOUR, dims=2))
    x = torch.rand(4, 1, 10, 10, dtype=torch.float64)
    shifts = [torch.roll(segmenter.predict(x[k : k + 1]), k, 2) for k in range(4)]  # the first has arrived already
    wanted = torch.cat(shifts)
    size = {"none": 0.02, "linf": 0.03, "l2": 0.3}[normalise]
    attack = ASMA(steps=60, beta=size, tau=size / 2, normalise=normalise, stop_at=0.6)
    spy = Spy(network)
    together = attack(segmenter, x, Targeted(wanted), Budget.fixed(1.0))
    sizes = [len(image) for image in spy.images]
    assert sizes[0] == 4
    assert sizes[-1] < 4
    assert sizes == sorted(sizes, reverse=True), "whoever has arrived costs nothing more"
    for k in range(4):
        alone = attack(segmenter, x[k : k + 1], Targeted(wanted[k : k + 1]), Budget.fixed(1.0))
        assert (together.adversarial[k] - alone.adversarial[0]).abs().max() < 1e-10
        last = min(len(alone.history), len(together.history)) - 1
        assert float(alone.history[last].loss[0]) == pytest.approx(float(together.history[last].loss[k]), abs=1e-9)


def test_the_best_image_is_returned() -> None:
    network, x, wanted = problem(2, FOUR, n=3)
    segmenter = Segmenter(network, Spec.plain(FOUR, dims=2))
    result = ASMA(steps=25, beta=0.3, tau=0.2)(segmenter, x, Targeted(wanted), Budget.fixed(1.0))  # strides too long
    from AdvSegLib.metrics.overlap import paper_iou

    for k in range(3):
        best = paper_iou(wanted[k].numpy(), segmenter.predict(result.adversarial[k : k + 1])[0].numpy())
        walk = Published(network, 0.3, 0.2).walk(x[k], wanted[k].numpy(), 25)
        published = Published(network, 0, 0)
        assert best == pytest.approx(max(published.iou(published.prediction(y), wanted[k].numpy()) for y in walk))


def test_authors_penalty_pulls_back_to_the_clean_image() -> None:
    network, x, wanted = problem(2, FOUR)
    segmenter = Segmenter(network, Spec.plain(FOUR, dims=2))
    norms = []
    for variant in ("paper", "authors"):
        attack = StaticMask(steps=60, alpha=0.02, variant=variant)
        result = attack(segmenter, x, Targeted(wanted), Budget.fixed(1.0))
        norms.append(float(result.history[-1].l2.sum()))
    assert norms[1] < norms[0]


def test_multipliers_are_in_units_of_the_range() -> None:
    """A scan of 0 to 1000 walks as the same scan of 0 to 1: the network sees the same input."""
    network, x, wanted = problem(2, FOUR)
    x[:, :, 0, 0], x[:, :, 0, 1] = 0.0, 1.0

    class Scaled(nn.Module):
        def forward(self, seen: Tensor) -> Tensor:
            out: Tensor = network(seen / 1000)
            return out

    attack = ASMA(steps=6, beta=0.02, tau=0.01, variant="authors")
    small = attack(Segmenter(network, Spec.plain(FOUR, dims=2)), x, Targeted(wanted), Budget.of_range(x, 1.0))
    large = attack(
        Segmenter(Scaled(), Spec.plain(FOUR, dims=2)), 1000 * x, Targeted(wanted), Budget.of_range(1000 * x, 1.0)
    )
    assert (large.adversarial / 1000 - small.adversarial).abs().max() < 1e-10


def test_asma_is_targeted() -> None:
    from AdvSegLib.attacks import check_aim

    with pytest.raises(BadRequest, match="targeted"):
        check_aim(ASMA(), targeted=False)
