"""Checks, verdicts and family tables on numbers written by hand: those of the guide's measured table among them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from AdvSegLib import Image, LabelMap, LabelScheme, Spec
from AdvSegLib.audit import checks
from AdvSegLib.audit.audit import Subject
from AdvSegLib.audit.checks import Scores, run_checks
from AdvSegLib.audit.family import FamilyTable, audit_family, family_members, verdict_of
from AdvSegLib.audit.schema import check_written
from AdvSegLib.audit.unseen import Judged
from AdvSegLib.audit.verdict import decide
from AdvSegLib.audit.writing import write_family
from AdvSegLib.errors import BadRequest

ROLE = {
    "noise": "control", "fgsm-dice": "plain", "pgd-dice": "plain", "pgd-dice-10": "steps", "pgd-dice-40": "steps",
    "pgd-ce-scaled": "sees-through", "pgd-margin": "sees-through", "pgd-dice-T20": "temperature",
    "transfer-pgd": "transfer", "unbounded-margin": "unbounded",
}  # fmt: skip

MEASURED = {
    # clean, FGSM, PGD, share of zero gradients, PGD at z/T, CE on z/std, margin, transfer (guide: measured networks)
    "undefended": (0.98, 0.52, 0.08, 0.0, 0.08, 0.19, 0.09, 0.21, False),
    "T=20": (0.97, 0.67, 0.44, 0.34, 0.12, 0.17, 0.16, 0.82, True),
    "T=100": (0.96, 0.70, 0.60, 0.45, 0.12, 0.17, 0.15, 0.80, True),
    "T=1000": (0.96, 0.87, 0.96, 0.83, 0.13, 0.18, 0.15, 0.81, True),
    "T=5000": (0.96, 0.92, 0.96, 0.94, 0.12, 0.17, 0.16, 0.81, True),
    # warm-started PGD-2 adversarial training, measured here at epsilon 0.05
    "adversarial": (0.84, 0.47, 0.34, 0.0, 0.41, 0.43, 0.40, 0.74, False),
}


def scores_of(clean: float, **left: float) -> Scores:
    """Two cases around each mean."""
    trials = {key.replace("_", "-"): [value - 0.001, value + 0.001] for key, value in left.items()}
    return Scores([clean, clean], trials, {key: ROLE[key] for key in trials})


def facts(zero: float) -> list[dict[str, float]]:
    return [{"zero_share": zero, "zero_share_scaled": 0.0, "logit_spread": 5.0}] * 2


@pytest.mark.parametrize("name", MEASURED)
def test_the_guides_measured_models_get_the_verdict_they_deserve(name: str) -> None:
    clean, fgsm, pgd, zero, cooled, scaled, margin, transfer, masked = MEASURED[name]
    scores = scores_of(
        clean, noise=clean - 0.03, fgsm_dice=fgsm, pgd_dice=pgd, pgd_dice_10=pgd, pgd_dice_40=pgd, pgd_dice_T20=cooled,
        pgd_ce_scaled=scaled, pgd_margin=margin, transfer_pgd=transfer, unbounded_margin=0.01,
    )  # fmt: skip
    found = run_checks(scores, facts(zero))
    verdict = decide(scores, found)
    assert verdict.masked is masked
    assert verdict.conclusive
    assert verdict.headline == pytest.approx(min(fgsm, pgd))
    failed = {check.name for check in found if check.passed is False}
    assert ("scale" in failed) is masked
    assert ("zero_gradients" in failed) is masked
    assert ("iterative" in failed) is (name in ("T=1000", "T=5000"))
    assert ("noise" in failed) is (name == "T=5000")  # FGSM still does more than noise to T=1000


def test_an_overstated_headline_without_evidence_is_no_mask() -> None:
    scores = scores_of(0.95, fgsm_dice=0.6, pgd_dice=0.5, pgd_margin=0.35, unbounded_margin=0.0)
    verdict = decide(scores, run_checks(scores, facts(0.0)))
    assert not verdict.masked
    assert any("see through leave 0.350" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(("seen", "masked"), [(0.36, False), (0.24, True)])
def test_a_defense_that_keeps_most_when_seen_through_hides_not_only_gradients(seen: float, masked: bool) -> None:
    scores = scores_of(0.97, fgsm_dice=0.83, pgd_dice=0.55, pgd_dice_40=0.51, pgd_dice_T20=seen,
                       unbounded_margin=0.0)  # fmt: skip
    verdict = decide(scores, run_checks(scores, facts(0.0)))
    assert verdict.masked is masked
    assert any(f"see through leave {seen:.3f}" in reason for reason in verdict.reasons)
    assert any("divided by 20" in reason for reason in verdict.reasons)


def test_dead_gradients_that_overstate_nothing_are_no_mask() -> None:
    scores = scores_of(0.95, fgsm_dice=0.2, pgd_dice=0.05, pgd_margin=0.03, unbounded_margin=0.0)
    verdict = decide(scores, run_checks(scores, facts(0.6)))
    assert not verdict.masked
    assert verdict.reasons == ()


@pytest.mark.parametrize(("name", "left", "passed"), [
    ("iterative", {"fgsm_dice": 0.4, "pgd_dice": 0.41}, True),
    ("iterative", {"fgsm_dice": 0.4, "pgd_dice": 0.5}, False),
    ("iterative", {"pgd_dice": 0.5}, None),
    ("more_steps", {"pgd_dice_10": 0.5, "pgd_dice": 0.4, "pgd_dice_40": 0.3}, True),
    ("more_steps", {"pgd_dice_10": 0.5, "pgd_dice": 0.4, "pgd_dice_40": 0.45}, False),
    ("more_steps", {"pgd_dice": 0.4}, None),
    ("black_box", {"pgd_dice": 0.5, "transfer_pgd": 0.3}, False),
    ("black_box", {"pgd_dice": 0.3, "transfer_pgd": 0.5}, True),
    ("black_box", {"pgd_dice": 0.3}, None),
    ("white_box", {"pgd_dice": 0.5, "pgd_margin": 0.1, "transfer_pgd": 0.3}, True),
    ("white_box", {"pgd_dice": 0.5, "pgd_margin": 0.4, "transfer_pgd": 0.3}, False),
    ("unbounded", {"pgd_dice": 0.5, "unbounded_margin": 0.2}, False),
    ("unbounded", {"pgd_dice": 0.5, "unbounded_margin": 0.04}, True),
    ("label_leak", {"fgsm_dice": 0.97}, False),
    ("label_leak", {"fgsm_dice": 0.9}, True),
    ("noise", {"noise": 0.85, "pgd_dice": 0.9}, False),
    ("noise", {"noise": 0.9, "pgd_dice": 0.4}, True),
    ("noise", {"noise": 0.95, "pgd_dice": 0.94}, None),
    ("scale", {"pgd_dice": 0.5, "pgd_dice_T20": 0.45}, True),
    ("scale", {"pgd_dice": 0.5, "pgd_dice_T20": 0.3}, False),
    ("scale", {"pgd_dice": 0.5, "pgd_dice_10": 0.6, "pgd_dice_40": 0.35, "pgd_dice_T20": 0.3}, True),
])  # fmt: skip
def test_each_check_passes_fails_or_is_not_made(name: str, left: dict[str, float], passed: bool | None) -> None:
    found = {check.name: check for check in run_checks(scores_of(0.95, **left), facts(0.0))}
    assert found[name].passed is passed, found[name]


def test_an_audit_that_reaches_nothing_is_not_conclusive() -> None:
    scores = scores_of(0.95, fgsm_dice=0.9, pgd_dice=0.9, pgd_margin=0.9, unbounded_margin=0.8)
    verdict = decide(scores, run_checks(scores, facts(0.0)))
    assert not verdict.conclusive
    assert not verdict.masked
    assert not decide(scores_of(0.9, pgd_dice=0.1, unbounded_margin=0.0), [], ["pgd-margin"]).conclusive


def test_worst_cases_are_taken_image_by_image() -> None:
    scores = Scores([0.9, 0.9], {"fgsm-dice": [0.1, 0.8], "pgd-margin": [0.7, 0.2]},
                    {"fgsm-dice": "plain", "pgd-margin": "sees-through"})  # fmt: skip
    assert scores.worst(["fgsm-dice", "pgd-margin"]) == [0.1, 0.2]
    assert scores.floor == pytest.approx(0.15)
    assert scores.headline == pytest.approx(0.45)  # FGSM alone is on the softmax
    assert checks.average([0.0, 1.0]) == 0.5


def a_table(rng: np.random.Generator) -> FamilyTable:
    def column(mean: float) -> dict[str, list[float | None]]:
        values = np.clip(rng.normal(mean, 0.05, 12), 0, 1)
        return {"a": values.tolist(), "b": [None] * 12, "mean": values.tolist()}

    scores = {
        name: {0.0: column(0.95), 0.05: column(mean)}
        for name, mean in (("m", 0.4), ("m-strong", 0.8), ("m-same", 0.4))
    }
    return FamilyTable("m", "FGSM", (0.0, 0.05), tuple(f"c{k}" for k in range(12)), scores, {"m-strong": True})


def test_a_cell_is_scipys_wilcoxon_times_the_number_of_tests(rng: np.random.Generator) -> None:
    table = a_table(rng)
    assert table.tests == 4
    cell = table.cell("m-strong", 0.05, "mean")
    ours, theirs = (np.array(table.scores[name][0.05]["mean"], float) for name in ("m-strong", "m"))
    assert cell["p"] == pytest.approx(wilcoxon(ours, theirs).pvalue)
    assert cell["p_corrected"] == pytest.approx(4 * cell["p"])
    assert cell["significant"]
    assert cell["effect"] == 1.0
    assert cell["mean"] == pytest.approx(ours.mean())
    assert cell["deviation"] == pytest.approx(ours.std(ddof=1))
    low, high = cell["interval"]
    assert low < cell["mean"] < high
    assert table.cell("m", 0.05, "mean")["p"] is None
    assert table.cell("m-strong", 0.05, "b")["mean"] is None
    assert not table.cell("m-same", 0.05, "mean")["significant"]


def test_a_family_is_written_as_json_csv_markdown_and_a_page(rng: np.random.Generator, tmp_path: Path) -> None:
    table = a_table(rng)
    write_family(tmp_path / "f", table)
    data = json.loads((tmp_path / "f" / "family.json").read_text())
    check_written("family", data)
    assert [model["masked"] for model in data["models"]] == [None, True, None]
    rows = list(csv.DictReader((tmp_path / "f" / "family.csv").open()))
    assert len(rows) == 3 * 2 * 3 * 12
    assert {row["dice"] for row in rows if row["structure"] == "b"} == {""}
    text = table.to_markdown()
    assert text.splitlines()[0].startswith("| model | clean | eps 0.05 |")
    assert "| m-strong |" in text
    assert text.count("*") == 1
    assert "http" not in (tmp_path / "f" / "report.html").read_text()


def flat_model(value: float, names: tuple[str, ...] = ("a",)) -> Subject:
    import torch
    from torch import nn

    from AdvSegLib.segmenters.segmenter import Segmenter

    torch.manual_seed(0)
    scheme = LabelScheme.softmax(*names)
    network = nn.Conv2d(1, scheme.channels, 3, padding=1)
    with torch.no_grad():
        network.bias[1] += value
    return Subject("x", Segmenter(network, Spec.plain(scheme, dims=2)))


def judged(count: int) -> list[Judged]:
    cases = []
    for number in range(count):
        image = Image.from_array(np.random.default_rng(number).random((1, 10, 10)).astype(np.float32))
        cases.append(Judged(f"c{number}", image, LabelMap((image.array[0] > 0.5).astype(np.int32), image.grid)))
    return cases


def test_a_family_is_attacked_model_by_model() -> None:
    models = {"m": flat_model(0.0), "m-b": flat_model(0.2)}
    table = audit_family(models, judged(5), baseline="m", epsilons=(0.1,))
    assert table.models == ("m", "m-b")
    assert table.structures == ("mean", "a")
    for name in models:
        clean, fooled = (table.cell(name, epsilon, "mean")["mean"] for epsilon in (0.0, 0.1))
        assert fooled < clean
    with pytest.raises(BadRequest, match="not among the family"):
        audit_family(models, judged(1), baseline="z")
    with pytest.raises(BadRequest, match="not of one family"):
        audit_family({"m": flat_model(0), "n": flat_model(0, ("a", "b"))}, judged(1), baseline="m")
    with pytest.raises(BadRequest, match="epsilons"):
        audit_family(models, judged(1), baseline="m", epsilons=(0.0,))
    with pytest.raises(BadRequest, match="at least one case"):
        audit_family(models, [], baseline="m")


def test_a_family_is_named_by_its_prefix_and_leaves_surrogates_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fixtures_models import a_bundle

    from AdvSegLib.segmenters.bundle import METADATA

    for name, kind in (("liver", None), ("liver-noise", "noise"), ("liver-surrogate", "none"), ("liverish", "noise")):
        folder = a_bundle(tmp_path / name, dims=2)
        metadata = json.loads((folder / METADATA).read_text())
        metadata["results"] = {} if kind is None else {"defense": {"kind": kind}}
        (folder / METADATA).write_text(json.dumps(metadata))
    monkeypatch.setenv("ADVSEG_MODELS", str(tmp_path))
    assert family_members("liver") == (["liver", "liver-noise"], ["liver-surrogate"])
    with pytest.raises(BadRequest, match="unknown family 'livr'; did you mean 'liver'"):
        family_members("livr")


def test_a_verdict_is_read_from_metadata_where_there_is_one() -> None:
    assert verdict_of({"results": {"audit": {"masked": True}}}) is True
    assert verdict_of({"results": {}}) is None
    assert verdict_of({}) is None
