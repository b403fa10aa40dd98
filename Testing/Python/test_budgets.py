"""A budget is never exceeded, whatever the walk does, in exact arithmetic on what float32 can hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from AdvSegLib.budgets import Budget
from AdvSegLib.errors import BadRequest


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), epsilon=st.floats(0, 1.5), offset=st.floats(-1e5, 1e5), spread=st.floats(1e-3, 1e5),
    dims=st.sampled_from([2, 3]), norm=st.sampled_from(["linf", "l2"]), double=st.booleans(),
)  # fmt: skip
def test_projection_holds_ball_and_box(
    seed: int, epsilon: float, offset: float, spread: float, dims: int, norm: str, double: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if double else torch.float32
    clean = (torch.rand(2, 3, *[5] * dims, generator=generator, dtype=torch.float64) * spread + offset).to(dtype)
    budget = Budget.of_range(clean, epsilon, norm)  # type: ignore[arg-type]
    far = clean + torch.randn(clean.shape, generator=generator, dtype=torch.float64).to(dtype) * budget.scale * 3
    x = budget.tighten(budget.project(far, clean, budget.bounds(clean)), clean)
    assert bool((x >= budget.low).all())
    assert bool((x <= budget.high).all())
    change = x.double() - clean.double()
    if norm == "linf":
        slack = 0.0 if not double else 1e-12 * (abs(offset) + spread)
        assert bool((change.abs() <= epsilon * budget.scale.double() + slack).all())
    else:
        scaled = change / budget.divisor(clean.double())
        rounding = (
            4
            * torch.finfo(dtype).eps
            * (abs(offset) + spread)
            / float(budget.divisor(clean).min())
            * clean[0].numel() ** 0.5
        )
        assert bool((scaled.flatten(1).norm(dim=1) <= epsilon * (1 + 1e-9) + rounding).all())


def test_range_budget_is_per_sample_and_channel() -> None:
    x = torch.stack([torch.linspace(0, 1, 9), torch.linspace(-50, 150, 9)]).view(1, 2, 3, 3)
    budget = Budget.of_range(x, 0.05)
    assert budget.scale.flatten().tolist() == [1.0, 200.0]
    low, high = budget.bounds(x)
    assert float((high - x)[0, 1, 1, 1]) == pytest.approx(10.0)
    assert float(low[0, 0, 0, 0]) == 0.0  # the box cuts the ball


def test_constant_channels_do_not_move_and_divide_nothing_by_zero() -> None:
    x = torch.full((1, 1, 4, 4), 7.0)
    budget = Budget.of_range(x, 0.1)
    assert torch.equal(budget.project(x + 3, x, budget.bounds(x)), x)
    assert all(bool(torch.isfinite(v).all()) for v in budget.distances(x, x).values())


@pytest.mark.parametrize("epsilon", [-0.1, float("nan"), float("inf")])
def test_meaningless_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(BadRequest, match="epsilon must be a finite number >= 0"):
        Budget.fixed(epsilon)


def test_clean_image_outside_the_valid_range_is_refused() -> None:
    budget = Budget.fixed(0.1).like(torch.zeros(1, 1, 2, 2))
    with pytest.raises(BadRequest, match="valid range"):
        budget.bounds(torch.full((1, 1, 2, 2), 1.5))
