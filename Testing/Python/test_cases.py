"""Case sources, each against a folder laid out in the test as the data set is distributed."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow

from AdvSegLib.cases.brats import brats_cases
from AdvSegLib.cases.chest import chest_cases_from, scaled_mask
from AdvSegLib.cases.datalist import datalist_cases
from AdvSegLib.cases.folder import folder_cases
from AdvSegLib.cases.gi_tract import decode_rle, encode_rle, gi_tract_cases
from AdvSegLib.cases.photographs import fundus_cases, skin_cases
from AdvSegLib.cases.registry import SOURCES, SourceInfo, open_cases
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Grid

SHAPE = (4, 5, 6)
STRUCTURES = ("heart", "left lung", "right lung", "left clavicle", "right clavicle")


def save(path, array, spacing=1.0):
    """Write an array with SimpleITK itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = SimpleITK.GetImageFromArray(np.asarray(array), isVector=False)
    picture.SetSpacing([spacing] * picture.GetDimension())
    SimpleITK.WriteImage(picture, str(path))
    return path


def save_picture(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.asarray(array)).save(path, **options)
    return path


def save_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def labels_of(*values):
    array = np.zeros(SHAPE, np.uint8)
    array[0, 0, : len(values)] = values
    return array


def refused(call, *words):
    with pytest.raises(BadRequest) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert str(word) in text


# --- BraTS --------------------------------------------------------------------------------------------------

BRATS_2017 = ("_t1", "_t1ce", "_t2", "_flair")
BRATS_2023 = ("-t1n", "-t1c", "-t2w", "-t2f")


def write_brats(folder, endings, seg=None, suffix=".nii.gz"):
    for index, ending in enumerate(endings):
        save(folder / f"{folder.name}{ending}{suffix}", np.full(SHAPE, index + 1, np.int16))
    if seg is not None:
        save(folder / f"{folder.name}{endings[0][0]}seg{suffix}", seg)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_brats_2017_in_nested_folders(tmp_path, suffix):
    write_brats(tmp_path / "LGG" / "Brats17_B_1", BRATS_2017, labels_of(1, 2, 4), suffix)
    write_brats(tmp_path / "HGG" / "Brats17_A_1", BRATS_2017, None, suffix)
    first, second = brats_cases(tmp_path)
    assert [first.identifier, second.identifier] == ["Brats17_A_1", "Brats17_B_1"]
    image = second.image()
    assert image.names == ("t1", "t1gd", "t2", "flair")
    assert image.array[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert second.truth().array[0, 0].tolist() == [1, 2, 4, 0, 0, 0]
    assert second.truth().names == second.scheme.names
    refused(first.truth, "Brats17_A_1", "no truth")


def test_brats_2023_label_3_becomes_4(tmp_path):
    folder = tmp_path / "BraTS-GLI-00000-000"
    write_brats(folder, BRATS_2023, labels_of(1, 2, 3))
    (case,) = brats_cases(folder)  # the folder of one case
    assert case.identifier == folder.name
    assert case.image().array[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert case.truth().values == (1, 2, 4)
    assert case.truth().array[0, 0, 2] == 4


def test_brats_refuses_what_does_not_fit(tmp_path):
    refused(lambda: brats_cases(tmp_path / "absent"), tmp_path / "absent", "no such folder", "_{t1")
    refused(lambda: brats_cases(tmp_path), tmp_path, "no case found", "_{t1")
    write_brats(tmp_path / "a", BRATS_2017[:3])
    refused(lambda: brats_cases(tmp_path), tmp_path / "a", "case a lacks a_flair.nii.gz")
    write_brats(tmp_path / "b" / "c", BRATS_2023, labels_of(1, 3, 4))
    (case,) = brats_cases(tmp_path / "b")
    refused(case.truth, "c-seg.nii.gz", "resection cavity")
    write_brats(tmp_path / "d" / "e", BRATS_2017, labels_of(1, 3))
    refused(brats_cases(tmp_path / "d")[0].truth, "e_seg.nii.gz", "[3]")
    write_brats(tmp_path / "d" / "f" / "e", BRATS_2017)
    refused(lambda: brats_cases(tmp_path / "d"), "two cases are called e")


def test_opening_reads_no_voxels(tmp_path):
    write_brats(tmp_path / "a", BRATS_2017, labels_of(1))
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(b"broken")
    (case,) = brats_cases(tmp_path)
    refused(case.image, "a_t1.nii.gz")
    refused(case.truth, "a_seg.nii.gz")


# --- chest --------------------------------------------------------------------------------------------------


def square(rows, columns, side=8):
    mask = np.zeros((side, side), np.uint8)
    mask[rows, columns] = 255
    return mask


MASKS = {
    "heart": square(slice(4, 6), slice(3, 5)),
    "right lung": square(slice(1, 7), slice(0, 3)),  # the patient's right, on the left of the picture
    "left lung": square(slice(1, 7), slice(5, 8)),
    "right clavicle": square(1, slice(1, 4)),
    "left clavicle": square(1, slice(4, 7)),
}


def check_chest_truth(truth, scale):
    values = {name: value for value, name in truth.names.items()}
    assert set(values) == set(STRUCTURES)
    seen = truth.array[scale // 2 :: scale, scale // 2 :: scale]
    assert seen[1].tolist() == [values["right lung"]] + [values["right clavicle"]] * 3 + [
        values["left clavicle"]
    ] * 3 + [values["left lung"]]
    assert (seen[3, :3] == values["right lung"]).all()
    assert (seen[4:6, 3:5] == values["heart"]).all()
    assert np.count_nonzero(truth.array) == np.count_nonzero(sum(m.astype(int) for m in MASKS.values())) * scale**2


def test_scr_as_it_is_distributed(tmp_path):
    rng = np.random.default_rng(1)
    for fold, name in (("fold1", "JPCLN001"), ("fold2", "JPCLN002")):
        for structure, mask in MASKS.items():
            save_picture(tmp_path / "scratch" / fold / "masks" / structure / f"{name}.gif", mask)
        raw = rng.integers(0, 4096, (2048, 2048)).astype(">u2")
        (tmp_path / "All247images").mkdir(exist_ok=True)
        (tmp_path / "All247images" / f"{name}.IMG").write_bytes(raw.tobytes())
    first, second = chest_cases_from(tmp_path)
    assert [first.identifier, second.identifier] == ["JPCLN001", "JPCLN002"]
    image = second.image()
    assert image.array.shape == (1, 2048, 2048)
    np.testing.assert_array_equal(image.array[0], 4095 - raw.astype(np.float32))
    assert image.grid.spacing == pytest.approx((0.175, 0.175))
    truth = second.truth()
    check_chest_truth(truth, 256)
    assert truth.grid.matches(image.grid)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii.gz"])
def test_a_simple_chest_folder(tmp_path, suffix):
    pixels = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16)
    save(tmp_path / "images" / f"a{suffix}", pixels[None] if suffix == ".nii.gz" else pixels)
    save(tmp_path / "images" / f"b{suffix}", pixels)
    for structure, mask in MASKS.items():
        save_picture(tmp_path / structure.replace(" ", "_") / "a.png", mask // 255)  # 0 and 1
    first, second = chest_cases_from(tmp_path)
    np.testing.assert_array_equal(first.image().array.squeeze(), pixels)
    truth = first.truth()
    assert truth.grid.matches(first.image().grid)
    check_chest_truth(type(truth)(truth.array.reshape(16, 16), second.image().grid, truth.names), 2)
    refused(second.truth, "case b has no truth")


def test_masks_are_scaled_by_pixel_centres(tmp_path):
    mask = np.arange(81).reshape(9, 9)
    smaller = scaled_mask(mask, Grid.regular((3, 3)), tmp_path)
    assert smaller.tolist() == [[10, 13, 16], [37, 40, 43], [64, 67, 70]]
    larger = scaled_mask(mask[:2, :2], Grid.regular((3, 3)), tmp_path)
    assert larger.tolist() == [[0, 1, 1], [9, 10, 10], [9, 10, 10]]


def test_grey_radiographs_saved_as_rgb_are_grey_others_refused(tmp_path):
    for structure, mask in MASKS.items():
        save_picture(tmp_path / structure / "a.png", mask)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    save_picture(tmp_path / "images" / "a.png", np.stack([grey] * 3, -1))
    save_picture(tmp_path / "images" / "b.png", np.stack([grey, grey, grey * 0], -1))
    first, second = chest_cases_from(tmp_path)
    np.testing.assert_array_equal(first.image().array[0], grey)
    refused(second.image, "b.png", "colour")


def test_chest_refuses_what_does_not_fit(tmp_path):
    refused(lambda: chest_cases_from(tmp_path), tmp_path, "no masks of left lung", "SCR")
    for structure, mask in MASKS.items():
        save_picture(tmp_path / "masks" / structure / "a.png", mask)
    refused(lambda: chest_cases_from(tmp_path), tmp_path, "no case found")
    save_picture(tmp_path / "images" / "a.png", np.zeros((8, 12), np.uint8))
    refused(chest_cases_from(tmp_path)[0].truth, "a.png", "8x8", "8x12")
    (tmp_path / "images" / "c.IMG").write_bytes(b"\0" * 100)
    refused(chest_cases_from(tmp_path)[1].image, "c.IMG", "8388608 bytes")
    save_picture(tmp_path / "images" / "b.png", np.zeros((8, 8), np.uint8))
    save_picture(tmp_path / "masks" / "heart" / "b.png", MASKS["heart"])
    refused(lambda: chest_cases_from(tmp_path), "case b lacks its mask of left lung, right lung")
    for structure in STRUCTURES:
        (tmp_path / "masks" / structure / "c.gif").write_bytes(b"GIF89a")
    (tmp_path / "masks" / "heart" / "b.png").unlink()
    (tmp_path / "images" / "c.IMG").unlink()
    save_picture(tmp_path / "images" / "c.png", np.zeros((8, 8), np.uint8))
    refused(chest_cases_from(tmp_path)[2].truth, "c.gif", "damaged")


# --- photographs --------------------------------------------------------------------------------------------


def test_fundus_masks_are_cut_at_half(tmp_path, rng):
    pixels = rng.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    save_picture(tmp_path / "G_1_image.png", pixels)
    save_picture(tmp_path / "G_2_image.png", pixels)
    save_picture(tmp_path / "G_1_mask.png", np.tile(np.array([0, 126, 127, 128, 255], np.uint8), (6, 1)))
    first, second = fundus_cases(tmp_path)
    np.testing.assert_array_equal(first.image().array, np.moveaxis(pixels, -1, 0))
    assert first.image().names == ("red", "green", "blue")
    assert first.truth().array[0].tolist() == [0, 0, 0, 1, 1]
    assert first.truth().names == {1: "optic disc"}
    assert second.read_truth is None


@pytest.mark.parametrize("masks", ["ISBI2016_ISIC_Part1_Training_GroundTruth", "ISBI2016_ISIC_Part1_Training_Data"])
def test_isic_2016_whatever_print_resolution_the_photograph_names(tmp_path, masks):
    mask = np.zeros((20, 30), np.uint8)
    mask[15:, 25:] = 255
    save_picture(
        tmp_path / "ISBI2016_ISIC_Part1_Training_Data" / "ISIC_0000001.jpg", np.full((20, 30, 3), 90, np.uint8),
        dpi=(72, 72),
    )  # fmt: skip
    save_picture(tmp_path / masks / "ISIC_0000001_Segmentation.png", mask)
    save_picture(tmp_path / masks / "ISIC_0000001_superpixels.png", mask)
    (case,) = skin_cases(tmp_path)
    assert case.identifier == "ISIC_0000001"
    np.testing.assert_array_equal(case.truth().array, mask // 255)
    assert case.truth().grid.matches(case.image().grid)
    assert case.scheme.names == {1: "lesion"}


def test_photographs_refuse_what_does_not_fit(tmp_path):
    refused(lambda: fundus_cases(tmp_path), tmp_path, "<id>_image.png")
    refused(lambda: skin_cases(tmp_path), tmp_path, "ISIC_<number>.jpg")
    save_picture(tmp_path / "a_mask.png", np.zeros((5, 5), np.uint8))
    refused(lambda: fundus_cases(tmp_path), "a_mask.png", "without an image")
    save_picture(tmp_path / "a_image.png", np.zeros((6, 5, 3), np.uint8))
    refused(fundus_cases(tmp_path)[0].truth, "a_mask.png", "5x5", "6x5")
    save_picture(tmp_path / "b_image.png", np.zeros((6, 5), np.uint8))
    refused(fundus_cases(tmp_path)[1].image, "b_image.png", "RGB")
    save_picture(tmp_path / "b_image.jpg", np.zeros((6, 5, 3), np.uint8))
    refused(lambda: fundus_cases(tmp_path), "b_image", "second file")


# --- GI tract -----------------------------------------------------------------------------------------------


def write_gi(folder, rows, slices=(1, 2, 3)):
    for number in slices:
        plane = np.full((4, 6), 1000 * number, np.uint16)
        plane[3, 0] = 65535
        save(folder / f"train/case1/case1_day2/scans/slice_{number:04d}_6_4_1.50_1.63.png", plane)
    with open(folder / "train.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("id", "class", "segmentation"), *rows])


GI_ROWS = [
    ("case1_day2_slice_0001", "large_bowel", ""),
    ("case1_day2_slice_0002", "large_bowel", "1 3 9 1"),
    ("case1_day2_slice_0002", "small_bowel", "3 2"),
    ("case1_day2_slice_0003", "stomach", "24 1"),
]


def test_a_gi_scan_is_stacked_and_its_runs_go_along_rows(tmp_path):
    write_gi(tmp_path, GI_ROWS)
    (case,) = gi_tract_cases(tmp_path)
    image, truth = case.image(), case.truth()
    assert case.identifier == "case1_day2"
    assert image.array.shape == (1, 3, 4, 6)
    assert image.array[0, :, 0, 0].tolist() == [1000, 2000, 3000]
    assert image.array.max() == 65535
    assert image.grid.spacing == pytest.approx((3.0, 1.63, 1.5))
    assert truth.grid.matches(image.grid)
    expected = np.zeros((3, 4, 6), int)
    expected[1, 0, :4] = (1, 1, 2, 2)  # the small bowel is painted over the large
    expected[1, 1, 2] = 1
    expected[2, 3, 5] = 3
    np.testing.assert_array_equal(truth.array, expected)
    assert case.scheme.activation == "sigmoid"


def test_gi_slices_are_cases_of_their_own(tmp_path):
    write_gi(tmp_path, GI_ROWS)
    cases = gi_tract_cases(tmp_path, slices=True)
    assert [case.identifier for case in cases] == [f"case1_day2_slice_000{n}" for n in (1, 2, 3)]
    image, truth = cases[2].image(), cases[2].truth()
    assert image.array.shape == (1, 4, 6)
    assert image.array[0, 0, 0] == 3000
    assert image.grid.spacing == pytest.approx((1.63, 1.5))
    assert np.argwhere(truth.array).tolist() == [[3, 5]]
    assert cases[0].truth().values == ()  # a slice without organs is no error here


def test_the_published_example_of_a_stomach_lies_on_the_patients_left():
    mask = decode_rle("28094 3 28358 7", (266, 266))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == (105, 106)
    assert columns.min() > 133  # radiological view: the patient's left is on the right


def test_gi_refuses_what_does_not_fit(tmp_path):
    refused(lambda: gi_tract_cases(tmp_path), tmp_path, "train.csv")
    write_gi(tmp_path, GI_ROWS, slices=(1, 3))
    refused(lambda: gi_tract_cases(tmp_path), "case1_day2 lacks slice 0002")
    write_gi(tmp_path, [*GI_ROWS, ("case1_day2_slice_0004", "stomach", "")])
    refused(lambda: gi_tract_cases(tmp_path), "lacks slice 0004")
    write_gi(tmp_path, [("case1_day2_slice_0001", "stomach", "24 2")])
    refused(gi_tract_cases(tmp_path)[0].truth, "slice_0001", "stomach", "24 2", "4x6")
    write_gi(tmp_path, [("case1_day2_slice_0001", "liver", "1 2")])
    refused(lambda: gi_tract_cases(tmp_path), "train.csv", "unknown class 'liver'")
    (tmp_path / "train.csv").write_text("a,b\n")
    refused(lambda: gi_tract_cases(tmp_path), "train.csv", "segmentation")
    (tmp_path / "train.csv").unlink()
    (case,) = gi_tract_cases(tmp_path)
    assert case.read_truth is None
    save(tmp_path / "train/case1/case1_day2/scans/slice_0004_7_4_1.50_1.50.png", np.zeros((4, 6), np.uint8))
    refused(gi_tract_cases(tmp_path)[0].image, "slice_0004", "4x6")


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_run_lengths_are_inverse(mask):
    text = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(text, mask.shape), mask)
    pixels = [start + k for start, n in zip(*[map(int, text.split())] * 2, strict=True) for k in range(n)]
    assert pixels == (np.flatnonzero(mask) + 1).tolist()  # sorted, from 1, none twice


@pytest.mark.parametrize("text", ["1", "1 2 3", "a b", "0 1", "1 0", "-1 2", "7 1", "5 3"])
def test_runs_that_are_none_are_refused(text):
    refused(lambda: decode_rle(text, (2, 3)), text)


# --- datalists ----------------------------------------------------------------------------------------------


def test_the_decathlon(tmp_path, rng):
    voxels = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    save(tmp_path / "imagesTr" / "BRATS_001.nii.gz", voxels)  # 4-D: channels last in NIfTI
    save(tmp_path / "labelsTr" / "BRATS_001.nii.gz", labels_of(1, 2))
    save(tmp_path / "imagesTs" / "BRATS_002.nii.gz", voxels)
    listing = {
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "background", "1": "edema", "2": "tumour"},
        "training": [{"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}],
        "test": ["./imagesTs/BRATS_002.nii.gz"],
    }
    path = save_json(tmp_path / "dataset.json", listing)
    (case,) = datalist_cases(path)
    assert case.identifier == "BRATS_001"
    assert case.image().names == ("flair", "t1w")
    np.testing.assert_array_equal(case.image().array, voxels)
    assert case.truth().names == {1: "edema", 2: "tumour"}
    assert case.scheme.channels == 3
    (test,) = datalist_cases(path, section="test")
    assert (test.identifier, test.read_truth) == ("BRATS_002", None)


def test_a_monai_datalist_of_separate_channels(tmp_path):
    for index, name in enumerate(("t1", "t2")):
        save(tmp_path / "p1" / f"p1_{name}.nii.gz", np.full(SHAPE, index, np.float32))
    save(tmp_path / "p1" / "seg.nii.gz", labels_of(1, 4))
    entry = {"fold": 0, "image": ["p1/p1_t1.nii.gz", "p1/p1_t2.nii.gz"], "label": "p1/seg.nii.gz"}
    path = save_json(tmp_path / "list.json", {"training": [entry], "validation": [{"image": entry["image"]}]})
    (case,) = datalist_cases(path)
    assert case.identifier == "p1"
    assert case.image().array[:, 0, 0, 0].tolist() == [0, 1]
    assert case.scheme.names == {1: "label 1", 4: "label 4"}  # found in the files
    assert datalist_cases(path, "validation")[0].read_truth is None
    assert datalist_cases(path, labels=("core", "b", "c", "rim"))[0].truth().names[4] == "rim"


def test_datalists_refuse_what_does_not_fit(tmp_path):
    path = tmp_path / "list.json"
    refused(lambda: datalist_cases(path), path, "no such file")
    path.write_text("{")
    refused(lambda: datalist_cases(path), path, "not JSON")
    save_json(path, [])
    refused(lambda: datalist_cases(path), path, "expected")
    save_json(path, {"validation": []})
    refused(lambda: datalist_cases(path), path, "no section 'training'", "validation")
    refused(lambda: datalist_cases(path, "validation"), path, "no case found")
    save_json(path, {"training": [{"label": "a"}]})
    refused(lambda: datalist_cases(path), path, "names no image")
    save_json(path, {"training": [{"image": "a.nii.gz"}]})
    refused(lambda: datalist_cases(path), tmp_path / "a.nii.gz", "missing")
    save(tmp_path / "a.nii.gz", np.ones(SHAPE, np.float32))
    save_json(path, {"training": [{"image": "a.nii.gz", "label": "b.nii.gz"}]})
    refused(lambda: datalist_cases(path), tmp_path / "b.nii.gz", "missing")
    save_json(path, {"labels": {"0": "background", "x": "y"}, "training": [{"image": "a.nii.gz"}]})
    refused(lambda: datalist_cases(path), path, "labels")
    save(tmp_path / "b.nii.gz", labels_of(1, 5))
    save_json(path, {"labels": {"1": "liver"}, "training": [{"image": "a.nii.gz", "label": "b.nii.gz"}]})
    refused(datalist_cases(path)[0].truth, "b.nii.gz", "[5]", "1 liver")


# --- plain folders ------------------------------------------------------------------------------------------


def test_images_and_labels_of_the_same_name(tmp_path, rng):
    voxels = rng.normal(size=SHAPE).astype(np.float32)
    save(tmp_path / "images" / "a.nii.gz", voxels)
    save(tmp_path / "images" / "b.mha", voxels)
    save(tmp_path / "labels" / "a.nrrd", labels_of(1, 3))
    first, second = folder_cases(tmp_path)
    np.testing.assert_array_equal(first.image().array[0], voxels)
    assert first.truth().values == (1, 3)
    assert first.scheme.values == (1, 3)
    assert second.read_truth is None
    assert folder_cases(tmp_path, labels=("x", "y", "z"))[0].truth().names == {1: "x", 2: "y", 3: "z"}


@pytest.mark.parametrize("ending", ["label", "mask", "seg"])
def test_paired_names(tmp_path, ending):
    save(tmp_path / "sub" / "p_1_image.nii.gz", np.ones(SHAPE, np.float32))
    save(tmp_path / "sub" / f"p_1_{ending}.nii.gz", labels_of(2))
    (case,) = folder_cases(tmp_path)
    assert case.identifier == "p_1"
    assert case.truth().values == (2,)


def test_picture_masks_of_0_and_255_are_one_structure(tmp_path):
    mask = square(slice(2, 4), slice(2, 4))
    save_picture(tmp_path / "images" / "a.jpg", np.full((8, 8, 3), 9, np.uint8), dpi=(72, 72))
    save_picture(tmp_path / "masks" / "a.png", mask)
    (case,) = folder_cases(tmp_path)
    assert case.scheme.activation == "binary"
    np.testing.assert_array_equal(case.truth().array, mask // 255)
    assert case.truth().grid.matches(case.image().grid)
    assert folder_cases(tmp_path, labels=("polyp",))[0].truth().names == {1: "polyp"}


def write_nnunet(folder, labels, channels=2, **more):
    for index in range(channels):
        save(folder / "imagesTr" / f"case_7_{index:04d}.nii.gz", np.full(SHAPE, index, np.float32))
    save(folder / "labelsTr" / "case_7.nii.gz", labels_of(1, 2))
    save_json(folder / "dataset.json", {"channel_names": {"0": "T1", "1": "T2"}, "labels": labels, **more})


def test_nnunet_raw_data(tmp_path):
    write_nnunet(tmp_path, {"background": 0, "oedema": 1, "core": 2})
    (case,) = folder_cases(tmp_path)
    assert case.identifier == "case_7"
    assert case.image().names == ("t1", "t2")
    assert case.image().array[:, 0, 0, 0].tolist() == [0, 1]
    assert case.truth().names == {1: "oedema", 2: "core"}


def test_nnunet_regions_become_sigmoid_channels(tmp_path):
    write_nnunet(tmp_path, {"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2])
    (case,) = folder_cases(tmp_path)
    assert case.scheme.activation == "sigmoid"
    assert case.scheme.members == ((1, 2), (2,))
    assert case.scheme.names == {1: "whole", 2: "core"}


def test_folders_refuse_what_does_not_fit(tmp_path):
    refused(lambda: folder_cases(tmp_path), tmp_path, "no case found", "images/ and labels/")
    save(tmp_path / "labels" / "a.nrrd", labels_of(1))
    (tmp_path / "images").mkdir()
    refused(lambda: folder_cases(tmp_path), "a.nrrd", "label without an image 'a'")
    save(tmp_path / "p" / "x_mask.nii", labels_of(1))
    refused(lambda: folder_cases(tmp_path / "p"), "x_mask.nii", "without an image")
    write_nnunet(tmp_path / "n", {"background": 0, "a": 1, "b": 2}, channels=1)
    refused(lambda: folder_cases(tmp_path / "n"), "case case_7 lacks channel case_7_0001")
    (tmp_path / "n" / "dataset.json").unlink()
    refused(lambda: folder_cases(tmp_path / "n"), "dataset.json", "missing")


# --- registry -----------------------------------------------------------------------------------------------


def test_every_source_is_described_and_loads():
    names = [source.name for source in SOURCES]
    assert names == [
        "brats", "chest", "fundus", "skin", "gi-tract", "datalist", "folder", "phantom-brain", "phantom-chest",
        "phantom-fundus", "phantom-skin", "phantom-abdomen",
    ]  # fmt: skip
    for source in SOURCES:
        assert isinstance(source, SourceInfo)
        assert source.description
        assert "\n" not in source.description
        if source.needs_path:
            assert source.load().__name__ == source.function


def test_open_cases_passes_path_and_options_on(tmp_path):
    write_gi(tmp_path, GI_ROWS)
    assert len(open_cases("gi-tract", tmp_path)) == 1
    assert len(open_cases("gi-tract", str(tmp_path), slices=True)) == 3


def test_open_cases_refuses_what_does_not_fit(tmp_path):
    refused(lambda: open_cases("brat", tmp_path), "unknown case source 'brat'", "'brats'", "phantom-chest")
    refused(lambda: open_cases("brats"), "'brats' needs a path")
    refused(lambda: open_cases("phantom-brain", tmp_path), "takes no path")
    refused(lambda: open_cases("brats", tmp_path, colour="red"), "'brats'", "colour")


def test_the_registry_is_light():
    heavy = "('torch', 'monai', 'SimpleITK', 'scipy', 'numpy')"
    code = f"import sys, AdvSegLib.cases.registry; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cases_can_be_sent_to_another_process(tmp_path):
    write_brats(tmp_path / "a", BRATS_2017, labels_of(1))
    (case,) = pickle.loads(pickle.dumps(brats_cases(tmp_path)))
    assert case.truth().values == (1,)


def test_a_case_writes_its_channels_and_truth_for_another_source_to_read(tmp_path):
    write_gi(tmp_path, GI_ROWS)
    (case,) = gi_tract_cases(tmp_path)
    written = case.write(tmp_path / "out" / "x")
    assert [path.name for path in written] == ["case1_day2_mr.nii.gz", "case1_day2_labels.nii.gz"]
    for path, array in zip(written, (case.image().array[0], case.truth().array), strict=True):
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), array)


# --- real data ----------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_the_fundus_photographs_of_paper_002(real_data):
    cases = fundus_cases(real_data("fundus_ozbulak"))
    assert [case.identifier for case in cases] == ["G_14_R_1", "G_5_R_1"]
    for case in cases:
        image, truth = case.image(), case.truth()
        assert image.array.shape == (3, 569, 428)
        inside, outside = truth.array == 1, truth.array == 0
        assert 0.002 < inside.mean() < 0.2
        assert image.array[:, inside].mean() > image.array[:, outside].mean()  # the disc is the bright spot


@pytest.mark.real_data
def test_a_real_glioma_laid_out_as_brats(real_data, tmp_path):
    scan = real_data("tcga_fg_6692")
    names = {"t1": "t1", "t1c": "t1ce", "t2": "t2", "fla": "flair", "seg_consensus": "seg"}
    folder = tmp_path / "TCGA_FG_6692"
    folder.mkdir()
    for source, ending in names.items():
        (folder / f"TCGA_FG_6692_{ending}.nii.gz").symlink_to(scan / f"{source}.nii.gz")
    (case,) = brats_cases(folder)
    image, truth = case.image(), case.truth()
    assert image.array.shape == (4, 155, 240, 240)
    assert truth.values == (1, 2, 4)
    assert truth.grid.matches(image.grid)
    channel = dict(zip(image.names, image.array, strict=True))
    brain = channel["t1"] > 0
    assert channel["flair"][truth.array == 2].mean() > 1.3 * channel["flair"][brain].mean()  # oedema is bright
    assert channel["t1gd"][truth.array == 4].mean() > channel["t1gd"][truth.array == 1].mean()  # the rim takes up
