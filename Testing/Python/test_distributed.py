"""Training on several processes: the same samples, the same gradients, the same weights as on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from AdvSegLib.defenses.plan import read_defense
from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.bundle import read_metadata
from AdvSegLib.training.history import read_history
from AdvSegLib.training.processes import World
from AdvSegLib.training.recipe import Data, Recipe, load_recipe
from AdvSegLib.training.train import train

ROOT = Path(__file__).resolve().parents[2]
CLOSE = 3e-7
"""Sums of two processes round otherwise than one process's."""

WORKER = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from AdvSegLib.errors import Cancelled
from AdvSegLib.training.recipe import Recipe
from AdvSegLib.training.train import train

for recipe, out in json.loads(sys.argv[1]):
    train(Recipe.from_dict(recipe), Path(out), log=lambda line: print(line, flush=True))
"""


def a_tiny_recipe(defense: dict[str, Any], **optimisation: Any) -> Recipe:
    """Return a recipe with instance norm, whose samples do not meet in the batch, and no bias that it would cancel."""
    recipe = load_recipe("chest")
    network = {
        **recipe.network,
        "channels": [4, 8],
        "strides": [2],
        "num_res_units": 1,
        "norm": "instance",
        "bias": False,
    }
    plan = {
        "iterations": 4, "batch": 3, "validate_every": 2, "bf16": False, "augmentation": ("affine", "contrast"),
        **optimisation,
    }  # fmt: skip
    return replace(
        recipe, network=network, spec=replace(recipe.spec, size=(32, 32)), data=Data("phantom-chest", 32, 4, 0, 1, 50),
        optimisation=replace(recipe.optimisation, **plan), defense=read_defense(defense),
    )  # fmt: skip


DEFENSES = [
    {"kind": "none"}, {"kind": "noise", "update": "summed"},
    {"kind": "adversarial", "attack": "pgd", "steps": 2, "random_start": True, "update": "summed"},
    {"kind": "adversarial", "epsilon": 0.02},
]  # fmt: skip


def on_processes(count: int, jobs: list[tuple[Recipe, Path]]) -> str:
    """Train each recipe on ``count`` gloo processes that torchrun starts; return what they printed."""
    listed = json.dumps([(recipe.to_dict(), str(out)) for recipe, out in jobs])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*torchrun, _script(jobs[0][1].parent), listed], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _script(folder: Path) -> str:
    path = folder / "worker.py"
    path.write_text(WORKER)
    return str(path)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "models/model.safetensors")


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    recipes = [a_tiny_recipe(section) for section in DEFENSES]
    printed = on_processes(2, [(recipe, tmp_path / f"two-{k}") for k, recipe in enumerate(recipes)])
    for k, recipe in enumerate(recipes):
        alone, together = tmp_path / f"one-{k}", tmp_path / f"two-{k}"
        train(recipe, alone, log=lambda _: None)
        one, two = weights(alone), weights(together)
        apart = max(float((one[name] - two[name]).abs().max()) for name in one)
        assert apart <= CLOSE, (DEFENSES[k], apart)
        losses = [[line["loss"] for line in read_history(f / "training/history.jsonl")] for f in (alone, together)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert not together.with_name(f"{together.name}.training").exists()
    assert printed.count("iteration 4: loss") == len(recipes)  # one process speaks for all
    assert read_metadata(tmp_path / "two-0")["results"]["recipe"] == "chest"


@pytest.mark.parametrize(("batch", "size"), [(8, 1), (8, 3), (5, 5), (7, 2)])
def test_a_batch_is_split_whole_and_without_overlap(batch: int, size: int) -> None:
    shares = [World(rank, size).places(batch) for rank in range(size)]
    assert sorted(place for share in shares for place in share) == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_processes_than_samples_are_refused() -> None:
    with pytest.raises(BadRequest, match="a batch of 2 cannot be split over 3 processes"):
        World(0, 3).places(2)


def test_alone_nothing_is_wrapped_or_sent() -> None:
    world, network = World(), torch.nn.Conv2d(1, 1, 1)
    assert world.wrapped(network) is network
    assert world.synchronised(network) is network
    assert world.any(True)
    assert not world.any(False)
    assert world.mean(0.25) == 0.25
    assert world.from_first("same") == "same"
    assert world.first
