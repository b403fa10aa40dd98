"""Target maps are the shapes they say, in the places they say, however the grid is stored."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from AdvSegLib.cases.chest_phantom import chest_phantom
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import Label, LabelScheme, chest_scheme
from AdvSegLib.target_maps import TARGET_MAPS, describe_target_maps, find_structure, make_target_map
from AdvSegLib.target_maps.heart import UNIT, heart_mask, in_heart
from AdvSegLib.target_maps.places import centre_of_mass
from AdvSegLib.volumes import Grid, LabelMap

CHEST = chest_scheme()
TUMOUR = LabelScheme.binary("tumour")
TWO = LabelScheme.softmax("a", "b")


@pytest.fixture(scope="module")
def chest() -> LabelMap:
    return chest_phantom(1, 256)[1]


def ball(grid: Grid, centre: tuple[float, ...], radius: float, value: int = 1) -> np.ndarray:
    """A ball in mm about a fraction ``centre`` of the grid's extent."""
    rank = grid.rank
    index = np.indices(grid.shape).reshape(rank, -1)
    middle = np.array(centre) * (np.array(grid.shape) - 1)
    offset = grid.affine[:rank, :rank] @ (index - middle[:, None])
    return (value * (np.linalg.norm(offset, axis=0) <= radius)).reshape(grid.shape)


def oblique(shape: tuple[int, ...], spacing: tuple[float, ...], euler: tuple[float, float, float]) -> Grid:
    turn = np.array(sitk.Euler3DTransform((0, 0, 0), *euler).GetMatrix()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = turn[:, ::-1] * np.array(spacing)
    affine[:3, 3] = (-31.0, 12.5, 80.0)
    return Grid(shape, affine)


def restored(labels: LabelMap, order: tuple[int, ...], flips: tuple[bool, ...]) -> LabelMap:
    """The same labels in the same places, stored along other axes."""
    array = labels.array.transpose(order)
    affine = labels.grid.affine.copy()
    affine[:3, :3] = affine[:3, :3][:, list(order)]
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    return LabelMap(array, Grid(array.shape, affine), labels.names)


@pytest.mark.parametrize("dims", [2, 3])
def test_unit_heart_constants_agree_with_quadrature(dims: int) -> None:
    steps = np.linspace(-1.5, 1.5, 801 if dims == 2 else 161)
    points = np.stack(np.meshgrid(*[steps] * dims, indexing="ij"))
    mask = in_heart(points)
    assert mask.sum() * (steps[1] - steps[0]) ** dims == pytest.approx(UNIT[dims][0], rel=5e-3)
    assert points[:, mask].mean(axis=1) == pytest.approx(np.zeros(dims), abs=2e-3)


def test_heart_points_down_and_has_a_cleft() -> None:
    heart = heart_mask(Grid.regular((101, 101)), np.array([50.0, 50.0]), 2500)
    rows = np.flatnonzero(heart.any(axis=1))
    assert heart[rows[-1]].sum() <= 3  # the tip
    top = np.flatnonzero(heart[rows[0] + 1])
    assert np.diff(top).max() > 5  # two lobes, nothing between
    assert (heart == heart[:, ::-1]).all()


@pytest.mark.parametrize(("size", "fraction"), [("small", 0.4), ("large", 1.1)])
def test_heart_symbol_on_a_film(chest: LabelMap, size: str, fraction: float) -> None:
    target = make_target_map("heart-symbol", structure="heart", size=size).draw(chest, CHEST)
    old, new = chest.array == 1, target.array == 1
    assert new.sum() == pytest.approx(fraction * old.sum(), rel=0.005)
    assert np.abs(centre_of_mass(new, chest.grid) - centre_of_mass(old, chest.grid)).max() < 0.3
    kept = ~old & ~new
    assert (target.array[kept] == chest.array[kept]).all()
    assert (target.array[old & ~new] == 0).all()
    assert target.grid is chest.grid
    assert target.names == CHEST.names


@settings(max_examples=20, deadline=None)
@given(
    area=st.floats(0.3, 2.0), radius=st.floats(7, 10), spacing=st.tuples(*[st.floats(0.8, 2.5)] * 3),
    euler=st.tuples(*[st.floats(-0.6, 0.6)] * 3),
)  # fmt: skip
def test_heart_volume_place_and_upright_pose_on_oblique_anisotropic_grids(
    area: float, radius: float, spacing: tuple[float, ...], euler: tuple[float, float, float]
) -> None:
    shape = tuple(int(50 / step) for step in spacing[::-1])
    grid = oblique(shape, spacing[::-1], euler)
    base = LabelMap(ball(grid, (0.5, 0.5, 0.5), radius), grid)
    target = make_target_map("heart-symbol", structure="tumour", area=area).draw(base, TUMOUR)
    before, after = int((base.array == 1).sum()), int((target.array == 1).sum())
    assert after == pytest.approx(area * before, rel=0.03, abs=4)
    shift = centre_of_mass(target.array == 1, grid) - centre_of_mass(base.array == 1, grid)
    assert np.linalg.norm(shift) < 0.5 * max(spacing)
    points = grid.affine[:3, :3] @ np.argwhere(target.array == 1).T
    points = points - points.mean(axis=1, keepdims=True)
    assert (points[2] ** 3).mean() < 0  # the point is inferior: skewed downwards
    spread = points.std(axis=1)
    assert spread[0] > spread[1] * 1.2  # wide to the left and right, flat from front to back
    assert spread[2] > spread[1] * 1.2


ORDERS = [(order, flips) for order, flips in product(permutations(range(3)), product((False, True), repeat=3))]
KINDS = [
    ("heart-symbol", {"structure": "2", "size": "small"}),
    ("resized", {"structure": "2", "factor": 1.37}),
    ("moved", {"structure": "2", "left": 7.3, "posterior": -4.1, "superior": 5.2}),
]


@pytest.mark.parametrize(("name", "parameters"), KINDS, ids=[k[0] for k in KINDS])
def test_storage_order_does_not_matter(name: str, parameters: dict[str, object]) -> None:
    grid = oblique((19, 27, 23), (1.7, 0.9, 1.3), (0.21, -0.13, 0.34))
    array = np.maximum(ball(grid, (0.52, 0.47, 0.55), 8.03), ball(grid, (0.44, 0.61, 0.41), 6.07, 2))
    base = LabelMap(array, grid)
    made = make_target_map(name, **parameters)
    wanted = made.draw(base, TWO)
    for order, flips in ORDERS:
        stored = restored(base, order, flips)
        drawn = made.draw(stored, TWO)
        assert (drawn.onto(grid).array != wanted.array).sum() <= 2, (order, flips)  # ties at the very boundary


def test_heart_in_a_single_slice_is_a_flat_heart_the_right_way_up() -> None:
    flat = LabelMap(ball(Grid.regular((64, 64)), (0.5, 0.5), 15), Grid.regular((64, 64)))
    wanted = make_target_map("heart-symbol", structure="1").draw(flat, TUMOUR).array
    film = LabelMap(flat.array[None], flat.grid.lifted())  # as a radiograph comes out of DICOM
    assert (make_target_map("heart-symbol", structure="1").draw(film, TUMOUR).array[0] == wanted).all()
    coronal = np.eye(4)
    coronal[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])  # array axes to S, P, L: superior runs down the rows
    stored = LabelMap(flat.array[:, None, :], Grid((64, 1, 64), coronal))
    drawn = make_target_map("heart-symbol", structure="1").draw(stored, TUMOUR).array[:, 0]
    assert (drawn[::-1] == wanted).all()


@pytest.mark.parametrize("factor", [0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.8])
@pytest.mark.parametrize("structure", ["heart", "left clavicle", "right lung"])
def test_resizing_scales_area_by_the_square_about_the_centre(chest: LabelMap, structure: str, factor: float) -> None:
    target = make_target_map("resized", structure=structure, factor=factor).draw(chest, CHEST)
    value = find_structure(structure, CHEST).values[0]
    old, new = chest.array == value, target.array == value
    if factor == 1.0:
        assert (target.array == chest.array).all()
    if new[0].any() or new[-1].any() or new[:, 0].any() or new[:, -1].any():
        return  # clipped by the film
    assert new.sum() == pytest.approx(factor**2 * old.sum(), rel=0.06 if "clavicle" in structure else 0.02)
    assert np.abs(centre_of_mass(new, chest.grid) - centre_of_mass(old, chest.grid)).max() < 0.6


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.0, 0.7, 2.0)])
def test_resizing_is_isotropic_in_mm(spacing: tuple[float, ...]) -> None:
    grid = Grid.regular([int(60 / s) for s in spacing], spacing)
    base = LabelMap(ball(grid, (0.5, 0.5, 0.5), 10.0), grid)
    target = make_target_map("resized", structure="tumour", factor=1.5).draw(base, TUMOUR)
    wanted = ball(grid, (0.5, 0.5, 0.5), 15.0)
    overlap = 2 * (target.array & wanted).sum() / (target.array.sum() + wanted.sum())
    assert overlap > 0.94


def test_a_region_is_resized_as_one_block() -> None:
    grid = Grid.regular((60, 60, 60))
    nested = ball(grid, (0.49, 0.52, 0.5), 25, 2)
    nested[ball(grid, (0.49, 0.52, 0.5), 18) > 0] = 4
    nested[ball(grid, (0.49, 0.52, 0.5), 11) > 0] = 1
    base = LabelMap(nested, grid)
    target = make_target_map("resized", structure="WT", factor=0.6).draw(base, LabelScheme.brats())
    for value in (1, 2, 4):
        share = (target.array == value).sum() / (nested == value).sum()
        assert share == pytest.approx(0.6**3, rel=0.05)
    assert target.array[29, 31, 30] == 1


@settings(max_examples=40, deadline=None)
@given(offset=st.tuples(*[st.integers(-6, 6)] * 3).filter(any), axes=st.permutations(range(3)))
def test_moving_there_and_back(offset: tuple[int, int, int], axes: list[int]) -> None:
    grid = Grid.regular((30, 30, 30), (2.0, 1.0, 1.0))
    array = np.zeros(grid.shape, int)
    array[11:18, 10:19, 12:17] = np.random.default_rng(sum(offset) + 99).integers(0, 2, (7, 9, 5))
    array[14, 14, 14] = 1
    base = restored(LabelMap(array, grid), tuple(axes), (True, False, True))
    z, y, x = offset
    there = make_target_map("moved", structure="1", left=float(x), posterior=float(y), superior=2.0 * z)
    back = make_target_map("moved", structure="1", left=-float(x), posterior=-float(y), superior=-2.0 * z)
    moved = there.draw(base, TUMOUR)
    shift = centre_of_mass(moved.array == 1, base.grid) - centre_of_mass(base.array == 1, base.grid)
    assert shift == pytest.approx([x, y, 2 * z])
    assert (back.draw(moved, TUMOUR).array == base.array).all()


def test_a_film_is_moved_along_the_picture(chest: LabelMap) -> None:
    step = chest.grid.spacing[0]
    target = make_target_map("moved", structure="heart", image_right=10 * step, image_down=-7 * step).draw(
        chest, CHEST
    )
    assert ((target.array == 1)[: -7 or None, 10:] == (chest.array == 1)[7:, :-10]).all()
    lifted = LabelMap(chest.array[None], chest.grid.lifted())
    same = make_target_map("moved", structure="heart", image_right=10 * step, image_down=-7 * step).draw(lifted, CHEST)
    assert (same.array[0] == target.array).all()


def test_erased_and_constant(chest: LabelMap) -> None:
    erased = make_target_map("erased", structure="LEFT lung").draw(chest, CHEST)
    assert erased.values == (1, 3, 4, 5)
    assert (erased.array[chest.array == 2] == 0).all()
    assert make_target_map("erased", structure="1").draw(LabelMap(chest.array == 1, chest.grid), TUMOUR).values == ()
    assert set(np.unique(make_target_map("constant", label=3).draw(chest, CHEST).array)) == {3}


def test_what_is_partly_outside_is_clipped_and_keeps_its_size() -> None:
    grid = Grid.regular((40, 40))
    base = LabelMap(ball(grid, (0.0, 0.5), 12), grid)
    wide = Grid.regular((120, 120))
    centre = centre_of_mass(base.array == 1, grid)
    whole = heart_mask(wide, centre + 40, 1.1 * (base.array == 1).sum())
    target = make_target_map("heart-symbol", structure="1").draw(base, TUMOUR)
    assert (target.array == whole[40:80, 40:80]).all()
    assert whole[:40].any()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("erased", {"structure": "hart"}, "unknown structure 'hart'; did you mean 'heart'"),
        ("heart-symbol", {"structure": "left clavicle"}, "left clavicle is absent.*no place to put the symbol"),
        ("resized", {"structure": "9"}, "unknown structure '9'"),
        ("erased", {}, "erased: say which structure"),
        ("drawn", {}, "drawn: give a label map file"),
        ("resized", {"structure": "heart", "factor": 7.0}, "factor must be >= 0.05 and <= 5"),
        ("constant", {"label": 9}, "constant target holds labels"),
        ("moved", {"structure": "heart"}, "offset is less than half a voxel"),
        ("moved", {"structure": "heart", "left": 5.0}, "2-D film has no patient axes; give image_right"),
        ("moved", {"structure": "heart", "image_down": 1e5}, "nothing of heart would be left on the image's grid"),
        ("heart-symbol", {"structure": "heart", "size": "huge"}, "size must be one of small, large"),
        ("heartsymbol", {"structure": "heart"}, "unknown target map 'heartsymbol'; did you mean 'heart-symbol'"),
        ("erased", {"struct": "heart"}, "unknown parameter of erased 'struct'; did you mean 'structure'"),
    ],
)
def test_refusals_say_what_is_wrong(chest: LabelMap, name: str, parameters: dict[str, object], message: str) -> None:
    base = LabelMap(np.where(chest.array == 4, 0, chest.array), chest.grid)
    with pytest.raises(BadRequest, match=message):
        make_target_map(name, **parameters).draw(base, CHEST)


def test_unions_have_no_one_label_to_draw_a_heart_with() -> None:
    scheme = LabelScheme.brats()
    base = LabelMap(np.full((9, 9, 9), 4), Grid.regular((9, 9, 9)))
    with pytest.raises(
        BadRequest, match="WT is a union of several; name one: necrotic core, oedema, enhancing tumour"
    ):
        make_target_map("heart-symbol", structure="WT").draw(base, scheme)
    assert make_target_map("heart-symbol", structure="et", size="small").draw(base, scheme).values == (4,)
    lone = LabelMap(np.eye(1, 729, 364, dtype=int).reshape(9, 9, 9), base.grid)
    with pytest.raises(BadRequest, match="smaller than one voxel"):
        make_target_map("heart-symbol", structure="1", size="small").draw(lone, TUMOUR)
    with pytest.raises(BadRequest, match="volume is moved by left, posterior and superior"):
        make_target_map("moved", structure="ET", image_down=2.0).draw(base, scheme)


def test_a_number_names_a_label_unless_a_label_is_called_so() -> None:
    odd = LabelScheme("softmax", (Label(1, "2"), Label(2, "x")))
    assert find_structure("2", odd).values == (1,)
    assert find_structure("1", odd).values == (1,)
    assert make_target_map("erased", structure=2) == make_target_map("erased", structure="2")


def test_a_drawing_replaces_what_it_shows(chest: LabelMap, tmp_path: Path) -> None:
    shape = np.zeros_like(chest.array)
    shape[100:140, 60:200] = 1
    file = LabelMap(shape, chest.grid).write(tmp_path / "drawing.nii.gz")
    target = make_target_map("drawn", file=str(file)).draw(chest, CHEST)
    assert ((target.array == 1) == (shape == 1)).all()
    others = (shape == 0) & (chest.array != 1)
    assert (target.array[others] == chest.array[others]).all()
    assert target.values == chest.values
    whole = make_target_map("drawn", file=str(file), replace="everything").draw(chest, CHEST)
    assert (whole.array == shape).all()


def test_a_drawing_from_slicer_goes_by_segment_names_and_a_painted_one_by_what_it_stands_for(
    chest: LabelMap, tmp_path: Path
) -> None:
    shape = np.zeros_like(chest.array)
    shape[20:60, 20:60] = 1
    named = LabelMap(shape, chest.grid, {1: "Left Clavicle"}).write(tmp_path / "a.seg.nrrd")
    assert ((make_target_map("drawn", file=str(named)).draw(chest, CHEST).array == 4) == (shape == 1)).all()
    painted = LabelMap(shape * 255, chest.grid).write(tmp_path / "b.png")
    by_structure = make_target_map("drawn", file=str(painted), structure="heart").draw(chest, CHEST)
    assert ((by_structure.array == 1) == (shape == 1)).all()
    with pytest.raises(BadRequest, match=r"b.png holds labels \[255\]"):
        make_target_map("drawn", file=str(painted)).draw(chest, CHEST)
    mixed = LabelMap(shape + np.roll(shape, 80) * 2, chest.grid, {1: "heart", 2: "spleeen"})
    with pytest.raises(BadRequest, match="spleeen"):
        make_target_map("drawn", file=str(mixed.write(tmp_path / "c.seg.nrrd"))).draw(chest, CHEST)


def test_another_case_is_aligned_as_asked(tmp_path: Path) -> None:
    grid = Grid.regular((40, 40, 40))
    base = LabelMap(ball(grid, (0.5, 0.5, 0.5), 9) + ball(grid, (0.1, 0.1, 0.1), 3, 2), grid)
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) @ np.eye(4)[[2, 1, 0, 3]]
    affine[:3, 3] = (-5, 4, 3)
    own = Grid((20, 20, 20), affine)
    other = LabelMap(ball(own, (0.35, 0.4, 0.5), 8), own)
    file = str(other.write(tmp_path / "other.nii.gz"))
    there = make_target_map("other-case", file=file).draw(base, TWO)
    assert (there.array == other.onto(grid).array).all()
    centred = make_target_map("other-case", file=file, align="centre-of-mass", structure="a").draw(base, TWO)
    gap = centre_of_mass(centred.array == 1, grid) - centre_of_mass(base.array == 1, grid)
    assert np.abs(gap).max() < 0.6
    assert (centred.array == 2).sum() == (base.array == 2).sum()
    with pytest.raises(BadRequest, match="cannot lay voxel on voxel: 20x20x20 against 40x40x40"):
        make_target_map("other-case", file=file, align="none").draw(base, TWO)
    far = LabelMap(other.array, Grid(own.shape, own.affine + np.eye(1, 16, 3).reshape(4, 4) * 900))
    far_file = str(far.write(tmp_path / "far.nii.gz"))
    with pytest.raises(BadRequest, match="centre-of-mass"):
        make_target_map("other-case", file=far_file).draw(base, TWO)
    assert make_target_map("other-case", file=far_file, align="centre-of-mass").draw(base, TWO).values == (1,)
    same = LabelMap(np.roll(base.array, 3, axis=0), Grid(grid.shape, far.grid.affine))
    by_voxel = make_target_map("other-case", file=str(same.write(tmp_path / "same.nii.gz")), align="none")
    assert (by_voxel.draw(base, TWO).array == same.array).all()


def test_describing_is_json_and_light() -> None:
    listed = json.loads(json.dumps(describe_target_maps()))
    assert [kind["name"] for kind in listed] == list(TARGET_MAPS)
    assert all(p["doc"] for kind in listed for p in kind["parameters"])
    assert all(kind["summary"] and kind["source"] for kind in listed)
    code = (
        "import sys, AdvSegLib.target_maps, AdvSegLib.regions\n"
        "AdvSegLib.target_maps.describe_target_maps(); AdvSegLib.regions.describe_regions()\n"
        "heavy = {'torch', 'monai', 'SimpleITK', 'scipy', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
