"""Training: recipes are checked, batches follow the seed, a bundle comes out that does what training promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.bundle import load_bundle, read_metadata
from AdvSegLib.training.augmentation import AUGMENTATIONS, Augmentation
from AdvSegLib.training.pool import draw_phantom, draw_pool
from AdvSegLib.training.recipe import Data, Recipe, load_recipe, shipped_recipes
from AdvSegLib.training.train import _batches, _crop, train


def a_small_recipe(**optimisation: Any) -> Recipe:
    recipe = load_recipe("chest")
    network = {**recipe.network, "channels": [8, 16, 32, 64], "strides": [2, 2, 2], "num_res_units": 1}
    plan = {"iterations": 4, "batch": 2, "validate_every": 100, "bf16": False, **optimisation}
    return replace(
        recipe,
        network=network,
        spec=replace(recipe.spec, size=(64, 64)),
        data=Data("phantom-chest", 64, 6, 0, 2, 500),
        optimisation=replace(recipe.optimisation, **plan),
    )


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_load_and_survive_json(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.slow
def test_training_learns_and_writes_a_bundle(tmp_path: Path) -> None:
    recipe = a_small_recipe(iterations=150, batch=4, learning_rate=0.01)
    lines: list[str] = []
    outcome = train(recipe, tmp_path / "model", log=lines.append)
    assert outcome.scores["dice"]["left lung"] > 0.8
    segmenter = load_bundle(tmp_path / "model")
    image, labels = draw_phantom("phantom-chest", 501, 64)
    lungs = np.isin(segmenter.segment(image).array, (2, 3)), np.isin(labels.array, (2, 3))
    assert 2 * (lungs[0] & lungs[1]).sum() / (lungs[0].sum() + lungs[1].sum()) > 0.8
    metadata = read_metadata(tmp_path / "model")
    assert metadata["results"]["dice"] == outcome.scores["dice"]
    card = (tmp_path / "model" / "docs" / "README.md").read_text()
    assert f"| left lung | {outcome.scores['dice']['left lung']:.3f} |" in card
    assert "not a medical device" in card


def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(replace(a_small_recipe(), seed=seed), tmp_path / name, log=lambda _: None)
        weights.append((tmp_path / name / "models/model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_pool_is_the_phantoms_of_its_seeds() -> None:
    data = Data("phantom-brain", 24, 3, 40, 1, 90, analytic_every=3)
    pool = draw_pool(data)
    image, labels = draw_phantom("phantom-brain", 42, 24, analytic=True)
    assert np.array_equal(pool[2][0], image.array)
    assert np.array_equal(pool[2][1], labels.array)
    assert len(pool) == 3


def test_batches_are_a_function_of_seed_and_iteration() -> None:
    recipe = a_small_recipe(iterations=3)
    pool = draw_pool(recipe.data)
    once, again = list(_batches(recipe, pool)), list(_batches(recipe, pool))
    other = list(_batches(replace(recipe, seed=9), pool))
    assert all(torch.equal(a, b) for one, two in zip(once, again, strict=True) for a, b in zip(one, two, strict=True))
    assert not torch.equal(once[0][0], other[0][0])
    assert once[0][0].shape == (2, 1, 64, 64)


@pytest.mark.parametrize("dims", [2, 3])
def test_geometric_augmentation_moves_image_and_label_together(dims: int) -> None:
    shape = (24,) * dims
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(6, 15 + axis) for axis in range(dims))] = 1
    image = label[None].astype(np.float32)
    moved = 0
    augment = Augmentation(["flip-axis-0", "flip-axis-1", "affine", "elastic"], dims, seed=1)
    for number in range(12):
        a, b = augment(image, label, number)
        overlap = (a[0] > 0.5) & (b == 1)
        assert 2 * overlap.sum() / ((a[0] > 0.5).sum() + (b == 1).sum()) > 0.9
        moved += not np.array_equal(b, label)
    assert moved > 6


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_augmentations_keep_shape_and_stay_finite(name: str) -> None:
    dims = 3 if name == "flip-axis-2" else 2
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(2, *[16] * dims)).astype(np.float32), rng.integers(0, 3, [16] * dims, np.uint8)
    changed = False
    for number in range(20):
        a, b = Augmentation([name], dims, seed=0)(image, label, number)
        assert a.shape == image.shape
        assert b.shape == label.shape
        assert np.isfinite(a).all()
        assert set(np.unique(b)) <= {0, 1, 2}
        changed |= not np.array_equal(a, image)
    assert changed


def test_crop_keeps_image_and_label_aligned_and_inside() -> None:
    label = np.arange(20 * 21 * 22, dtype=np.uint32).reshape(20, 21, 22) % 251
    image = label[None].astype(np.float32)
    rng = np.random.default_rng(0)
    for _ in range(30):
        a, b = _crop(image, label.astype(np.uint8), 12, rng)
        assert b.shape == (12, 12, 12)
        assert np.array_equal(a[0], b)


@pytest.mark.parametrize(("change", "message"), [
    ({"loss": "mse"}, "unknown training loss 'mse'"), ({"optimizer": "sgdd"}, "unknown optimizer"),
    ({"augmentation": ("flipp-axis-0",)}, "did you mean 'flip-axis-0'"), ({"iterations": 0}, "must be positive"),
])  # fmt: skip
def test_bad_plans_are_named_and_write_nothing(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        train(a_small_recipe(**change), tmp_path / "model", log=lambda _: None)
    assert not (tmp_path / "model").exists()


def test_bad_recipes_are_named(tmp_path: Path) -> None:
    good = load_recipe("chest").to_dict()
    with pytest.raises(BadRequest, match="did you mean 'optimisation'"):
        Recipe.from_dict({**good, "optimization": {}})
    with pytest.raises(BadRequest, match="incomplete"):
        Recipe.from_dict({key: value for key, value in good.items() if key != "spec"})
    with pytest.raises(BadRequest, match="overlap"):
        Recipe.from_dict({**good, "data": {**good["data"], "validation_seed": good["data"]["train_seed"]}})
    with pytest.raises(BadRequest, match="unknown recipe 'brian'; did you mean 'brain'"):
        load_recipe("brian")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(BadRequest, match="not readable as YAML"):
        load_recipe(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(BadRequest, match="mapping"):
        load_recipe(tmp_path / "list.yaml")
