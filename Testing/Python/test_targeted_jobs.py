"""Aims, regions, surrogates, windows and precision through the contract: from a job's JSON to its run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_models import a_bundle

from AdvSegLib.errors import BadRequest
from AdvSegLib.job_request import Job
from AdvSegLib.jobs import run_job
from AdvSegLib.schemas import check_schema
from AdvSegLib.segmenters.bundle import load_bundle
from AdvSegLib.volumes import Image, LabelMap, read_image, read_labels


@pytest.fixture
def scan(tmp_path: Path) -> dict[str, Any]:
    """A model, its surrogate, a scan and its truth, as a job names them."""
    pixels = np.random.default_rng(4).gamma(2.0, 50.0, (1, 16, 14, 12)).astype(np.float32)
    image = Image.from_array(pixels, spacing=(1.0, 1.5, 2.0))
    labels = np.zeros((16, 14, 12), np.int32)
    labels[4:11, 3:9, 4:9] = 1
    labels[2:5, 9:12, 2:6] = 2
    image.write(tmp_path / "scan.nii.gz")
    LabelMap(labels, image.grid).write(tmp_path / "truth.nii.gz")
    model = a_bundle(tmp_path / "model")
    return {"model": str(model), "image": str(tmp_path / "scan.nii.gz"), "truth": str(tmp_path / "truth.nii.gz"),
            "attack": "pgd", "parameters": {"steps": 3}}  # fmt: skip


def ran(request: dict[str, Any], out: Path, *, repeats: bool = True) -> dict[str, Any]:
    run_job(Job.from_dict(request), out)
    for name in ("metrics", "job", "provenance"):
        check_schema(name, json.loads((out / f"{name}.json").read_text()), name)
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    again = Job.from_dict(json.loads((out / "job.json").read_text()))
    if repeats:
        assert again.to_dict() == Job.from_dict(request).to_dict(), "the run folder repeats its request"
    return found


def moved(out: Path, scan: dict[str, Any]) -> np.ndarray[Any, Any]:
    before, after = (read_image([str(p)]).array for p in (scan["image"], out / "adversarial_image.nii.gz"))
    return np.asarray(before != after)[0]


def test_an_aim_is_drawn_on_the_truth_and_approached(scan: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics = ran({**scan, "aim": {"kind": "erased", "structure": "a"}}, out)
    assert metrics["target"]["dice"]["a"] in (None, 0.0)
    assert metrics["target"]["dice"]["b"] is not None, "the other structure keeps the truth"
    goal = json.loads((out / "job.json").read_text())["aim"]
    assert goal == {"kind": "erased", "structure": "a"}


def test_keep_prediction_draws_on_what_the_model_says(scan: dict[str, Any], tmp_path: Path) -> None:
    on_truth = ran({**scan, "aim": {"kind": "erased", "structure": "a"}}, tmp_path / "one")
    on_prediction = ran({**scan, "aim": {"kind": "erased", "structure": "a"}, "keep": "prediction"}, tmp_path / "two")
    assert on_prediction["target_before"]["dice"]["b"] == pytest.approx(1.0)
    assert on_truth["target_before"]["dice"]["b"] < 1.0


def test_keep_nothing_leaves_the_others_to_their_fate(scan: dict[str, Any], tmp_path: Path) -> None:
    aim = {"kind": "moved", "structure": "a", "left": 3.0}
    runs = {keep: ran({**scan, "aim": aim, "keep": keep, "parameters": {"steps": 8}}, tmp_path / keep)
            for keep in ("truth", "nothing")}  # fmt: skip
    assert runs["nothing"]["target"] != runs["truth"]["target"]


@pytest.mark.parametrize(("region", "allowed"), [
    ({"kind": "box", "structure": "a"}, (slice(4, 11), slice(3, 9), slice(4, 9))),
    ({"kind": "box", "structure": "b"}, (slice(2, 5), slice(9, 12), slice(2, 6))),
])  # fmt: skip
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nothing_moves_outside_the_region(
    scan: dict[str, Any], region: dict[str, Any], allowed: Any, norm: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    metrics = ran({**scan, "region": region, "norm": norm, "epsilon": 0.5}, out)
    changed = moved(out, scan)
    inside = np.zeros_like(changed)
    inside[allowed] = True
    assert changed[inside].any()
    assert not changed[~inside].any()
    assert metrics["budget"]["region"]["voxels"] == inside.sum()
    assert metrics["budget"]["region"]["kind"] == "box"


def test_region_holds_when_crafted_at_the_networks_resolution(scan: dict[str, Any], tmp_path: Path) -> None:
    coarse = a_bundle(tmp_path / "coarse", spec={"spacing": (2.0, 2.0, 2.0)})
    region = {"kind": "box", "structure": "a"}
    ran({**scan, "model": str(coarse), "resolution": "network", "region": region}, tmp_path / "run")
    changed = moved(tmp_path / "run", scan)
    assert changed.any()
    assert not changed[:4].any()
    assert not changed[11:].any()


def test_a_surrogate_crafts_and_the_model_scores(scan: dict[str, Any], tmp_path: Path) -> None:
    import torch

    other = a_bundle(tmp_path / "other")
    network = load_bundle(other).network
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.3).add_(0.01)
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, other / "models" / "model.safetensors")
    white = ran(scan, tmp_path / "white")
    black = ran({**scan, "surrogate": str(other)}, tmp_path / "black")
    ran({**scan, "model": str(other)}, tmp_path / "direct")
    assert black["surrogate"] == str(other)
    assert white["surrogate"] is None
    same = [read_image([str(tmp_path / run / "adversarial_image.nii.gz")]).array for run in ("black", "direct")]
    assert np.array_equal(*same), "it is the surrogate's adversarial image"
    assert black["clean"] == white["clean"], "scored on the model"
    keys = [json.loads((tmp_path / run / "provenance.json").read_text()) for run in ("black", "white", "direct")]
    assert len({entry["key"] for entry in keys}) == 3
    assert keys[0]["surrogate"]["weights_sha256"] == keys[2]["model"]["weights_sha256"]


def test_a_drawn_target_comes_from_its_own_geometry(scan: dict[str, Any], tmp_path: Path) -> None:
    """A label map somebody drew on a finer grid is resampled onto the scan."""
    truth = read_labels(scan["truth"])
    fine = Image.from_array(np.zeros((1, 32, 28, 24), np.float32), spacing=(0.5, 0.75, 1.0))
    array = np.zeros((32, 28, 24), np.int32)
    array[10:20, 10:18, 8:16] = 2
    LabelMap(array, fine.grid).write(tmp_path / "drawn.nrrd")
    out = tmp_path / "run"
    aim = {"kind": "drawn", "file": str(tmp_path / "drawn.nrrd"), "replace": "everything"}
    run_job(Job.from_dict({**scan, "aim": aim}), out)
    goal = read_labels(tmp_path / "drawn.nrrd", truth.grid).array
    assert (goal == 2).sum() == pytest.approx(10 * 8 * 8 / 8, rel=0.3)
    assert (out / "report.html").is_file()


def test_windows_change_the_model_and_are_said(scan: dict[str, Any], tmp_path: Path) -> None:
    whole = ran(scan, tmp_path / "whole")
    windowed = ran({**scan, "windows": {"size": [8, 8, 8], "overlap": 0.5}}, tmp_path / "windowed")
    assert windowed["clean"] != whole["clean"]
    assert json.loads((tmp_path / "windowed" / "job.json").read_text())["windows"] == {
        "size": [8, 8, 8], "overlap": 0.5, "blend": "gaussian", "sigma": 0.125, "mirror": [], "batch": 1,
    }  # fmt: skip


def test_bf16_is_judged_in_fp32(scan: dict[str, Any], tmp_path: Path) -> None:
    fine, coarse = (ran({**scan, "precision": p}, tmp_path / p) for p in ("fp32", "bf16"))
    assert coarse["clean"] == fine["clean"], "the clean prediction is always the model's own"


def test_attacks_that_bound_themselves_default_to_the_whole_range(scan: dict[str, Any], tmp_path: Path) -> None:
    asma = {**scan, "attack": "asma", "aim": {"kind": "erased", "structure": "a"}}
    assert ran(asma, tmp_path / "run")["budget"]["asked"]["epsilon"] == 1.0
    assert ran(scan, tmp_path / "pgd")["budget"]["asked"]["epsilon"] == 0.05


@pytest.mark.parametrize(("more", "message"), [
    ({"aim": {"kind": "heart"}}, "unknown target map 'heart'"), ({"aim": {"structure": "a"}}, "kind"),
    ({"aim": {"kind": "erased", "structure": "liver"}}, "liver"), ({"aim": {"kind": "erased"}}, "say which structure"),
    ({"aim": {"kind": "erased", "structure": "a"}, "target": "x.nii.gz"}, "a target or an aim, not both"),
    ({"keep": "truth"}, "give a target or an aim"), ({"keep": "others"}, "keep"),
    ({"region": {"kind": "ball"}}, "unknown region 'ball'"),
    ({"region": {"kind": "mask", "file": "none.nii"}}, "none.nii: no such"),
    ({"region": {"kind": "mask"}}, "give a label map file"), ({"surrogate": "nobody"}, "unknown model 'nobody'"),
    ({"precision": "fp16"}, "precision"), ({"windows": {"size": [8, 8]}}, "windows need 3 sizes"),
    ({"windows": {"size": [8, 8, 8], "stride": 2}}, "windows"), ({"windows": {"overlap": 0.5}}, "size"),
    ({"checkpoint": True}, "sequence of layers"), ({"attack": "asma"}, "targeted"),
    ({"aim": {"kind": "erased", "structure": "a"}, "keep": "truth", "truth": None}, "keep=truth needs a truth"),
])  # fmt: skip
def test_bad_requests_are_named_and_nothing_is_written(
    scan: dict[str, Any], more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(BadRequest, match=message):
        run_job(Job.from_dict({**scan, **more}), out)
    assert not list(tmp_path.glob("*run*"))


def test_a_surrogate_must_speak_of_the_same_structures(scan: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="surrogate"):
        run_job(Job.from_dict({**scan, "surrogate": "brain"}), tmp_path / "run")


# --- what an outside reviewer broke ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ["asma", "dag", "alma-prox"])
def test_attacks_that_bound_themselves_have_the_whole_box_in_l2_too(
    scan: dict[str, Any], attack: str, tmp_path: Path
) -> None:
    request = {**scan, "attack": attack, "norm": "l2", "aim": {"kind": "erased", "structure": "a"}}
    metrics = ran(request, tmp_path / "run", repeats=False)
    assert metrics["budget"]["asked"]["epsilon"] == pytest.approx((16 * 14 * 12) ** 0.5)


def test_an_attack_that_did_not_get_there_says_so(scan: dict[str, Any], tmp_path: Path) -> None:
    for attack in ("alma-prox", "dag"):
        metrics = ran({**scan, "attack": attack, "parameters": {"steps": 2}}, tmp_path / attack)
        assert f"{attack} did not bring the image where it should in 2 steps" in " ".join(metrics["warnings"])
    pgd = {**scan, "parameters": {"steps": 2, "stop_at": 0.0}}
    assert "did not bring" in " ".join(ran(pgd, tmp_path / "stop")["warnings"])
    assert not ran(scan, tmp_path / "pgd")["warnings"]


def test_a_surrogate_with_structures_in_another_order_is_refused(scan: dict[str, Any], tmp_path: Path) -> None:
    other = a_bundle(tmp_path / "other")
    path = other / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    one, two = metadata["advseg"]["labels"]["labels"]
    one["name"], two["name"] = two["name"], one["name"]
    path.write_text(json.dumps(metadata))
    with pytest.raises(BadRequest, match="surrogate's labels"):
        run_job(Job.from_dict({**scan, "surrogate": str(other)}), tmp_path / "run")
    one["name"], two["name"] = two["name"], one["name"]
    metadata["advseg"]["channels"] = ["ct"]
    path.write_text(json.dumps(metadata))
    with pytest.raises(BadRequest, match="surrogate's channels"):
        run_job(Job.from_dict({**scan, "surrogate": str(other)}), tmp_path / "run")


def test_windows_are_the_surrogates_too(scan: dict[str, Any], tmp_path: Path) -> None:
    black = {**scan, "surrogate": scan["model"]}
    ran(black, tmp_path / "whole")
    ran({**black, "windows": {"size": [8, 8, 8]}}, tmp_path / "windowed")
    images = [read_image([str(tmp_path / run / "adversarial_image.nii.gz")]).array for run in ("whole", "windowed")]
    assert not np.array_equal(*images)


def test_keep_lays_a_target_file_over_the_truth(scan: dict[str, Any], tmp_path: Path) -> None:
    """A target that holds only one structure: the others keep the truth, the prediction, or do not count."""
    truth = read_labels(scan["truth"])
    only = np.where(truth.array == 1, 1, 0)
    LabelMap(np.roll(only, 2, 0), truth.grid).write(tmp_path / "only.nii.gz")
    request = {**scan, "target": str(tmp_path / "only.nii.gz")}
    before = {keep: ran({**request, **({"keep": keep} if keep else {})}, tmp_path / str(keep))["target_before"]["dice"]
              for keep in (None, "truth", "prediction", "nothing")}  # fmt: skip
    assert before[None]["b"] == 0.0, "the file is the whole target: no b anywhere"
    assert before["truth"]["b"] not in (None, 0.0)
    assert before["prediction"]["b"] > before["truth"]["b"]
    assert before["nothing"] == before[None]


def test_what_was_drawn_is_what_counts_where_nothing_is_kept(scan: dict[str, Any], tmp_path: Path) -> None:
    truth = read_labels(scan["truth"])
    LabelMap(np.where(truth.array == 1, 1, 0), truth.grid).write(tmp_path / "drawn.nii.gz")
    file = str(tmp_path / "drawn.nii.gz")
    aims = ({"kind": "drawn", "file": file}, {"kind": "other-case", "file": file}, {"kind": "constant", "label": 1})
    for aim in aims:
        out = tmp_path / f"run-{aim['kind']}"
        ran({**scan, "aim": aim, "keep": "nothing"}, out)
        rows = (out / "history.csv").read_text().splitlines()
        header, last = rows[0].split(","), rows[-1].split(",")
        target = json.loads((out / "metrics.json").read_text())["target"]
        for name in ("dice", "iou"):
            assert float(last[header.index(name)]) == pytest.approx(target[name]["a"])


@pytest.mark.parametrize(("more", "message"), [
    ({"parameters": {"name": "x"}}, "unknown parameter of pgd 'name'"),
    ({"aim": {"kind": "erased", "name": "x", "structure": "a"}}, "unknown parameter of erased 'name'"),
    ({"region": {"kind": "box", "name": "x", "structure": "a"}}, "unknown parameter of box 'name'"),
    ({"windows": {"size": [8, 8, 8], "sigma": 1e300}}, "sigma"), ({"epsilon": 1e308}, "epsilon"),
    ({"relabel": {"1": 2147483648}}, "relabel"),
    ({"region": {"kind": "box", "structure": "a", "margin_mm": 1e20}}, "margin_mm"),
    ({"aim": {"kind": "moved", "structure": "a", "left": 1e300}}, "left"),
])  # fmt: skip
def test_more_bad_requests_are_named(scan: dict[str, Any], more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=message):
        run_job(Job.from_dict({**scan, **more}), tmp_path / "run")


def test_whole_numbers_with_a_point_are_whole_numbers(scan: dict[str, Any], tmp_path: Path) -> None:
    ran({**scan, "seed": 1.0, "windows": {"size": [8, 8, 8], "batch": 2.0}}, tmp_path / "run")


def test_a_place_that_is_none_is_refused(scan: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="not a place"):
        run_job(Job.from_dict(scan), str(tmp_path / "a") + "\0b")
