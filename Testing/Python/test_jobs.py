"""A job's folder: whole or not at all, measured on what was saved, and true to its schemas."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from fixtures_models import a_bundle

from AdvSegLib.attacks import PGD, IterativeFGSM
from AdvSegLib.budgets import Budget
from AdvSegLib.crafting import craft
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.job_request import Job
from AdvSegLib.jobs import choose_device, run_job
from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.difference import difference_map
from AdvSegLib.schemas import NAMES, check_schema, load_schema
from AdvSegLib.segmenters.bundle import load_bundle
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Goal
from AdvSegLib.volumes import Grid, Image, LabelMap, read_image

OBLIQUE = np.array(
    [[-0.2, 0.3, 1.9, -40.0], [0.1, 1.4, -0.2, 12.5], [2.9, 0.0, 0.1, 7.0], [0, 0, 0, 1]]
)  # left-handed after sorting axes, anisotropic


def orthogonal(affine: np.ndarray) -> np.ndarray:
    """NIfTI holds rotations and spacings: keep the spacings, straighten the directions."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, v = np.linalg.svd(affine[:3, :3] / spacing)
    return np.block([[u @ v * spacing, affine[:3, 3:]], [np.zeros((1, 3)), np.ones((1, 1))]])


@pytest.fixture
def scan(tmp_path: Path) -> dict[str, Any]:
    """A two-channel oblique scan with a truth, in files, and a bundle that takes it."""
    rng = np.random.default_rng(0)
    grid = Grid((9, 11, 10), orthogonal(OBLIQUE))
    array = rng.gamma(2.0, [[[[50.0]]], [[[3.0]]]], (2, 9, 11, 10)).astype(np.float32)
    image = Image(array, grid, ("c0", "c1"))
    truth = LabelMap(rng.integers(0, 3, grid.shape), grid)
    paths = [str(image.channel(k).write(tmp_path / f"c{k}.nii.gz")) for k in range(2)]
    return {
        "model": str(a_bundle(tmp_path / "model", channels=2)),
        "image": paths,
        "truth": str(truth.write(tmp_path / "truth.nii.gz")),
        "folder": tmp_path,
    }


def a_job(scan: dict[str, Any], **changes: Any) -> Job:
    request = {
        "model": scan["model"],
        "image": scan["image"],
        "attack": "pgd",
        "parameters": {"steps": 3},
        "device": "cpu",
    }
    return Job.from_dict({**request, **changes})


FILES = {
    "adversarial_c0.nii.gz", "adversarial_c1.nii.gz", "adversarial_c0.json", "adversarial_c1.json",
    "perturbation_c0.nii.gz", "perturbation_c1.nii.gz", "clean_labels.nii.gz", "adversarial_labels.nii.gz",
    "difference.nii.gz", "metrics.json", "history.csv", "job.json", "provenance.json", "report.html",
}  # fmt: skip


def test_the_folder_holds_what_the_contract_says(scan: dict[str, Any]) -> None:
    out = run_job(a_job(scan, truth=scan["truth"]), scan["folder"] / "run")
    assert {p.name for p in out.iterdir()} == FILES
    source = nib.load(scan["image"][0])
    for file in out.glob("*.nii.gz"):
        picture = nib.load(file)
        assert picture.shape == source.shape
        assert np.allclose(picture.affine, source.affine, rtol=1e-6, atol=1e-5)
        if file.name.startswith(("adversarial_c", "perturbation")):
            assert picture.get_data_dtype() == np.float32
            assert b"NOT FOR CLINICAL USE" in bytes(picture.header["descrip"].tobytes())
    for name in ("metrics", "job", "provenance"):
        check_schema(name, json.loads((out / f"{name}.json").read_text()), name)


def test_numbers_are_those_of_the_saved_files(scan: dict[str, Any]) -> None:
    """Everything in metrics.json is computed again here from the files with nibabel, NumPy and the bare pipeline."""
    out = run_job(a_job(scan, truth=scan["truth"], epsilon=0.07), scan["folder"] / "run")
    metrics = json.loads((out / "metrics.json").read_text())

    def load(name: Path | str) -> np.ndarray:
        return np.asarray(nib.load(name).dataobj).astype(np.float64)

    for k, name in enumerate(("c0", "c1")):
        clean, adversarial = load(scan["image"][k]), load(out / f"adversarial_{name}.nii.gz")
        span = clean.max() - clean.min()
        linf = np.abs(adversarial - clean).max()
        assert 0.06 * span < linf <= 0.07 * span
        assert adversarial.min() >= clean.min()
        assert adversarial.max() <= clean.max()
        channel = metrics["image"]["channels"][name]
        assert channel["linf_percent"] == pytest.approx(100 * linf / span, rel=1e-12)
        rmse = math.sqrt(((adversarial - clean) ** 2).mean())
        assert channel["psnr"] == pytest.approx(20 * math.log10(span / rmse))
        assert np.allclose(load(out / f"perturbation_{name}.nii.gz"), adversarial - clean, atol=1e-4)
        assert metrics["budget"]["asked"]["source_units"][name] == pytest.approx(0.07 * span)
    truth, before, after = (
        load(p) for p in (scan["truth"], out / "clean_labels.nii.gz", out / "adversarial_labels.nii.gz")
    )
    segmenter = load_bundle(Path(scan["model"]))
    again = read_image([out / "adversarial_c0.nii.gz", out / "adversarial_c1.nii.gz"])
    assert np.array_equal(segmenter.segment(again).array.T, after)
    assert np.array_equal(segmenter.segment(read_image(scan["image"])).array.T, before)
    for key, (a, b) in {"clean": (truth, before), "adversarial": (truth, after), "agreement": (before, after)}.items():
        for value, name in ((1, "a"), (2, "b")):
            expected = 2 * ((a == value) & (b == value)).sum() / ((a == value).sum() + (b == value).sum())
            assert metrics[key]["dice"][name] == pytest.approx(expected)
        assert metrics[key]["dice"]["mean"] == pytest.approx(
            (metrics[key]["dice"]["a"] + metrics[key]["dice"]["b"]) / 2
        )
    difference = load(out / "difference.nii.gz")
    assert np.array_equal(difference == 0, before == after)
    assert np.array_equal(difference == 1, (before > 0) & (after == 0))
    assert np.array_equal(difference == 2, (before == 0) & (after > 0))


def test_history_has_a_row_a_step_and_a_last_one_of_the_saved_image(scan: dict[str, Any]) -> None:
    out = run_job(a_job(scan, truth=scan["truth"]), scan["folder"] / "run")
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    metrics = json.loads((out / "metrics.json").read_text())
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["measured"] for row in rows] == ["in loop"] * 3 + ["on the saved image"]
    assert float(rows[0]["dice"]) == pytest.approx(metrics["clean"]["dice"]["mean"])
    assert float(rows[-1]["dice"]) == pytest.approx(metrics["adversarial"]["dice"]["mean"])
    assert rows[0]["linf"] == "0.0"


def test_the_same_job_gives_the_same_bytes(scan: dict[str, Any]) -> None:
    job = a_job(scan, parameters={"steps": 2, "random_start": True}, seed=5)
    first, second = run_job(job, scan["folder"] / "r1"), run_job(job, scan["folder"] / "r2")
    for name in FILES - {"provenance.json", "report.html"}:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    keys = [json.loads((run / "provenance.json").read_text()) for run in (first, second)]
    assert keys[0]["key"] == keys[1]["key"]
    other = json.loads((run_job(a_job(scan), scan["folder"] / "r3") / "provenance.json").read_text())
    assert other["key"] != keys[0]["key"]


def test_without_truth_it_leaves_the_clean_prediction(scan: dict[str, Any]) -> None:
    metrics = json.loads((run_job(a_job(scan), scan["folder"] / "run") / "metrics.json").read_text())
    assert metrics["clean"] is None
    assert metrics["adversarial"] is None
    assert metrics["target"] is None
    assert metrics["agreement"]["dice"]["mean"] < 1


def test_targets_are_approached(scan: dict[str, Any]) -> None:
    job = a_job(scan, target=scan["truth"], epsilon=0.3, parameters={"steps": 20})
    metrics = json.loads((run_job(job, scan["folder"] / "run") / "metrics.json").read_text())
    assert metrics["target"]["dice"]["mean"] > metrics["target_before"]["dice"]["mean"]
    ti = run_job(a_job(scan, attack="ti-fgsm"), scan["folder"] / "ti")
    before, after = (np.asarray(nib.load(ti / f"{n}_labels.nii.gz").dataobj) for n in ("clean", "adversarial"))
    assert (after == 1).sum() > (before == 1).sum()


@pytest.mark.parametrize("resolution", ["native", "network"])
def test_both_resolutions_hold_budget_and_geometry(tmp_path: Path, resolution: str) -> None:
    rng = np.random.default_rng(1)
    image = Image(
        rng.random((1, 12, 14, 16), np.float32) * 500, Grid.regular((12, 14, 16), (3.0, 1.0, 1.0)), ("image",)
    )
    source = image.write(tmp_path / "scan.nii.gz")
    model = a_bundle(tmp_path / "model", spec={"spacing": (2.0, 2.0, 2.0), "orientation": "RAS"})
    job = Job.from_dict({"model": str(model), "image": str(source), "attack": "pgd", "parameters": {"steps": 4},
                         "resolution": resolution, "device": "cpu"})  # fmt: skip
    out = run_job(job, tmp_path / "run")
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 < metrics["image"]["linf_percent"] <= 5
    assert metrics["agreement"]["dice"]["mean"] < 1
    assert nib.load(out / "adversarial_image.nii.gz").shape == (16, 14, 12)


def test_a_network_resolution_perturbation_is_smooth(tmp_path: Path) -> None:
    """It is interpolated from the network's grid: fine detail that only the full grid can hold is absent."""
    segmenter = load_bundle(a_bundle(tmp_path / "m", dims=2, spec={"size": (8, 8)}))
    pixels = 40 + np.random.default_rng(0).random((1, 64, 64), np.float32) * 20
    pixels[0, 0, :2] = (0, 100)  # a range so wide that its box cuts nothing in the middle
    image = Image.from_array(pixels)
    coarse = craft(segmenter, image, PGD(steps=4), resolution="network").image.array - image.array
    coarse = coarse[0, 8:-8, 8:-8].astype(float)
    assert np.abs(coarse).max() > 1
    assert np.abs(np.diff(coarse, axis=0)).max() <= 2 * 5 / 8 + 1e-4  # eps to -eps over one coarse pixel
    fine = craft(segmenter, image, PGD(steps=4)).image.array - image.array
    assert np.abs(fine).max() >= np.abs(coarse).max()


def test_2d_files_become_one_slice(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 20, 30))
    source = Image.from_array(pixels.astype(np.float32)).write(tmp_path / "film.png", dtype="uint8")
    model = a_bundle(tmp_path / "model", dims=2)
    out = run_job(Job(str(model), (str(source),), "fgsm", device="cpu"), tmp_path / "run")
    for file in out.glob("*.nii.gz"):
        assert nib.load(file).shape == (30, 20, 1)
    assert np.allclose(
        np.asarray(nib.load(out / "adversarial_image.nii.gz").dataobj)[..., 0].T, pixels[0], atol=0.05 * 255
    )


def test_cancel_and_failures_leave_nothing(scan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scan["folder"] / "out"
    with pytest.raises(Cancelled):
        run_job(a_job(scan), folder / "run", cancel=lambda: True)
    assert not any(folder.iterdir())

    def disk_full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("AdvSegLib.reports.run_report.write_run_report", disk_full)
    with pytest.raises(AdvSegError, match="No space left"):
        run_job(a_job(scan), folder / "run")
    assert not any(folder.iterdir())


def test_a_file_that_does_not_survive_saving_is_an_error(
    scan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Image.write

    def lossy(self: Image, path: Path, **options: Any) -> Path:
        name = Path(path).name
        return real(self.with_array(np.rint(self.array)) if name.startswith("adversarial") else self, path, **options)

    monkeypatch.setattr(Image, "write", lossy)
    with pytest.raises(AdvSegError, match="did not survive saving"):
        run_job(a_job(scan), scan["folder"] / "run")
    assert not (scan["folder"] / "run").exists()


def test_an_occupied_folder_is_never_touched(scan: dict[str, Any]) -> None:
    out = scan["folder"] / "run"
    out.mkdir()
    run_job(a_job(scan, parameters={"steps": 1}), out)  # empty: fine
    before = (out / "metrics.json").read_bytes()
    with pytest.raises(BadRequest, match="not empty"):
        run_job(a_job(scan, attack="fgsm", parameters={}), out)
    assert (out / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(("changes", "message"), [
    ({"attack": "pdg"}, "did you mean 'pgd'"),
    ({"epsilon": -0.1}, "epsilon.*minimum"),
    ({"epsilons": 0.1}, "did you mean 'epsilon'"),
    ({"model": "brian"}, "unknown model 'brian'"),
    ({"image": []}, "image"),
    ({"schema": "advseg.job/9"}, "schema"),
    ({"norm": "l7"}, "norm"),
    ({"device": "tpu"}, "device"),
    ({"parameters": {"steps": -1}}, "steps must be >= 1"),
    ({"truth": "nowhere.nii.gz"}, "nowhere.nii.gz: no such file"),
])  # fmt: skip
def test_bad_jobs_are_named_and_write_nothing(scan: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        run_job(a_job(scan, **changes), scan["folder"] / "run")
    assert not (scan["folder"] / "run").exists()


def test_labels_the_model_does_not_have_can_be_relabelled(scan: dict[str, Any]) -> None:
    grid = read_image(scan["image"]).grid
    odd = LabelMap(np.random.default_rng(2).choice([0, 2, 7], grid.shape), grid).write(scan["folder"] / "odd.nii.gz")
    with pytest.raises(BadRequest, match=r"labels \[7\] that the model does not have"):
        run_job(a_job(scan, truth=str(odd)), scan["folder"] / "run")
    run_job(a_job(scan, truth=str(odd), relabel={"7": 1}), scan["folder"] / "run")


def test_an_unavailable_gpu_is_a_bad_request() -> None:
    assert choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto") == "cpu"
        with pytest.raises(BadRequest, match="not available"):
            choose_device("cuda:0")


def test_goals_on_another_grid_are_refused(scan: dict[str, Any]) -> None:
    image = read_image(scan["image"])
    shifted = LabelMap(np.ones((3, 3, 3), np.int32), Grid.regular((3, 3, 3)))
    with pytest.raises(BadRequest, match="another grid"):
        craft(load_bundle(Path(scan["model"])), image, IterativeFGSM(), truth=shifted)


def test_difference_of_three_kinds() -> None:
    grid = Grid.regular((1, 4))
    a, b = LabelMap(np.array([[0, 1, 0, 1]]), grid), LabelMap(np.array([[0, 0, 2, 2]]), grid)
    assert difference_map(a, b).array.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid_and_versioned(name: str) -> None:
    from jsonschema import Draft202012Validator

    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"advseg.{name.replace('_', '-')}/1"


def test_ti_fgsm_label_must_be_one_of_the_models(tmp_path: Path) -> None:
    segmenter = load_bundle(a_bundle(tmp_path / "m", dims=2))
    image = Image.from_array(np.random.default_rng(0).random((1, 16, 16), np.float32))
    from AdvSegLib.attacks import TargetedIterativeFGSM

    with pytest.raises(BadRequest, match=r"labels \[9\]"):
        craft(segmenter, image, TargetedIterativeFGSM(label=9))
    assert segmenter.scheme == LabelScheme.softmax("a", "b")


@pytest.mark.parametrize("resolution", ["native", "network"])
def test_recorded_iterations_are_the_walk_itself(scan: dict[str, Any], resolution: str) -> None:
    job = a_job(scan, record=2, parameters={"steps": 5}, resolution=resolution)
    out = run_job(job, scan["folder"] / "recorded")
    index = json.loads((out / "iterations" / "index.json").read_text())
    check_schema("iterations", index, "index")
    entries = index["iterations"]
    assert [entry["step"] for entry in entries] == [0, 2, 4, 5]
    segmenter, clean = load_bundle(Path(scan["model"])), read_image(scan["image"])
    kept = [read_image([out / name for name in entry["images"]]) for entry in entries]
    assert np.array_equal(kept[0].array, clean.array)
    spans = clean.ranges.reshape(-1, 1, 1, 1)
    for entry, image in zip(entries, kept, strict=True):
        labels = nib.load(out / entry["labels"]).get_fdata().astype(int)
        assert np.array_equal(labels.transpose(), segmenter.segment(image).array)
        assert image.grid.matches(clean.grid)
        if resolution == "native":
            moved = np.abs((image.array.astype(float) - clean.array) / spans).max()
            assert moved == pytest.approx(entry["numbers"]["linf"], abs=1e-6)
    last = read_image([out / f"adversarial_{name}.nii.gz" for name in ("c0", "c1")])
    assert np.array_equal(kept[-1].array, last.array)
    plain = run_job(a_job(scan, parameters={"steps": 5}, resolution=resolution), scan["folder"] / "plain")
    assert (plain / "adversarial_c0.nii.gz").read_bytes() == (out / "adversarial_c0.nii.gz").read_bytes()
    assert not (plain / "iterations").exists()


def test_a_batch_is_watched_whole_while_samples_leave() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(1, 3, 3, padding=1)
    segmenter = Segmenter(network, Spec.plain(LabelScheme.softmax("a", "b"), dims=2))
    x = torch.rand(3, 1, 8, 8)
    goal = Goal(segmenter.predict(x), 1)
    seen: list[torch.Tensor] = []
    attack = PGD(steps=12, stop_at=0.3, alpha=0.2)
    result = attack(
        segmenter, x, goal, Budget.of_range(x, 0.4), watch=lambda step, images: seen.append(images.clone())
    )
    assert len(seen) == len(result.history)
    for images, record in zip(seen, result.history, strict=True):
        moved = (images - x).abs().flatten(1).amax(1) / (x.flatten(1).amax(1) - x.flatten(1).amin(1))
        torch.testing.assert_close(moved, record.linf.to(moved.dtype), atol=1e-5, rtol=1e-5)
