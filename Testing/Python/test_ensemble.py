"""Several models as one: values and gradients by hand, every use of a Segmenter, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_models import a_bundle
from torch import Tensor, nn

from AdvSegLib import Budget, Image, LabelScheme, Untargeted, craft, make_attack
from AdvSegLib.errors import BadRequest
from AdvSegLib.loading import Warm
from AdvSegLib.segmenters.bundle import INFERENCE, load_bundle
from AdvSegLib.segmenters.ensemble import Ensemble, is_ensemble, load_ensemble, member_folders, save_ensemble
from AdvSegLib.segmenters.receptive_field import receptive_field
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec, Windows

SOFTMAX = LabelScheme.softmax("a", "b")


def member(seed: int, scheme: LabelScheme = SOFTMAX, dtype: torch.dtype = torch.float64, **spec: object) -> Segmenter:
    torch.manual_seed(seed)
    network = nn.Conv2d(1, scheme.channels, 1).to(dtype)
    return Segmenter(network, Spec(2, ("image",), scheme, **spec))  # type: ignore[arg-type]


def folder_definition(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / INFERENCE).read_text())["ensemble"]
    return found


def by_hand(members: list[Segmenter], x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the mean softmax of 1x1 convolutions, and the gradient of its weighted sum, written out voxel by voxel.

    With ``P = mean_m p_m``, ``d log P_c / dx = (1 / (M P_c)) sum_m p_mc (w_mc - sum_k p_mk w_mk)``.
    """
    kernels = [m.network.weight.detach()[:, 0, 0, 0] for m in members]  # type: ignore[union-attr,index]
    offsets = [m.network.bias.detach() for m in members]  # type: ignore[union-attr]
    value, slope = torch.empty(x.shape[0], 3, *x.shape[2:]).double(), torch.zeros_like(x)
    for place in np.ndindex(x.shape[2:]):
        at = (0, slice(None), *place)
        ps = [torch.exp(w * x[(0, 0, *place)] + b) for w, b in zip(kernels, offsets, strict=True)]
        ps = [p / p.sum() for p in ps]
        mean = sum(ps) / len(ps)
        value[at] = mean.log()
        for p, w in zip(ps, kernels, strict=True):
            slope[(0, 0, *place)] += (weight[at] / (len(ps) * mean) * p * (w - (p * w).sum())).sum()
    return value, slope


def test_mean_of_probabilities_and_its_gradient_by_hand() -> None:
    members = [member(k) for k in range(3)]
    x = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 3, 3, 4, dtype=torch.float64)
    logits = Ensemble.of(members).logits(x)
    (slope,) = torch.autograd.grad((weight * logits).sum(), x)
    value, expected = by_hand(members, x.detach(), weight)
    assert torch.allclose(logits, value, atol=1e-12)
    assert torch.allclose(slope, expected, atol=1e-12)


@pytest.mark.parametrize("scheme", [LabelScheme.sigmoid("a", "b"), LabelScheme.binary("a")])
def test_where_channels_stand_alone_the_mean_probability_decides(scheme: LabelScheme) -> None:
    members = [member(k, scheme) for k in range(3)]
    x = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    mean = torch.stack([m.logits(x).sigmoid() for m in members]).mean(0)
    ensemble = Ensemble.of(members)
    assert torch.allclose(ensemble.logits(x).sigmoid(), mean, atol=1e-12)
    assert torch.equal(ensemble.predict(x), scheme.decode(mean - 0.5))


def test_mean_of_logits() -> None:
    members = [member(k) for k in range(3)]
    x = torch.randn(1, 1, 3, 4, dtype=torch.float64)
    found = Ensemble.of(members, "logits").logits(x)
    assert torch.allclose(found, sum(m.logits(x) for m in members) / 3)  # type: ignore[arg-type]


def test_a_saturated_member_keeps_values_and_gradient_finite() -> None:
    loud = member(1)
    with torch.no_grad():
        loud.network.weight.mul_(1e6)  # type: ignore[union-attr,operator]
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    logits = Ensemble.of([member(0), loud]).logits(x)
    (slope,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert logits.isfinite().all()
    assert slope.isfinite().all()
    assert (slope != 0).all()


def test_each_member_sees_the_image_in_its_own_way(rng: np.random.Generator) -> None:
    image = Image.from_array(rng.gamma(2, 40, (1, 24, 20)).astype(np.float32), spacing=2.0)
    ways = [
        {"intensity": Intensity("zscore")},
        {"intensity": Intensity("range"), "spacing": (1.0, 1.5)},
        {"size": (8, 8)},
    ]
    members = [member(k, dtype=torch.float32, **way) for k, way in enumerate(ways)]
    ensemble = Ensemble.of(members).on(image)
    x = ensemble.tensor(image)
    expected = torch.stack([m.on(image).logits(x).softmax(1) for m in members]).mean(0).log()
    assert torch.allclose(ensemble.logits(x), expected, atol=1e-5)
    alone = Ensemble.of(members[:1])
    assert np.array_equal(alone.segment(image).array, members[0].segment(image).array)


def test_frozen_statistics_are_each_members_own(rng: np.random.Generator) -> None:
    image = Image.from_array(rng.gamma(2, 40, (1, 8, 8)).astype(np.float32))
    members = [member(k, dtype=torch.float32, intensity=Intensity("range")) for k in range(2)]
    bound = Ensemble.of(members).on(image, "frozen")
    x = bound.tensor(image) * 3
    expected = torch.stack([m.on(image, "frozen").logits(x).softmax(1) for m in members]).mean(0).log()
    assert torch.allclose(bound.logits(x), expected, atol=1e-6)


def test_checkpointed_members_give_the_same_gradient() -> None:
    ensemble = Ensemble.of([member(k) for k in range(3)])
    assert ensemble.can_checkpoint
    slopes = []
    for segmenter in (ensemble, replace(ensemble, checkpointed=True)):
        x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(1, 1, 3, 4).requires_grad_()
        slopes.append(torch.autograd.grad(segmenter.logits(x).square().sum(), x)[0])
    assert torch.equal(*slopes)


def test_windows_asked_of_the_ensemble_are_asked_of_its_members(tmp_path: Path) -> None:
    members = [load_bundle(a_bundle(tmp_path / name, dims=2)) for name in "mn"]
    ensemble = Ensemble.of(members).windowed((8, 8))
    x = torch.rand(1, 1, 20, 20)
    assert torch.allclose(ensemble.logits(x).softmax(1), members[0].windowed((8, 8)).logits(x).softmax(1), atol=1e-6)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "square"])
def test_attacks_and_craft_take_an_ensemble(attack: str, rng: np.random.Generator) -> None:
    image = Image.from_array(rng.random((1, 12, 12)).astype(np.float32))
    ensemble = Ensemble.of([member(k, dtype=torch.float32) for k in range(2)])
    made = make_attack(attack, **({} if attack == "fgsm" else {"steps": 3}))
    crafted = craft(ensemble, image, made, epsilon=0.1)
    change = np.abs(crafted.image.array - image.array).max()
    assert 0 < change <= 0.1 * float(image.ranges[0]) * (1 + 1e-6)


def test_an_attack_on_the_ensemble_goes_through_all_members() -> None:
    """Two members whose gradients point apart: the step is the ensemble's, not either member's."""
    x = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    labels = torch.ones(1, 2, 2, dtype=torch.int64)
    pair = []
    for slope in (3.0, -1.0):
        m = member(0, LabelScheme.binary("a"))
        with torch.no_grad():
            m.network.weight.fill_(slope)  # type: ignore[union-attr,operator]
            m.network.bias.zero_()  # type: ignore[union-attr,operator]
        pair.append(m)
    attack, goal, budget = make_attack("fgsm", loss="ce"), Untargeted(labels), Budget.fixed(0.1)
    steps = [
        attack(s, x, goal, budget).perturbation.sign() for s in (*pair, Ensemble.of(pair, "logits"), Ensemble.of(pair))
    ]
    assert [int(s[0, 0, 0, 0]) for s in steps] == [-1, 1, -1, -1]


def other(what: str) -> Segmenter:
    if what == "labels":
        return member(1, LabelScheme.softmax("a", "c"))
    return Segmenter(nn.Conv2d(1, 3, 1).double(), Spec(2, ("film",), SOFTMAX))


@pytest.mark.parametrize("what", ["labels", "channels"])
def test_members_that_do_not_fit_are_refused(what: str) -> None:
    said = {"labels": "softmax, 1 a, 2 c", "channels": "film"}[what]
    with pytest.raises(BadRequest, match=rf"member 2 has other {what} \({said}\) than member 1 \("):
        Ensemble.of([member(0), other(what)])


def test_an_ensemble_of_nothing_of_ensembles_or_of_another_mean_is_refused() -> None:
    with pytest.raises(BadRequest, match="at least one member"):
        Ensemble.of([])
    with pytest.raises(BadRequest, match="not ensembles"):
        Ensemble.of([Ensemble.of([member(0)])])
    with pytest.raises(BadRequest, match="unknown combination 'median'"):
        Ensemble.of([member(0)], "median")  # type: ignore[arg-type]


def test_a_folder_holds_an_ensemble_and_can_be_moved_with_its_members(tmp_path: Path) -> None:
    place = tmp_path / "here"
    names = [str(a_bundle(place / name, dims=2)) for name in ("one", "two")]
    folder = save_ensemble(place / "both", names, "logits", title="both of them")
    assert is_ensemble(folder)
    assert not is_ensemble(place / "one")
    moved = place.rename(tmp_path / "there") / "both"
    ensemble = load_ensemble(moved, folder_definition(moved))
    assert ensemble.combine == "logits"
    assert len(ensemble.members) == 2
    assert ensemble.scheme.names == {1: "a", 2: "b"}
    assert ensemble.segment(Image.from_array(np.random.default_rng(0).random((1, 16, 16)))).array.shape == (16, 16)


def test_a_bad_definition_is_one_clear_line(tmp_path: Path) -> None:
    one = a_bundle(tmp_path / "one", dims=2)
    nested = save_ensemble(tmp_path / "nested", [str(one)])
    for definition, message in (
        ({}, "lists its 'members'"),
        ({"members": []}, "lists its 'members'"),
        ({"members": [3]}, "lists its 'members'"),
        ({"members": ["one"], "weights": [1]}, "unknown field 'weights'"),
        ({"members": ["nothing-there"]}, "unknown model"),
        ({"members": [str(nested)]}, "is an ensemble itself"),
    ):
        with pytest.raises(BadRequest, match=message) as caught:
            member_folders(tmp_path / "x", definition)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadRequest, match="unknown combination"):
        load_ensemble(tmp_path, {"members": [str(one)], "combine": "vote"})


def test_nothing_is_left_of_an_ensemble_that_does_not_fit(tmp_path: Path) -> None:
    a_bundle(tmp_path / "one", dims=2)
    a_bundle(tmp_path / "two", dims=2, channels=2)
    with pytest.raises(BadRequest, match="other channels"):
        save_ensemble(tmp_path / "both", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_shared_grids_are_kept_and_different_ones_are_not() -> None:
    same = Ensemble.of([member(0, size=(8, 8), multiple=4), member(1, size=(8, 8), multiple=6)])
    assert (same.spec.size, same.spec.multiple) == ((8, 8), 12)
    assert Ensemble.of([member(0, size=(8, 8)), member(1)]).spec.size == ()
    windowed = Ensemble.of([member(0, windows=Windows((4, 4))), member(1)])
    assert windowed.spec.windows is None
    assert windowed.members[0].spec.windows is not None


def test_a_warm_loader_notices_that_a_member_has_changed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        a_bundle(tmp_path / name)
    save_ensemble(tmp_path / "both", [str(tmp_path / "one"), str(tmp_path / "two")])
    cache = Warm()
    first = cache.model(str(tmp_path / "both"), "cpu")
    assert cache.model(str(tmp_path / "both"), "cpu") is first
    weights = tmp_path / "two/models/model.safetensors"
    shutil.copy(weights, tmp_path / "copy")
    (tmp_path / "copy").replace(weights)  # as a training writes it: another file in its place
    assert cache.model(str(tmp_path / "both"), "cpu") is not first


def test_an_ensemble_looks_where_any_member_looks(tmp_path: Path) -> None:
    scheme = LabelScheme.softmax("a")
    members = [
        Segmenter(torch.nn.Conv2d(1, 2, size, padding=size // 2), Spec.plain(scheme, dims=2)) for size in (3, 7)
    ]
    image = Image.from_array(np.random.default_rng(0).random((1, 21, 21)))
    inside = np.zeros((21, 21), bool)
    inside[10, 10] = True
    field = receptive_field(Ensemble.of(members), image, inside)
    assert np.array_equal(field, receptive_field(members[1], image, inside))
    assert field.sum() == 49
