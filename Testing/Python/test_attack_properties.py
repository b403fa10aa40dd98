"""What holds for every attack, image, scheme, budget and region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from AdvSegLib.attacks import ATTACKS, Attack
from AdvSegLib.attacks.engine import AttackResult
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import Cancelled
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec
from AdvSegLib.targets import Goal

SCHEMES = (
    LabelScheme.softmax("a"), LabelScheme.softmax("a", "b", "c"), LabelScheme.brats(), LabelScheme.brats_regions(),
    LabelScheme.sigmoid("a", "b"), LabelScheme.binary("a"),
)  # fmt: skip


def quick(kind: type[Attack]) -> Attack:
    """The attack with few steps, and multipliers that move an image of range 1."""
    known = kind.parameter_names()
    wanted: dict[str, Any] = {"steps": 3, "alpha": 0.01 if kind.name in ("ssm", "asm") else None}
    if kind.name == "asma":
        wanted = {"steps": 3, "beta": 0.02, "tau": 0.01}
    return kind(**{name: value for name, value in wanted.items() if name in known and value is not None})


@dataclass(frozen=True)
class Case:
    segmenter: Segmenter
    x: Tensor
    goal: Goal
    budget: Budget
    attack: Attack

    def run(self, which: slice = slice(None), seed: int = 3) -> AttackResult:
        budget = self.budget
        if which != slice(None):
            n = len(self.x)
            mask = torch.zeros(n, dtype=torch.bool)
            mask[which] = True
            budget = budget.like(self.x).of_samples(mask) if n > 1 else budget
        goal = Goal(self.goal.labels[which], self.goal.sign, self.goal.structures)
        return self.attack(self.segmenter, self.x[which], goal, budget, seed=seed)


@st.composite
def cases(draw: st.DrawFn, dtype: torch.dtype = torch.float64, samples: int | None = None) -> Case:
    dims, channels = draw(st.sampled_from([2, 3])), draw(st.integers(1, 3))
    n = samples or draw(st.integers(1, 2))
    shape = [draw(st.integers(3, 7)) for _ in range(dims)]
    scheme = draw(st.sampled_from(SCHEMES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    torch.manual_seed(draw(st.integers(0, 2**20)))
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    network = nn.Sequential(conv(channels, 5, 3, padding=1), nn.Tanh(), conv(5, scheme.channels, 3, padding=1)).to(
        dtype
    )
    intensity = draw(st.sampled_from([Intensity(), Intensity("zscore", foreground=False), Intensity("range")]))
    spread = draw(st.sampled_from([1.0, 800.0]))
    x = torch.rand(n, channels, *shape, dtype=dtype, generator=generator) * spread - draw(
        st.sampled_from([0.0, 300.0])
    )
    values = torch.tensor((0, *scheme.values))
    labels = values[torch.randint(0, len(values), (n, *shape), generator=generator)]
    attack = quick(ATTACKS[draw(st.sampled_from(sorted(ATTACKS)))])
    sign = {"targeted": -1, "untargeted": 1, "either": draw(st.sampled_from([-1, 1]))}[attack.aim]
    structures = draw(st.sampled_from([(), (scheme.values[0],)]))
    norm = draw(st.sampled_from(["linf", "l2"]))
    epsilon = draw(st.sampled_from([0.0, 0.01, 0.3, 1.0]))
    budget = Budget.of_range(x, epsilon, norm)  # type: ignore[arg-type]
    if draw(st.booleans()):
        region = torch.rand(1, 1, *shape, generator=generator) < 0.5
        budget = budget.within(region)
    segmenter = Segmenter(network, Spec.plain(scheme, dims=dims, channels=channels, intensity=intensity))
    return Case(segmenter, x, Goal(labels, sign, structures), budget, attack)


def supports(case: Case) -> bool:
    norms = getattr(case.attack, "norms", ("linf", "l2"))
    return case.budget.norm in norms


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(case=cases(dtype=torch.float32).filter(supports))
def test_budget_range_and_region_hold_in_float32(case: Case) -> None:
    result = case.run()
    x, after = case.x.double(), result.adversarial.double()
    budget = case.budget.like(case.x)
    scale = torch.where(budget.scale > 0, budget.scale, torch.ones_like(budget.scale))
    assert after.isfinite().all()
    assert (after >= budget.low.double()).all()
    assert (after <= budget.high.double()).all()
    change = (after - x).abs()
    if budget.norm == "linf":
        assert (change <= budget.epsilon * budget.scale).all()
    else:
        assert ((change / scale).flatten(1).norm(dim=1) <= budget.epsilon).all()
    if budget.region is not None:
        assert not change[~budget.region.expand_as(change)].any()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(case=cases().filter(supports))
def test_same_seed_same_bits(case: Case) -> None:
    first, again = case.run(seed=5), case.run(seed=5)
    assert torch.equal(first.adversarial, again.adversarial)
    assert len(first.history) == len(again.history)
    assert all(a.numbers() == b.numbers() or any(v != v for v in a.numbers().values())
               for a, b in zip(first.history, again.history, strict=True))  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(case=cases(samples=3).filter(supports))
def test_a_batch_of_n_equals_n_singles(case: Case) -> None:
    together = case.run().adversarial
    for k in range(3):
        alone = case.run(slice(k, k + 1)).adversarial
        spread = float(case.x[k].max() - case.x[k].min())
        assert (together[k : k + 1] - alone).abs().max() <= 1e-10 * max(spread, 1.0)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_cancel_stops_at_the_next_step_and_gives_nothing(name: str) -> None:
    attack = ATTACKS[name](**({"steps": 50} if "steps" in ATTACKS[name].parameter_names() else {}))
    scheme = LabelScheme.softmax("a", "b")
    torch.manual_seed(0)
    segmenter = Segmenter(nn.Conv2d(1, 3, 3, padding=1), Spec.plain(scheme, dims=2))
    x, labels = torch.rand(1, 1, 8, 8), torch.randint(0, 3, (1, 8, 8))
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) == (3 if attack.step_count > 2 else 1)

    goal = Goal(labels, 1 if attack.aim != "targeted" else -1)
    with pytest.raises(Cancelled):
        attack(segmenter, x, goal, Budget.fixed(0.1), cancel=cancel)
    assert len(asked) == (3 if attack.step_count > 2 else 1)
