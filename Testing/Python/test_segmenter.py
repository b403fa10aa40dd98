"""The segmenter: its preparation is exact, undone exactly, and differentiable from the image the reader sees."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.preprocessing import Axes, apply_intensity, pad_to_multiple, resize, scale_and_shift
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec
from AdvSegLib.volumes import Grid, Image

SCHEME = LabelScheme.binary("x")


class Echo(nn.Module):
    """Returns its input as logits and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x[:, :1]


def an_image(shape: tuple[int, ...], affine: np.ndarray | None = None, channels: int = 1) -> Image:
    array = np.random.default_rng(0).normal(100, 30, (channels, *shape)).astype(np.float32)
    grid = Grid(shape, affine) if affine is not None else Grid.regular(shape)
    return Image(array, grid, tuple(f"c{k}" for k in range(channels)))


@pytest.mark.parametrize(("order", "signs"), [
    (order, signs) for order in itertools.permutations(range(3)) for signs in ((1, 1, 1), (-1, 1, -1), (-1, -1, -1))
])  # fmt: skip
def test_orientation_shows_the_network_one_patient_whatever_the_storage(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """A voxel at a known place in LPS must reach the network at the same index for all 48 storages of a scan."""
    reference = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)  # axes S, P, L
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, row in enumerate((2, 1, 0)):
        affine[row, axis] = (3.0, 2.0, 1.0)[axis]
    stored = reference.transpose(order)
    columns = affine[:, [*order, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            stored = np.flip(stored, axis)
            columns[:, 3] += columns[:, axis] * (stored.shape[axis] - 1)
            columns[:, axis] *= -1
    image = Image(stored[None], Grid(stored.shape, columns), ("c0",))
    echo = Echo()
    segmenter = Segmenter(echo, Spec(3, ("c0",), SCHEME, orientation="SPL")).on(image)
    x = segmenter.tensor(image)
    logits = segmenter.logits(x)
    assert echo.seen is not None
    assert torch.equal(echo.seen[0, 0], torch.from_numpy(reference))
    assert torch.equal(logits, x)


def test_orientation_code_agrees_with_nibabel() -> None:
    nib = pytest.importorskip("nibabel")
    rng = np.random.default_rng(2)
    for _ in range(20):
        tilt = Rotation.from_rotvec(rng.uniform(-0.4, 0.4, 3)).as_matrix()
        matrix = (tilt @ np.eye(3)[rng.permutation(3)]) * rng.uniform(0.5, 3, 3) * rng.choice([-1, 1], 3)
        affine = np.eye(4)
        affine[:3, :3] = matrix
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        code = "".join(rng.permutation([rng.choice(list(pair)) for pair in ("RL", "AP", "SI")]))
        have = nib.orientations.io_orientation(ras)
        want = nib.orientations.axcodes2ornt(tuple(code))
        array = rng.normal(size=(3, 4, 5)).astype(np.float32)
        expected = nib.orientations.apply_orientation(array, nib.orientations.ornt_transform(have, want))
        got = Axes.between(Grid(array.shape, affine), code).apply(torch.from_numpy(array)[None, None])
        assert np.array_equal(got[0, 0].numpy(), expected)


def test_spacing_and_padding_are_undone() -> None:
    """A linear ramp survives the trip through another voxel size and a padded size, away from the border."""
    grid = Grid.regular((20, 30, 24), (1.0, 2.0, 1.5))
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[None, :, None], (20, 30, 24))
    image = Image(ramp[None], grid, ("c0",))
    echo = Echo()
    segmenter = Segmenter(echo, Spec(3, ("c0",), SCHEME, spacing=(3.0, 3.0, 3.0), multiple=8)).on(image)
    logits = segmenter.logits(segmenter.tensor(image))
    assert echo.seen is not None
    assert echo.seen.shape == (1, 1, 8, 24, 16)  # 20/3 -> 7, 60/3 -> 20, 36/3 -> 12, then to multiples of 8
    assert logits.shape == (1, 1, 20, 30, 24)
    assert float((logits[0, 0, :, 3:-3] - torch.from_numpy(ramp.copy())[:, 3:-3]).abs().max()) < 1e-4


def test_resize_by_two_is_the_mean_of_two_and_no_voxel_goes_unseen() -> None:
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(resize(x, (4, 4)), nn.functional.avg_pool2d(x, 2))
    leaf = torch.rand(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(resize(leaf, (9, 9)).sum(), leaf)
    assert bool((gradient > 0).all())


@pytest.mark.parametrize("intensity", [
    Intensity("zscore"), Intensity("zscore", foreground=False), Intensity("range", -1, 1), Intensity("quantile"),
    Intensity("window", source_low=-100, source_high=300),
])  # fmt: skip
def test_intensity_against_numpy(intensity: Intensity) -> None:
    x = np.random.default_rng(1).gamma(2.0, 50.0, (2, 3, 7, 8, 9))
    got = apply_intensity(torch.from_numpy(x), intensity).numpy()
    for n, c in np.ndindex(2, 3):
        v = x[n, c]
        if intensity.kind == "zscore":
            inside = v[v > v.mean()] if intensity.foreground else v
            expected = (v - inside.mean()) / inside.std()
        elif intensity.kind == "range":
            expected = 2 * (v - v.min()) / (v.max() - v.min()) - 1
        elif intensity.kind == "quantile":
            low, high = np.quantile(v, 0.02), np.quantile(v, 0.98)
            expected = (np.clip(v, low, high) - low) / (high - low)
        else:
            expected = (v + 100) / 400
        assert np.abs(got[n, c] - expected).max() < 1e-12


@pytest.mark.parametrize("kind", ["zscore", "range", "quantile", "window", "none"])
@pytest.mark.parametrize("frozen", [True, False])
def test_gradient_reaches_the_image_through_the_statistics(kind: str, frozen: bool) -> None:
    """The analytic gradient equals central differences in float64, statistics, resampling and padding included."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv3d(2, 1, 1)).double()
    spec = Spec(3, ("c0",), SCHEME, Intensity(kind), "RAS", spacing=(1.4, 1.4, 1.4), multiple=4)  # type: ignore[arg-type]
    image = an_image((5, 6, 7))
    segmenter = Segmenter(network, spec).on(image)
    x = torch.from_numpy(image.array).double()[None]
    if frozen:
        segmenter = replace(segmenter, frozen=scale_and_shift(segmenter.axes.apply(x), spec.intensity))
    weights = torch.rand(1, 1, 5, 6, 7, dtype=torch.float64)

    def value(y: Tensor) -> Tensor:
        return (segmenter.logits(y) * weights).sum()

    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    flat = x.flatten()
    for index in (0, 17, 100, 209, int(flat.argmin()), int(flat.argmax())):
        step = torch.zeros_like(flat)
        step[index] = 1e-5
        step = step.view_as(x)
        numeric = float((value(x + step) - value(x - step)).detach()) / 2e-5
        assert float(gradient.flatten()[index]) == pytest.approx(numeric, rel=2e-4, abs=1e-7)


def test_frozen_statistics_are_those_of_the_clean_image() -> None:
    image = an_image((6, 6, 6))
    segmenter = Segmenter(Echo(), Spec(3, ("c0",), SCHEME, Intensity("zscore", foreground=False)))
    doubled = segmenter.tensor(image) * 2
    recomputed = segmenter.on(image).logits(doubled)
    frozen = segmenter.on(image, "frozen").logits(doubled)
    assert float(recomputed.std(unbiased=False)) == pytest.approx(1.0, rel=1e-5)
    assert float(frozen.std(unbiased=False)) == pytest.approx(2.0, rel=1e-5)


def test_a_2d_network_takes_a_volume_slice_by_slice() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(2, 3, 3, padding=1)
    segmenter = Segmenter(network, Spec.plain(LabelScheme.softmax("a", "b"), dims=2, channels=2))
    volume = torch.rand(2, 2, 5, 8, 9)
    logits = segmenter.logits(volume)
    assert logits.shape == (2, 3, 5, 8, 9)
    for k in range(5):
        assert torch.allclose(logits[:, :, k], network(volume[:, :, k]), atol=1e-6)


def test_a_2d_network_slices_across_the_oriented_axis() -> None:
    """Stored sagittal, seen axial: slices are taken along the first oriented axis, not along the storage."""
    affine = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # axes L, S, P
    image = an_image((4, 6, 8), affine)
    echo = Echo()
    segmenter = Segmenter(echo, Spec(2, ("c0",), SCHEME, orientation="SPL", size=(16, 8))).on(image)
    assert segmenter.logits(segmenter.tensor(image)).shape == (1, 1, 4, 6, 8)
    assert echo.seen is not None
    assert echo.seen.shape == (6, 1, 16, 8)


def test_quantile_of_more_values_than_torch_quantile_takes() -> None:
    x = torch.rand(1, 1, 2**24 + 3)
    scale, shift = scale_and_shift(x, Intensity("quantile"))
    low, high = np.quantile(x.numpy(), [0.02, 0.98])
    assert float(-shift / scale) == pytest.approx(low, abs=1e-5)
    assert float((1 - shift) / scale) == pytest.approx(high, abs=1e-5)


@pytest.mark.parametrize("kind", ["zscore", "range", "quantile"])
def test_a_constant_channel_gives_finite_logits_and_gradients(kind: str) -> None:
    leaf = torch.full((1, 1, 4, 4), 5.0, requires_grad=True)
    out = apply_intensity(leaf, Intensity(kind))  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(out.sum(), leaf)
    assert bool(out.isfinite().all())
    assert bool(gradient.isfinite().all())


def test_padding_repeats_the_edge() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert pad_to_multiple(x, 2)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5]]
    tall = x.expand(1, 1, 2, 3).repeat(1, 1, 3, 1)
    assert pad_to_multiple(tall, 4).shape == (1, 1, 8, 4)


def test_an_image_of_one_coarse_voxel_is_padded_to_two() -> None:
    """Instance norm has nothing to normalise over where the coarsest level is a single voxel."""
    assert pad_to_multiple(torch.ones(1, 1, 2, 3, 1), 4).shape == (1, 1, 4, 4, 8)
    assert pad_to_multiple(torch.ones(1, 1, 4, 4), 4).shape == (1, 1, 4, 8)


def test_what_does_not_fit_is_named() -> None:
    segmenter = Segmenter(nn.Conv3d(2, 5, 1), Spec.plain(LabelScheme.softmax("a"), channels=2))
    with pytest.raises(BadRequest, match=r"takes 2 channels .* the image has 1"):
        segmenter.check(an_image((4, 4, 4)))
    with pytest.raises(BadRequest, match="3-D, the image is 2-D"):
        segmenter.check(an_image((4, 4), channels=2))
    with pytest.raises(BadRequest, match="gives 5 channels, its scheme"):
        segmenter.logits(torch.zeros(1, 2, 4, 4, 4))
    with pytest.raises(BadRequest, match="must name R or L"):
        Spec.plain(SCHEME, orientation="SPX")


def test_dropout_and_training_mode_never_reach_an_attack() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.5))
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=2))
    network.train()
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(segmenter.logits(x), segmenter.logits(x))


def test_spec_survives_json() -> None:
    spec = Spec(
        3, ("t1",), LabelScheme.brats_regions(), Intensity("quantile", q_low=0.01), "LIA", (1.0, 1.0, 1.0), (), 8
    )
    assert Spec.from_dict(spec.to_dict()) == spec
