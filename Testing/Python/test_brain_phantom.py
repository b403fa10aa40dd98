"""Brain phantoms: what holds for any head with a glioma, read off the drawn voxels alone."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from AdvSegLib.cases import brain_atlas
from AdvSegLib.cases.brain_phantom import BrainVariation, brain_cases, brain_phantom
from AdvSegLib.cases.mr_contrast import rician
from AdvSegLib.cases.smooth_noise import smooth_noise
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Grid, Image, LabelMap

T1, T1GD, T2, FLAIR = range(4)
SIZE = 48
SEEDS = range(16)
ANATOMIES = [
    pytest.param(False, id="analytic"),
    pytest.param(
        True,
        id="template",
        marks=pytest.mark.skipif(brain_atlas.template_folder() is None, reason="needs nilearn's template"),
    ),
]


CLEAN = BrainVariation(
    noise=(1e-6, 1e-6), bias=(0, 0), texture=(0, 0), blur_mm=(0, 0), thick_slice_probability=0,
    tissue_jitter=0, lesion_jitter=0, gamma=(1, 1), skull_mm=(-5, -5), vessel_probability=0,
    meninges_probability=0, hyperintensity_probability=0, low_grade_probability=0, white_level=(1, 1),
)  # fmt: skip
"""A noiseless scanner, evenly lit, and tumours that all enhance."""


@pytest.fixture(scope="module", params=ANATOMIES)
def phantoms(request: pytest.FixtureRequest) -> list[tuple[Image, LabelMap]]:
    return [brain_phantom(seed, SIZE, template=request.param) for seed in SEEDS]


@pytest.fixture(scope="module", params=ANATOMIES)
def plain(request: pytest.FixtureRequest) -> list[tuple[Image, LabelMap]]:
    """Phantoms of a noiseless scanner: the contrasts themselves."""
    return [brain_phantom(seed, SIZE, template=request.param, variation=CLEAN) for seed in range(5)]


def levels(image: Image, labels: LabelMap) -> dict[str, np.ndarray]:
    """Median of each channel over fluid, white matter and each label; tissues by their place in T1's histogram."""
    brain = (image.array[0] > 0) & (ndimage.binary_dilation(labels.array > 0, iterations=2) == 0)
    t1 = image.array[T1][brain]
    fluid = brain & (image.array[T1] < np.percentile(t1, 3))
    white = brain & (image.array[T1] > np.percentile(t1, 80))
    masks = {"fluid": fluid, "white": white} | {str(v): labels.array == v for v in (1, 2, 4)}
    return {name: np.median(image.array[:, m], axis=1) for name, m in masks.items() if m.any()}


@pytest.mark.parametrize("template", ANATOMIES)
def test_a_seed_gives_the_same_bits(template):
    first, again, other = (brain_phantom(seed, 32, template=template) for seed in (5, 5, 6))
    assert first[0].array.tobytes() == again[0].array.tobytes()
    assert first[1].array.tobytes() == again[1].array.tobytes()
    assert not np.array_equal(first[0].array, other[0].array)
    assert not np.array_equal(first[1].array, other[1].array)


def test_image_is_what_brats_readers_expect(phantoms):
    for image, labels in phantoms:
        assert image.names == ("t1", "t1gd", "t2", "flair")
        assert image.array.dtype == np.float32
        assert np.isfinite(image.array).all()
        assert labels.names == LabelScheme.brats().names
        assert set(labels.values) <= {1, 2, 4}
        assert image.highs.min() > 80
        assert image.highs.max() < 50_000
    scales = np.array([image.highs for image, _ in phantoms])
    assert (scales.max(0) / scales.min(0) > 2).all()  # scanners differ


def test_background_is_zero_and_the_brain_one_piece(phantoms):
    for image, labels in phantoms:
        brain = image.array > 0
        assert (brain == brain[0]).all()  # one mask for all contrasts
        assert ndimage.label(brain[0])[1] == 1
        assert (image.array[:, ~brain[0]] == 0).all()
        assert not labels.array[~brain[0]].any()
        assert 800 < brain[0].sum() * image.grid.voxel_ml < 2100


def test_tumours_have_all_parts_and_sizes_of_gliomas(phantoms):
    whole = np.array([(labels.array > 0).sum() * labels.grid.voxel_ml for _, labels in phantoms])
    assert whole.min() > 8
    assert whole.max() < 160
    assert whole.max() / whole.min() > 3
    complete = [set(labels.values) == {1, 2, 4} for _, labels in phantoms]
    assert np.mean(complete) > 0.5


def test_asked_volume_is_drawn():
    twenty = BrainVariation(whole_ml=(40, 40))
    drawn = [
        (m.array > 0).sum() * m.grid.voxel_ml
        for _, m in (brain_phantom(s, SIZE, template=False, variation=twenty) for s in range(6))
    ]
    assert np.median(drawn) == pytest.approx(40, rel=0.1)  # islands are dropped, so single cases may fall short
    assert max(drawn) < 41


def test_tissues_have_the_order_of_each_contrast(plain):
    seen = [levels(*pair) for pair in plain]
    fluid, white, oedema = (np.median([s[name] for s in seen], axis=0) for name in ("fluid", "white", "2"))
    assert fluid[T1] < 0.7 * white[T1]
    assert fluid[FLAIR] < 0.7 * white[FLAIR]
    assert fluid[T2] > 1.5 * white[T2]
    assert oedema[FLAIR] > 1.2 * white[FLAIR]
    assert oedema[T2] > 1.2 * white[T2]
    assert oedema[T1] < 0.95 * white[T1]
    enhancing, core = (np.median([s[name] for s in seen if name in s], axis=0) for name in ("4", "1"))
    assert enhancing[T1GD] > 1.3 * enhancing[T1]
    assert enhancing[T1GD] > 1.2 * core[T1GD]
    assert core[T2] > 1.2 * white[T2]


def test_truth_fits_the_image_at_the_voxel(plain):
    """Voxels just inside the drawn tumour differ from those just outside: shifting the truth makes it worse."""
    for image, labels in plain:
        flair = image.array[FLAIR]
        tumour = labels.array > 0

        def contrast(mask, flair=flair):
            rim = ndimage.binary_dilation(mask) & ~mask & (flair > 0)
            edge = mask & ~ndimage.binary_erosion(mask) & (flair > 0)
            return flair[edge].mean() - flair[rim].mean()

        shifted = [contrast(np.roll(tumour, step, axis)) for axis in range(3) for step in (-1, 1)]
        assert contrast(tumour) > max(shifted)


@pytest.mark.parametrize("source", ["vessel_probability", "meninges_probability"])
def test_enhancement_outside_the_tumour_is_not_labelled(source):
    """Vessels and meninges take up contrast too, so that brightness on T1gd alone does not give the tumour away."""

    def uptake(probability):
        ratios = []
        for seed in range(6):
            image, labels = brain_phantom(
                seed, SIZE, template=False, variation=replace(CLEAN, **{source: probability})
            )
            outside = (image.array[T1] > 0) & (ndimage.binary_dilation(labels.array > 0, iterations=3) == 0)
            ratios.append(
                np.percentile(image.array[T1GD][outside], 99.7) / np.percentile(image.array[T1][outside], 99.7)
            )
        return np.median(ratios)

    assert uptake(0.0) < 1.05
    assert uptake(1.0) > 1.1


def test_axes_run_superior_posterior_left(phantoms):
    """The head is longest front to back, its base (stem, cerebellum) narrow, and its fluid in the middle."""
    image = phantoms[0][0]
    lps = image.affine[:3, :3] @ np.eye(3)
    np.testing.assert_allclose(lps, np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * (192 / SIZE))
    brain = np.mean([i.array[0] > 0 for i, _ in phantoms], axis=0)
    extent = [np.flatnonzero((brain > 0.5).any(tuple(a for a in range(3) if a != axis))).size for axis in range(3)]
    assert extent[1] > 1.1 * extent[2]
    filled = np.flatnonzero((brain > 0.5).any((1, 2)))
    area = (brain > 0.5).sum((1, 2))
    quarter = len(filled) // 4
    assert area[filled[:quarter]].mean() < area[filled[-quarter:]].mean()  # the stem's end is narrower than the crown
    low = brain[filled[0] : filled[0] + quarter].sum((0, 2))
    middle = np.average(np.arange(SIZE), weights=brain.sum((0, 2)))
    assert np.average(np.arange(SIZE), weights=low) > middle  # cerebellum and stem lie behind


def test_the_head_is_in_the_middle(phantoms):
    for image, _ in phantoms:
        brain = np.argwhere(image.array[0] > 0) * image.grid.spacing
        middle = (np.array(image.grid.shape) - 1) / 2 * image.grid.spacing
        assert (np.abs(brain.mean(0) - middle)[[1, 2]] < 14).all()
        np.testing.assert_allclose(image.affine @ np.append((np.array(image.grid.shape) - 1) / 2, 1), [0, 0, 0, 1])


def test_tumours_come_on_either_side():
    sides = []
    for seed in range(60):
        image, labels = brain_phantom(seed, 20, template=False)
        middle, tumour = (np.argwhere(mask)[:, 2].mean() for mask in (image.array[0] > 0, labels.array > 0))
        sides.append(tumour > middle)
    assert 0.3 < np.mean(sides) < 0.7


def test_mass_effect_moves_the_other_tissue():
    """Without its push a tumour changes nothing far away; with it the healthy anatomy differs near by."""
    still, pushed = (
        brain_phantom(3, SIZE, template=False, variation=BrainVariation(mass_effect=(push, push)))
        for push in (0.0, 0.45)
    )
    distance = ndimage.distance_transform_edt((still[1].array == 0) & (pushed[1].array == 0), sampling=4.0)
    change = np.abs(still[0].array[T2] - pushed[0].array[T2])
    inside = (still[0].array[T2] > 0) & (pushed[0].array[T2] > 0)
    near, far = (inside & (distance > a) & (distance < b) for a, b in ((4, 16), (70, 200)))
    assert change[near].mean() > 3 * change[far].mean()


@pytest.mark.parametrize("shape", [(24, 40, 32), (16, 64, 64)])
def test_shapes_need_not_be_cubes(shape):
    image, labels = brain_phantom(2, shape, template=False)
    assert image.array.shape == (4, *shape)
    assert labels.array.shape == shape
    np.testing.assert_allclose(image.grid.spacing, [192 / n for n in shape])
    assert labels.values


def test_a_small_field_of_view_still_shows_the_tumour():
    image, labels = brain_phantom(2, (16, 48, 48), spacing=2.5, template=False)
    assert image.grid.spacing == (2.5, 2.5, 2.5)
    assert (labels.array > 0).sum() * labels.grid.voxel_ml > 5


def test_same_head_at_another_resolution():
    """The anatomy is drawn in mm: a finer grid shows the same tumour at the same place."""
    coarse, fine = (brain_phantom(8, n, template=False)[1] for n in (48, 64))
    one, other = coarse.array > 0, fine.onto(coarse.grid).array > 0
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.7


def test_cases_are_lazy_named_and_disjoint_between_seeds(tmp_path: Path):
    cases = brain_cases(12, seed=1, shape=24, template=False)
    assert [case.identifier for case in cases[::5]] == ["brain-0000", "brain-0005", "brain-0010"]
    case = pickle.loads(pickle.dumps(cases[7]))  # travels to data-loading workers
    image, truth = case.image(), case.truth()
    np.testing.assert_array_equal(image.array, cases[7].image().array)
    image.array[:] = -1
    assert cases[7].image().array.min() == 0  # a caller's edit stays the caller's
    case.scheme.check(truth.values)
    other = brain_cases(12, seed=2, shape=24, template=False)[6]
    assert not np.array_equal(other.image().array, cases[7].image().array)
    assert len(cases[0].write(tmp_path)) == 5


def test_rician_noise_has_the_moments_of_theory():
    rng = np.random.default_rng(0)
    air = rician(rng, np.zeros((60, 60, 60), np.float32), 0.1)
    assert air.min() >= 0
    assert air.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)  # Rayleigh
    tissue = rician(rng, np.full((60, 60, 60), 2.0, np.float32), 0.1)
    assert tissue.std() == pytest.approx(0.1, rel=0.02)


def test_smooth_noise_is_standard_and_as_smooth_as_asked():
    grid = Grid.regular((40, 40, 40), 3.0)
    fields = np.stack([smooth_noise(np.random.default_rng(s), grid, 12.0) for s in range(20)])
    assert fields.mean() == pytest.approx(0, abs=0.05)
    assert fields.std() == pytest.approx(1, rel=0.05)
    step, leap = (np.mean(fields[:, n:] * fields[:, :-n]) for n in (1, 12))
    assert step > 0.9
    assert abs(leap) < 0.1


def test_template_is_refused_where_it_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(brain_atlas, "template_folder", lambda: None)
    with pytest.raises(BadRequest, match="nilearn"):
        brain_phantom(0, 16, template=True)
    fallback, analytic = brain_phantom(0, 16, template=None), brain_phantom(0, 16, template=False)
    np.testing.assert_array_equal(fallback[0].array, analytic[0].array)


@pytest.mark.parametrize(
    "bad",
    [{"shape": 4}, {"shape": (64, 64)}, {"spacing": 0.0}, {"seed": -1}],
    ids=["tiny", "flat", "no-spacing", "negative-seed"],
)
def test_impossible_requests_are_refused(bad):
    with pytest.raises(BadRequest):
        brain_phantom(**({"seed": 0} | bad))


def test_impossible_variations_are_refused():
    with pytest.raises(BadRequest, match="noise"):
        BrainVariation(noise=(0.1, 0.01))
    with pytest.raises(BadRequest, match="vessel"):
        BrainVariation(vessel_probability=1.5)
    with pytest.raises(BadRequest, match="count"):
        brain_cases(-1)
