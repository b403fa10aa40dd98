"""Defenses in training: losses and gradients against closed forms, and what the network is shown, batch by batch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from AdvSegLib.defenses.inner_attack import build_inner_attack
from AdvSegLib.defenses.plan import (
    DEFENSES,
    AdversarialTraining,
    Defense,
    Distillation,
    UniformNoise,
    describe_defenses,
    read_defense,
)
from AdvSegLib.defenses.strategies import Adversarial, Batch, Distilling, Noisy, Pass
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses import GAMMA, soft_dice
from AdvSegLib.segmenters.bundle import load_bundle, read_metadata, save_bundle
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec
from AdvSegLib.training.learner import Learner
from AdvSegLib.training.processes import World
from AdvSegLib.training.recipe import Data, Recipe, load_recipe
from AdvSegLib.training.train import train

Array = NDArray[np.float64]
SCHEMES = {"softmax": LabelScheme.softmax("a", "b"), "sigmoid": LabelScheme.sigmoid("a", "b")}
RATE = 0.1
NETWORK = {
    "_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 6,
    "channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "batch",
}  # fmt: skip


def a_recipe(defense: Defense, **optimisation: Any) -> Recipe:
    recipe = load_recipe("chest")
    plan = {"iterations": 3, "batch": 2, "validate_every": 100, "bf16": False, **optimisation}
    return replace(
        recipe, network=NETWORK, spec=replace(recipe.spec, size=(32, 32)), data=Data("phantom-chest", 32, 4, 0, 1, 50),
        optimisation=replace(recipe.optimisation, **plan), defense=defense,
    )  # fmt: skip


# -- closed forms: a network of one 1 x 1 convolution, z = W x, worked out in numpy --------------------------------


def a_linear_learner(defense: Defense, loss: str, activation: str, weight: Array) -> Learner:
    """Return a learner whose network is ``z = W x`` in float64, and whose step is plain gradient descent."""
    scheme = SCHEMES[activation]
    recipe = a_recipe(defense, loss=loss)
    recipe = replace(recipe, spec=Spec.plain(scheme, dims=2, channels=2))
    bare = replace(recipe, defense=read_defense({"kind": "none"}))
    learner = Learner(replace(bare, network={**NETWORK, "in_channels": 2, "out_channels": scheme.channels}), World())
    network = nn.Conv2d(2, scheme.channels, 1, bias=False).double()
    with torch.no_grad():
        network.weight.copy_(torch.from_numpy(weight)[:, :, None, None])
    learner.network = learner.module = network
    learner.optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    learner.schedule = torch.optim.lr_scheduler.ConstantLR(learner.optimizer, factor=1.0)
    if isinstance(defense, AdversarialTraining):
        attack = build_inner_attack(defense, network, recipe.spec, loss, "fp32")
        learner.strategy = Adversarial(defense, attack, seed=0)
    return learner


def a_batch(rng: np.random.Generator, activation: str, count: int = 2, side: int = 5) -> tuple[Batch, Array, Array]:
    """Return a batch with its ``x`` ``(N, C, V)`` and one-hot ``y`` ``(N, K, V)`` as numpy arrays."""
    x = rng.normal(size=(count, 2, side, side))
    labels = torch.from_numpy(rng.integers(0, 3, (count, side, side)))
    target = SCHEMES[activation].encode(labels, torch.float64)
    batch = Batch(torch.from_numpy(x), labels, target, tuple(range(count)))
    return batch, x.reshape(count, 2, -1), target.flatten(2).numpy()


def probabilities(z: Array, activation: str) -> Array:
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-z)))
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def through_activation(slope: Array, p: Array, activation: str) -> Array:
    """Return dL/dz from dL/dp: softmax couples the channels of a voxel, sigmoid does not."""
    if activation == "sigmoid":
        return slope * p * (1 - p)
    return p * (slope - (slope * p).sum(1, keepdims=True))


def dice_by_hand(z: Array, y: Array, activation: str, temperature: float) -> tuple[float, Array]:
    """Return eq. 6-7 (over the number of foreground channels) and its gradient to ``z``; ``(N, K, V)``."""
    p = probabilities(z / temperature, activation)
    first = 1 if activation == "softmax" else 0
    shared, total = (p * y).sum(2), p.sum(2) + y.sum(2)
    ratio = (2 * shared + GAMMA) / (total + GAMMA)
    kept = ratio[:, first:].shape[1]
    value = float(np.mean(1 - ratio[:, first:].mean(1)))
    slope = -(2 * y * (total + GAMMA)[..., None] - (2 * shared + GAMMA)[..., None]) / (total + GAMMA)[..., None] ** 2
    slope[:, :first] = 0
    return value, through_activation(slope / kept / len(z), p, activation) / temperature


def entropy_by_hand(z: Array, y: Array, activation: str) -> tuple[float, Array]:
    """Return cross-entropy and its gradient to ``z``: ``(p - y) / count``."""
    p = probabilities(z, activation)
    decisions = p.size if activation == "sigmoid" else p.size // p.shape[1]
    log = y * np.log(p) + ((1 - y) * np.log(1 - p) if activation == "sigmoid" else 0)
    return float(-log.sum() / decisions), (p - y) / decisions


def to_weight(slope: Array, x: Array) -> Array:
    """Return dL/dW of ``z = W x`` from dL/dz."""
    return np.asarray(np.einsum("nkv,ncv->kc", slope, x))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [1.0, 20.0, 5000.0])
def test_distillation_is_eq_4_and_7(rng: np.random.Generator, activation: str, temperature: float) -> None:
    scheme = SCHEMES[activation]
    batch, x, _ = a_batch(rng, activation)
    student, master = rng.normal(size=(2, scheme.channels, 2)) * temperature
    learner = a_linear_learner(read_defense({"kind": "none"}), "dice", activation, student)
    teacher = nn.Conv2d(2, scheme.channels, 1, bias=False).double()
    with torch.no_grad():
        teacher.weight.copy_(torch.from_numpy(master)[:, :, None, None])
    learner.strategy = Distilling(Segmenter(teacher, Spec.plain(scheme, dims=2, channels=2)), temperature, temperature)
    soft = probabilities(np.einsum("kc,ncv->nkv", master, x) / temperature, activation)
    (only,) = learner.strategy.passes(batch)
    np.testing.assert_allclose(only.target.flatten(2).numpy(), soft, rtol=1e-12)
    value, slope = dice_by_hand(np.einsum("kc,ncv->nkv", student, x), soft, activation, temperature)
    loss = learner.learn(batch)
    moved = (student - learner.network.weight.detach().numpy()[:, :, 0, 0]) / RATE  # type: ignore[union-attr]
    assert loss == pytest.approx(value, rel=1e-12)
    wanted = to_weight(slope, x)
    np.testing.assert_allclose(moved, wanted, rtol=1e-6, atol=1e-9 * np.abs(wanted).max() + 1e-14 * temperature)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("beta", [0.5, 0.2])
def test_adversarial_training_summed_is_eq_9(rng: np.random.Generator, activation: str, beta: float) -> None:
    plan = AdversarialTraining(epsilon=0.1, beta=beta, update="summed")
    batch, x, y = a_batch(rng, activation)
    weight = rng.normal(size=(SCHEMES[activation].channels, 2))
    learner = a_linear_learner(plan, "ce", activation, weight)
    perturbed = fgsm_by_hand(weight, x, y, 0.1, activation)
    values, slopes = zip(*(entropy_by_hand(weight @ at, y, activation) for at in (perturbed, x)), strict=True)
    loss = learner.learn(batch)
    assert 2 * loss == pytest.approx((1 - beta) * values[0] + beta * values[1], rel=1e-12)
    wanted = (1 - beta) * to_weight(slopes[0], perturbed) + beta * to_weight(slopes[1], x)
    moved = (weight - learner.network.weight.detach().numpy()[:, :, 0, 0]) / RATE  # type: ignore[union-attr]
    np.testing.assert_allclose(moved, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [0.5, 0.2])
def test_alternating_steps_on_the_attacked_batch_first(rng: np.random.Generator, beta: float) -> None:
    plan = AdversarialTraining(epsilon=0.1, beta=beta)
    batch, x, y = a_batch(rng, "softmax")
    weight = rng.normal(size=(3, 2))
    learner = a_linear_learner(plan, "ce", "softmax", weight)
    perturbed = fgsm_by_hand(weight, x, y, 0.1, "softmax")
    first = weight - RATE * 2 * (1 - beta) * to_weight(entropy_by_hand(weight @ perturbed, y, "softmax")[1], perturbed)
    second = first - RATE * 2 * beta * to_weight(entropy_by_hand(first @ x, y, "softmax")[1], x)
    learner.learn(batch)
    moved = learner.network.weight.detach().numpy()[:, :, 0, 0]  # type: ignore[union-attr]
    np.testing.assert_allclose(moved, second, rtol=1e-10)


def fgsm_by_hand(weight: Array, x: Array, y: Array, epsilon: float, activation: str) -> Array:
    """Return eq. 1 with epsilon of each sample's and channel's range, clipped to that range."""
    low, high = x.min(2, keepdims=True), x.max(2, keepdims=True)
    slope = np.einsum("kc,nkv->ncv", weight, entropy_by_hand(weight @ x, y, activation)[1])
    return np.asarray(np.clip(x + epsilon * (high - low) * np.sign(slope), low, high))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_matched_temperature_teaches_the_teachers_own_logits(rng: np.random.Generator, activation: str) -> None:
    """Cross-entropy to soft labels is least where the student's logits, over T, are the teacher's over its own."""
    x = torch.from_numpy(rng.normal(size=(2, 2, 6, 6)))
    spec = Spec.plain(SCHEMES[activation], dims=2, channels=2)
    teacher = nn.Conv2d(2, spec.scheme.channels, 1).double()
    soft = Distilling(Segmenter(teacher, spec), 1.0, 100.0).soft_labels(x)
    copied = (100 * teacher(x)).detach().requires_grad_(True)
    from AdvSegLib.losses import cross_entropy

    (slope,) = torch.autograd.grad(cross_entropy(copied / 100, soft, spec.scheme).sum(), copied)
    assert float(slope.abs().max()) < 1e-15


# -- what the network is shown -------------------------------------------------------------------------------------


def a_plain_batch(seed: int = 0, side: int = 16, count: int = 3) -> Batch:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(count, 1, side, side)).astype(np.float32))
    x *= torch.tensor([1.0, 50.0, 0.01])[:count, None, None, None]
    labels = torch.from_numpy(rng.integers(0, 6, (count, side, side)))
    return Batch(x, labels, load_recipe("chest").spec.scheme.encode(labels), tuple(range(7, 7 + count)), 3)


def widths(x: Tensor) -> Tensor:
    return x.amax((2, 3), keepdim=True) - x.amin((2, 3), keepdim=True)


@given(st.floats(0.001, 0.5), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_noise_is_uniform_within_a_fraction_of_each_samples_range(epsilon: float, seed: int) -> None:
    batch = a_plain_batch()
    noise = (Noisy(UniformNoise(epsilon=epsilon), seed).noisy(batch) - batch.x) / widths(batch.x) / epsilon
    assert float(noise.abs().max()) <= 1 + 1e-3
    assert abs(float(noise.mean())) < 0.12
    assert abs(float(noise.std()) - 3**-0.5) < 0.05


def test_noise_is_a_function_of_seed_and_sample_alone() -> None:
    batch, defense = a_plain_batch(), Noisy(UniformNoise(), seed=4)
    whole = defense.noisy(batch)
    alone = defense.noisy(replace(batch, x=batch.x[1:2], numbers=batch.numbers[1:2]))
    assert torch.equal(whole[1:2], alone)
    assert not torch.equal(whole, Noisy(UniformNoise(), seed=5).noisy(batch))
    assert not torch.equal(defense.noisy(replace(batch, numbers=(8, 9, 10)))[0], whole[0])


@pytest.mark.parametrize(("beta", "update", "wanted"), [
    (0.5, "alternating", [("noisy", 1.0, True), ("clean", 1.0, True)]),
    (0.25, "alternating", [("noisy", 1.5, True), ("clean", 0.5, True)]),
    (0.25, "summed", [("noisy", 0.75, False), ("clean", 0.25, True)]),
    (0.0, "alternating", [("noisy", 1.0, True)]), (1.0, "summed", [("clean", 1.0, True)]),
])  # fmt: skip
def test_passes_come_in_the_papers_order(beta: float, update: str, wanted: list[Any]) -> None:
    batch = a_plain_batch()
    passes = list(Noisy(UniformNoise(beta=beta, update=update), seed=1).passes(batch))
    assert [("clean" if p.x is batch.x else "noisy", p.weight, p.moves) for p in passes] == wanted
    assert all(p.target is batch.target and p.temperature == 1 for p in passes)


@pytest.mark.parametrize("attack", ["fgsm", "i-fgsm", "pgd", "segpgd", "cospgd", "mi-fgsm"])
def test_inner_attacks_stay_in_the_ball_raise_the_loss_and_leave_the_network_alone(attack: str) -> None:
    torch.manual_seed(0)
    network = build_network(NETWORK).train()
    spec = replace(load_recipe("chest").spec, size=(16, 16))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = a_plain_batch()
    steps = None if attack == "fgsm" else 3
    inner = build_inner_attack(AdversarialTraining(attack=attack, steps=steps), network, spec, "dice+ce", "fp32")
    moved = inner(batch.x, batch.labels, 0.05, (1, 2))
    assert not moved.requires_grad
    assert float(((moved - batch.x).abs() / widths(batch.x)).max()) <= 0.05 * (1 + 1e-5)
    assert torch.equal(moved.amax((2, 3)).maximum(batch.x.amax((2, 3))), batch.x.amax((2, 3)))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    segmenter = Segmenter(network, spec)
    losses = [soft_dice(segmenter.logits(x), batch.target, spec.scheme) for x in (batch.x, moved)]
    assert bool((losses[1] > losses[0]).all())


def test_an_inner_attack_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    network = build_network(NETWORK)
    plan = AdversarialTraining(attack="pgd", steps=2, random_start=True)
    inner = build_inner_attack(plan, network, load_recipe("chest").spec, "dice+ce", "fp32")
    batch = a_plain_batch()
    whole, alone = inner(batch.x, batch.labels, 0.05, (1, 2)), inner(batch.x[:1], batch.labels[:1], 0.05, (1, 2))
    assert float((whole[:1] == alone).float().mean()) > 0.99  # a sign may turn on a gradient of rounding size
    assert not torch.equal(whole, inner(batch.x, batch.labels, 0.05, (1, 3)))


def test_the_inner_attack_climbs_the_trainings_loss_unless_told() -> None:
    spec, network = load_recipe("chest").spec, nn.Identity()

    def loss_of(plan: AdversarialTraining, training: str) -> str:
        return build_inner_attack(plan, network, spec, training, "fp32").attack.loss_name

    assert loss_of(AdversarialTraining(), "dice+ce") == "dice-ce"
    assert loss_of(AdversarialTraining(attack="pgd"), "iou") == "iou"
    assert loss_of(AdversarialTraining(attack="pgd", loss="ce"), "iou") == "ce"
    assert loss_of(AdversarialTraining(attack="segpgd"), "dice+ce") == "ce"
    with pytest.raises(BadRequest, match="loss must be one of ce"):
        loss_of(AdversarialTraining(attack="segpgd", loss="dice"), "dice")
    with pytest.raises(BadRequest, match="unknown parameter of fgsm 'steps'"):
        loss_of(AdversarialTraining(steps=3), "dice")


def test_epsilon_ramps_up() -> None:
    defense = Adversarial(AdversarialTraining(epsilon=0.04, ramp=0.5), attack=None, seed=0)  # type: ignore[arg-type]
    assert [defense.epsilon(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0, 0.02, 0.04, 0.04])
    assert Adversarial(AdversarialTraining(epsilon=0.04), attack=None, seed=0).epsilon(0.0) == 0.04  # type: ignore[arg-type]


def test_the_adversary_meets_the_network_as_it_stands() -> None:
    """The clean pass of one batch comes after a step, the attack of the next one on the weights after both."""
    learner = Learner(a_recipe(AdversarialTraining(epsilon=0.05), iterations=4), World())
    seen: list[Tensor] = []
    inner = learner.strategy.attack  # type: ignore[attr-defined]

    def spy(*arguments: Any) -> Tensor:
        seen.append(next(learner.network.parameters()).detach().clone())
        return inner(*arguments)

    learner.strategy = replace(learner.strategy, attack=spy)  # type: ignore[type-var]
    batch = a_plain_batch(side=32, count=2)
    learner.learn(batch)
    learner.learn(replace(batch, iteration=1))
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])


# -- from a recipe to a bundle -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small-chest"
    train(a_recipe(read_defense({"kind": "none"}), iterations=20, learning_rate=0.01), folder, log=lambda _: None)
    return folder


def test_a_distilled_bundle_says_its_temperature(a_teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    train(a_recipe(Distillation(temperature=50.0, teacher=str(a_teacher))), out, log=lambda _: None)
    assert read_metadata(out)["results"]["defense"] == {
        "kind": "distillation", "temperature": 50.0, "teacher": str(a_teacher), "label_temperature": None,
        "scaled_output": False,
    }  # fmt: skip
    card = (out / "docs/README.md").read_text()
    assert "distilled at T = 50" in card
    assert "divides its logits by 50" in card
    second = Learner(a_recipe(Distillation(temperature=8.0, teacher=str(out))), World())
    assert isinstance(second.strategy, Distilling)
    assert second.strategy.label_temperature == 50  # the teacher's own
    told = Learner(a_recipe(Distillation(temperature=8.0, teacher=str(out), label_temperature=2.0)), World())
    assert isinstance(told.strategy, Distilling)
    assert told.strategy.label_temperature == 2


def test_a_teacher_is_found_by_name_and_never_moves(a_teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVSEG_MODELS", str(a_teacher.parent))
    learner = Learner(a_recipe(Distillation(teacher="small-chest")), World())
    assert isinstance(learner.strategy, Distilling)
    network = learner.strategy.teacher.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learner.learn(a_plain_batch(side=32, count=2))
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_high_temperature_makes_logits_grow(a_teacher: Path) -> None:
    """Why the defense hides gradients: at T = 1 the student's softmax is saturated."""
    size = {}
    for temperature in (1.0, 100.0):
        defense = Distillation(temperature=temperature, teacher=str(a_teacher))
        learner = Learner(a_recipe(defense, iterations=60, learning_rate=0.02, loss="dice"), World())
        batch = a_plain_batch(side=32, count=2)
        for iteration in range(60):
            learner.learn(replace(batch, iteration=iteration))
        learner.network.eval()
        size[temperature] = float(learner.network(batch.x[:1]).detach().abs().mean())
    assert size[100.0] > 1.5 * size[1.0]


def test_a_teacher_of_other_labels_is_refused(a_teacher: Path, tmp_path: Path) -> None:
    spec = Spec.plain(LabelScheme.softmax("x"), dims=2)
    definition = {**NETWORK, "out_channels": 2}
    save_bundle(tmp_path, build_network(definition), definition, spec, {"title": "t", "description": "d", "text": ""})
    with pytest.raises(BadRequest, match="other channels or labels"):
        Learner(a_recipe(Distillation(teacher=str(tmp_path))), World())
    with pytest.raises(BadRequest, match="unknown model 'no-such-teacher'"):
        Learner(a_recipe(Distillation(teacher="no-such-teacher")), World())


def test_a_training_starts_from_a_model(a_teacher: Path) -> None:
    learner = Learner(a_recipe(AdversarialTraining(), start_from=str(a_teacher)), World())
    theirs = load_bundle(a_teacher).network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in learner.network.state_dict().items())


@pytest.mark.parametrize("section", [
    {"kind": "noise"}, {"kind": "noise", "update": "summed"}, {"kind": "adversarial"},
    {"kind": "adversarial", "attack": "pgd", "steps": 2, "random_start": True, "beta": 0.0, "ramp": 0.5},
    {"kind": "adversarial", "update": "summed", "attack": "segpgd", "steps": 2},
], ids=json.dumps)  # fmt: skip
def test_every_defense_trains_from_a_recipe(section: dict[str, Any], tmp_path: Path) -> None:
    recipe = Recipe.from_dict({**a_recipe(read_defense({"kind": "none"})).to_dict(), "defense": section})
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    train(recipe, tmp_path / "model", log=lambda _: None)
    assert read_metadata(tmp_path / "model")["results"]["defense"] == recipe.defense.to_dict()
    assert "undefended" not in (tmp_path / "model/docs/README.md").read_text()


@pytest.mark.parametrize(("section", "message"), [
    ({"kind": "destillation"}, "did you mean 'distillation'"), ({"temperature": 3}, "mapping with a kind"),
    ({"kind": "distillation"}, "teacher must name"),
    ({"kind": "distillation", "teacher": "chest", "temperature": 0}, "temperature must be >="),
    ({"kind": "adversarial", "epsilon": 2}, "epsilon must be"), ({"kind": "adversarial", "beta": -1}, "beta must be"),
    ({"kind": "adversarial", "attack": "square"}, "attack must be one of"),
    ({"kind": "adversarial", "epsilon": float("nan")}, "finite"), ({"kind": "noise", "sigma": 1}, "unknown parameter"),
    ({"kind": "noise", "update": "both"}, "update must be one of"),
    ({"kind": "none", "epsilon": 1}, "unknown parameter"),
    ({"kind": 3}, "mapping with a kind"), ("noise", "mapping with a kind"), (None, "mapping with a kind"),
])  # fmt: skip
def test_bad_sections_are_named(section: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read_defense(section)


def test_defenses_are_described_for_interfaces() -> None:
    described = {item["name"]: item for item in describe_defenses()}
    assert set(described) == set(DEFENSES)
    assert {p["name"] for p in described["distillation"]["parameters"]} == {
        "temperature",
        "teacher",
        "label_temperature",
        "labels",
        "scaled_output",
    }
    assert json.loads(json.dumps(list(described.values())))


def test_a_pass_by_default_is_one_plain_step() -> None:
    x = torch.zeros(1)
    assert (Pass(x, x).weight, Pass(x, x).temperature, Pass(x, x).moves) == (1, 1, True)


def test_the_inner_attack_sees_the_networks_own_intensity_mapping() -> None:
    """Scaled by 40 and shifted by 7, a batch is attacked by the same pattern 40 times as large."""
    torch.manual_seed(0)
    network = build_network(NETWORK)
    spec = replace(load_recipe("chest").spec, intensity=Intensity("zscore"))
    inner = build_inner_attack(AdversarialTraining(), network, spec, "dice", "fp32")
    batch = a_plain_batch(count=1)
    one, other = batch.x, batch.x * 40 + 7
    changes = [inner(x, batch.labels, 0.05, (0, 0)) - x for x in (one, other)]
    agree = (changes[1] / 40 - changes[0]).abs() < 1e-3 * float(widths(one))
    assert float(agree.float().mean()) > 0.99
