"""Certificates on a linear model whose true radius is known; sample sizes and corrections by their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from torch import nn

from AdvSegLib import Budget, Image, LabelMap, LabelScheme, Spec, Untargeted, make_attack
from AdvSegLib.audit.certificates import (
    Certificate,
    Terms,
    binomial_p_values,
    certified_scores,
    certify,
    samples_needed,
    tolerated_dissent,
)
from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.smoothing import Smoothed
from AdvSegLib.volumes import Grid

BINARY = LabelScheme.binary("a")


def linear(scale: float = 1.0) -> Segmenter:
    """Each voxel is on where ``w . x + b > 0``, w a 3x3 kernel around it; ``scale`` multiplies the logits only."""
    torch.manual_seed(3)
    network = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        network.weight.mul_(scale)
        network.bias.fill_(0.05 * scale)
    return Segmenter(network, Spec.plain(BINARY, dims=2))


def true_radius(segmenter: Segmenter, x: torch.Tensor) -> np.ndarray:
    """Distance of ``x`` to the plane where each voxel's decision turns: ``|w . x + b| / |w|``, borders included."""
    weight = segmenter.network.weight.detach()  # type: ignore[union-attr,operator]
    with torch.no_grad():
        distance = segmenter.logits(x).abs()
        inside = nn.functional.conv2d(torch.ones_like(x), weight.square(), padding=1).sqrt()
    return (distance / inside)[0, 0].numpy()


@pytest.fixture(scope="module")
def toy() -> tuple[Segmenter, Image, Certificate]:
    segmenter = linear()
    image = Image.from_array(np.random.default_rng(4).normal(0, 0.5, (1, 40, 40)).astype(np.float32))
    terms = Terms(sigma=0.25, n=300, tau=0.75, alpha=0.001)
    return segmenter, image, certify(Smoothed.of(segmenter, 0.25, scale=(1.0,)), image, terms, seed=1)


def test_no_certificate_exceeds_the_true_radius_and_safe_voxels_are_certified(
    toy: tuple[Segmenter, Image, Certificate],
) -> None:
    segmenter, image, found = toy
    assert found.terms.radius == pytest.approx(0.25 * norm.ppf(0.75))
    x = segmenter.tensor(image)
    true = true_radius(segmenter, x)
    assert 0.2 < found.hold.mean() < 0.9
    assert (found.radii <= true).all()
    assert found.hold[true > 2.5 * found.terms.radius].all()
    assert found.abstain[true < 0.5 * found.terms.radius].all()
    assert np.array_equal(found.labels[found.hold], segmenter.predict(x)[0].numpy()[found.hold])


def test_the_worst_change_inside_the_radius_turns_no_certified_voxel(
    toy: tuple[Segmenter, Image, Certificate],
) -> None:
    """The steepest change of a voxel's own logit, as long as the certificate says: the smoothed label stays."""
    segmenter, image, found = toy
    x, kernel = segmenter.tensor(image), segmenter.network.weight.detach()[0, 0]  # type: ignore[union-attr,index]
    certified = np.argwhere(found.hold[1:-1, 1:-1])[::60] + 1
    assert len(certified) > 8
    for row, column in certified:
        sign = 1 if found.labels[row, column] else -1
        worst = x.clone()
        patch = (slice(None), slice(None), slice(row - 1, row + 2), slice(column - 1, column + 2))
        worst[patch] -= sign * found.terms.radius * kernel / kernel.norm()
        assert (
            int(segmenter.predict(worst)[0, row, column]) == found.labels[row, column]
        )  # of a linear model, its mode


def test_agreement_of_a_linear_model_is_the_normal_distribution_of_its_distance() -> None:
    segmenter = linear()
    image = Image.from_array(np.random.default_rng(5).normal(0, 0.3, (1, 12, 12)).astype(np.float32))
    model = Smoothed.of(segmenter, 0.25, scale=(1.0,)).on(image)
    x = segmenter.tensor(image)
    share = model.votes(x, 2000, seed=7)[1] / 2000
    signed = true_radius(segmenter, x) * np.where(segmenter.predict(x)[0].numpy() > 0, 1, -1)
    assert np.abs(share - norm.cdf(signed / 0.25)).max() < 5 * math.sqrt(0.25 / 2000)


def test_noise_has_the_asked_size_in_source_units_channel_by_channel() -> None:
    network = nn.Conv2d(2, 1, 1)
    base = Segmenter(network, Spec.plain(BINARY, dims=2, channels=2))
    x = torch.rand(1, 2, 64, 64) * torch.tensor([1.0, 500.0]).view(1, 2, 1, 1)
    (noise,) = Smoothed.of(base, 0.1).noises(x, 1, seed=0)
    spans = x.flatten(2).amax(2) - x.flatten(2).amin(2)
    assert noise.std(dim=(2, 3))[0].tolist() == pytest.approx((0.1 * spans[0]).tolist(), rel=0.05)
    (fixed,) = Smoothed.of(base, 0.1, scale=(10.0, 20.0)).noises(x, 1, seed=0)
    assert fixed.std(dim=(2, 3))[0].tolist() == pytest.approx([1.0, 2.0], rel=0.05)


def test_a_seed_fixes_the_draws_and_the_batch_does_not_change_them() -> None:
    model = Smoothed.of(linear(), 0.2, scale=(1.0,))
    x = torch.rand(3, 1, 10, 10)
    assert torch.equal(model.logits(x), model.logits(x))
    assert torch.allclose(model.logits(x)[1:2], model.logits(x[1:2]), atol=1e-6)
    assert not torch.equal(model.logits(x), replace(model, seed=5).logits(x))


def test_logits_are_of_the_mean_probability_and_the_gradient_sees_all_draws() -> None:
    base = linear(0.5)
    model = Smoothed.of(base, 0.2, draws=3, scale=(1.0,))
    x = torch.rand(1, 1, 6, 6)
    mean = torch.stack([base.logits(x + noise).sigmoid() for noise in model.noises(x, 3, 0)]).mean(0)
    assert torch.allclose(model.logits(x).sigmoid(), mean, atol=1e-6)
    slopes = []
    for segmenter in (model, replace(model, checkpointed=True)):
        leaf = x.clone().requires_grad_()
        slopes.append(torch.autograd.grad(segmenter.logits(leaf).sigmoid().sum(), leaf)[0])
    leaf = x.clone().requires_grad_()
    by_hand = torch.stack([base.logits(leaf + noise).sigmoid() for noise in model.noises(x, 3, 0)]).mean(0).sum()
    assert torch.allclose(slopes[0], torch.autograd.grad(by_hand, leaf)[0], atol=1e-6)
    assert torch.equal(*slopes)


def test_an_attack_walks_through_the_smoothing() -> None:
    model = Smoothed.of(linear(), 0.1, scale=(1.0,))
    x = torch.rand(1, 1, 12, 12)
    goal = Untargeted(model.predict(x))
    walk = make_attack("pgd", steps=5, loss="ce")(model, x, goal, Budget.fixed(0.2))
    assert float(walk.history[-1].dice[0]) < float(walk.history[0].dice[0])
    assert float(walk.perturbation.abs().max()) <= 0.2 + 1e-7


@pytest.mark.parametrize(("voxels", "alpha", "tau"), [(65536, 0.001, 0.75), (2_000_000, 0.001, 0.9), (1, 0.05, 0.5)])
def test_samples_needed_is_where_the_smallest_p_value_first_passes(voxels: int, alpha: float, tau: float) -> None:
    needed = samples_needed(voxels, alpha, tau)
    assert tau**needed <= alpha / voxels < tau ** (needed - 1)
    for dissent in (1, 4):
        n = samples_needed(voxels, alpha, tau, dissent)
        assert binom.sf(n - dissent - 1, n, tau) <= alpha / voxels < binom.sf(n - dissent - 2, n - 1, tau)
        assert tolerated_dissent(n, voxels, alpha, tau) == dissent
        assert (tolerated_dissent(n - 1, voxels, alpha, tau) or 0) < dissent


def test_too_few_draws_are_refused_with_the_number_that_would_do() -> None:
    image = Image.from_array(np.zeros((1, 64, 64), np.float32))
    needed = samples_needed(64 * 64, 0.001, 0.75)
    model = Smoothed.of(linear(), 0.1, scale=(1.0,))
    with pytest.raises(BadRequest, match=f"n = {needed - 1} draws certify no voxel of 4096.*take n = {needed}"):
        certify(model, image, Terms(0.1, n=needed - 1))
    assert tolerated_dissent(needed - 1, 64 * 64, 0.001, 0.75) is None


def test_the_number_that_would_do_does() -> None:
    """All draws agree everywhere: exactly the needed number certifies every voxel, by either correction."""
    image = Image.from_array(np.full((1, 16, 16), 9.0, np.float32))
    base = Segmenter(nn.Conv2d(1, 1, 1), Spec.plain(BINARY, dims=2))
    with torch.no_grad():
        base.network.weight.fill_(1.0)  # type: ignore[union-attr,operator]
        base.network.bias.fill_(0.0)  # type: ignore[union-attr,operator]
    for correction in ("holm", "bonferroni"):
        terms = Terms(0.1, n=samples_needed(256, 0.001, 0.75), correction=correction)  # type: ignore[arg-type]
        assert certify(Smoothed.of(base, 0.1, scale=(1.0,)), image, terms).hold.all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.floats(0.5, 0.99))
def test_p_values_are_sums_of_the_binomial(n: int, tau: float) -> None:
    mass = [math.comb(n, k) * tau**k * (1 - tau) ** (n - k) for k in range(n + 1)]
    expected = [sum(mass[k:]) for k in range(n + 1)]
    assert binomial_p_values(n, tau).tolist() == pytest.approx(expected, abs=1e-12)


def test_certificates_rarely_fail_together() -> None:
    """A voxel whose true agreement is just tau: over many images at most a share alpha certifies any such voxel."""
    alpha, n, voxels = 0.2, 40, 30
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(600):
        p = binomial_p_values(n, 0.75)[rng.binomial(n, 0.75, voxels)]
        wrong += bool((p <= alpha / voxels).any())
    assert wrong / 600 <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 600)


def a_certificate() -> Certificate:
    labels = np.array([[1, 1, 1, 0, 2]])
    hold = np.array([[True, True, False, False, True]])
    scheme = LabelScheme.softmax("a", "b", "c")
    return Certificate(Terms(0.1), labels, hold, np.zeros(labels.shape), Grid.regular((1, 5)), scheme, (1.0,))


def test_worst_dice_lets_the_attacker_decide_where_nothing_is_promised() -> None:
    found = a_certificate()
    truth = LabelMap(np.array([[1, 0, 1, 0, 2]]), found.grid)
    scores = certified_scores(found, truth)
    # a: kept 1 of 2 true; claimed: 2 certified + 1 abstaining outside; b: kept 1 of 1; 2 abstain outside
    assert scores["worst_dice"]["a"] == pytest.approx(2 * 1 / (2 + 2 + 1))
    assert scores["worst_dice"]["b"] == pytest.approx(2 * 1 / (1 + 1 + 2))
    assert scores["worst_dice"]["c"] == 0.0  # in nobody's map, but two voxels could be made to say it
    assert scores["dice"]["c"] is None
    assert (scores["certified_correct"], scores["certified_wrong"], scores["abstain"]) == pytest.approx(
        (0.4, 0.2, 0.4)
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_no_choice_at_abstaining_voxels_goes_below_worst_dice(choice: list[int]) -> None:
    from AdvSegLib.metrics.overlap import compare

    found = a_certificate()
    truth = np.array([[1, 0, 1, 0, 2]])
    attacked = np.where(found.hold, found.labels, np.array([choice]))
    after = compare(truth, attacked, found.scheme)["dice"]
    worst = certified_scores(found, LabelMap(truth, found.grid))["worst_dice"]
    assert all(after[name] is None or after[name] >= worst[name] - 1e-12 for name in worst)


def test_abstaining_is_a_label_of_its_own() -> None:
    labels = a_certificate().label_map()
    assert labels.names[4] == "abstain"
    assert labels.array.tolist() == [[1, 1, 4, 4, 2]]


@pytest.mark.parametrize(("terms", "message"), [
    ({"sigma": 0.0}, "sigma"), ({"sigma": float("nan")}, "sigma"), ({"tau": 0.4}, "tau"), ({"tau": 1.0}, "tau"),
    ({"alpha": 0.0}, "alpha"), ({"n": 0}, "n0 and n"), ({"correction": "none"}, "unknown correction"),
])  # fmt: skip
def test_terms_that_promise_nothing_are_refused(terms: dict[str, float], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        Terms(**{"sigma": 0.1, **terms})  # type: ignore[arg-type]


def test_noise_that_is_none_is_refused() -> None:
    for options, message in (({"sigma": 0.0}, "sigma"), ({"sigma": 0.1, "draws": 0}, "draw"),
                             ({"sigma": 0.1, "scale": (1.0, 2.0)}, "positive range")):  # fmt: skip
        with pytest.raises(BadRequest, match=message):
            Smoothed.of(linear(), **options)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="smoothed with sigma"):
        certify(Smoothed.of(linear(), 0.2), Image.from_array(np.zeros((1, 8, 8), np.float32)), Terms(0.1))


def test_the_abstain_map_is_shown_beside_what_it_is_of() -> None:
    """Magenta stands on exactly the abstaining share of the map; without a truth the image is shown bare."""
    from certificate_pictures import decoded

    from AdvSegLib.audit.pages import ABSTAIN
    from AdvSegLib.audit.writing import certificate_pictures

    rng = np.random.default_rng(6)
    image = Image.from_array(rng.uniform(size=(1, 64, 64)).astype(np.float32))
    hold = rng.uniform(size=(64, 64)) < 0.7
    labels = np.zeros((64, 64), np.int64)
    labels[20:40, 10:50] = 1
    found = Certificate(Terms(0.1), labels, hold, np.zeros(hold.shape), image.grid, LabelScheme.softmax("a"), (1.0,))
    truth = LabelMap(labels.astype(np.int32), image.grid)
    shown = {item.title: item for item in certificate_pictures(image, found, truth)}
    assert list(shown) == ["Truth", "Smoothed model", "Certified", "Abstains"]
    assert shown["Abstains"].note == f"{100 * (~hold).mean():.1f} % of voxels, of which nothing is promised"
    pixels = np.asarray(decoded(shown["Abstains"].uri))
    magenta = (pixels == ABSTAIN).all(axis=2)
    assert magenta.mean() == pytest.approx((~hold).mean(), abs=1e-12)
    assert (np.ptp(pixels[~magenta].astype(int), axis=1) == 0).all()
    bare = certificate_pictures(image, found, None)[0]
    assert bare.title == "Image"
    assert (np.ptp(np.asarray(decoded(bare.uri)).astype(int), axis=2) == 0).all()


def test_the_picture_of_the_documentation_is_there_and_small() -> None:
    import certificate_pictures
    from PIL import Image as Pictures

    assert certificate_pictures.PICTURE.stat().st_size <= certificate_pictures.LARGEST
    with Pictures.open(certificate_pictures.PICTURE) as picture:
        assert picture.width == 3 * certificate_pictures.SIDE + 4 * certificate_pictures.GAP
    noise = Pictures.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8))
    with pytest.raises(ValueError, match="draw it smaller"):
        certificate_pictures.save(noise, certificate_pictures.PICTURE.with_name("never.png"))
    assert not certificate_pictures.PICTURE.with_name("never.png").exists()


def test_the_documentations_picture_is_made_of_real_certificates() -> None:
    import certificate_pictures

    row = certificate_pictures.row_of("chest", size=64)
    sheet = np.asarray(certificate_pictures.arranged([row]))
    assert row.words.startswith(f"chest: {100 * row.found.hold.mean():.1f} % of voxels certified; mean Dice 0.")
    magenta = (np.abs(sheet.astype(int) - certificate_pictures.ABSTAIN).sum(axis=2) < 12).mean()
    panel = certificate_pictures.SIDE**2 / sheet[..., 0].size
    assert magenta > 0.5 * row.found.abstain.mean() * panel
