"""Stopped, killed and resumed trainings end where uninterrupted ones do; other trainings' snapshots are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from AdvSegLib.defenses.plan import read_defense
from AdvSegLib.errors import BadRequest, Cancelled
from AdvSegLib.segmenters.bundle import read_metadata
from AdvSegLib.training.history import TrainingLog, read_history
from AdvSegLib.training.recipe import Data, Recipe, load_recipe
from AdvSegLib.training.snapshot import load_snapshot, save_snapshot, training_folder, write_whole
from AdvSegLib.training.train import train

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {
    "_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 6,
    "channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "batch", "dropout": 0.2,
}  # fmt: skip
DEFENSE = {"kind": "adversarial", "attack": "pgd", "steps": 2, "random_start": True, "ramp": 0.5}


def a_tiny_recipe(**optimisation: Any) -> Recipe:
    """Return a recipe with everything that a resume could forget: dropout, batch norm, momenta, a ramp, a schedule."""
    recipe = load_recipe("chest")
    plan = {
        "iterations": 8, "batch": 2, "validate_every": 3, "snapshot_every": 1, "bf16": False,
        "augmentation": ("affine", "contrast"), **optimisation,
    }  # fmt: skip
    return replace(
        recipe, network=NETWORK, spec=replace(recipe.spec, size=(32, 32)), data=Data("phantom-chest", 32, 4, 0, 1, 50),
        optimisation=replace(recipe.optimisation, **plan), defense=read_defense(DEFENSE), seed=1,
    )  # fmt: skip


def silent(_: str) -> None:
    """Say nothing."""


def weights(folder: Path) -> bytes:
    return (folder / "models/model.safetensors").read_bytes()


def stopping_after(iteration: int) -> Any:
    """Return a log that raises, as a crash would, once a validation at ``iteration`` is reported."""

    def log(line: str) -> None:
        if line.startswith(f"iteration {iteration}:"):
            raise RuntimeError("crash")

    return log


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "model"
    train(a_tiny_recipe(), out, log=silent)
    return out


@pytest.mark.parametrize("snapshot_every", [1, 2, 5])
def test_crashed_and_resumed_ends_at_the_same_weights(
    uninterrupted: Path, tmp_path: Path, snapshot_every: int
) -> None:
    recipe, out = a_tiny_recipe(snapshot_every=snapshot_every), tmp_path / "model"
    with pytest.raises(RuntimeError, match="crash"):
        train(recipe, out, log=stopping_after(6))
    assert not out.exists()
    lines: list[str] = []
    outcome = train(recipe, out, log=lines.append, resume=True)
    assert f"resuming after iteration {5 if snapshot_every != 2 else 4} of 8" in lines
    assert weights(out) == weights(uninterrupted)
    assert outcome.scores == {key: read_metadata(uninterrupted)["results"][key] for key in outcome.scores}
    for name in ("best.safetensors", "history.jsonl"):
        assert (out / "training" / name).exists() == (uninterrupted / "training" / name).exists()
    assert numbers(out) == numbers(uninterrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def numbers(folder: Path) -> list[dict[str, Any]]:
    return read_history(folder / "training/history.jsonl")


def test_history_has_a_line_an_iteration(uninterrupted: Path) -> None:
    lines = numbers(uninterrupted)
    assert [line["iteration"] for line in lines] == list(range(1, 9))
    assert [line["iteration"] for line in lines if "dice" in line] == [3, 6, 8]
    assert all(line["loss"] > 0 and line["learning_rate"] > 0 for line in lines)
    kept = json.loads((uninterrupted / "training/recipe.json").read_text())
    assert Recipe.from_dict(kept) == a_tiny_recipe()


def test_an_unfinished_training_is_neither_overwritten_nor_taken_for_another(tmp_path: Path) -> None:
    recipe, out = a_tiny_recipe(), tmp_path / "model"
    with pytest.raises(RuntimeError):
        train(recipe, out, log=stopping_after(3))
    snapshot = training_folder(out) / "last.pt"
    kept = snapshot.read_bytes()
    with pytest.raises(
        BadRequest, match=r"model\.training: an unfinished training is here; continue it with --resume"
    ):
        train(recipe, out, log=silent)
    for other, message in (
        (replace(recipe, seed=9), "seed: 1 -> 9"),
        (a_tiny_recipe(iterations=9), "optimisation.iterations: 8 -> 9"),
        (replace(recipe, defense=read_defense({**DEFENSE, "epsilon": 0.1})), r"defense.epsilon: 0.05 -> 0.1"),
        (replace(recipe, data=replace(recipe.data, train_cases=3)), "data.train_cases: 4 -> 3"),
    ):
        with pytest.raises(BadRequest, match=f"snapshot of another training .*{message}"):
            train(other, out, log=silent, resume=True)
    assert snapshot.read_bytes() == kept
    train(replace(recipe, notes="Words change nothing."), out, log=silent, resume=True)
    assert not training_folder(out).exists()


def test_a_start_of_other_weights_is_another_training(uninterrupted: Path, tmp_path: Path) -> None:
    start, out = tmp_path / "start", tmp_path / "model"
    train(a_tiny_recipe(iterations=1), start, log=silent)
    recipe = a_tiny_recipe(start_from=str(start))
    with pytest.raises(RuntimeError):
        train(recipe, out, log=stopping_after(3))
    (start / "models/model.safetensors").write_bytes(weights(uninterrupted))
    with pytest.raises(BadRequest, match=r"another training \(models.start_from: "):
        train(recipe, out, log=silent, resume=True)


def test_resuming_what_never_began_begins_and_what_is_done_is_done(uninterrupted: Path, tmp_path: Path) -> None:
    recipe, out = a_tiny_recipe(), tmp_path / "model"
    train(recipe, out, log=silent, resume=True)
    assert weights(out) == weights(uninterrupted)
    lines: list[str] = []
    before = out.stat().st_mtime_ns
    outcome = train(recipe, out, log=lines.append, resume=True)
    assert lines == [f"{out} is already trained"]
    assert outcome.scores["dice"] == read_metadata(out)["results"]["dice"]
    assert out.stat().st_mtime_ns == before
    with pytest.raises(BadRequest, match="not empty"):
        train(replace(recipe, seed=2), out, log=silent, resume=True)
    with pytest.raises(BadRequest, match="not empty"):
        train(recipe, out, log=silent)


@pytest.mark.parametrize("damage", [b"", b"not a snapshot", None])
def test_damaged_snapshots_are_refused(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "last.pt"
    save_snapshot(path, {"seed": 1}, {"weights": torch.arange(10_000.0)})
    assert torch.equal(load_snapshot(path, {"seed": 1})["weights"], torch.arange(10_000.0))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content) if damage is None else damage)
    with pytest.raises(BadRequest, match=r"last.pt: (not a readable snapshot|snapshot is damaged)"):
        load_snapshot(path, {"seed": 1})


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("AdvSegLib.training.snapshot.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_history_drops_what_a_crash_cut_short(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for iteration in range(1, 6):
        log.add(iteration, loss=1.0 / iteration)
    log.close()
    with log.path.open("a") as file:
        file.write('{"iteration": 6, "lo')
    assert [line["iteration"] for line in read_history(log.path)] == [1, 2, 3, 4, 5]
    TrainingLog(tmp_path, upto=3).close()
    assert [line["iteration"] for line in read_history(log.path)] == [1, 2, 3]


DRIVER = """
import json, os, random, signal, sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from AdvSegLib.errors import Cancelled
from AdvSegLib.training.recipe import Recipe
from AdvSegLib.training.train import Training, train
import AdvSegLib.training.learner  # loaded before forking, so that a child lives to train
import monai.transforms

recipe, out, how, kills = Recipe.from_dict(json.loads(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
rng, killed, spared = random.Random(7), 0, 0
number = {"kill": signal.SIGKILL, "term": signal.SIGTERM}[how]
run = Training.run

def child(delay):
    def timed(self, *a, **k):
        if delay is not None:
            timer = threading.Timer(delay, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
        return run(self, *a, **k)
    Training.run = timed
    try:
        train(recipe, out, log=lambda _: None, resume=True)
    except Cancelled as error:
        assert "--resume continues" in str(error), error
        os._exit(130)
    os._exit(0)

while not out.exists():
    pid = os.fork()
    if pid == 0:
        try:
            child(rng.uniform(0, 0.25) if killed < kills else None)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -9 if how == "kill" else 130), code
    killed += code != 0
print(killed)
"""


def interrupted(recipe: Recipe, out: Path, how: str, kills: int) -> int:
    """Train with so many interruptions at random times in a process of its own; return how many there were."""
    command = [sys.executable, "-c", DRIVER, json.dumps(recipe.to_dict()), str(out), how, str(kills)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "count"), [("kill", 20), ("term", 5)])
def test_many_interruptions_lose_nothing(tmp_path: Path, how: str, count: int) -> None:
    recipe = a_tiny_recipe(iterations=400, validate_every=50)
    train(recipe, tmp_path / "whole", log=silent)
    killed = interrupted(recipe, tmp_path / "model", how, count)
    assert killed == count
    assert weights(tmp_path / "model") == weights(tmp_path / "whole")
    assert numbers(tmp_path / "model") == numbers(tmp_path / "whole")
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".model.partial-")}
    assert left == {"model", "whole"}


def test_a_polite_kill_saves_and_says_how_to_go_on(tmp_path: Path, uninterrupted: Path) -> None:
    import os
    import signal

    before = signal.getsignal(signal.SIGTERM)

    def log(line: str) -> None:
        if line.startswith("iteration 3:"):
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "model"
    with pytest.raises(Cancelled, match="stopped after iteration 3 of 8; --resume continues"):
        train(a_tiny_recipe(snapshot_every=100), out, log=log)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not out.exists()
    train(a_tiny_recipe(snapshot_every=100), out, log=silent, resume=True)
    assert weights(out) == weights(uninterrupted)
    with pytest.raises(Cancelled, match="before the first iteration"):
        train(a_tiny_recipe(), tmp_path / "other", log=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(tmp_path: Path) -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(BadRequest, match="pip install tensorboard"):
            TrainingLog(tmp_path, tensorboard=True)
        return
    log = TrainingLog(tmp_path, tensorboard=True)
    log.add(1, loss=0.5)
    log.close()
    assert list((tmp_path / "tensorboard").iterdir())
