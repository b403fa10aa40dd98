"""Small networks, images and goals for attacks, all in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from AdvSegLib.attacks.base import Attack
from AdvSegLib.attacks.engine import AttackResult
from AdvSegLib.budgets import Budget
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Goal, Targeted, Untargeted

FIVE = LabelScheme.softmax("a", "b", "c", "d")
THREE = LabelScheme.softmax("a", "b")
TWO = LabelScheme.softmax("a")
REGIONS = LabelScheme.brats_regions()
DISC = LabelScheme.binary("disc")


def a_network(dims: int, scheme: LabelScheme, channels: int = 1) -> nn.Module:
    """Return two convolutions with a bend between them: smooth, with context, and not linear."""
    torch.manual_seed(11)
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(
        conv(channels, 6, 3, padding=1), nn.Tanh(), conv(6, scheme.channels, 3, padding=1)
    ).double()  # fmt: skip


class AWalk:
    """A network, a batch of images in [0, 1] and a goal."""

    def __init__(
        self, dims: int, scheme: LabelScheme, *, targeted: bool = False, n: int = 3, channels: int = 1, side: int = 0
    ) -> None:
        side = side or (8 if dims == 2 else 5)
        self.network = a_network(dims, scheme, channels)
        self.segmenter = Segmenter(self.network, Spec.plain(scheme, dims=dims, channels=channels))
        generator = torch.Generator().manual_seed(3)
        shape = tuple(side + k for k in range(dims))
        self.x = torch.rand(n, channels, *shape, generator=generator, dtype=torch.float64)
        values = torch.tensor((0, *scheme.values))
        drawn = values[torch.randint(0, len(values), (n, *shape), generator=generator)]
        self.labels = drawn if targeted else self.segmenter.predict(self.x)
        self.sign = -1 if targeted else 1
        self.scheme = scheme

    def goal(self, samples: slice = slice(None)) -> Goal:
        return Targeted(self.labels[samples]) if self.sign < 0 else Untargeted(self.labels[samples])

    def run(self, attack: Attack, budget: Budget, samples: slice = slice(None), seed: int = 0) -> AttackResult:
        return attack(self.segmenter, self.x[samples], self.goal(samples), budget, seed=seed)

    def target(self, sample: int) -> Tensor:
        """One sample's target planes ``(1, K, *spatial)``."""
        return self.scheme.encode(self.labels[sample : sample + 1], torch.float64)

    def logits_of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One sample's logits and the leaf they come from."""
        leaf = x.detach().clone().requires_grad_(True)
        return self.network(leaf), leaf


def draws(seed: int = 0) -> torch.Generator:
    """The generator a walk draws from."""
    return torch.Generator().manual_seed(seed)


def drawn(generator: torch.Generator, *shape: int) -> Tensor:
    """The numbers a walk draws next."""
    return torch.rand(1, *shape, generator=generator, dtype=torch.float64)


def into_ball(x: Tensor, clean: Tensor, eps: float, norm: str) -> Tensor:
    """One sample brought into the eps-ball, then into [0, 1]."""
    change = x - clean
    if norm == "linf":
        return (clean + change.clamp(-eps, eps)).clamp(0, 1)
    return (clean + change * min(1.0, eps / max(float(change.norm()), 1e-12))).clamp(0, 1)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The unit step that climbs one sample's gradient."""
    return gradient.sign() if norm == "linf" else gradient / max(float(gradient.norm()), 1e-12)
