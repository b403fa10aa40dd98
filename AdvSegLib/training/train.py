"""``advseg train``: from a recipe to a bundle with its card."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from AdvSegLib.defenses.strategies import Batch, Distilling
from AdvSegLib.errors import BadRequest, Cancelled
from AdvSegLib.runs import staged_folder
from AdvSegLib.segmenters.bundle import read_metadata, round_to_half, save_bundle, write_json
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.training.augmentation import Augmentation
from AdvSegLib.training.batches import SoftLabels, batches
from AdvSegLib.training.card import Outcome, bundle_card, collapse
from AdvSegLib.training.history import HISTORY, TrainingLog, read_history
from AdvSegLib.training.interrupts import Request, polite_stop
from AdvSegLib.training.learner import TRAINING_LOSSES, Learner, check_finite
from AdvSegLib.training.pool import Sample, draw_pool
from AdvSegLib.training.processes import World, joined
from AdvSegLib.training.recipe import Data, Recipe
from AdvSegLib.training.snapshot import identity, load_snapshot, save_snapshot, training_folder
from AdvSegLib.training.soft_labels import cache_bytes, cache_soft_labels, check_room
from AdvSegLib.training.standing import Standing
from AdvSegLib.training.validation import glance, validate

__all__ = ["TRAINING_LOSSES", "Outcome", "train", "validate"]

Log = Callable[[str], None]
SNAPSHOT = "last.pt"
BEST = "best.safetensors"


def train(
    recipe: Recipe, out: Path, *, device: str = "cpu", log: Log = print, resume: bool = False,
    tensorboard: bool = False,
) -> Outcome:  # fmt: skip
    """Train ``recipe`` and write a MONAI bundle to ``out``, whole or not at all. Returns what it reached.

    Until then the training lives in ``<out>.training``: ``history.jsonl`` grows line by line, ``last.pt`` is the
    newest snapshot. The bundle's weights are the last ones; where earlier ones did better on a glance at the
    validation cases, they lie beside it in ``training/best.safetensors``. ``resume`` continues from the snapshot, to
    the weights that an uninterrupted training ends at (bit for bit on CPU); where
    there is none it begins. Under ``torchrun`` the batch is split over the processes.

    Raises BadRequest for a recipe that cannot be trained, an ``out`` that is taken and a snapshot of another training;
    Cancelled, after saving, where a signal asked to stop.
    """
    out = Path(out)
    world = joined(device)
    with polite_stop() as stop:
        say: Log = log if world.first else (lambda _: None)
        finished = _finished(out, recipe, resume=resume)
        if finished is not None:
            say(f"{out} is already trained")
            _warn(say, finished)
            return finished
        Augmentation(recipe.optimisation.augmentation, recipe.spec.dims, recipe.seed)  # refuses unknown names
        training = Training(recipe, out, Learner(recipe, world), say, stop)
        training.begin(resume=resume)
        say(_drawing(recipe.data))
        pool = draw_pool(recipe.data, recipe.spec, progress=training.watched)
        training.run(pool, soft=training.soft_labels(pool), tensorboard=tensorboard)
        return training.finish()


class Training:
    """A training on its way from a recipe to a bundle."""

    def __init__(self, recipe: Recipe, out: Path, learner: Learner, log: Log, stop: Request) -> None:
        self.recipe, self.out, self.learner, self.log, self.stop = recipe, out, learner, log, stop
        self.world: World = learner.world
        self.folder = training_folder(out)
        self.standing = Standing()
        self.identity = identity(recipe, learner.models)
        self.started = time.perf_counter()

    @property
    def segmenter(self) -> Segmenter:
        """The network as it stands, bare, in eval mode until it learns on."""
        return Segmenter(self.learner.network, self.recipe.spec)

    def begin(self, *, resume: bool) -> None:
        """Continue where a snapshot is and ``resume`` asks for it; BadRequest where there is one and nobody asks."""
        snapshot, found = self.folder / SNAPSHOT, None
        if self.world.first and self.folder.exists():
            if not resume:
                raise BadRequest(
                    f"{self.folder}: an unfinished training is here; continue it with --resume, or remove it"
                )
            found = load_snapshot(snapshot, self.identity) if snapshot.exists() else None
        found = self.world.from_first(found)
        if found is not None:
            self.learner.restore(found["learner"])
            self.standing = Standing.from_state(found["standing"])
            self.log(f"resuming after iteration {self.standing.iteration} of {self.recipe.optimisation.iterations}")

    def watched(self, items: Any) -> Iterator[Any]:
        """Yield ``items``, shown on a terminal; Cancelled once a signal has asked to stop."""
        for item in _bar(items):
            if self.stop.made:
                raise self._cancelled()
            yield item

    def _cancelled(self) -> Cancelled:
        """Return what is said of a stop before this run's first iteration."""
        if self.standing.iteration:
            return Cancelled(f"stopped at iteration {self.standing.iteration}, as before; --resume continues")
        return Cancelled("stopped before the first iteration; nothing was written")

    def soft_labels(self, pool: Sequence[Sample]) -> list[SoftLabels] | None:
        """Ask the teacher for the labels of every sample, where the defense wants them cached."""
        teaching = self.learner.strategy
        if not isinstance(teaching, Distilling) or not teaching.cached:
            return None
        size = cache_bytes(pool, self.recipe.spec.scheme.channels)
        check_room(size)
        self.log(f"asking the teacher for the labels of {len(pool)} samples ({size / 1e6:.0f} MB)")

        def together(rounds: Iterable[int]) -> Iterator[int]:
            for item in _bar(rounds):
                if self.world.any(self.stop.made):  # processes wait for each other here, so they stop as one
                    raise self._cancelled()
                yield item

        return cache_soft_labels(teaching, pool, self.world, together)

    def run(
        self, pool: Sequence[Sample], *, soft: Sequence[SoftLabels] | None = None, tensorboard: bool = False
    ) -> None:
        """Train to the last iteration, with a log, snapshots and validations on the way."""
        plan, first = self.recipe.optimisation, self.standing.iteration
        book = TrainingLog(self.folder, upto=first, tensorboard=tensorboard) if self.world.first else None
        stream = batches(self.recipe, pool, first=first, places=self.world.places(plan.batch), soft=soft)
        try:
            for batch in _bar(stream, total=plan.iterations, initial=first):
                if self.world.any(self.stop.made):
                    self.save()
                    raise Cancelled(
                        f"stopped after iteration {self.standing.iteration} of {plan.iterations}; --resume continues"
                    )
                numbers = self.step(batch)
                if book is not None:
                    book.add(self.standing.iteration, **numbers)
                if self.standing.iteration % plan.snapshot_every == 0 or self.standing.iteration == plan.iterations:
                    self.save()
        finally:
            if book is not None:
                book.close()

    def step(self, batch: Batch) -> dict[str, float]:
        """Learn from one batch, validate where it is time; return the numbers to log."""
        plan, standing = self.recipe.optimisation, self.standing
        numbers = {"learning_rate": float(self.learner.schedule.get_last_lr()[0])}
        numbers["loss"] = self.world.mean(self.learner.learn(batch.to(self.world.device)))
        standing.iteration += 1
        standing.recent.append(numbers["loss"])
        last = standing.iteration == plan.iterations
        if self.world.first and (last or standing.iteration % plan.validate_every == 0):
            numbers["dice"] = dice = glance(self.segmenter, self.recipe)
            loss = sum(standing.recent) / len(standing.recent)
            self.log(f"iteration {standing.iteration}: loss {loss:.3f}, mean Dice {dice:.3f}")
            standing.judged(dice, self.learner.network)
            standing.recent.clear()
        return numbers

    def save(self) -> None:
        """Write a snapshot, whole or not at all."""
        if not self.world.first:
            return
        spent = self.standing.seconds + time.perf_counter() - self.started
        standing = {**self.standing.to_state(), "seconds": spent}
        save_snapshot(self.folder / SNAPSHOT, self.identity, {"learner": self.learner.state(), "standing": standing})

    def finish(self) -> Outcome:
        """Validate on all cases and put the bundle in place; the training's own folder goes."""
        outcome = None
        if self.world.first:
            check_finite(self.learner.network)
            if self.recipe.stored == "float16":
                round_to_half(self.learner.network)
            scores = validate(self.segmenter, self.recipe, self.recipe.data.validation_cases)
            dice = scores["dice"]["mean"]
            losses = [line["loss"] for line in read_history(self.folder / HISTORY)]
            spent = self.standing.seconds + time.perf_counter() - self.started
            outcome = Outcome(scores, spent, collapse(dice, losses))
            self._write(outcome)
            said = "no structure, in truth or prediction," if dice is None else f"mean Dice {dice:.3f}"
            self.log(f"{said} on {self.recipe.data.validation_cases} unseen cases")
            _warn(self.log, outcome)
        done: Outcome = self.world.from_first(outcome)
        return done

    def _write(self, outcome: Outcome) -> None:
        recipe, network, standing = self.recipe, self.learner.network, self.standing
        with staged_folder(self.out) as stage:
            card = bundle_card(recipe, outcome, self.world.device)
            save_bundle(stage, network, recipe.network, recipe.spec, card, half=recipe.stored == "float16")
            made = stage / "training"
            made.mkdir()
            write_json(made / "recipe.json", recipe.to_dict())
            shutil.copyfile(self.folder / HISTORY, made / HISTORY)
            if standing.best_iteration < standing.iteration:
                save_file(standing.best_weights, made / BEST)
        shutil.rmtree(self.folder)


def _finished(out: Path, recipe: Recipe, *, resume: bool) -> Outcome | None:
    """Return what an earlier run of this recipe reached, where a resumed training is at its end already.

    BadRequest where ``out`` holds anything else, before an hour is spent on what could not be written.
    """
    if not out.exists() and not out.is_symlink():
        return None
    if out.is_dir() and not any(out.iterdir()):
        return None
    if resume and (out / "training" / "recipe.json").is_file():
        results = read_metadata(out)["results"]
        if json.loads((out / "training" / "recipe.json").read_text(encoding="utf-8")) == _plain(recipe.to_dict()):
            shutil.rmtree(training_folder(out), ignore_errors=True)  # a kill may have come between the two
            return Outcome(results, float(results["training_seconds"]), str(results.get("warning", "")))
    raise BadRequest(f"{out}: is not empty; name a new folder")


def _warn(log: Log, outcome: Outcome) -> None:
    if outcome.warning:
        log(f"WARNING: this network {outcome.warning}")


def _drawing(data: Data) -> str:
    if data.phantom:
        return f"drawing {data.train_cases} phantoms ({data.source}, {data.size} voxels a side)"
    return f"reading {data.train_cases} cases ({data.source}, {data.path})"


def _plain(data: Any) -> Any:
    return json.loads(json.dumps(data))


def _bar(items: Any, total: int | None = None, initial: int = 0) -> Any:
    """Show progress on a terminal's stderr, and nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(items, total=total, initial=initial, disable=not sys.stderr.isatty(), leave=False)
