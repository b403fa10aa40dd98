"""How trainings end: weights stored in half the space, a network that did not learn, numbers that are none."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.metrics.overlap import compare, mean
from AdvSegLib.segmenters.bundle import load_bundle, read_metadata, round_to_half
from AdvSegLib.training.card import COLLAPSED, collapse
from AdvSegLib.training.history import read_history
from AdvSegLib.training.learner import Learner, check_finite, seeded_network
from AdvSegLib.training.pool import Sample, draw_phantom, draw_pool
from AdvSegLib.training.processes import World
from AdvSegLib.training.recipe import Data, Recipe, load_recipe, shipped_recipes
from AdvSegLib.training.snapshot import training_folder
from AdvSegLib.training.train import train

WEIGHTS = "models/model.safetensors"


def silent(_: str) -> None:
    pass


def a_recipe(**optimisation: Any) -> Recipe:
    """Return a training of a network with batch norm, whose buffers are no weights."""
    recipe = load_recipe("chest")
    network = {**recipe.network, "channels": [8, 16], "strides": [2], "num_res_units": 0, "norm": "batch"}
    plan = {"iterations": 30, "batch": 2, "validate_every": 100, "bf16": False, "learning_rate": 0.02, **optimisation}
    return replace(
        recipe, network=network, spec=replace(recipe.spec, size=(32, 32)), data=Data("phantom-chest", 32, 4, 0, 2, 50),
        optimisation=replace(recipe.optimisation, **plan), stored="float32",
    )  # fmt: skip


# -- stored as float16 ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_and_half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("stored")
    for name in ("float32", "float16"):
        train(replace(a_recipe(), stored=name), folder / name, log=silent)
    return folder / "float32", folder / "float16"


def test_float16_stores_rounded_weights_and_leaves_buffers(whole_and_half: tuple[Path, Path]) -> None:
    whole, half = (load_file(folder / WEIGHTS) for folder in whole_and_half)
    network = seeded_network(a_recipe())
    named, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    assert set(whole) == set(half) == set(named) | set(buffers)
    assert any("running_var" in name for name in buffers)
    for name in named:
        assert (whole[name].dtype, half[name].dtype) == (torch.float32, torch.float16)
        assert np.array_equal(half[name].numpy(), whole[name].numpy().astype(np.float16))
    for name in buffers:
        assert half[name].dtype == whole[name].dtype
        assert torch.equal(half[name], whole[name])
    sizes = [(folder / WEIGHTS).stat().st_size for folder in whole_and_half]
    weights, least = sum(weight.numel() for weight in named.values()), 1000  # bytes of header that may differ
    assert abs(sizes[0] - sizes[1] - 2 * weights) < least


def test_a_stored_network_is_loaded_and_scored_as_it_is_stored(whole_and_half: tuple[Path, Path]) -> None:
    """Its Dice by hand, with a network rounded in numpy, is the one on record; that of the other one is not."""
    whole, half = whole_and_half
    loaded = load_bundle(half)
    state, weights = loaded.network.state_dict(), {name for name, _ in loaded.network.named_parameters()}
    for name, value in load_file(whole / WEIGHTS).items():
        rounded = value.numpy().astype(np.float16).astype(np.float32) if name in weights else value.numpy()
        assert state[name].dtype == torch.from_numpy(rounded).dtype
        assert np.array_equal(state[name].numpy(), rounded)
    recorded, theirs = (read_metadata(folder)["results"]["dice"] for folder in whole_and_half[::-1])
    found = []
    for seed in (50, 51):
        image, truth = draw_phantom("phantom-chest", seed, 32)
        labels = truth.onto(image.grid).array
        found.append(compare(labels, loaded.segment(image).array, loaded.scheme)["dice"])
    assert {name: mean([dice[name] for dice in found]) for name in found[0]} == recorded
    assert recorded["mean"] > 0.2
    assert recorded["mean"] == pytest.approx(theirs["mean"], abs=0.02)


def test_weights_beyond_float16_are_refused() -> None:
    network = torch.nn.Conv2d(1, 1, 1)
    for value, rounded in ((65504.0, 65504.0), (-65519.0, -65504.0)):
        network.weight.data.fill_(value)
        round_to_half(network)
        assert float(network.weight.detach()) == rounded
    network.weight.data.fill_(65520.0)
    with pytest.raises(AdvSegError, match=r"weights of weight are beyond float16 \(65504\); store them as float32"):
        round_to_half(network)
    assert float(network.weight.detach()) == 65520


def test_another_type_is_named() -> None:
    with pytest.raises(BadRequest, match="unknown type of stored weights 'float8'"):
        replace(a_recipe(), stored="float8")


# -- analytic phantoms ---------------------------------------------------------------------------------------------


PHANTOM_RECIPES = sorted(name for name in shipped_recipes() if load_recipe(name).data.phantom)


@cache
def the_first(source: str, seed: int, every: int) -> list[Sample]:
    """Draw the first training phantoms, small; families share them."""
    return draw_pool(Data(source, 32, every + 1, seed, 1, 0, analytic_every=every))


@pytest.mark.parametrize("name", PHANTOM_RECIPES)
def test_the_first_phantoms_of_every_shipped_recipe_can_be_drawn(name: str) -> None:
    data, channels = load_recipe(name).data, len(load_recipe(name).spec.channels)
    pool = the_first(data.source, data.train_seed, data.analytic_every)
    assert len(pool) == data.analytic_every + 1
    for image, label in pool:
        assert image.shape == (channels, *label.shape)
        assert label.ndim == load_recipe(name).spec.dims
        assert np.isfinite(image).all()


def test_only_brains_are_drawn_without_a_template() -> None:
    sources = {load_recipe(name).data.source for name in PHANTOM_RECIPES}
    assert sources > {"phantom-brain", "phantom-brain-slice"}
    for source in sources - {"phantom-brain"}:
        with pytest.raises(BadRequest, match=f"source '{source}' is drawn without a template; leave analytic_every"):
            Data(source, 32, 4, 0, 1, 50, analytic_every=5)
        assert Data(source, 32, 4, 0, 1, 50).analytic_every == 0
    assert Data("phantom-brain", 32, 4, 0, 1, 50, analytic_every=5).analytic_every == 5


# -- few iterations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [1, 2, 5, 9, 10, 11, 15])
def test_the_schedule_of_few_iterations_rises_and_falls(iterations: int, tmp_path: Path) -> None:
    plan = a_recipe(iterations=iterations, learning_rate=0.01)
    train(replace(plan, data=replace(plan.data, train_cases=1)), tmp_path / "model", log=silent)
    rates = [line["learning_rate"] for line in read_history(tmp_path / "model/training/history.jsonl")]
    assert len(rates) == iterations
    assert all(0 < rate <= 0.01 * (1 + 1e-6) for rate in rates)
    peak = int(np.argmax(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if iterations == 10:
        assert rates[0] == pytest.approx(0.01 / 25)  # OneCycleLR's start
        assert peak == 1
        assert rates[-1] < 1e-6


# -- a network that did not learn ----------------------------------------------------------------------------------


def test_a_collapsed_network_is_told_from_one_that_learned() -> None:
    losses = [2.0] * 10 + [1.5] * 80 + [0.5] * 10
    assert collapse(COLLAPSED, losses) == collapse(0.9, losses) == collapse(None, losses) == ""
    said = "did not learn: mean Dice 0.049 on unseen cases; loss 2.000 at the start and 0.500 at the end"
    assert collapse(0.049, losses) == said
    assert collapse(0.0, [3.0]).endswith("loss 3.000 at the start and 3.000 at the end")


def test_a_training_that_ends_at_nothing_says_so_in_log_card_and_metadata(tmp_path: Path) -> None:
    """A rate at which nothing moves: the network stays as drawn, whose bias says background everywhere."""
    recipe, out, lines = a_recipe(iterations=3, learning_rate=1e-12), tmp_path / "model", list[str]()

    def to_background(learner: Learner, *arguments: Any) -> None:
        true(learner, *arguments)
        for weight in learner.network.parameters():
            weight.data.zero_()  # all logits alike: argmax says background

    true = Learner.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "__init__", to_background)
        outcome = train(recipe, out, log=lines.append)
    history = [line["loss"] for line in read_history(out / "training/history.jsonl")]
    said = (
        f"did not learn: mean Dice 0.000 on unseen cases; loss {history[0]:.3f} at the start and {history[-1]:.3f} "
        "at the end"
    )
    assert outcome.scores["dice"]["mean"] == 0
    assert outcome.warning == read_metadata(out)["results"]["warning"] == said
    assert lines[-2:] == ["mean Dice 0.000 on 2 unseen cases", f"WARNING: this network {said}"]
    card = (out / "docs/README.md").read_text().splitlines()
    assert card[2] == f"> **This network {said}.** It is no victim to measure anything on."
    again: list[str] = []
    assert train(recipe, out, log=again.append, resume=True).warning == said
    assert again == [f"{out} is already trained", f"WARNING: this network {said}"]


def test_a_training_that_learns_is_not_warned_of(whole_and_half: tuple[Path, Path]) -> None:
    for folder in whole_and_half:
        assert "warning" not in read_metadata(folder)["results"]
        assert "did not learn" not in (folder / "docs/README.md").read_text()


# -- numbers that are none -----------------------------------------------------------------------------------------


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even in the last iteration, whose weights no loss would show."""
    recipe, out = a_recipe(iterations=2, snapshot_every=1), tmp_path / "model"
    true = torch.nn.utils.clip_grad_norm_

    def broken(weights: Any, length: float) -> torch.Tensor:
        weights = list(weights)
        calls.append(1)
        if len(calls) == 2:
            weights[0].grad.view(-1)[0] = math.inf
        return true(weights, length)

    calls: list[int] = []
    monkeypatch.setattr("AdvSegLib.training.learner.nn.utils.clip_grad_norm_", broken)
    with pytest.raises(AdvSegError, match="training gradient is not finite at iteration 2; lower the learning rate"):
        train(recipe, out, log=silent)
    assert not out.exists()
    kept = torch.load(training_folder(out) / "last.pt", weights_only=True)
    assert kept["state"]  # the snapshot of iteration 1 stands
    monkeypatch.undo()
    train(recipe, out, log=silent, resume=True)
    assert out.is_dir()


def test_a_network_with_a_number_that_is_none_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = a_recipe(iterations=2), tmp_path / "model"
    true = Learner.learn

    def learn(self: Learner, batch: Any) -> float:
        loss = true(self, batch)
        if batch.iteration == 1:
            next(self.network.buffers()).view(-1)[0] = math.nan
        return loss

    monkeypatch.setattr(Learner, "learn", learn)
    with pytest.raises(AdvSegError, match=r"running_mean of the trained network is not finite; lower the learning"):
        train(recipe, out, log=silent)
    assert not out.exists()
    check_finite(Learner(a_recipe(), World()).network)
