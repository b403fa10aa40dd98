"""Regions allow noise where they say: margins in mm, and receptive fields as brute force finds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from AdvSegLib.cases.chest_phantom import chest_phantom
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme, chest_scheme
from AdvSegLib.regions import REGIONS, body_mask, describe_regions, make_region
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.receptive_field import receptive_field
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.volumes import Grid, Image, LabelMap, read_image

TWO = LabelScheme.softmax("a", "b")


def a_case(shape: tuple[int, ...], spacing: float | tuple[float, ...] = 1.0) -> tuple[Image, LabelMap]:
    image = Image.from_array(np.random.default_rng(3).normal(size=(1, *shape)), spacing)
    return image, LabelMap(np.zeros(shape, int), image.grid)


def with_box(labels: LabelMap, *box: tuple[int, int], value: int = 1) -> LabelMap:
    array = labels.array.copy()
    array[tuple(slice(*b) for b in box)] = value
    return LabelMap(array, labels.grid)


def a_segmenter(network: nn.Module, dims: int = 2, **options: object) -> Segmenter:
    return Segmenter(network, Spec.plain(TWO, dims=dims, **options))  # type: ignore[arg-type]


PLAIN = a_segmenter(nn.Conv2d(1, 3, 1))


def by_brute_force(segmenter: Segmenter, image: Image, inside: np.ndarray, size: float = 30.0) -> np.ndarray:
    """Change each voxel in turn, in float64, and see whether any logit inside the structure changes."""
    bound = segmenter.on(image)
    x = torch.from_numpy(image.array).double()[None]
    where = torch.from_numpy(inside)
    changed = np.zeros(inside.size, bool)
    with torch.no_grad():
        clean = bound.logits(x)[:, :, where]
        for index in range(inside.size):
            for push in (size, -size):
                noisy = x.clone()
                noisy.view(-1)[index] += push
                changed[index] |= bool((bound.logits(noisy)[:, :, where] - clean).abs().max() > 1e-11)
    return changed.reshape(inside.shape)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("layers", [1, 3, 20])
def test_stacked_convolutions_reach_one_voxel_a_layer(dims: int, layers: int) -> None:
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    widths = [1, *[4] * layers]
    stack = [m for i, o in pairwise(widths) for m in (conv(i, o, 3, padding=1), nn.ReLU())]
    image, empty = a_case((51, 13, 11)[:dims])
    labels = with_box(empty, (25, 27), *[(6, 7)] * (dims - 1))
    network = nn.Sequential(*stack, conv(4, 3, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()  # the architecture counts, not the weights
    mask = make_region("receptive-field", structure="a").mask(a_segmenter(network, dims), image, labels)
    wanted = np.zeros(image.grid.shape, bool)
    reach = [(a - layers, b + layers) for a, b in ((25, 27), (6, 7), (6, 7))[:dims]]
    wanted[tuple(slice(max(a, 0), b) for a, b in reach)] = True
    assert (mask == wanted).all()
    assert next(network.parameters()).dtype == torch.float32  # the caller's network is left alone
    assert next(network.parameters()).requires_grad


class Pooled(nn.Module):
    """A small U-Net with batch norm, max-pool and a functional rectifier."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(slope))
        self.pool = nn.MaxPool2d(2)
        self.deep = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.down(x)
        deep = F.leaky_relu(self.deep(self.pool(skip)), self.slope)
        return self.head(torch.cat([skip, self.up(deep)], dim=1))


@pytest.mark.parametrize(
    "options", [{}, {"multiple": 4}, {"spacing": (1.5, 1.5)}], ids=["plain", "padded", "resampled"]
)
def test_a_unet_agrees_with_brute_force(options: dict[str, object]) -> None:
    torch.manual_seed(5)
    shape = (18, 15) if "multiple" in options else (20, 16)
    options = options or {"multiple": 2}
    options = {"multiple": 2, **options}
    segmenter = a_segmenter(Pooled(0.2).double(), **options)
    image, empty = a_case(shape)
    labels = with_box(empty, (8, 9), (7, 9))
    field = receptive_field(segmenter, image, labels.array == 1)
    found = by_brute_force(segmenter, image, labels.array == 1)
    assert (field == found).all()
    assert not field.all()


def test_rectifiers_and_weights_only_ever_narrow_the_field() -> None:
    torch.manual_seed(6)
    image, empty = a_case((18, 18))
    inside = with_box(empty, (9, 10), (9, 10)).array == 1
    layers = [
        nn.Conv2d(1, 2, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 1, 1),
        nn.Hardtanh(),
        nn.Conv2d(2, 3, 3, padding=1),
    ]
    network = nn.Sequential(*layers).double()
    segmenter = a_segmenter(network)
    field, found = receptive_field(segmenter, image, inside), by_brute_force(segmenter, image, inside)
    assert not (found & ~field).any()
    assert field.sum() == 9**2  # 2 + 1 + 1 to each side


@settings(max_examples=10, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5]), dilation=st.integers(1, 3), stride=st.sampled_from([1, 2]),
    place=st.tuples(st.integers(0, 15), st.integers(0, 15)), seed=st.integers(0, 99),
)  # fmt: skip
def test_dilated_and_strided_convolutions_agree_with_brute_force(
    kernel: int, dilation: int, stride: int, place: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    pad = dilation * (kernel - 1) // 2
    rise = nn.Upsample(scale_factor=float(stride), mode="nearest") if stride > 1 else nn.Identity()
    network = nn.Sequential(
        nn.Conv2d(1, 3, kernel, stride, pad, dilation), nn.PReLU(), rise, nn.Conv2d(3, 3, 3, padding=1)
    ).double()
    image, empty = a_case((16, 16))
    inside = with_box(empty, (place[0], place[0] + 1), (place[1], place[1] + 1)).array == 1
    segmenter = a_segmenter(network)
    assert (receptive_field(segmenter, image, inside) == by_brute_force(segmenter, image, inside)).all()


def bortsova_rows(level: int, low: int, high: int) -> tuple[int, int]:
    """Input rows behind rows ``low`` to ``high`` of a level's decoder: two 3-kernels a level, halved by 2-kernels."""
    if level < 4:
        low, high = low - 2, high + 2
        deeper = bortsova_rows(level + 1, low // 2, high // 2)
    low, high, wide = low - 2, high + 2, level
    while wide:
        low, high, wide = 2 * low - 2, 2 * high + 1 + 2, wide - 1
    return (min(low, deeper[0]), max(high, deeper[1])) if level < 4 else (low, high)


@pytest.mark.parametrize("place", [144, 151])
def test_the_network_of_paper_003_by_the_arithmetic_of_its_kernels(place: int) -> None:
    segmenter = Segmenter(build_network("bortsova2020", base=2), Spec.plain(chest_scheme(), dims=2, multiple=16))
    image, empty = a_case((288, 288))
    labels = with_box(empty, (place, place + 1), (144, 145))
    mask = make_region("receptive-field", structure="heart").mask(segmenter, image, labels)
    low, high = bortsova_rows(0, place, place)
    rows = np.flatnonzero(mask.any(axis=1))
    assert (rows[0], rows[-1]) == (low, high)
    left, right = bortsova_rows(0, 144, 144)
    assert mask.sum() == (high - low + 1) * (right - left + 1)


@pytest.mark.parametrize("norm", ["instance", ("group", {"num_groups": 1})])
def test_norms_over_the_image_see_all_of_it(norm: object) -> None:
    network = build_network("unet2d", out_channels=3, channels=[4, 8], strides=[2], norm=norm)
    image, empty = a_case((32, 24))
    labels = with_box(empty, (3, 5), (3, 5))
    region = make_region("receptive-field", structure="a")
    assert region.mask(a_segmenter(network, multiple=2), image, labels).all()


def test_a_2d_network_with_instance_norm_sees_the_slices_of_the_structure() -> None:
    network = build_network("unet2d", out_channels=3, channels=[4, 8], strides=[2], norm="instance")
    image, empty = a_case((6, 16, 16))
    labels = with_box(empty, (2, 4), (3, 5), (3, 5))
    mask = make_region("receptive-field", structure="a").mask(a_segmenter(network, multiple=2), image, labels)
    assert mask[2:4].all()
    assert not mask[[0, 1, 4, 5]].any()


def test_windows_cut_the_field_and_rectifiers_stay_open_when_they_are_run_again() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 9, padding=4), nn.ReLU(), nn.Conv2d(4, 3, 9, padding=4))
    with torch.no_grad():
        network[0].bias.fill_(-1e6)  # every rectifier shut
    image, empty = a_case((32, 32))
    labels = with_box(empty, (17, 18), (17, 18))
    mask = make_region("receptive-field", structure="a").mask(
        a_segmenter(network).windowed((16, 16), overlap=0.0), image, labels
    )
    wanted = np.zeros((32, 32), bool)
    wanted[16:26, 16:26] = True
    assert (mask == wanted).all()


def test_oriented_volumes_have_their_field_where_the_structure_is() -> None:
    image, empty = a_case((12, 10, 14))
    flipped = Grid(image.grid.shape, image.grid.affine @ np.diag([-1.0, 1, 1, 1]))
    image, labels = (
        Image(image.array, flipped, image.names),
        with_box(LabelMap(empty.array, flipped), (2, 3), (4, 5), (9, 10)),
    )
    segmenter = a_segmenter(nn.Conv3d(1, 3, (3, 1, 5), padding=(1, 0, 2)), dims=3, orientation="LPS")
    mask = make_region("receptive-field", structure="a").mask(segmenter, image, labels)
    wanted = np.zeros(labels.grid.shape, bool)
    wanted[0:5, 4:5, 8:11] = True  # network axes L, P, S are the array's 2, 1, 0
    assert (mask == wanted).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_cannot_be_looked_into() -> None:
    scripted = torch.jit.trace(nn.Conv2d(1, 3, 3, padding=1).eval(), torch.zeros(1, 1, 8, 8))
    image, empty = a_case((12, 12))
    region = make_region("receptive-field", structure="b")
    assert region.mask(a_segmenter(scripted), image, with_box(empty, (1, 2), (1, 2), value=2)).all()


def test_margins_are_in_millimetres() -> None:
    image, empty = a_case((30, 40, 40), (3.0, 1.0, 1.0))
    labels = with_box(empty, (15, 16), (20, 21), (20, 21))
    mask = make_region("structure", structure="a", margin_mm=6.0).mask(PLAIN, image, labels)
    offset = (np.indices(labels.grid.shape).T - (20, 20, 15)[::-1]).T * np.array([3, 1, 1]).reshape(3, 1, 1, 1)
    assert (mask == (np.linalg.norm(offset, axis=0) <= 6)).all()
    assert (make_region("structure", structure="a").mask(PLAIN, image, labels) == (labels.array == 1)).all()
    box = make_region("box", structure=1, margin_mm=3.5).mask(PLAIN, image, labels)
    wanted = np.zeros_like(box)
    wanted[14:17, 17:24, 17:24] = True
    assert (box == wanted).all()
    assert not (mask & ~make_region("box", structure="a", margin_mm=6.0).mask(PLAIN, image, labels)).any()


def test_boxes_end_at_the_grid() -> None:
    image, empty = a_case((8, 8))
    labels = with_box(empty, (0, 2), (5, 8))
    assert make_region("box", structure="a", margin_mm=2.0).mask(PLAIN, image, labels).sum() == 4 * 5


def test_a_mask_file_is_resampled_onto_the_image(tmp_path: Path) -> None:
    image, empty = a_case((12, 12, 12))
    coarse = Grid.regular((6, 6, 6), 2.0)
    drawn = with_box(
        with_box(LabelMap(np.zeros((6, 6, 6), int), coarse), (1, 3), (1, 3), (1, 3)), (4, 5), (4, 5), (4, 5), value=7
    )
    file = str(drawn.write(tmp_path / "m.nii.gz"))
    mask = make_region("mask", file=file).mask(PLAIN, image, empty)
    assert (mask == (drawn.onto(image.grid).array != 0)).all()
    assert make_region("mask", file=file, label=7).mask(PLAIN, image, empty).sum() == 8
    with pytest.raises(BadRequest, match="no voxel of label 3"):
        make_region("mask", file=file, label=3).mask(PLAIN, image, empty)


def test_body_of_a_stripped_brain_is_what_differs_from_the_background() -> None:
    inside = np.zeros((20, 20, 20), bool)
    inside[4:15, 5:16, 6:17] = True
    array = np.where(inside, np.random.default_rng(0).normal(100, 40, inside.shape), -3.0)
    array[8:10, 8:10, 8:10] = -3.0  # a ventricle of the background's value
    array[1, 1, 1] = 9.0  # a speck
    assert (body_mask(Image.from_array(array[None])) == inside).all()


def test_body_in_noisy_air_keeps_cavities(rng: np.random.Generator) -> None:
    _, y, x = np.indices((12, 48, 48)) - np.array([6, 24, 24]).reshape(3, 1, 1, 1)
    trunk, lung = (y / 16) ** 2 + (x / 20) ** 2 <= 1, (y / 6) ** 2 + ((x - 8) / 6) ** 2 <= 1
    hounsfield = np.where(trunk & ~lung, 40.0, -1000.0) + rng.normal(0, 20, trunk.shape)  # lungs leave by both ends
    assert (body_mask(Image.from_array(hounsfield[None])) == trunk).all()


@pytest.mark.parametrize("seed", range(5))
def test_body_on_a_chest_film_keeps_the_lungs(seed: int) -> None:
    image, truth = chest_phantom(seed, 256)
    mask = body_mask(image)
    assert mask[truth.array > 0].mean() > 0.97
    assert mask.mean() < 0.95


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("files", "litres"),
    [
        ([f"tcga_fg_6692/{name}.nii.gz" for name in ("t1", "t1c", "t2", "fla")], (1.2, 1.8)),
        (["t1_head/t1_crop.nii.gz"], (2.5, 4.5)),
        (["totalseg/ct.nii.gz"], (5.0, 8.0)),
    ],
    ids=["stripped", "head", "ct"],
)
def test_body_of_real_scans(real_data: Callable[[str], Path], files: list[str], litres: tuple[float, float]) -> None:
    image = read_image([real_data(name) for name in files])
    assert litres[0] < body_mask(image).sum() * image.grid.voxel_ml / 1000 < litres[1]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("structure", {"structure": "b"}, "b is absent from the label map, so there is no structure region"),
        ("box", {"structure": "c"}, "unknown structure 'c'"),
        ("box", {}, "box: say which structure"),
        ("mask", {}, "mask: give a label map file"),
        ("bodi", {}, "unknown region 'bodi'; did you mean 'body'"),
        ("structure", {"structure": "a", "margin_mm": -1.0}, "margin_mm must be >= 0"),
    ],
)
def test_refusals_say_what_is_wrong(name: str, parameters: dict[str, object], message: str) -> None:
    image, empty = a_case((8, 8))
    with pytest.raises(BadRequest, match=message):
        make_region(name, **parameters).mask(PLAIN, image, with_box(empty, (1, 2), (1, 2)))


def test_nothing_allowed_and_another_grid_are_refused() -> None:
    image, empty = a_case((8, 8))
    constant = image.with_array(np.zeros_like(image.array))
    with pytest.raises(BadRequest, match="region body: no voxel of the image is in it"):
        make_region("body").mask(PLAIN, constant, empty)
    with pytest.raises(BadRequest, match="another grid than the image"):
        make_region("body").mask(PLAIN, image, LabelMap(np.zeros((9, 9), int), Grid.regular((9, 9))))


def test_describing_is_json() -> None:
    listed = json.loads(json.dumps(describe_regions()))
    assert [kind["name"] for kind in listed] == list(REGIONS)
    assert all(p["doc"] for kind in listed for p in kind["parameters"])
