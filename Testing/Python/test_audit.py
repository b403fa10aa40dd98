"""The audit flags a model that only hides its gradients, and not the same model in the open; numbers by hand."""

from __future__ import annotations

import copy
import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_models import a_bundle
from torch import Tensor, nn

from AdvSegLib import Budget, Image, LabelMap, LabelScheme, Spec, Untargeted, load_model
from AdvSegLib.attacks import ATTACKS
from AdvSegLib.audit import command
from AdvSegLib.audit.audit import Audit, Plan, Subject, audit, recorded_temperature, undefended_name
from AdvSegLib.audit.card import BEGIN, END, section, with_section, write_card
from AdvSegLib.audit.gradients import gradient_facts
from AdvSegLib.audit.noise import RandomSigns
from AdvSegLib.audit.schema import check_written
from AdvSegLib.audit.suite import EFFORTS, ROLES, Effort, suite
from AdvSegLib.audit.trials import Judge, batches
from AdvSegLib.audit.unseen import AUDIT_SEED, Judged, phantom_source, read_cases, unseen_phantoms
from AdvSegLib.audit.writing import write_audit
from AdvSegLib.cases.base import Case
from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.segmenters.bundle import CARD, METADATA
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.training.recipe import load_recipe

TINY = Effort("tiny", 1, 6, 8, (1000.0,))


class Louder(nn.Module):
    """The same network, its logits times a number: the same labels, a saturated softmax."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.network(x)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def chest() -> Segmenter:
    return load_model("chest")


@pytest.fixture(scope="module")
def films(chest: Segmenter) -> list[Judged]:
    return read_cases(unseen_phantoms(chest.spec, 1, size=128), chest.spec)


def loud(model: Segmenter) -> Segmenter:
    return replace(model, network=Louder(copy.deepcopy(model.network), 1000.0))


@pytest.fixture(scope="module")
def in_the_open(chest: Segmenter, films: list[Judged]) -> Audit:
    return audit(Subject("open", chest), films, Plan(effort=TINY))


@pytest.fixture(scope="module")
def behind_saturation(chest: Segmenter, films: list[Judged]) -> Audit:
    return audit(Subject("loud", loud(chest)), films, Plan(effort=TINY), undefended=Subject("open", chest))


@pytest.mark.slow
def test_a_saturated_softmax_is_flagged_and_the_plain_model_is_not(
    in_the_open: Audit, behind_saturation: Audit
) -> None:
    assert not in_the_open.masked
    assert behind_saturation.masked
    plain, hidden = (found.data["budgets"][0]["verdict"] for found in (in_the_open, behind_saturation))
    assert plain["reasons"] == []
    assert hidden["headline"] > plain["headline"] + 0.1
    assert hidden["worst"] == pytest.approx(plain["worst"], abs=0.1)
    failed = {check["name"] for check in behind_saturation.data["budgets"][0]["checks"] if check["passed"] is False}
    assert {"zero_gradients", "scale"} <= failed
    assert any("PGD leaves" in reason for reason in hidden["reasons"])
    dead, alive = (found.data["cases"][0]["gradient"]["zero_share"] for found in (behind_saturation, in_the_open))
    assert dead > alive == 0
    assert [case["clean"] for case in in_the_open.data["cases"]] == [
        c["clean"] for c in behind_saturation.data["cases"]
    ]


@pytest.mark.slow
def test_the_worst_case_is_the_least_of_every_bounded_attack(behind_saturation: Audit) -> None:
    (budget,) = behind_saturation.data["budgets"]
    inside = [row["cases"] for row in budget["attacks"] if row["role"] != "unbounded"]
    assert budget["worst"]["cases"] == np.min(inside, axis=0).tolist()
    assert budget["worst"]["mean"] == pytest.approx(np.mean(budget["worst"]["cases"]))
    assert {row["role"] for row in budget["attacks"]} == set(ROLES)


@pytest.mark.slow
def test_an_audit_is_written_whole_follows_its_schema_and_shows_marked_pictures(
    behind_saturation: Audit, chest: Segmenter, tmp_path: Path
) -> None:
    folder = write_audit(tmp_path / "audit", behind_saturation, chest.scheme)
    data = json.loads((folder / "audit.json").read_text())
    check_written("audit", data)
    page = (folder / "report.html").read_text()
    assert "This defense only hides its gradients" in page
    assert page.count('<span class="mark">ADVERSARIAL') == 2
    assert "http://" not in page
    assert "https://" not in page
    assert data["cases"][0]["name"] in page
    assert len(page.encode()) < 3_900_000
    with pytest.raises(BadRequest, match="not empty"):
        write_audit(folder, behind_saturation, chest.scheme)


def test_a_broken_audit_is_not_written() -> None:
    with pytest.raises(AdvSegError, match=r"audit\.json would not follow"):
        check_written("audit", {"schema": "advseg.audit/1"})


def relu_model() -> Segmenter:
    """One channel in, ``z = 4 relu(x)`` for on: where x is below 0 nothing comes back."""

    class Rectified(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 4 * x.relu() - 1

    return Segmenter(Rectified(), Spec.plain(LabelScheme.binary("a"), dims=2))


def test_share_of_zero_gradients_is_counted_exactly() -> None:
    x = torch.tensor([[-1.0, -2.0, 1.0, 2.0], [-3.0, 0.5, 0.2, 0.1]]).view(1, 1, 2, 4)
    labels = torch.tensor([[[0, 1, 1, 0], [0, 0, 1, 1]]])
    facts = gradient_facts(relu_model(), x, labels)
    assert facts.zero_share == 3 / 8
    assert facts.logit_spread == pytest.approx(float((4 * x.relu() - 1).square().mean().sqrt()))


def test_saturation_by_scale_kills_the_own_gradient_only() -> None:
    base = Segmenter(nn.Conv2d(1, 3, 1), Spec.plain(LabelScheme.softmax("a", "b"), dims=2))
    x, labels = torch.rand(1, 1, 8, 8), torch.randint(0, 3, (1, 8, 8))
    assert gradient_facts(base, x, labels).zero_share == 0
    facts = gradient_facts(replace(base, network=Louder(base.network, 1e6)), x, labels)
    assert facts.zero_share > 0.9
    assert facts.zero_share_scaled == 0


def test_noise_is_a_corner_of_the_ball_follows_its_seed_and_stays_in_the_box() -> None:
    x = torch.rand(2, 1, 16, 16)
    goal = Untargeted(torch.ones(2, 16, 16, dtype=torch.int64))
    model = relu_model()
    first, again, other = (
        RandomSigns()(model, x, goal, Budget.fixed(0.1), seed=seed).adversarial for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    inside = (x > 0.11) & (x < 0.89)
    assert torch.allclose((first - x)[inside].abs(), torch.tensor(0.1), atol=1e-6)
    assert abs(float((first > x).double().mean()) - 0.5) < 0.15


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("temperature", [1.0, 500.0])
def test_every_attack_of_every_suite_is_in_the_registry_and_named_once(effort: str, temperature: float) -> None:
    trials = suite(EFFORTS[effort], temperature=temperature, transfer=True)
    assert len({trial.key for trial in trials}) == len(trials)
    assert {trial.role for trial in trials} == set(ROLES)
    for trial in trials:
        made = trial.make()
        assert type(made) in ATTACKS.values() or trial.role == "control"
    named = [trial for trial in trials if trial.key == "pgd-dice-T500"]
    assert len(named) == (temperature == 500.0)


def test_a_recorded_temperature_is_read_and_an_impossible_one_refused() -> None:
    assert recorded_temperature({}) == 1.0
    assert recorded_temperature({"results": {"defense": {"kind": "distillation", "temperature": 20}}}) == 20.0
    with pytest.raises(BadRequest, match="impossible distillation temperature"):
        recorded_temperature({"results": {"defense": {"temperature": 0}}})


def test_the_undefended_model_is_the_one_a_family_is_named_after() -> None:
    assert undefended_name("chest-distilled-t20") == "chest"
    assert undefended_name("somewhere/brain-noise/") == "brain"
    assert undefended_name("brain-2d-noise") == "brain-2d"
    assert undefended_name("chest") is None
    assert undefended_name("liver-noise") is None


def test_audit_seeds_lie_outside_every_shipped_recipe() -> None:
    for name in ("chest", "brain"):
        data = load_recipe(name).data
        for first, count in ((data.train_seed, data.train_cases), (data.validation_seed, data.validation_cases)):
            assert not range(max(first, AUDIT_SEED), min(first + count, AUDIT_SEED + 1000))


def test_models_of_other_anatomy_need_cases_of_their_own() -> None:
    with pytest.raises(BadRequest, match="name cases by --source"):
        phantom_source(Spec.plain(LabelScheme.softmax("liver"), dims=3))
    assert phantom_source(load_model("brain").spec) == "phantom-brain"


def tiny_case(name: str = "one", value: int = 1, channels: int = 1) -> Case:
    pixels = np.random.default_rng(3).random((channels, 8, 8)).astype(np.float32)
    image = Image.from_array(pixels)
    truth = LabelMap(np.full((8, 8), value, np.int32), image.grid)
    return Case(name, LabelScheme.binary("a"), lambda: image, lambda: truth)


def test_cases_that_cannot_be_judged_are_named() -> None:
    spec = relu_model().spec
    for case, message in (
        (tiny_case("hollow", 0), "case hollow: its truth is empty"),
        (tiny_case("wide", channels=2), "case wide has 2 channels"),
        (tiny_case("odd", 7), "case odd"),
    ):
        with pytest.raises(BadRequest, match=message):
            read_cases([case], spec)
    with pytest.raises(BadRequest, match="at least one case"):
        read_cases([], spec)


def test_cases_of_one_grid_go_together_and_the_batch_changes_nothing() -> None:
    model = Segmenter(nn.Conv2d(1, 1, 3, padding=1), Spec.plain(LabelScheme.binary("a"), dims=2))
    cases = read_cases([tiny_case(f"{k}") for k in range(3)], model.spec)
    groups = batches(cases, 2)
    assert [len(group.cases) for group in groups] == [2, 1]
    judge = Judge(model)
    for trial in suite(TINY):
        together = [o.mean for group in groups for o in judge.trial(trial, group, 0.1)]
        alone = [o.mean for group in batches(cases, 1) for o in judge.trial(trial, group, 0.1)]
        assert together == pytest.approx(alone, abs=1e-6), trial.key


def test_gradients_in_bf16_are_judged_in_float32() -> None:
    model = Segmenter(nn.Conv2d(1, 1, 3, padding=1), Spec.plain(LabelScheme.binary("a"), dims=2))
    cases = read_cases([tiny_case()], model.spec)
    rough = audit(Subject("plain", model), cases, Plan(effort=TINY, precision="bf16"))
    exact = audit(Subject("plain", model), cases, Plan(effort=TINY))
    assert (rough.data["plan"]["precision"], exact.data["plan"]["precision"]) == ("bf16", "fp32")
    assert rough.data["clean"] == exact.data["clean"]
    check_written("audit", rough.data)


def test_an_attack_that_breaks_is_told_and_makes_the_audit_inconclusive() -> None:
    class Torn(nn.Module):
        """Finite logits, a gradient that is not."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight * (x + 1 + (x - x).sqrt())

    model = Segmenter(Torn(), Spec.plain(LabelScheme.binary("a"), dims=2))
    cases = read_cases([tiny_case()], model.spec)
    found = audit(Subject("torn", model), cases, Plan(effort=TINY))
    rows = {row["key"]: row for row in found.data["budgets"][0]["attacks"]}
    assert "not finite" in rows["pgd-dice"]["failed"]
    assert rows["pgd-dice"]["mean"] is None
    assert rows["square"]["mean"] is not None
    assert not found.data["conclusive"]
    assert any("could not be run" in reason for reason in found.data["budgets"][0]["verdict"]["reasons"])
    check_written("audit", found.data)


def test_an_undefended_model_that_is_the_same_or_another_kind_is_refused() -> None:
    model = Segmenter(nn.Conv2d(1, 1, 1), Spec.plain(LabelScheme.binary("a"), dims=2))
    cases = read_cases([tiny_case()], model.spec)
    with pytest.raises(BadRequest, match="has the weights of"):
        audit(Subject("m", model), cases, Plan(effort=TINY), undefended=Subject("n", model))
    other = Segmenter(nn.Conv2d(1, 1, 1), Spec.plain(LabelScheme.binary("b"), dims=2))
    with pytest.raises(BadRequest, match="other channels or labels"):
        audit(Subject("m", model), cases, Plan(effort=TINY), undefended=Subject("n", other))


@pytest.mark.parametrize("epsilons", [(), (0.0,), (1.5,), (0.1, 0.1), (float("nan"),)])
def test_budgets_that_are_none_are_refused(epsilons: tuple[float, ...]) -> None:
    with pytest.raises(BadRequest, match="epsilon"):
        Plan(epsilons)


def parse(*arguments: str) -> object:
    parser = ArgumentParser()
    commands = parser.add_subparsers(dest="command")
    for add in (command.add_audit_parser, command.add_certify_parser, command.add_ensemble_parser):
        add(commands)
    options = parser.parse_args(arguments)
    command.COMMANDS[options.command](options)
    return options


@pytest.fixture
def own_model(tmp_path: Path) -> tuple[Path, Path]:
    """A tiny bundle, and a folder of two cases whose truth is what it says of them."""
    model = load_model(a_bundle(tmp_path / "tiny", dims=2, spec={"windows": None}))
    cases = tmp_path / "cases"
    for part in ("images", "labels"):
        (cases / part).mkdir(parents=True)
    for number in range(2):
        image = Image.from_array(np.random.default_rng(number).random((1, 16, 16)).astype(np.float32))
        image.write(cases / "images" / f"case{number}.nii.gz")
        model.segment(image).write(cases / "labels" / f"case{number}.nii.gz")
    return tmp_path / "tiny", cases


def test_the_command_audits_given_cases_and_writes_the_card(
    own_model: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, cases = own_model
    monkeypatch.setitem(EFFORTS, "quick", TINY)
    before = (folder / CARD).read_text()
    arguments = ["audit", str(folder), "--quick", "--source", "folder", "--path", str(cases), "--device", "cpu",
                 "--epsilon", "0.05", "0.1", "--write-card"]  # fmt: skip
    parse(*arguments, "--out", str(tmp_path / "out"))
    said = capsys.readouterr().out
    data = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert f"masked: {str(data['masked']).lower()}" in said
    assert len(data["cases"]) == 1
    assert data["clean"] == 1.0
    results = json.loads((folder / METADATA).read_text())["results"]["audit"]
    assert [budget["epsilon"] for budget in results["budgets"]] == [0.05, 0.1]
    assert results["masked"] == data["masked"]
    card = (folder / CARD).read_text()
    assert before.strip() in card
    assert card.count(BEGIN) == card.count(END) == 1
    assert load_model(folder).spec.dims == 2
    parse(*arguments, "--out", str(tmp_path / "again"))
    assert (folder / CARD).read_text().count(BEGIN) == 1
    assert not [p for p in folder.rglob("*") if p.name.startswith(".")]


def test_a_card_is_of_the_weights_that_were_audited(own_model: tuple[Path, Path], in_the_open: Audit) -> None:
    before = {path: path.read_bytes() for path in own_model[0].rglob("*") if path.is_file()}
    with pytest.raises(BadRequest, match="other weights"):
        write_card(own_model[0], in_the_open.data)
    assert {path: path.read_bytes() for path in own_model[0].rglob("*") if path.is_file()} == before


def test_the_section_stands_before_the_licence_and_replaces_an_older_one(in_the_open: Audit) -> None:
    card = "# m\n\nIt is nice.\n\nIt is **not a medical device**.\nLicence: Apache-2.0.\n"
    new = section(in_the_open.data)
    once = with_section(card, new)
    assert once.index("It is nice") < once.index("## Audit") < once.index("not a medical device")
    assert with_section(once, new) == once
    assert "**masked: false**" in once
    assert with_section("# m\n", new).startswith("# m\n\n" + BEGIN)


@pytest.mark.parametrize(("arguments", "message"), [
    (("audit",), "takes a model, or --family"),
    (("audit", "chest", "--family", "chest"), "takes a model, or --family"),
    (("audit", "chst"), "did you mean 'chest'"),
    (("audit", "chest", "--path", "x"), "give --source too"),
    (("audit", "--family", "chest", "--write-card"), "not of a family"),
    (("audit", "--family", "liver"), "unknown family"),
    (("audit", "chest", "--epsilon", "2"), "fraction of the range"),
])  # fmt: skip
def test_requests_that_cannot_be_met_are_refused(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRequest, match=message):
        parse(*arguments, "--device", "cpu", *(["--cases", "1", "--size", "32"] if "2" in arguments else []))
    assert list(tmp_path.iterdir()) == []


def test_a_taken_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("mine")
    with pytest.raises(BadRequest, match="not an empty folder"):
        parse("audit", "chest", "--out", str(tmp_path))


def test_certify_writes_labels_abstentions_and_a_report(
    own_model: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, cases = own_model
    image, labels = cases / "images" / "case0.nii.gz", cases / "labels" / "case0.nii.gz"
    out = tmp_path / "certificate"
    parse("certify", str(folder), "--image", str(image), "--truth", str(labels), "--sigma", "0.02", "--n", "60",
          "--device", "cpu", "--out", str(out))  # fmt: skip
    data = json.loads((out / "certificate.json").read_text())
    check_written("certificate", data)
    from AdvSegLib.volumes import read_labels

    abstain, found = read_labels(out / "abstain.nii.gz"), read_labels(out / "labels.nii.gz")
    assert np.array_equal(found.array == data["abstain_value"], abstain.array == 1)
    assert abstain.array.mean() == pytest.approx(data["shares"]["abstain"])
    assert 0 < data["shares"]["abstain"] < 1
    assert data["radius"]["uniform_linf_of_range"] == pytest.approx(data["radius"]["of_range"] / 16)
    assert "magenta abstains" in (out / "report.html").read_text()
    assert "certified" in capsys.readouterr().out
    with pytest.raises(BadRequest, match="certify no voxel"):
        parse("certify", str(folder), "--image", str(image), "--n", "20", "--out", str(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
