"""What an outside reviewer broke once: each stays mended."""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from fixtures_models import a_bundle
from torch import nn

from AdvSegLib import (
    Intensity,
    Job,
    LabelScheme,
    Segmenter,
    Spec,
    craft,
    load_model,
    make_attack,
    read_image,
    read_labels,
    run_job,
)
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.labels import Label
from AdvSegLib.runs import staged_folder
from AdvSegLib.segmenters.bundle import INFERENCE, METADATA, WEIGHTS, load_bundle
from AdvSegLib.segmenters.catalogue import shipped_models
from AdvSegLib.targets import Untargeted
from AdvSegLib.volumes import Grid, Image, LabelMap


def a_scan(folder: Path, side: int = 8) -> Path:
    array = np.random.default_rng(0).random((1, side, side, side), np.float32) * 100
    return Image.from_array(array).write(folder / "scan.nii.gz")


@pytest.mark.parametrize(("place", "layout", "value"), [
    (108, "<f", float("nan")), (108, "<f", float("inf")), (108, "<f", 1e30), (72, "<h", 0), (72, "<h", -8),
])  # fmt: skip
def test_headers_that_lie_about_offset_or_bits(tmp_path: Path, place: int, layout: str, value: float) -> None:
    data = bytearray(gzip.decompress(a_scan(tmp_path).read_bytes()))
    struct.pack_into(layout, data, place, value)
    (tmp_path / "bad.nii").write_bytes(data[:1000])
    with pytest.raises(BadRequest, match=r"bad\.nii"):
        read_image(tmp_path / "bad.nii")


def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(BadRequest, match="neither a file nor a folder"):
        read_image(tmp_path / "pipe.nii")


def test_intensities_that_overflow_what_is_computed_of_them(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), np.float32)
    array[0, 0, 0], array[1, 1, 1] = 1e38, -1e38
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "huge.nii")
    with pytest.raises(BadRequest, match="2 NaN, infinite or enormous voxels"):
        read_image(tmp_path / "huge.nii")


@pytest.mark.parametrize("value", [4294967297.0, 1e12, -1e12])
@pytest.mark.filterwarnings("error")
def test_label_values_beyond_31_bits(tmp_path: Path, value: float) -> None:
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), value), np.eye(4)), tmp_path / "labels.nii")
    with pytest.raises(BadRequest, match="31 bits"):
        read_labels(tmp_path / "labels.nii")


def test_many_unknown_labels_are_not_all_listed() -> None:
    with pytest.raises(BadRequest) as caught:
        LabelScheme.softmax("a").check(range(500))
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize("channels", [
    ("labels",), ("t1", "t1"), ("a/b",), ("../../evil",), ("nul\0",), ("x" * 300,), ("",), ("é",),
])  # fmt: skip
def test_channel_names_that_make_no_file_names(channels: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match="channel"):
        Spec(3, channels, LabelScheme.binary("x"))


@pytest.mark.parametrize("color", ["red", 999, (1, 2), (1, 2, 300), (1.5, 2, 3)])
def test_colours_that_are_none(color: Any) -> None:
    with pytest.raises(BadRequest, match="colour"):
        Label(1, "x", color)


def edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.mark.parametrize("definition", [
    [], None, 5, "unet9d",
    {"_target_": "UNet", "spatial_dims": 7, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]},
    {"_target_": "UNet", "spatial_dims": 3, "in_channels": 10**9, "out_channels": 3, "channels": [10**9, 8],
     "strides": [2]},
])  # fmt: skip
def test_network_definitions_of_every_wrong_kind(tmp_path: Path, definition: Any) -> None:
    folder = a_bundle(tmp_path / "m")
    edit(folder / INFERENCE, {"network_def": definition})
    with pytest.raises(BadRequest, match="m"):
        load_bundle(folder)


@pytest.mark.parametrize("change", [
    {"dims": "x"}, {"size": ["a", "b", "c"]}, {"multiple": "z"}, {"channels": "abc"}, {"channels": [5, 5]},
    {"labels": []},
    {"labels": {"activation": "softmax", "labels": [{"value": 1, "name": "a", "color": "red"}]}}, {"intensity": 3},
])  # fmt: skip
def test_specs_of_every_wrong_kind(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = a_bundle(tmp_path / "m")
    spec = json.loads((folder / METADATA).read_text())["advseg"]
    edit(folder / METADATA, {"advseg": {**spec, **change}})
    with pytest.raises(BadRequest):
        load_bundle(folder)


def test_a_network_that_fails_when_run(tmp_path: Path) -> None:
    folder = a_bundle(tmp_path / "m")
    definition = json.loads((folder / INFERENCE).read_text())["network_def"]
    edit(folder / INFERENCE, {"network_def": {**definition, "strides": [0]}})
    with pytest.raises(BadRequest, match="cannot take"):
        load_bundle(folder).predict(torch.rand(1, 1, 8, 8, 8))


def test_an_empty_weights_file(tmp_path: Path) -> None:
    folder = a_bundle(tmp_path / "m")
    (folder / WEIGHTS).unlink()
    (folder / "models/model.pt").write_bytes(b"")
    with pytest.raises(BadRequest, match="weights do not load"):
        load_bundle(folder)


def test_a_broken_bundle_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_bundle(tmp_path / "good")
    for name, text in (("torn", "{"), ("list", "[]"), ("odd", '{"advseg": []}')):
        broken = a_bundle(tmp_path / name)
        (broken / METADATA).write_text(text)
    monkeypatch.setenv("ADVSEG_MODELS", str(tmp_path))
    assert {"good"} <= set(shipped_models())
    assert not {"torn", "list", "odd"} & set(shipped_models())
    assert all(model.describe()["name"] for model in shipped_models().values())
    with pytest.raises(BadRequest, match="torn"):
        load_model("torn")


def test_volumes_of_a_few_voxels(tmp_path: Path) -> None:
    segmenter = load_bundle(a_bundle(tmp_path / "m"))
    for shape in ((1, 1, 1), (2, 2, 2), (3, 1, 2)):
        x = np.random.default_rng(0).random((1, *shape), np.float32)
        assert segmenter.segment(Image.from_array(x)).array.shape == shape


def test_a_float64_network_gives_a_float32_image_inside_the_budget() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(1, 3, 3, padding=1).double()
    spec = Spec.plain(LabelScheme.softmax("a", "b"), dims=2, intensity=Intensity("range"))
    segmenter = Segmenter(network, spec)
    image = Image.from_array(np.random.default_rng(1).random((1, 24, 24), np.float32) * 1000 + 5000)
    for norm, epsilon in (("linf", 1 / 3), ("l2", 0.5)):
        fooled = craft(segmenter, image, make_attack("pgd", steps=3), epsilon=epsilon, norm=norm).image  # type: ignore[arg-type]
        change = (fooled.array.astype(float) - image.array.astype(float)) / image.ranges[0]
        size = np.abs(change).max() if norm == "linf" else np.linalg.norm(change)
        assert 0.5 * epsilon < size <= epsilon


def test_goals_with_labels_the_scheme_lacks() -> None:
    segmenter = Segmenter(nn.Conv2d(1, 2, 1), Spec.plain(LabelScheme.softmax("a"), dims=2))
    with pytest.raises(BadRequest, match="the goal holds labels"):
        make_attack("fgsm")(segmenter, torch.rand(1, 1, 4, 4), Untargeted(torch.full((1, 4, 4), 9)), Budget.fixed(0.1))


def test_the_saved_perturbation_never_exceeds_epsilon_either(tmp_path: Path) -> None:
    array = np.random.default_rng(2).random((1, 16, 16), np.float32) * 777 + 12345
    source = Image.from_array(array).write(tmp_path / "film.nii.gz")
    model = a_bundle(tmp_path / "m", dims=2)
    run_job(Job(str(model), (str(source),), "fgsm", epsilon=1 / 3, device="cpu"), str(tmp_path / "run"))
    noise = np.asarray(nib.load(tmp_path / "run" / "perturbation_image.nii.gz").dataobj).astype(float)
    bound = (1 / 3) * (float(array.max()) - float(array.min()))
    assert 0.99 * bound < np.abs(noise).max() <= bound


def test_a_folder_that_must_stay_is_filled_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "mounted"
    out.mkdir()
    inode = out.stat().st_ino
    monkeypatch.setattr(Path, "is_mount", lambda self: self == out)
    with staged_folder(out) as stage:
        assert stage.parent == out
        (stage / "a.txt").write_text("x")
    assert [item.name for item in out.iterdir()] == ["a.txt"]
    assert out.stat().st_ino == inode
    with pytest.raises(BadRequest, match="not empty"), staged_folder(out):
        pass


def test_a_write_cut_short_is_an_error_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import SimpleITK as sitk

    real = sitk.WriteImage

    def short(picture: Any, name: str, *rest: Any) -> None:
        real(picture, name, *rest)
        with open(name, "r+b") as stream:
            stream.truncate(Path(name).stat().st_size // 2)

    monkeypatch.setattr(sitk, "WriteImage", short)
    labels = LabelMap(np.random.default_rng(0).integers(0, 9, (9, 9, 9)), Grid.regular((9, 9, 9)))
    for name in ("x.nii.gz", "x.nii", "x.nrrd", "x.seg.nrrd", "x.mha"):
        with pytest.raises(AdvSegError, match="cannot write"):
            labels.write(tmp_path / name)
        assert not (tmp_path / name).exists()
