"""Networks that hide their gradients in known ways, and honest ones: what the audit must say of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from AdvSegLib import Budget, Image, LabelMap, LabelScheme, Spec, Untargeted
from AdvSegLib.attacks import make_attack
from AdvSegLib.audit.audit import Audit, Plan, Subject, audit, usual_undefended
from AdvSegLib.audit.certificates import Terms, certify
from AdvSegLib.audit.checks import Scores, run_checks
from AdvSegLib.audit.family import FamilyTable, verdict_of
from AdvSegLib.audit.gradients import gradient_facts
from AdvSegLib.audit.suite import Effort
from AdvSegLib.audit.unseen import Judged
from AdvSegLib.audit.verdict import decide
from AdvSegLib.audit.writing import write_audit
from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.smoothing import Smoothed

EFFORT = Effort("tiny", 1, 4, 8, (1000.0,))
SIDE = 16
Forward = Callable[["Linear", Tensor], Tensor]


class Linear(nn.Module):
    """``z = gain (mean of 3 x 3 - 0.5)``: a disc brighter than 0.5 is found, and every gradient is known."""

    def __init__(self, gain: float = 8.0, forward: Forward | None = None) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.bent = forward

    def plain(self, x: Tensor) -> Tensor:
        return self.gain * (nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(x) if self.bent is None else self.bent(self, x)


class WrongWay(torch.autograd.Function):
    """The identity, whose gradient points the other way."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, slope: Tensor) -> Tensor:
        return -slope


FORWARDS: dict[str, Forward] = {
    "saturated": lambda net, x: 1000 * net.plain(x),
    "stepped": lambda net, x: 5 * net.plain(x).sign(),
    "quantised": lambda net, x: net.plain((x * 64).round() / 64),
    "cut off": lambda net, x: net.plain(x.detach()),
    "wrong way": lambda net, x: net.plain(WrongWay.apply(x)),  # type: ignore[no-untyped-call]
    "random": lambda net, x: net.plain(x) + torch.randn_like(x),
    "blind": lambda net, x: net.plain(x) - 100,
    "not a number": lambda net, x: net.plain(x) * float("nan"),
}


def a_model(forward: str | None = None, gain: float = 8.0) -> Segmenter:
    network = Linear(gain, None if forward is None else FORWARDS[forward])
    return Segmenter(network, Spec.plain(LabelScheme.binary("disc"), dims=2))


def films(contrast: float, count: int = 1) -> list[Judged]:
    """Discs ``contrast`` brighter than what is around them, about 0.5; two corners span the range 0 to 1."""
    found = []
    for number in range(count):
        draw = np.random.default_rng(number)
        y, x = np.mgrid[:SIDE, :SIDE]
        disc = (y - 8) ** 2 + (x - draw.integers(6, 10)) ** 2 < 22
        pixels = 0.5 + contrast * (disc - 0.5) + 0.01 * draw.standard_normal(disc.shape)
        pixels[0, 0], pixels[0, 1] = 0, 1
        image = Image.from_array(pixels.clip(0, 1)[None].astype(np.float32))
        found.append(Judged(f"disc{number}", image, LabelMap(disc.astype(np.int32), image.grid)))
    return found


def audited(forward: str | None, contrast: float = 0.07, epsilon: float = 0.08, count: int = 1) -> Audit:
    return audit(
        Subject(forward or "plain", a_model(forward)), films(contrast, count), Plan((epsilon,), EFFORT),
        undefended=Subject("undefended", a_model(gain=6.0)),
    )  # fmt: skip


def failed(found: Audit) -> set[str]:
    return {check["name"] for check in found.data["budgets"][0]["checks"] if check["passed"] is False}


@pytest.mark.parametrize(("forward", "evidence"), [
    ("saturated", {"zero_gradients", "scale"}),
    ("stepped", {"zero_gradients", "black_box", "noise", "unbounded", "white_box"}),
    ("quantised", {"zero_gradients", "black_box", "unbounded", "white_box"}),
    ("cut off", {"zero_gradients"}),
    ("wrong way", {"black_box", "unbounded", "white_box"}),
])  # fmt: skip
def test_a_network_that_hides_its_gradient_is_masked(forward: str, evidence: set[str], tmp_path: Path) -> None:
    found = audited(forward)
    verdict = found.data["budgets"][0]["verdict"]
    assert found.masked, verdict
    assert evidence <= failed(found)
    assert verdict["headline"] > verdict["seen_through"] + 0.15
    assert found.data["conclusive"] is (forward == "saturated")  # of the others no gradient says how weak they are
    folder = write_audit(tmp_path / "audit", found, a_model().scheme)
    assert json.loads((folder / "audit.json").read_text())["masked"]


def test_an_honest_network_is_not_masked_weak_or_strong() -> None:
    weak, strong = audited(None, count=2), audited(None, contrast=0.9)
    for found in (weak, strong):
        assert not found.masked
        assert found.data["conclusive"]
        assert failed(found) == set()
    assert weak.data["budgets"][0]["worst"]["mean"] < 0.5
    assert strong.data["budgets"][0]["worst"]["mean"] > strong.data["clean"] - 0.15


def test_an_attacks_dice_and_the_worst_case_are_those_counted_by_hand() -> None:
    found, cases, model = audited(None, count=2), films(0.07, 2), a_model()
    (budget,) = found.data["budgets"]
    rows = {row["key"]: row["cases"] for row in budget["attacks"]}
    for number, case in enumerate(cases):
        x = torch.from_numpy(case.image.array)[None]
        truth = case.truth.array == 1
        made = make_attack("pgd", steps=4, loss="margin")(
            model, x, Untargeted(torch.from_numpy(case.truth.array.astype(np.int64))[None]), Budget.of_range(x, 0.08)
        )
        with torch.no_grad():
            seen = (model.network(made.adversarial)[0, 0] > 0).numpy()
        assert rows["pgd-margin"][number] == pytest.approx(2 * (seen & truth).sum() / (seen.sum() + truth.sum()))
        every = [row["cases"][number] for row in budget["attacks"] if row["role"] != "unbounded"]
        assert budget["worst"]["cases"][number] == min(found.data["cases"][number]["clean"]["mean"], *every)


def test_of_a_network_that_draws_at_random_nothing_is_concluded() -> None:
    found = audited("random")
    assert "repeatable" in failed(found)
    assert not found.data["conclusive"]
    assert any("same labels twice" in reason for reason in found.data["budgets"][0]["verdict"]["reasons"])


def test_of_a_network_that_finds_nothing_nothing_is_concluded() -> None:
    found = audited("blind")
    assert found.data["clean"] == 0
    assert "something_to_lose" in failed(found)
    assert not found.data["conclusive"]


def test_logits_that_are_no_numbers_are_an_error_and_no_verdict() -> None:
    with pytest.raises(AdvSegError, match="on case disc0: its logits are not finite"):
        audited("not a number")


def test_a_network_without_a_path_back_has_no_gradient_at_all() -> None:
    x, labels = torch.rand(1, 1, SIDE, SIDE), torch.ones(1, SIDE, SIDE, dtype=torch.int64)
    facts = gradient_facts(a_model("cut off"), x, labels)
    assert (facts.zero_share, facts.zero_share_scaled) == (1.0, 1.0)
    rows = {row["key"]: row for row in audited("cut off").data["budgets"][0]["attacks"]}
    assert "no gradient comes back" in rows["pgd-dice"]["failed"]
    assert rows["square"]["failed"] is rows["transfer-pgd"]["failed"] is None


def test_an_attack_that_helps_does_not_raise_the_worst_case() -> None:
    scores = Scores([0.5, 0.9], {"fgsm-dice": [0.8, 0.2]}, {"fgsm-dice": "plain"})
    assert scores.worst(["fgsm-dice"]) == [0.5, 0.2]
    assert scores.floor == pytest.approx(0.35)
    assert scores.worst([]) == [0.5, 0.9]


@pytest.mark.parametrize(("clean", "changed", "conclusive"), [
    (0.95, [0.0, 0.0005], True), (0.95, [0.0, 0.02], False), (0.1, [0.0], False),
])  # fmt: skip
def test_what_cannot_be_concluded_is_said(clean: float, changed: list[float], conclusive: bool) -> None:
    facts = [{"zero_share": 0.0, "zero_share_scaled": 0.0, "logit_spread": 1.0}]
    scores = Scores([clean], {"pgd-dice": [0.05], "unbounded-margin": [0.0]},
                    {"pgd-dice": "plain", "unbounded-margin": "unbounded"})  # fmt: skip
    assert decide(scores, run_checks(scores, facts, changed)).conclusive is conclusive


def test_a_model_of_ones_own_may_be_called_like_a_shipped_one() -> None:
    """Its folder's name is no promise: what it cannot be attacked by is not taken, and not an error."""
    assert usual_undefended(Subject("mine/chest-like", a_model())) is None
    assert usual_undefended(Subject("nothing", a_model())) is None


def test_what_an_audit_could_not_finish_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AdvSegLib.audit.command import COMMANDS
    from AdvSegLib.command_options import build_parser

    def run(words: str) -> None:
        options = build_parser().parse_args(words.split())
        COMMANDS[options.command](options)

    monkeypatch.chdir(tmp_path)
    for words, said in (
        ("audit --family chest --undefended chest-surrogate", "undefended is of one model's audit"),
        ("audit --family fundus", "nothing to compare it with"),
        ("audit chest --out /dev/null/under", "no folder that takes files"),
    ):
        with pytest.raises(AdvSegError, match=said):
            run(words)
    monkeypatch.setattr("os.access", lambda place, mode: "Models" not in str(place))
    with pytest.raises(BadRequest, match="a bundle of your own"):
        run("audit chest --write-card")
    assert not list(tmp_path.iterdir())


def test_without_noise_nothing_is_certified() -> None:
    """A fraction of a constant image's range is no noise: all draws would agree, and promise nothing."""
    image = Image.from_array(np.ones((1, SIDE, SIDE), np.float32))
    with pytest.raises(BadRequest, match="is the same everywhere"):
        certify(Smoothed.of(a_model(), 0.05), image, Terms(0.05, n=60))
    fixed = certify(Smoothed.of(a_model(), 0.05, scale=(1.0,)), image, Terms(0.05, n=60))
    assert fixed.hold.all()  # 0.5 above the threshold, and noise of 0.05


def test_an_audit_that_saw_too_little_clears_nobody() -> None:
    assert verdict_of({"results": {"audit": {"masked": False, "conclusive": False}}}) is None
    assert verdict_of({"results": {"audit": {"masked": True, "conclusive": False}}}) is True
    assert verdict_of({"results": {"audit": {"masked": False, "conclusive": True}}}) is False
    scores = {"m": {0.0: {"mean": [0.9]}, 0.1: {"mean": [0.1]}}}
    table = FamilyTable("m", "FGSM", (0.0, 0.1), ("c",), scores, {"m": None})
    assert table.rows()[0][-1] == "not known"
