"""What the engine's contract asks of the attacks that keep a memory: units, regions, parts, early ends."""

from __future__ import annotations

import pytest
import torch
from fixtures_walks import DISC, FIVE, REGIONS, THREE, TWO, AWalk
from torch import Tensor, nn

from AdvSegLib.attacks.apgd import APGD
from AdvSegLib.attacks.base import Attack
from AdvSegLib.attacks.dag import DAG
from AdvSegLib.attacks.gradient_sign import PGD
from AdvSegLib.attacks.minimum_norm import ALMAProx
from AdvSegLib.attacks.momentum import MomentumFGSM
from AdvSegLib.attacks.pixelwise import CosPGD, SegPGD
from AdvSegLib.attacks.square import Square
from AdvSegLib.budgets import Budget
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Targeted, Untargeted

BOTH = ("linf", "l2")
ATTACKS: list[tuple[Attack, str]] = [
    (attack, norm)
    for attack in (
        MomentumFGSM(steps=5), MomentumFGSM(steps=5, diversity=0.6), SegPGD(steps=5),
        CosPGD(steps=5, random_start=True),
        APGD(steps=14), APGD(steps=14, loss="ce-masked", random_start=True), DAG(steps=5, gamma=0.02),
        DAG(steps=5, gamma=0.02, adversarial="runner-up"), ALMAProx(steps=14, rate=0.02, success=0.5),
        Square(steps=14, share=0.3),
    )
    for norm in getattr(attack, "norms", BOTH)
]  # fmt: skip
every_attack = pytest.mark.parametrize(("attack", "norm"), ATTACKS, ids=lambda v: v if isinstance(v, str) else v.name)


class Unscaled(nn.Module):
    """A network that reads images in other units."""

    def __init__(self, network: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network((x - self.shift) / self.scale)
        return out


@every_attack
def test_units_of_the_image_do_not_matter(attack: Attack, norm: str) -> None:
    """Channels in their own units, one of them 1000 times larger, are attacked as the same image in [0, 1] is."""
    for targeted in (False, True):
        walk, epsilon = AWalk(2, THREE, channels=2, targeted=targeted), 0.1 if norm == "linf" else 0.6
        scale, shift = (torch.tensor(v).double().view(1, 2, 1, 1) for v in ((40.0, 1000.0), (-7.0, 300.0)))
        there = Segmenter(Unscaled(walk.network, scale, shift), Spec.plain(THREE, dims=2, channels=2))
        budget = Budget(norm, epsilon, scale, shift, shift + scale)  # type: ignore[arg-type]
        ours = walk.run(attack, Budget.fixed(epsilon, norm)).adversarial  # type: ignore[arg-type]
        scaled = attack(there, walk.x * scale + shift, walk.goal(), budget).adversarial
        assert ((scaled - shift) / scale - ours).abs().max() < 1e-8
        assert (ours - walk.x).any()


@every_attack
@pytest.mark.parametrize("scheme", [FIVE, TWO, REGIONS, DISC], ids=["five", "two", "sigmoid", "binary"])
def test_batch_equals_singles_inside_region_and_budget(attack: Attack, norm: str, scheme: object) -> None:
    dims, targeted = (3, True) if scheme in (TWO, REGIONS) else (2, False)
    walk, epsilon = AWalk(dims, scheme, targeted=targeted), 0.1 if norm == "linf" else 0.5  # type: ignore[arg-type]
    region = torch.rand(1, 1, *walk.x.shape[2:], generator=torch.Generator().manual_seed(1)) < 0.6
    budget = Budget.fixed(epsilon, norm).within(region)  # type: ignore[arg-type]
    together = walk.run(attack, budget)
    change = together.perturbation
    assert together.adversarial.isfinite().all()
    assert not change[~region.expand_as(change)].any()
    assert ((together.adversarial >= 0) & (together.adversarial <= 1)).all()
    size = change.flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)
    assert (size <= epsilon * (1 + 1e-12)).all()
    for k in range(3):
        alone = walk.run(attack, budget, slice(k, k + 1)).adversarial
        assert (together.adversarial[k : k + 1] - alone).abs().max() < 1e-10
    if scheme is FIVE:
        assert torch.equal(walk.run(attack, budget).adversarial, together.adversarial)


@every_attack
def test_structures_alone_are_attacked(attack: Attack, norm: str) -> None:
    walk, epsilon = AWalk(2, FIVE), 0.1 if norm == "linf" else 0.5
    for goal in (Untargeted(walk.labels, (2,)), Targeted(walk.labels.roll(1, 1), (1, 3))):
        result = attack(walk.segmenter, walk.x, goal, Budget.fixed(epsilon, norm))  # type: ignore[arg-type]
        assert result.adversarial.isfinite().all()


@pytest.mark.parametrize(
    "attack", [attack for attack, norm in ATTACKS if norm == "linf" and not getattr(attack, "diversity", 0)],
    ids=lambda a: a.name,
)  # fmt: skip
@pytest.mark.parametrize("targeted", [False, True])
def test_samples_that_have_arrived_leave_and_the_others_walk_on_alike(attack: Attack, targeted: bool) -> None:
    import dataclasses

    walk, budget = AWalk(2, THREE, n=5, targeted=targeted), Budget.fixed(0.15)
    record = walk.run(attack, budget).history
    ious = torch.stack([r.iou for r in record[:-1]])
    last = (ious.amax(0) if targeted else ious.amin(0)).sort().values
    stopping = dataclasses.replace(attack, stop_at=float((last[2] + last[1]) / 2))  # so that some arrive early
    together = walk.run(stopping, budget)
    lengths = set()
    for k in range(5):
        alone = walk.run(stopping, budget, slice(k, k + 1))
        lengths.add(len(alone.history))
        assert (together.adversarial[k : k + 1] - alone.adversarial).abs().max() < 1e-10
        assert float(together.history[-1].iou[k]) == pytest.approx(float(alone.history[-1].iou[0]), abs=1e-12)
    assert min(lengths) < len(record)


def test_everything_is_named_documented_and_light() -> None:
    for kind in {type(attack) for attack, _ in ATTACKS}:
        assert kind.summary
        assert kind.source
        assert all(item["doc"] for item in kind.parameters())


def test_a_sample_that_arrives_with_its_last_step_has_not_fallen_short() -> None:
    torch.manual_seed(1)
    segmenter = Segmenter(torch.nn.Conv2d(1, 3, 3, padding=1), Spec.plain(LabelScheme.softmax("a", "b"), dims=2))
    x = torch.rand(1, 1, 8, 8)
    goal, budget = Untargeted(segmenter.predict(x)), Budget.of_range(x, 0.4)
    long = PGD(steps=30, alpha=0.1, stop_at=0.3)(segmenter, x, goal, budget)
    arrived = len(long.history) - 1  # steps it took: the last record is of the image that had arrived
    assert 0 < arrived < 29
    assert PGD(steps=arrived, alpha=0.1, stop_at=0.3)(segmenter, x, goal, budget).notes == ()
    assert PGD(steps=arrived - 1, alpha=0.1, stop_at=0.3)(segmenter, x, goal, budget).notes != ()
