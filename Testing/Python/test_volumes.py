"""The file layer, held against nibabel, Pillow and analytic images; and what it says of files it cannot use."""

from __future__ import annotations

import gzip
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.volumes import MARK, Grid, Image, LabelMap, read_image, read_labels

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANS = ("nii", "nii.gz", "nrrd", "mha")


def rotation(axis, degrees):
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(turn, spacing, origin):
    affine = np.eye(4)
    affine[:3, :3] = turn * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


AFFINES = {
    "straight": affine_of(np.eye(3)[:, ::-1], (1, 1, 1), (0, 0, 0)),
    "anisotropic": affine_of(np.eye(3)[:, ::-1], (6.5, 0.78, 0.91), (-90.5, 126.25, -72.0)),
    "oblique": affine_of(rotation((1, 2, 3), 37) @ np.eye(3)[:, ::-1], (3.0, 0.5, 0.7), (12.5, -80.0, 1400.0)),
    "left-handed": affine_of(rotation((0, 1, 1), 15) @ np.diag([-1.0, 1, 1])[:, ::-1], (2, 1, 1.5), (5, 6, 7)),
    "permuted": affine_of(np.eye(3)[:, [1, 2, 0]] * [1, -1, 1], (1.0, 2.0, 3.0), (-10, 20, 30)),
}


def refused(call, *words):
    """Expect a BadRequest of one line that holds the words, and return the line."""
    with pytest.raises(BadRequest) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert str(word) in text
    return text


def an_image(rng, affine=AFFINES["oblique"], channels=1):
    return Image(
        rng.normal(50, 20, (channels, 5, 6, 7)), Grid((5, 6, 7), affine), tuple(f"c{i}" for i in range(channels))
    )


# --- geometry -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SCANS)
@pytest.mark.parametrize("name", AFFINES)
def test_scans_keep_voxels_and_place(tmp_path, rng, name, suffix):
    image = an_image(rng, AFFINES[name])
    back = read_image(image.write(tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(back.array, image.array)
    np.testing.assert_allclose(back.affine, image.affine, rtol=1e-6, atol=1e-6 * np.abs(image.affine).max())


@pytest.mark.parametrize("name", AFFINES)
def test_nibabel_sees_the_same_place_in_ras(tmp_path, rng, name):
    image = an_image(rng, AFFINES[name])
    other = nibabel.load(image.write(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(other.get_fdata().T, image.array[0])
    reversed_axes = image.affine[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(other.affine, TO_RAS @ reversed_axes, rtol=1e-6, atol=2e-4)


@pytest.mark.parametrize("name", AFFINES)
def test_a_file_of_nibabel_is_read_at_its_place(tmp_path, rng, name):
    voxels = rng.normal(size=(7, 6, 5)).astype(np.float32)
    ras = TO_RAS @ AFFINES[name][:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(voxels, ras), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.array[0], voxels.T)
    for corner in ((0, 0, 0), (4, 5, 6), (4, 0, 3)):
        placed = image.affine @ (*corner, 1)
        expected = TO_RAS @ ras @ (*corner[::-1], 1)
        np.testing.assert_allclose(placed, expected, atol=1e-3)


def test_a_scaled_integer_file_gives_real_intensities(tmp_path):
    stored = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    stored.header.set_slope_inter(0.5, -10)
    nibabel.save(stored, tmp_path / "a.nii")
    raw = (tmp_path / "a.nii").read_bytes()
    assert struct.unpack("<2f", raw[112:120]) == (0.5, -10)
    numbers = np.frombuffer(raw[352:], "<i2").reshape(4, 3, 2)
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").array[0], numbers * 0.5 - 10)


def test_several_channels_survive_and_nibabel_agrees(tmp_path, rng):
    image = an_image(rng, channels=3)
    for suffix in SCANS:
        np.testing.assert_array_equal(read_image(image.write(tmp_path / f"a.{suffix}")).array, image.array)
    other = np.squeeze(np.asanyarray(nibabel.load(tmp_path / "a.nii.gz").dataobj))
    np.testing.assert_array_equal(np.moveaxis(other, -1, 0).transpose(0, 3, 2, 1), image.array)


def test_four_dimensional_files_become_channels(tmp_path, rng):
    voxels = rng.normal(size=(7, 6, 5, 4)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz", names=("t1", "t1gd", "t2", "flair"))
    np.testing.assert_array_equal(image.array, voxels.T)
    assert image.grid.spacing == pytest.approx((3, 2, 1))
    assert image.names == ("t1", "t1gd", "t2", "flair")


def test_a_flat_image_becomes_one_slice_of_a_scan(tmp_path, rng):
    image = Image.from_array(rng.normal(size=(1, 6, 7)), (0.5, 0.25))
    back = read_image(image.write(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(back.array[0, 0], image.array[0])
    assert back.grid.spacing[1:] == pytest.approx((0.5, 0.25))


@settings(max_examples=40, deadline=None)
@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    degrees=st.floats(-180, 180),
    spacing=st.tuples(*[st.floats(0.05, 20)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    flip=st.sampled_from([1, -1]),
)
def test_grids_survive_a_file(tmp_path_factory, axis, degrees, spacing, origin, flip):
    affine = affine_of(rotation(axis, degrees) * [flip, 1, 1], spacing, origin)
    image = Image(np.zeros((1, 3, 4, 5)), Grid((3, 4, 5), affine), ("a",))
    path = tmp_path_factory.getbasetemp() / "grid.nrrd"
    back = read_image(image.write(path)).grid
    np.testing.assert_allclose(back.affine, affine, rtol=1e-6, atol=1e-6 * np.abs(affine).max())
    assert back.spacing == pytest.approx(spacing, rel=1e-6)
    assert back.matches(image.grid)


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(0.01, 5), spacing=st.floats(0.1, 10))
def test_grids_a_hundredth_of_a_voxel_apart_do_not_match(shift, spacing):
    grid = Grid.regular((4, 5, 6), spacing)
    moved = grid.affine.copy()
    moved[1, 3] += shift * spacing
    assert not grid.matches(Grid(grid.shape, moved))
    moved[1, 3] = grid.affine[1, 3] + 1e-4 * spacing
    assert grid.matches(Grid(grid.shape, moved))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [((4, 5), np.eye(4)), ((4,), np.eye(2)), ((2, 3, 4), np.zeros((4, 4))), ((2, 2), np.eye(3) * np.nan)],
)
def test_grids_without_room_are_refused(shape, affine):
    refused(lambda: Grid(shape, affine), "affine")


def test_arrays_that_do_not_fit_are_refused():
    grid = Grid.regular((3, 4, 5))
    refused(lambda: Image(np.zeros((1, 3, 4, 6)), grid, ("a",)), "(1, 3, 4, 6)")
    refused(lambda: Image(np.zeros((2, 3, 4, 5)), grid, ("a",)), "2 channels but 1 names")
    refused(lambda: LabelMap(np.zeros((3, 4)), grid), "(3, 4)")


# --- resampling ---------------------------------------------------------------------------------------------


def ramp(grid, slope=(0.7, -1.3, 2.1), offset=5.0):
    places = np.einsum("ij,j...->i...", grid.affine[:3, :3], np.indices(grid.shape).astype(float))
    return np.einsum("i,i...->...", slope, places + grid.affine[:3, 3].reshape(3, 1, 1, 1)) + offset


def test_channels_on_other_grids_meet_in_physical_space(tmp_path):
    coarse = Grid((12, 14, 13), affine_of(rotation((1, 1, 0), 20) @ np.eye(3)[:, ::-1], (3, 2, 2.5), (-20, -8, -12)))
    fine = Grid((5, 6, 7), affine_of(np.eye(3)[:, ::-1], (1.1, 0.9, 0.8), (-2, 3, 4)))
    Image(ramp(fine)[None], fine, ("a",)).write(tmp_path / "t1.nii.gz")
    Image(ramp(coarse)[None], coarse, ("a",)).write(tmp_path / "t2.nii.gz")
    image = read_image([tmp_path / "t1.nii.gz", tmp_path / "t2.nii.gz"])
    assert image.names == ("t1", "t2")
    assert image.grid.matches(fine)
    np.testing.assert_allclose(image.array[1], ramp(fine), rtol=1e-5, atol=2e-4)


def test_outside_an_image_lies_its_minimum_outside_labels_background():
    small, large = Grid.regular((4, 4, 4)), Grid.regular((4, 4, 8))
    image = Image(np.full((1, 4, 4, 4), 7.0) + np.eye(4), small, ("a",)).onto(large)
    assert (image.array[..., 4:] == 7).all()
    labels = LabelMap(np.full((4, 4, 4), 3), small).onto(large)
    assert (labels.array[..., :4] == 3).all()
    assert (labels.array[..., 4:] == 0).all()


def test_labels_are_resampled_to_the_nearest_voxel_and_stay_labels():
    coarse, fine = Grid.regular((4, 4, 4), 2.0), Grid.regular((7, 7, 7), 1.0)
    values = np.arange(64).reshape(4, 4, 4) * 1000
    placed = LabelMap(values, coarse).onto(fine).array
    np.testing.assert_array_equal(placed[::2, ::2, ::2], values)
    assert set(np.unique(placed)) <= set(np.unique(values))


def test_a_flat_image_and_its_slice_are_one_place():
    flat = Image.from_array(np.arange(12.0).reshape(1, 3, 4), (2, 1))
    np.testing.assert_array_equal(flat.onto(flat.grid.lifted()).array[:, 0], flat.array)


def test_strangers_do_not_overlap(tmp_path, rng):
    near, far = an_image(rng), an_image(rng, affine_of(np.eye(3), (1, 1, 1), (5000, 0, 0)))
    near.write(tmp_path / "near.nii.gz")
    far.write(tmp_path / "far.nii.gz")
    refused(lambda: read_image([tmp_path / "near.nii.gz", tmp_path / "far.nii.gz"]), "far.nii.gz", "overlap")
    LabelMap(np.ones((5, 6, 7)), far.grid).write(tmp_path / "seg.nii.gz")
    refused(lambda: read_labels(tmp_path / "seg.nii.gz", near.grid), "seg.nii.gz", "overlap")


def test_labels_that_all_fall_beside_the_image_are_refused(tmp_path):
    values = np.zeros((4, 4, 8), np.int32)
    values[..., 7] = 1
    LabelMap(values, Grid.regular((4, 4, 8))).write(tmp_path / "seg.nrrd")
    refused(lambda: read_labels(tmp_path / "seg.nrrd", Grid.regular((4, 4, 4))), "seg.nrrd", "no labelled voxel")


# --- pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("png", "uint8"), ("png", "uint16"), ("tif", "uint8"), ("tif", "uint16"), ("bmp", "uint8")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_what_pillow_sees(tmp_path, rng, suffix, dtype, channels):
    top = np.iinfo(dtype).max
    image = Image.from_array(rng.integers(0, top + 1, (channels, 9, 11)).astype(float))
    path = image.write(tmp_path / f"a.{suffix}", dtype=dtype)
    np.testing.assert_array_equal(read_image(path).array, image.array)
    if (channels, dtype) != (3, "uint16"):  # Pillow knows no such mode
        seen = np.asarray(Pillow.open(path)).astype(float)
        np.testing.assert_array_equal(seen if channels == 1 else np.moveaxis(seen, -1, 0), image.array.squeeze())


def test_a_float_tiff_keeps_fractions(tmp_path, rng):
    image = Image.from_array(rng.normal(size=(1, 9, 11)))
    path = image.write(tmp_path / "a.tiff")
    np.testing.assert_array_equal(read_image(path).array, image.array)
    np.testing.assert_array_equal(np.asarray(Pillow.open(path)), image.array[0])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_decoded_as_pillow_does(tmp_path, mode):
    smooth = np.add.outer(np.arange(48), np.arange(64))[..., None] + [0, 40, 90]
    Pillow.fromarray(smooth.astype(np.uint8)).convert(mode).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    seen = np.asarray(Pillow.open(tmp_path / "a.jpg")).astype(float)
    assert image.names == (("red", "green", "blue") if mode == "RGB" else ("image",))
    assert np.abs(image.array - (np.moveaxis(seen, -1, 0) if mode == "RGB" else seen[None])).max() <= 1


def test_intensities_are_rounded_and_clipped_for_integers(tmp_path):
    image = Image.from_array(np.array([[[-5.0, 0.4, 0.6, 254.6, 999.0]]]))
    back = read_image(image.write(tmp_path / "a.png", dtype="uint8"))
    assert back.array.flatten().tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("P", 3), ("1", 1)])
def test_pictures_of_other_kinds_give_their_colours(tmp_path, rng, mode, channels):
    picture = Pillow.fromarray(rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)).convert(mode)
    if mode == "RGBA":
        picture.putalpha(7)
    picture.save(tmp_path / "a.png")
    expected = np.asarray(picture.convert("RGB" if channels == 3 else "L")).astype(float)
    expected = np.moveaxis(expected, -1, 0) if channels == 3 else expected[None]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, expected)


def test_grey_with_opacity_is_refused_in_words(tmp_path):
    Pillow.new("LA", (9, 11), (120, 255)).save(tmp_path / "a.png")
    refused(lambda: read_image(tmp_path / "a.png"), tmp_path / "a.png", "alpha")


def test_a_mask_lies_on_its_photograph_whatever_print_resolution_they_name(tmp_path):
    Pillow.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "a.jpg", dpi=(72, 72))
    mask = np.zeros((30, 40), np.uint8)
    mask[20:, 30:] = 1
    Pillow.fromarray(mask).save(tmp_path / "m.png")
    image = read_image(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png", image.grid).array, mask)
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png", image.grid.lifted()).array[0], mask)
    assert read_image([tmp_path / "a.jpg", tmp_path / "m.png"]).array[3].sum() == mask.sum()
    Pillow.fromarray(mask[15:]).save(tmp_path / "half.png")
    refused(lambda: read_labels(tmp_path / "half.png", image.grid), "half.png", "15x40", "30x40")
    refused(lambda: read_image([tmp_path / "a.jpg", tmp_path / "half.png"]), "half.png", "15x40")


# --- DICOM --------------------------------------------------------------------------------------------------


def write_series(folder, places, uid="1.2.826.1", slope=2.0, intercept=-1000.0, drift=0.0):
    """Write slices that hold ``100 * index + ramp``, in shuffled file order and falling instance number."""
    folder.mkdir(exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    planes = []
    for index, place in enumerate(places):
        plane = (100 * index + 2 * np.arange(42).reshape(6, 7)).astype(np.int16)
        planes.append(plane)
        picture = SimpleITK.GetImageFromArray(plane)
        picture.SetSpacing((0.7, 0.9))
        tags = {
            "0008|0060": "CT", "0020|000d": "1.2.826.9", "0020|000e": uid, "0008|0018": f"{uid}.{index}",
            "0020|0032": f"10\\{20 + index * drift}\\{place}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(90 - index), "0028|1053": str(slope), "0028|1052": str(intercept),
        }  # fmt: skip
        for tag, text in tags.items():
            picture.SetMetaData(tag, text)
        writer.SetFileName(str(folder / f"{uid}_{(index * 7) % 5}.dcm"))
        writer.Execute(picture)
    return np.stack(planes)


def test_a_dicom_series_is_stacked_by_place_with_rescaled_values(tmp_path):
    planes = write_series(tmp_path / "s", [0, 2.5, 5, 7.5, 10])
    stored = np.frombuffer((tmp_path / "s" / "1.2.826.1_0.dcm").read_bytes()[-84:], "<i2").reshape(6, 7)
    assert (stored * 2 - 1000 == planes[0]).all()  # the file holds unscaled numbers: reading must scale them
    image = read_image(tmp_path / "s")
    np.testing.assert_array_equal(image.array[0], planes)
    assert image.grid.spacing == pytest.approx((2.5, 0.9, 0.7))
    np.testing.assert_allclose(image.affine @ (4, 0, 1, 1), (10.7, 20, 10, 1))


def test_a_folder_of_two_series_is_refused(tmp_path):
    write_series(tmp_path / "s", [0, 1, 2])
    write_series(tmp_path / "s", [0, 1, 2], uid="1.2.826.2")
    refused(lambda: read_image(tmp_path / "s"), tmp_path / "s", "2 DICOM series", "1.2.826.2")


@pytest.mark.parametrize("places", [[0, 2.5, 5, 10, 12.5], [0, 2.5, 2.5, 5, 7.5]])
def test_a_series_with_slices_missing_or_doubled_is_refused(tmp_path, places):
    write_series(tmp_path / "s", places)
    refused(lambda: read_image(tmp_path / "s"), tmp_path / "s", "missing or doubled")


def test_a_sheared_series_is_refused(tmp_path):
    write_series(tmp_path / "s", [0, 2.5, 5, 7.5], drift=0.5)
    refused(lambda: read_image(tmp_path / "s"), tmp_path / "s", "gantry")


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("nothing here")
    refused(lambda: read_image(tmp_path), tmp_path, "no DICOM series")


# --- labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*SCANS, "seg.nrrd"])
@pytest.mark.parametrize("top", [3, 300, 70000])
def test_label_maps_keep_values_and_place(tmp_path, rng, suffix, top):
    values = rng.choice([0, 1, top], (5, 6, 7))
    labels = LabelMap(values, Grid((5, 6, 7), AFFINES["oblique"]))
    back = read_labels(labels.write(tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(back.array, values)
    assert back.values == (1, top)
    assert back.grid.matches(labels.grid)


def test_segment_names_survive(tmp_path):
    values = np.zeros((3, 4, 5), np.int32)
    values[0, 0, :2] = (1, 4)
    labels = LabelMap(values, Grid.regular((3, 4, 5)), {1: "necrotic core", 4: "enhancing tumour"})
    back = read_labels(labels.write(tmp_path / "a.seg.nrrd"))
    assert back.names == labels.names
    header = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "Segment1_Name:=enhancing tumour" in header
    assert "Segment1_LabelValue:=4" in header


def write_layers(path, layers, fields):
    """Write what Slicer writes of overlapping segments: a list axis first, then three axes of space."""
    header = [
        "NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior",
        f"sizes: {len(layers)} 5 4 3", "space directions: none (1,0,0) (0,2,0) (0,0,3)",
        "kinds: list domain domain domain", "encoding: gzip", "space origin: (10,20,30)", *fields, "", "",
    ]  # fmt: skip
    voxels = np.moveaxis(np.stack(layers), 0, -1).astype(np.uint8).tobytes()
    path.write_bytes("\n".join(header).encode() + gzip.compress(voxels))


def segment(index, name, value=None, layer=None):
    fields = [f"Segment{index}_ID:=S{index}", f"Segment{index}_Name:={name}"]
    fields += [f"Segment{index}_LabelValue:={value}", f"Segment{index}_Layer:={layer}"] if value is not None else []
    return fields


def test_overlapping_segments_of_slicer_are_merged_the_later_one_on_top(tmp_path):
    first, second = np.zeros((3, 4, 5)), np.zeros((3, 4, 5))
    first[1, 2, :3] = (1, 1, 2)
    second[1, 2, 1:4] = 1
    fields = segment(0, "lung", 1, 0) + segment(1, "heart", 2, 0) + segment(2, "clavicle", 1, 1)
    write_layers(tmp_path / "a.seg.nrrd", [first, second], fields)
    labels = read_labels(tmp_path / "a.seg.nrrd")
    assert labels.names == {1: "lung", 2: "heart", 3: "clavicle"}
    assert labels.array[1, 2].tolist() == [1, 3, 3, 3, 0]
    assert labels.array.astype(bool).sum() == 4
    np.testing.assert_allclose(labels.grid.affine @ (1, 2, 3, 1), (13, 24, 33, 1))


def test_segments_of_an_old_slicer_have_a_layer_each(tmp_path):
    first, second = np.zeros((3, 4, 5)), np.zeros((3, 4, 5))
    first[0, 0, 0] = second[2, 3, 4] = 1
    write_layers(tmp_path / "a.seg.nrrd", [first, second], segment(0, "a") + segment(1, "b"))
    labels = read_labels(tmp_path / "a.seg.nrrd")
    assert labels.names == {1: "a", 2: "b"}
    assert (labels.array[0, 0, 0], labels.array[2, 3, 4]) == (1, 2)


def test_relabelling_swaps_at_once_and_takes_names_along():
    labels = LabelMap(np.array([[0, 1, 2]]), Grid.regular((1, 3)), {1: "a", 2: "b"}).relabelled({1: 2, 2: 1})
    assert labels.array.tolist() == [[0, 2, 1]]
    assert labels.names == {2: "a", 1: "b"}


def test_label_maps_that_are_none_are_refused(tmp_path, rng):
    grid = Grid.regular((40, 40, 40))
    empty = LabelMap(np.zeros((3, 4, 5)), Grid.regular((3, 4, 5))).write(tmp_path / "empty.nii.gz")
    refused(lambda: read_labels(empty), empty, "empty")
    scan = Image.from_array(rng.normal(size=(1, 3, 4, 5))).write(tmp_path / "scan.nii.gz")
    refused(lambda: read_labels(scan), scan, "whole numbers")
    many = LabelMap(np.arange(64000).reshape(40, 40, 40), grid).write(tmp_path / "many.nii.gz")
    refused(lambda: read_labels(many), many, "distinct values")
    Pillow.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(tmp_path / "rgb.png")
    refused(lambda: read_labels(tmp_path / "rgb.png"), "rgb.png", "3 different channels")


def test_label_values_a_format_cannot_hold_are_refused(tmp_path):
    grid = Grid.regular((1, 2))
    refused(lambda: LabelMap(np.array([[0, 70000]]), grid).write(tmp_path / "a.png"), "a.png", "int32")
    refused(lambda: LabelMap(np.array([[-1, 2]]), grid).write(tmp_path / "a.png"), "a.png", "int32")
    refused(lambda: LabelMap(np.array([[0, 2]]), grid).write(tmp_path / "a.jpg"), "a.jpg", "JPEG")
    assert read_labels(LabelMap(np.array([[0, -3]]), grid).write(tmp_path / "a.nii")).values == (-3,)


# --- the mark -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha", "png", "jpg", "tif"])
def test_marked_images_say_so_in_their_header_and_when_read_back(tmp_path, suffix):
    picture = suffix in ("png", "jpg", "tif")
    image = Image.from_array(np.full((1, 8, 8) if picture else (1, 3, 4, 5), 100.0)).with_array
    marked, plain = (image(np.full((1, 8, 8) if picture else (1, 3, 4, 5), 100.0), mark=m) for m in (MARK, ""))
    dtype = "uint8" if picture else "float32"
    path = marked.write(tmp_path / f"a.{suffix}", dtype=dtype)
    back = read_image(path)
    assert back.mark == MARK
    np.testing.assert_array_equal(back.array, marked.array)
    assert read_image(plain.write(tmp_path / f"b.{suffix}", dtype=dtype)).mark == ""
    if suffix.startswith("nii"):
        assert bytes(nibabel.load(path).header["descrip"]).rstrip(b"\0").decode() == MARK
    elif picture:
        other = Pillow.open(path)
        texts = {"png": "Comment", "jpg": "comment"}
        text = other.tag_v2[270] if suffix == "tif" else other.info[texts[suffix]]
        assert (text.decode() if isinstance(text, bytes) else text) == MARK
        np.testing.assert_array_equal(np.asarray(other), 100)


def test_one_marked_channel_marks_the_image_and_a_format_without_room_is_refused(tmp_path):
    image = Image.from_array(np.ones((1, 3, 4, 5)))
    paths = [image.write(tmp_path / "a.nii"), image.with_array(image.array, mark=MARK).write(tmp_path / "b.nii")]
    assert read_image(paths).mark == MARK
    flat = Image.from_array(np.ones((1, 4, 5))).with_array(np.ones((1, 4, 5)), mark=MARK)
    refused(lambda: flat.write(tmp_path / "a.bmp", dtype="uint8"), "a.bmp", "mark")
    assert not (tmp_path / "a.bmp").exists()


# --- bad files ----------------------------------------------------------------------------------------------


def a_file(folder, rng, suffix, dtype="float32"):
    path = folder / f"whole.{suffix}"
    if suffix in ("png", "jpg", "tif", "bmp"):
        Pillow.fromarray(rng.integers(0, 256, (60, 64, 3)).astype(np.uint8)).save(path)
    else:
        voxels = rng.normal(100, 30, (16, 17, 18)).astype(dtype)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path), suffix != "raw.nrrd")
    return path


@pytest.mark.parametrize("part", [0.05, 0.6, 0.999])
@pytest.mark.parametrize("suffix", [*SCANS, "png", "jpg", "tif", "bmp"])
def test_truncated_files_are_refused_in_silence(tmp_path, rng, capfd, suffix, part):
    whole = a_file(tmp_path, rng, suffix)
    assert np.ptp(read_image(whole).array) > 0
    cut = tmp_path / f"cut.{suffix}"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * part)])
    capfd.readouterr()
    refused(lambda: read_image(cut), cut)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_truncated_nifti_of_any_type_is_refused(tmp_path, rng, suffix, dtype):
    data = a_file(tmp_path, rng, suffix, dtype).read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[:-9])
    refused(lambda: read_image(tmp_path / f"cut.{suffix}"), "truncated or damaged")
    refused(lambda: read_labels(tmp_path / f"cut.{suffix}"), "truncated or damaged")


def test_a_flipped_byte_in_a_compressed_file_is_noticed(tmp_path, rng):
    data = bytearray(a_file(tmp_path, rng, "nii.gz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.nii.gz").write_bytes(data)
    refused(lambda: read_image(tmp_path / "bad.nii.gz"), "truncated or damaged")


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti1Pair])
def test_headers_of_all_kinds_are_checked_and_read(tmp_path, rng, kind, endian):
    voxels = rng.normal(size=(7, 6, 5)).astype(np.float32)
    path = tmp_path / ("a.hdr" if kind is nibabel.Nifti1Pair else "a.nii")
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(np.dtype("f4").newbyteorder(endian))
    nibabel.save(kind(voxels, np.eye(4), header), path)
    np.testing.assert_array_equal(read_image(path).array[0], voxels.T)
    data = path.with_suffix(".img") if path.suffix == ".hdr" else path
    data.write_bytes(data.read_bytes()[:-4])
    refused(lambda: read_image(path), path, "truncated or damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [*SCANS, "tif"])
def test_voxels_that_are_no_numbers_are_counted_not_zeroed(tmp_path, suffix, value):
    voxels = np.ones((9, 10) if suffix == "tif" else (3, 9, 10), np.float32)
    voxels[..., 0, :2] = value
    path = tmp_path / f"a.{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path))
    refused(lambda: read_image(path), path, "2 NaN" if suffix == "tif" else "6 NaN")
    refused(lambda: read_labels(path), path)


def test_files_of_another_kind_are_refused_in_silence(tmp_path, capfd):
    (tmp_path / "text.nii.gz").write_text("this is no scan\n" * 200)
    (tmp_path / "nothing.nii.gz").write_bytes(b"")
    (tmp_path / "text.mha").write_text("NDims = 3\n")
    (tmp_path / "zip.nii.gz").write_bytes(gzip.compress(b"no scan either" * 300))
    for name in ("text.nii.gz", "nothing.nii.gz", "zip.nii.gz", "text.mha"):
        refused(lambda name=name: read_image(tmp_path / name), tmp_path / name, "SimpleITK")
    refused(lambda: read_image(tmp_path / "absent.nii.gz"), tmp_path / "absent.nii.gz", "no such file")
    refused(lambda: read_image([]), "no image file")
    assert capfd.readouterr() == ("", "")


def test_nifti_2_is_refused_by_name(tmp_path):
    nibabel.save(nibabel.Nifti2Image(np.ones((5, 6, 7), np.float32), np.eye(4)), tmp_path / "a.nii")
    refused(lambda: read_image(tmp_path / "a.nii"), "NIfTI-2")


def test_stderr_comes_back_after_reading_in_several_threads(tmp_path, rng, capfd):
    paths = [an_image(rng).write(tmp_path / f"{index}.nii.gz") for index in range(8)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(read_image, paths * 5))
    assert len(images) == 40
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_voxels_that_are_no_intensities_are_refused(tmp_path, rng):
    numbers = rng.normal(size=(3, 4, 5, 6, 3)).astype(np.float32)
    pictures = {
        "complex.nrrd": (SimpleITK.GetImageFromArray(numbers[..., 0, 0].astype(np.complex64)), "complex"),
        "vectors.nrrd": (SimpleITK.GetImageFromArray(numbers, isVector=True), "axes of vectors"),
        "huge.nrrd": (SimpleITK.GetImageFromArray(np.full((3, 4, 5), 1e300)), "enormous"),
    }
    for name, (picture, words) in pictures.items():
        SimpleITK.WriteImage(picture, str(tmp_path / name))
        refused(lambda name=name: read_image(tmp_path / name), tmp_path / name, words)
    nibabel.save(nibabel.Nifti1Image(numbers, np.eye(4)), tmp_path / "five.nii.gz")
    refused(lambda: read_image(tmp_path / "five.nii.gz"), "five.nii.gz", "5 axes")


def test_sheared_geometry_is_refused_both_ways(tmp_path, rng):
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6, 7), np.float32), sheared), tmp_path / "a.nii.gz")
    refused(lambda: read_image(tmp_path / "a.nii.gz"), "a.nii.gz", "perpendicular")
    refused(lambda: an_image(rng, sheared).write(tmp_path / "b.nii.gz"), "perpendicular")


def test_wrong_number_of_channel_names_is_refused(tmp_path, rng):
    path = an_image(rng).write(tmp_path / "a.nii")
    refused(lambda: read_image(path, names=("t1", "t2")), "1 channels read, but 2 expected")


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "words"),
    [
        ("a.png", (1, 4, 5), "float32", "uint8, uint16"),
        ("a.jpg", (1, 4, 5), "uint16", "uint8"),
        ("a.png", (1, 3, 4, 5), "uint8", "one slice"),
        ("a.png", (4, 4, 5), "uint8", "1 or 3 channels"),
        ("a.tif", (2, 4, 5), "float32", "1 or 3 channels"),
        ("a.foo", (1, 4, 5), "float32", "unknown image format '.foo'"),
        ("a.nii", (1, 4, 5), "float64", "unknown dtype 'float64'"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_writing(tmp_path, name, shape, dtype, words):
    refused(lambda: Image.from_array(np.ones(shape)).write(tmp_path / name, dtype=dtype), words)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["absent/a.nii.gz", "file.txt/a.png", "folder.nrrd"])
def test_a_place_that_cannot_be_written_is_no_fault_of_the_request(tmp_path, capfd, name):
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(AdvSegError, match="cannot write") as caught:
        Image.from_array(np.ones((1, 4, 5))).write(tmp_path / name, dtype="uint8")
    assert not isinstance(caught.value, BadRequest)
    assert str(tmp_path / name) in str(caught.value)
    assert capfd.readouterr() == ("", "")


# --- real scans ---------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["tcga_fg_6692/fla.nii.gz", "sct/t2.nii.gz", "t1_head/t1_crop.nii.gz"])
def test_real_scans_agree_with_nibabel_and_survive_writing(real_data, tmp_path, name):
    path = real_data(name)
    image, other = read_image(path), nibabel.load(path)
    np.testing.assert_allclose(image.array[0], other.get_fdata().T, rtol=1e-6)
    np.testing.assert_allclose(image.affine, TO_RAS @ other.affine[:, [2, 1, 0, 3]], atol=1e-4)
    back = read_image(image.write(tmp_path / "a.nii"))
    np.testing.assert_array_equal(back.array, image.array)
    assert back.grid.matches(image.grid)


@pytest.mark.real_data
def test_a_real_label_map_lies_on_its_scan(real_data):
    scan = read_image(real_data("pyradiomics/brain1_image.nrrd"))
    labels = read_labels(real_data("pyradiomics/brain1_label.nrrd"), scan.grid)
    assert labels.values == (1,)
    assert labels.grid.spacing == pytest.approx((6.5, 0.78, 0.78), rel=0.01)
    inside = scan.array[0][labels.array == 1]
    assert inside.mean() > scan.array[0].mean()  # an enhancing tumour on T1Gd
