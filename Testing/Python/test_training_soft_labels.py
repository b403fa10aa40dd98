"""Soft labels asked once: the teacher's, moved as the image is moved, the same after a kill and on two processes."""

from __future__ import annotations

import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from test_distributed import CLOSE, on_processes
from test_resume import interrupted
from torch import Tensor, nn

from AdvSegLib.defenses.plan import Distillation, read_defense
from AdvSegLib.defenses.strategies import Batch, Distilling
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.bundle import read_metadata
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec, Windows
from AdvSegLib.training.augmentation import AUGMENTATIONS, Augmentation
from AdvSegLib.training.batches import as_probabilities, batches
from AdvSegLib.training.learner import Learner
from AdvSegLib.training.pool import Sample, draw_pool
from AdvSegLib.training.processes import World
from AdvSegLib.training.recipe import Data, Recipe, load_recipe
from AdvSegLib.training.soft_labels import cache_bytes, cache_soft_labels, check_room
from AdvSegLib.training.train import train

NETWORK = {
    "_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 6,
    "channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "instance", "bias": False,
}  # fmt: skip
HALF = 2.0**-12
"""How far float16 rounds a number of at most 1."""
SCHEMES = {"softmax": LabelScheme.softmax("a", "b"), "sigmoid": LabelScheme.sigmoid("a", "b")}


def silent(_: str) -> None:
    pass


def a_recipe(teacher: Path | str, labels: str = "cached", **optimisation: Any) -> Recipe:
    recipe = load_recipe("chest")
    plan = {
        "iterations": 6, "batch": 3, "validate_every": 3, "bf16": False, "augmentation": ("affine", "contrast"),
        "crop": (), **optimisation,
    }  # fmt: skip
    defense = Distillation(temperature=20.0, teacher=str(teacher), labels=labels)
    return replace(
        recipe, network=NETWORK, spec=replace(recipe.spec, size=(32, 32)), data=Data("phantom-chest", 32, 5, 0, 1, 50),
        optimisation=replace(recipe.optimisation, **plan), defense=defense,
    )  # fmt: skip


@pytest.fixture(scope="module")
def a_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "teacher"
    recipe = a_recipe("unused", iterations=25, learning_rate=0.01)
    train(replace(recipe, defense=read_defense({"kind": "none"})), folder, log=silent)
    return folder


def taught(recipe: Recipe) -> tuple[Distilling, list[Sample], list[NDArray[np.float16]]]:
    """Return a recipe's teacher at work, its pool, and what the teacher says of it."""
    teaching = Learner(recipe, World()).strategy
    assert isinstance(teaching, Distilling)
    pool = draw_pool(recipe.data, recipe.spec)
    return teaching, pool, cache_soft_labels(teaching, pool, World())


# -- what is cached ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", sorted(SCHEMES))
@pytest.mark.parametrize("temperature", [1.0, 7.0])
def test_labels_are_the_teachers_output_at_its_temperature(activation: str, temperature: float) -> None:
    """In float64, against ``softmax(W x / T)`` and ``sigmoid(W x / T)`` in numpy."""
    rng, scheme = np.random.default_rng(3), SCHEMES[activation]
    weight, x = rng.normal(size=(scheme.channels, 2)), rng.normal(size=(2, 9, 11))
    teacher = nn.Conv2d(2, scheme.channels, 1, bias=False).double()
    with torch.no_grad():
        teacher.weight.copy_(torch.from_numpy(weight)[:, :, None, None])
    teaching = Distilling(Segmenter(teacher, Spec.plain(scheme, dims=2, channels=2)), temperature, 100.0, cached=True)
    z = np.einsum("kc,chw->khw", weight, x) / temperature
    wanted = np.exp(z) / np.exp(z).sum(0) if activation == "softmax" else 1 / (1 + np.exp(-z))
    found = teaching.whole_labels(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    (kept,) = cache_soft_labels(
        replace(teaching, teacher=replace(teaching.teacher, network=teacher.float())),
        [(x.astype(np.float32), np.zeros((9, 11), np.uint8))], World(),
    )  # fmt: skip
    assert kept.dtype == np.float16
    np.testing.assert_allclose(kept.astype(float), wanted, atol=HALF + 1e-6, rtol=0)


def test_whole_samples_are_seen_as_the_teachers_segmenter_sees_them(a_teacher: Path) -> None:
    """Padded to its multiple and in its windows, never resampled: a sample is on the network's grid."""
    teaching, _, _ = taught(a_recipe(a_teacher))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 41, 38)).astype(np.float32))
    spec = replace(teaching.teacher.spec, multiple=8, windows=Windows((16, 16), 0.5), size=(32, 32))
    windowed = replace(teaching, teacher=replace(teaching.teacher, spec=spec))
    alone = Segmenter(teaching.teacher.network, replace(spec, size=()))
    assert torch.equal(windowed.whole_labels(x), alone.logits(x).softmax(1))
    assert not torch.equal(windowed.whole_labels(x), teaching.whole_labels(x))


def test_without_augmentation_cached_is_per_step(a_teacher: Path) -> None:
    recipe = a_recipe(a_teacher, augmentation=())
    teaching, pool, soft = taught(recipe)
    exact = [teaching.whole_labels(torch.from_numpy(image)[None])[0].numpy() for image, _ in pool]
    assert exact[0].max() > 0.5  # not flat
    for rounded, kept in zip(batches(recipe, pool, soft=soft), batches(recipe, pool, soft=exact), strict=True):
        (cached,), asked = teaching.passes(rounded), teaching.soft_labels(rounded.x)
        assert torch.equal(cached.x, rounded.x)
        assert cached.temperature == 20
        assert cached.target.dtype == torch.float32
        assert float((cached.target - asked).abs().max()) < 3 * HALF  # rounded, then brought back to sum 1
        assert kept.soft is not None
        assert float((kept.soft - asked).abs().max()) < 1e-5


def test_the_teacher_is_asked_once_a_sample(a_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("whole_labels", "soft_labels"):
        true = getattr(Distilling, name)

        def spy(self: Distilling, x: Tensor, name: str = name, true: Any = true) -> Tensor:
            asked.append(name)
            answer: Tensor = true(self, x)
            return answer

        monkeypatch.setattr(Distilling, name, spy)
    lines: list[str] = []
    train(a_recipe(a_teacher), tmp_path / "cached", log=lines.append)
    assert asked == ["whole_labels"] * 5
    assert "asking the teacher for the labels of 5 samples (0 MB)" in lines
    train(a_recipe(a_teacher, "per-step"), tmp_path / "asked", log=silent)
    assert asked[5:] == ["soft_labels"] * 6


def test_memory_is_two_bytes_a_probability() -> None:
    pool: list[Sample] = [(np.zeros((4, 8, 9), np.float32), np.zeros((8, 9), np.uint8))] * 3
    assert cache_bytes(pool, 6) == 3 * 6 * 8 * 9 * 2


def test_more_than_the_machine_holds_is_refused(
    a_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 5 * 6 * 32 * 32 * 2
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": needed, "SC_PAGE_SIZE": 1}.__getitem__)
    check_room(needed)
    with pytest.raises(BadRequest, match=r"cached soft labels take 0\.0 GB.*take labels: per-step"):
        check_room(needed + 1)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": needed - 1, "SC_PAGE_SIZE": 1}.__getitem__)
    with pytest.raises(BadRequest, match="take labels: per-step"):
        train(a_recipe(a_teacher), tmp_path / "model", log=silent)
    assert not list(tmp_path.iterdir())


# -- moved as the image is moved -----------------------------------------------------------------------------------


def test_with_flips_and_turns_labels_are_the_teachers_flipped_and_turned(a_teacher: Path) -> None:
    names = ("flip-axis-0", "flip-axis-1", "rotate-axial", "transpose-axial")
    recipe = a_recipe(a_teacher, augmentation=names, iterations=12)
    _, pool, soft = taught(recipe)
    plain = list(batches(replace(recipe, optimisation=replace(recipe.optimisation, augmentation=())), pool, soft=soft))
    seen = set()
    for bare, moved in zip(plain, batches(recipe, pool, soft=soft), strict=True):
        assert bare.soft is not None
        assert moved.soft is not None
        for place in range(len(bare.x)):
            way = next(way for way in WAYS if np.array_equal(turned(bare.x[place], way), moved.x[place]))
            assert np.array_equal(turned(bare.soft[place], way), moved.soft[place])
            seen.add(way)
    assert len(seen) == 8  # the whole group of the square


WAYS = list(itertools.product(range(4), (False, True)))


def turned(planes: Tensor, way: tuple[int, bool]) -> NDArray[Any]:
    quarters, swapped = way
    array = np.rot90(planes.numpy(), quarters, axes=(1, 2))
    return array.swapaxes(1, 2) if swapped else array


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["affine", "elastic"])
def test_interpolated_moves_are_those_of_the_image(name: str, dims: int) -> None:
    """Given as soft labels, the image itself comes out as the image does."""
    image = np.random.default_rng(1).normal(size=(2, *[24] * dims)).astype(np.float32)
    label, moved = np.zeros(image.shape[1:], np.uint8), 0
    for number in range(16):
        a, _, soft = Augmentation([name], dims, seed=4).together(image, label, image, number)
        assert soft is not None
        assert np.array_equal(a, soft)
        moved += not np.array_equal(a, image)
    assert moved


def test_papers_warp_moves_labels_linearly() -> None:
    """Cubic and linear splines agree on a plane, but at the edge."""
    rows, columns = np.mgrid[:96, :96].astype(np.float32)
    image, label = (2 * rows - columns)[None], np.zeros((96, 96), np.uint8)
    for number in range(6):
        a, _, soft = Augmentation(["elastic-003"], 2, seed=3).together(image, label, image, number)
        assert soft is not None
        assert np.abs(a - soft)[0, 8:-8, 8:-8].max() < 0.02
    steps = (columns > 48).astype(np.float32)[None]
    soft = Augmentation(["elastic-003"], 2, seed=3).together(steps, label, steps, 1)[2]
    assert soft is not None
    assert 0 <= soft.min() <= soft.max() <= 1  # a cubic spline would leave the range


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_labels_change_no_draw_and_intensities_leave_them_alone(name: str) -> None:
    dims = 3 if name == "flip-axis-2" else 2
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(2, *[16] * dims)).astype(np.float32), rng.integers(0, 3, [16] * dims, np.uint8)
    soft = rng.uniform(size=(3, *[16] * dims)).astype(np.float16)
    alone = name in {"noise", "blur", "contrast", "scale", "shift", "low-resolution"}
    augment, touched = Augmentation([name, "flip-axis-0"], dims, seed=0), 0
    for number in range(12):
        a, b, c = augment.together(image, label, soft, number)
        assert c is not None
        assert all(np.array_equal(x, y) for x, y in zip((a, b), augment(image, label, number), strict=True))
        same = any(np.array_equal(c, np.flip(soft.astype(np.float32), 1) if f else soft) for f in (False, True))
        touched += not same
    assert touched == 0 if alone or name == "flip-axis-0" else touched > 0


def test_crops_cut_labels_and_image_at_one_place(a_teacher: Path) -> None:
    spec = replace(
        load_recipe("chest").spec, scheme=SCHEMES["sigmoid"],
        intensity=Intensity("window", source_low=0.0, source_high=1.0, low=0.0, high=1.0),
    )  # fmt: skip
    recipe = replace(a_recipe(a_teacher, augmentation=(), crop=(9, 14), iterations=9), spec=spec)
    planes = np.random.default_rng(2).uniform(size=(4, 32, 32)).astype(np.float32)
    pool = [(plane[None], (plane > 0.9).astype(np.uint8)) for plane in planes]
    sides = set()
    for batch in batches(recipe, pool, soft=[np.stack([plane, 1 - plane]) for plane in planes]):
        assert batch.soft is not None
        assert float((batch.soft[:, :1] - batch.x).abs().max()) < 1e-5
        assert float((batch.soft.sum(1) - 1).abs().max()) < 1e-6
        sides.add(batch.soft.shape[-1])
    assert sides == {9, 14}


@given(arrays(np.float32, (3, 4, 4), elements=st.floats(-0.125, 1.125, width=32)))
def test_what_is_learned_are_probabilities(soft: NDArray[np.float32]) -> None:
    soft[0] += 0.25  # never all of them 0
    one, many = (as_probabilities(soft, SCHEMES[name]) for name in ("softmax", "sigmoid"))
    assert one.min() >= 0
    assert np.abs(one.sum(0) - 1).max() < 1e-6
    assert np.array_equal(many, np.clip(soft, 0, 1))


# -- a training with them ------------------------------------------------------------------------------------------


def weights(folder: Path) -> bytes:
    return (folder / "models/model.safetensors").read_bytes()


def stopping_after(iteration: int) -> Any:
    def log(line: str) -> None:
        if line.startswith(f"iteration {iteration}:"):
            raise RuntimeError("crash")

    return log


def test_a_crashed_and_resumed_training_ends_at_the_same_weights(a_teacher: Path, tmp_path: Path) -> None:
    recipe = a_recipe(a_teacher, snapshot_every=2, crop=(16, 24))
    train(recipe, tmp_path / "whole", log=silent)
    with pytest.raises(RuntimeError, match="crash"):
        train(recipe, tmp_path / "model", log=stopping_after(3))
    with pytest.raises(BadRequest, match=r"snapshot of another training .*defense\.labels: cached -> None"):
        train(replace(recipe, defense=replace(recipe.defense, labels="per-step")), tmp_path / "model", resume=True)
    lines: list[str] = []
    train(recipe, tmp_path / "model", log=lines.append, resume=True)
    assert "resuming after iteration 2 of 6" in lines
    assert weights(tmp_path / "model") == weights(tmp_path / "whole")
    train(a_recipe(a_teacher, "per-step", crop=(16, 24)), tmp_path / "asked", log=silent)
    assert weights(tmp_path / "asked") != weights(tmp_path / "whole")
    assert read_metadata(tmp_path / "whole")["results"]["defense"]["labels"] == "cached"
    assert "labels" not in read_metadata(tmp_path / "asked")["results"]["defense"]  # as bundles of older releases


def test_a_stop_while_the_teacher_is_asked_says_where_the_training_stands(a_teacher: Path, tmp_path: Path) -> None:
    recipe, out = a_recipe(a_teacher, snapshot_every=2), tmp_path / "model"

    def term(line: str) -> None:
        if line.startswith("asking the teacher"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Cancelled, match="stopped before the first iteration; nothing was written"):
        train(recipe, out, log=term)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="crash"):
        train(recipe, out, log=stopping_after(3))
    with pytest.raises(Cancelled, match="stopped at iteration 2, as before; --resume continues"):
        train(recipe, out, log=term, resume=True)
    train(recipe, out, log=silent, resume=True)
    assert out.is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(("how", "count"), [("kill", 6), ("term", 6)])
def test_interruptions_at_random_times_lose_nothing(a_teacher: Path, tmp_path: Path, how: str, count: int) -> None:
    recipe = a_recipe(a_teacher, iterations=300, validate_every=50, snapshot_every=5)
    train(recipe, tmp_path / "whole", log=silent)
    assert interrupted(recipe, tmp_path / "model", how, count) == count
    assert weights(tmp_path / "model") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_share_the_asking_and_train_what_one_does(a_teacher: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    recipe = a_recipe(a_teacher, iterations=4, validate_every=2)
    printed = on_processes(2, [(recipe, tmp_path / "two")])
    assert printed.count("asking the teacher for the labels of 5 samples") == 1
    train(recipe, tmp_path / "one", log=silent)
    one, two = (load_file(tmp_path / name / "models/model.safetensors") for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) <= CLOSE


def test_a_choice_that_is_none_is_named() -> None:
    with pytest.raises(BadRequest, match="labels must be one of per-step, cached"):
        read_defense({"kind": "distillation", "teacher": "chest", "labels": "once"})
    with pytest.raises(BadRequest, match="unknown parameter of noise"):
        read_defense({"kind": "noise", "labels": "cached"})
    asked = read_defense({"kind": "distillation", "teacher": "chest"})
    assert read_defense(asked.to_dict()) == asked
    once = read_defense({"kind": "distillation", "teacher": "chest", "labels": "cached"})
    assert read_defense(once.to_dict()) == once != asked


def test_a_batch_without_its_labels_is_refused(a_teacher: Path) -> None:
    teaching, _, _ = taught(a_recipe(a_teacher))
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(AdvSegError, match="given a batch without them"):
        list(teaching.passes(Batch(x, x[:, 0].long(), x, (0,))))
