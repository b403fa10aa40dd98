"""Training: recipes are checked, batches follow the seed, a bundle comes out that does what training promised."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from AdvSegLib.defenses.strategies import Batch
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.bundle import load_bundle, read_metadata
from AdvSegLib.segmenters.spec import Intensity
from AdvSegLib.training import command
from AdvSegLib.training.augmentation import AUGMENTATIONS, Augmentation
from AdvSegLib.training.batches import batches, cut, window
from AdvSegLib.training.learner import Learner
from AdvSegLib.training.n4 import n4
from AdvSegLib.training.pool import draw_phantom, draw_pool, validation_case
from AdvSegLib.training.processes import World
from AdvSegLib.training.recipe import RECIPES, Data, Recipe, load_recipe, shipped_recipes
from AdvSegLib.training.train import train
from AdvSegLib.volumes import Image, LabelMap


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
    once, again = list(batches(recipe, pool)), list(batches(recipe, pool))
    other = list(batches(replace(recipe, seed=9), pool))
    assert all(same(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0].x, other[0].x)
    assert once[0].x.shape == (2, 1, 64, 64)
    assert torch.equal(once[0].target, recipe.spec.scheme.encode(once[0].labels))


def test_later_batches_and_shares_of_them_are_the_same_samples() -> None:
    recipe = a_small_recipe(iterations=3, batch=5)
    pool = draw_pool(recipe.data)
    whole = list(batches(recipe, pool))
    (last,) = batches(recipe, pool, first=2)
    assert same(last, whole[2])
    for first, second in zip(*(batches(recipe, pool, places=places) for places in ((0, 1, 2), (3, 4))), strict=True):
        both = whole[first.iteration]
        assert torch.equal(torch.cat([first.x, second.x]), both.x)
        assert torch.equal(torch.cat([first.labels, second.labels]), both.labels)
        assert first.numbers + second.numbers == both.numbers


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.x, b.x) and torch.equal(a.labels, b.labels) and a.numbers == b.numbers


def test_intensities_of_a_fixed_window_keep_their_scale() -> None:
    recipe = a_small_recipe(augmentation=())
    pool = [(np.full((1, 64, 64), 700, np.float32) + np.arange(64, dtype=np.float32), np.zeros((64, 64), np.uint8))]
    window = Intensity("window", source_low=0.0, source_high=2000.0, low=0.0, high=1.0)
    held = next(batches(replace(recipe, spec=replace(recipe.spec, intensity=window)), pool)).x
    assert torch.allclose(held[0], torch.from_numpy(pool[0][0]), atol=1e-3)
    free = next(batches(recipe, pool)).x
    assert abs(float(free.mean())) < 1e-5
    assert abs(float(free.std()) - 1) < 1e-3


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
    dims = 3 if name == "flip-axis-2" else 2  # the others do both, or 2-D alone
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
        where = window(label.astype(np.uint8), 12, rng)
        a, b = cut(image, where), label[where]
        assert b.shape == (12, 12, 12)
        assert np.array_equal(a[0], b)


@pytest.mark.parametrize(("change", "message"), [
    ({"loss": "mse"}, "unknown training loss 'mse'"), ({"optimizer": "sgdd"}, "unknown optimizer"),
    ({"augmentation": ("flipp-axis-0",)}, "did you mean 'flip-axis-0'"), ({"iterations": 0}, "must be positive"),
    ({"schedule": "cosine"}, "unknown schedule"), ({"fp16": True}, "CUDA only"),
    ({"fp16": True, "bf16": True}, "not both"), ({"start_from": "no-such-model"}, "unknown model"),
    ({"start_from": "brain"}, "its network is another one"),
])  # fmt: skip
def test_bad_plans_are_named_and_write_nothing(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        train(a_small_recipe(**change), tmp_path / "model", log=lambda _: None)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(BadRequest, match="not empty"):
        train(a_small_recipe(), tmp_path, log=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("change", [
    {"optimizer": "adadelta", "learning_rate": 1.0}, {"optimizer": "adamw", "schedule": "constant"}, {"loss": "iou"},
    {"loss": "dice"}, {"loss": "focal"}, {"loss": "dice+focal"},
])  # fmt: skip
def test_every_loss_and_optimizer_learns(change: dict[str, Any]) -> None:
    recipe = a_small_recipe(iterations=30, batch=4, augmentation=(), **change)
    learner = Learner(recipe, World())
    pool = draw_pool(recipe.data)[:2]
    losses = [learner.learn(batch) for batch in batches(recipe, pool)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


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


def test_a_recipe_rests_on_another_and_changes_it_field_by_field(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "base: chest-adversarial-0.05\nname: mine\noptimisation: {iterations: 7}\ndefense: {epsilon: 0.02}\n"
    )
    (tmp_path / "noisy.yaml").write_text("base: mine.yaml\nname: noisy\ndefense: {kind: noise}\n")
    base, mine, noisy = load_recipe("chest"), load_recipe(tmp_path / "mine.yaml"), load_recipe(tmp_path / "noisy.yaml")
    assert (mine.network, mine.spec, mine.data) == (base.network, base.spec, base.data)
    assert mine.optimisation == replace(base.optimisation, iterations=7, validate_every=150)
    assert mine.defense.to_dict()["epsilon"] == 0.02
    assert mine.defense.to_dict()["attack"] == "fgsm"
    assert noisy.defense.to_dict() == {"kind": "noise", "epsilon": 0.01, "beta": 0.5, "update": "alternating"}
    assert noisy.optimisation.iterations == 7


def test_bases_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    (tmp_path / "c.yaml").write_text("base: chesst\n")
    (tmp_path / "d.yaml").write_text("base: d.yaml\n")
    for name in ("a", "d"):
        with pytest.raises(BadRequest, match="lead back to itself"):
            load_recipe(tmp_path / f"{name}.yaml")
    with pytest.raises(BadRequest, match="did you mean 'chest'"):
        load_recipe(tmp_path / "c.yaml")


@pytest.mark.parametrize("family", ["chest", "brain"])
def test_the_shipped_family_is_whole_and_differs_by_its_defense(family: str) -> None:
    names = {name for name, path in shipped_recipes().items() if path.parent == RECIPES and name.startswith(family)}
    kinds = [
        *(f"distilled-t{t}" for t in (20, 100, 500, 5000)),
        *(f"adversarial-{e}" for e in ("0.01", "0.05", "0.1")),
    ]
    assert names == {family, *(f"{family}-{kind}" for kind in (*kinds, "noise", "robust", "surrogate"))}
    plain = load_recipe(family)
    for name in names:
        recipe = load_recipe(name)
        assert (recipe.network, recipe.spec) == (plain.network, plain.spec)
        assert (recipe.data.validation_seed, recipe.data.validation_cases) == (
            plain.data.validation_seed, plain.data.validation_cases,
        )  # fmt: skip


@pytest.mark.parametrize(("family", "kept"), [("chest", 462), ("brain", 246)])
def test_the_surrogate_shares_77_of_100_phantoms(family: str, kept: int) -> None:
    seeds = [
        set(range(data.train_seed, data.train_seed + data.train_cases))
        for data in (load_recipe(family).data, load_recipe(f"{family}-surrogate").data)
    ]
    assert len(seeds[0] & seeds[1]) == kept
    assert kept / len(seeds[0]) == pytest.approx(0.77, abs=0.002)


@pytest.mark.parametrize("name", ["rotate-axial", "transpose-axial"])
def test_axial_augmentations_keep_every_slice_in_its_place(name: str) -> None:
    label = np.zeros((4, 12, 12), np.uint8)
    label[np.arange(4), 1, 2 + np.arange(4)] = 1 + np.arange(4)
    image = label[None].astype(np.float32)
    seen = set()
    for number in range(24):
        a, b = Augmentation([name], 3, seed=1)(image, label, number)
        assert np.array_equal(a[0], b)
        assert [set(np.unique(plane)) for plane in b] == [{0, 1 + k} for k in range(4)]
        seen.add(b.tobytes())
    assert len(seen) == (4 if name == "rotate-axial" else 2)


def test_elastic_of_paper_003_moves_half_of_the_images_smoothly() -> None:
    side = 128
    label = np.zeros((side, side), np.uint8)
    label[32:96, 32:96] = 1
    image = label[None].astype(np.float32)
    augment = Augmentation(["elastic-003"], 2, seed=3)
    changed = [not np.array_equal(augment(image, label, number)[0], image) for number in range(60)]
    assert 20 <= sum(changed) <= 40
    a, b = augment(image, label, changed.index(True))
    assert 2 * ((a[0] > 0.5) & (b == 1)).sum() / ((a[0] > 0.5).sum() + (b == 1).sum()) > 0.98
    assert abs(int(b.sum()) - int(label.sum())) < 0.25 * label.sum()


def a_folder_of_volumes(root: Path, count: int = 3) -> Path:
    rng = np.random.default_rng(5)
    for index in range(count):
        truth = np.zeros((6, 20 + index, 24), np.int32)
        truth[1:4, 5:12, 6:16] = 1
        image = Image.from_array((truth * 3 + rng.normal(size=truth.shape))[None], (2.0, 1.0, 1.0))
        for kind, written in (("images", image), ("labels", LabelMap(truth, image.grid))):
            (root / kind).mkdir(parents=True, exist_ok=True)
            written.write(root / kind / f"case{index}.nii.gz")
    return root


def a_recipe_of_files(root: Path, **data: Any) -> Recipe:
    network = {
        **load_recipe("chest").network,
        "out_channels": 2,
        "channels": [4, 8],
        "strides": [2],
        "num_res_units": 0,
    }
    return Recipe.from_dict({
        "name": "files", "title": "t", "description": "d", "network": network,
        "spec": {
            "dims": 2, "channels": ["image"], "labels": LabelScheme.softmax("label 1").to_dict(), "size": [16, 16],
            "intensity": {"kind": "zscore"}, "multiple": 2,
        },
        "data": {"source": "folder", "path": str(root), "train_cases": 2, "validation_cases": 1, **data},
        "optimisation": {"iterations": 3, "batch": 2, "learning_rate": 0.01},
    })  # fmt: skip


def test_files_are_trained_on_slice_by_slice(tmp_path: Path) -> None:
    recipe = a_recipe_of_files(a_folder_of_volumes(tmp_path / "data"))
    pool = draw_pool(recipe.data, recipe.spec)
    assert len(pool) == 12
    assert all(x.shape == (1, 16, 16) and y.shape == (16, 16) for x, y in pool)
    inside = np.concatenate([x[0][y == 1] for x, y in pool])
    assert abs(inside.mean() - 3) < 0.3  # image and label stayed together
    outcome = train(recipe, tmp_path / "model", log=lambda _: None)
    assert outcome.scores["dice"]["mean"] is not None
    card = (tmp_path / "model/docs/README.md").read_text()
    assert "2 cases read as 'folder'" in card
    assert "No patient data" not in card


def test_files_are_split_without_overlap(tmp_path: Path) -> None:
    root = a_folder_of_volumes(tmp_path / "data")
    recipe = a_recipe_of_files(root)
    widths = {validation_case(recipe.data, 0)[0].grid.shape[1]}
    volume = replace(recipe.spec, size=(), dims=3)
    widths |= {x.shape[2] for x, _ in draw_pool(recipe.data, volume)}
    assert widths == {20, 21, 22}
    with pytest.raises(BadRequest, match="3 cases with truth; the recipe wants 4"):
        draw_pool(replace(recipe.data, train_cases=3), recipe.spec)
    with pytest.raises(BadRequest, match="needs a path"):
        a_recipe_of_files(root, path=None, size=8, train_seed=0, validation_seed=0)
    with pytest.raises(BadRequest, match="takes no path"):
        a_recipe_of_files(root, source="phantom-chest")


def test_samples_of_different_size_are_named(tmp_path: Path) -> None:
    recipe = a_recipe_of_files(a_folder_of_volumes(tmp_path / "data"))
    pool = draw_pool(recipe.data, replace(recipe.spec, size=(), dims=3))
    with pytest.raises(BadRequest, match="differ in size"):
        list(batches(replace(recipe, optimisation=replace(recipe.optimisation, iterations=9)), pool))


def test_n4_takes_a_bias_field_away_and_leaves_constants() -> None:
    rows, columns = np.mgrid[:64, :64] / 63
    anatomy = np.where((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.15, 200.0, 10.0)
    anatomy[24:40, 24:40] = 300.0
    biased = anatomy * (0.7 + 0.6 * columns)
    flat = n4(Image.from_array(np.stack([biased, np.full_like(biased, 4.0)]).astype(np.float32))).array
    tissue = anatomy == 200

    def spread(values: NDArray[Any]) -> float:
        return float(values[tissue].std() / values[tissue].mean())

    assert spread(flat[0]) < 0.5 * spread(biased)
    assert np.array_equal(flat[1], np.full_like(flat[1], 4.0))


def test_the_command_trains_a_file_and_resumes_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = a_recipe_of_files(a_folder_of_volumes(tmp_path / "data"))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(recipe.to_dict()))))
    parser = ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["train", "--recipe", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "m"), "--iterations", "2"]
    command.train(parser.parse_args([*words, "--device", "cpu"]))
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'm'}\n")
    assert json.loads((tmp_path / "m/training/recipe.json").read_text())["optimisation"]["iterations"] == 2
    command.train(parser.parse_args([*words, "--device", "cpu", "--resume"]))
    assert "already trained" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parser.parse_args([*words[:-1], "0"])
    assert "invalid whole number >= 1 value: '0'" in capsys.readouterr().err
