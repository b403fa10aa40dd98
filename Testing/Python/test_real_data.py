"""Real scans and third-party models from ../shared/data; skipped, with a word, where they are absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from AdvSegLib import Intensity, Job, LabelScheme, Segmenter, Spec, craft, load_model, make_attack, read_image, run_job
from AdvSegLib.metrics.overlap import compare
from AdvSegLib.volumes import Grid, Image

pytestmark = [pytest.mark.real_data, pytest.mark.slow]
Locate = Callable[[str], Path]


def meshnet(definition: Path, weights: Path) -> nn.Sequential:
    """Build a brainchop MeshNet: a plain stack of dilated convolutions."""
    layers: list[nn.Module] = []
    for item in json.loads(definition.read_text())["layers"]:
        options = {key: item[key] for key in ("kernel_size", "padding", "dilation", "stride")}
        layers += [nn.Conv3d(item["in_channels"], item["out_channels"], **options), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    network.load_state_dict({key.removeprefix("model."): value for key, value in load_file(weights).items()})
    return network


def test_third_party_meshnet_segments_a_real_head_and_is_fooled(real_data: Locate) -> None:
    """Right before, wrong after, on a 96 mm cube of the head."""
    network = meshnet(
        real_data("models/meshnet_model5_gw_ae.json"), real_data("models/meshnet_model5_gw_ae.safetensors")
    )
    scheme = LabelScheme.softmax("white matter", "grey matter")
    segmenter = Segmenter(network, Spec.plain(scheme, intensity=Intensity("quantile"), orientation="LIA"))
    head = read_image(real_data("t1_head/t1_crop.nii.gz"))
    affine = head.affine.copy()
    affine[:3, 3] = (head.affine @ (80, 80, 80, 1))[:3]
    cube = Image(head.array[:, 80:176, 80:176, 80:176], Grid((96, 96, 96), affine), head.names)
    before = segmenter.segment(cube)
    intensities = {value: float(cube.array[0][before.array == value].mean()) for value in (1, 2)}
    assert intensities[1] > intensities[2] * 1.15  # white matter is brighter than grey on T1
    share = {value: float((before.array == value).mean()) for value in (1, 2)}
    assert all(0.15 < part < 0.7 for part in share.values())
    fooled = craft(segmenter, cube, make_attack("pgd", steps=5), epsilon=0.05)
    after = segmenter.segment(fooled.image)
    assert compare(before.array, after.array, scheme)["dice"]["mean"] < 0.5
    assert float(np.abs(fooled.image.array - cube.array).max()) <= 0.05 * float(cube.ranges[0])


BRATS = ("t1", "t1c", "t2", "fla")


@pytest.mark.parametrize("resolution", ["native", "network"])
def test_real_brats_case_is_attacked_on_its_own_grid(real_data: Locate, tmp_path: Path, resolution: str) -> None:
    paths = tuple(str(real_data(f"tcga_fg_6692/{name}.nii.gz")) for name in BRATS)
    truth = str(real_data("tcga_fg_6692/seg_consensus.nii.gz"))
    job = Job("brain", paths, "pgd", truth=truth, parameters={"steps": 2}, resolution=resolution, device="cpu")
    out = run_job(job, tmp_path / "run")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["clean"]["dice_regions"]["WT"] > 0.3  # a model that never saw a patient finds something
    assert metrics["adversarial"]["dice"]["mean"] < metrics["clean"]["dice"]["mean"]
    assert metrics["image"]["linf_percent"] <= 5.0
    source = nib.load(paths[0])
    for file in out.glob("*.nii.gz"):
        saved = nib.load(file)
        assert saved.shape == source.shape
        assert np.allclose(saved.affine, source.affine, rtol=1e-6, atol=1e-4)


def test_real_chest_film_is_segmented_and_attacked(real_data: Locate, tmp_path: Path) -> None:
    film = real_data("chest_xray/00000001_000.png")
    segmenter = load_model("chest")
    labels = segmenter.segment(read_image(film)).array
    columns = {value: np.nonzero(labels == value)[1].mean() for value in (2, 3) if (labels == value).any()}
    assert columns[2] > columns[3]  # the patient's left lung hangs on the right
    lungs = float(np.isin(labels, (2, 3)).mean())
    assert 0.1 < lungs < 0.6
    out = run_job(Job("chest", (str(film),), "pgd", parameters={"steps": 5}, device="cpu"), tmp_path / "run")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["agreement"]["dice"]["mean"] < 0.7
    assert nib.load(out / "adversarial_film.nii.gz").shape == (512, 512, 1)


def test_a_photograph_is_attacked_through_resampling_and_scaling(real_data: Locate) -> None:
    """An RGB photograph at full size, a network that wants 512 x 512 and [0, 1]: gradients reach the pixels."""
    image = read_image(real_data("fundus_ozbulak/G_14_R_1_image.png"))
    network = nn.Conv2d(3, 1, 5, padding=2)
    spec = Spec(2, image.names, LabelScheme.binary("vessel"), Intensity("window"), size=(512, 512))
    segmenter = Segmenter(network, spec)
    fooled = craft(segmenter, image, make_attack("fgsm", loss="bce"))
    assert fooled.image.array.shape == image.array.shape
    assert torch.from_numpy(fooled.image.array - image.array).abs().sum() > 0
