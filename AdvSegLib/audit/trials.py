"""One attack of an audit on some cases, judged as the unmodified pipeline segments what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from AdvSegLib.audit.suite import Trial
from AdvSegLib.audit.unseen import Judged
from AdvSegLib.budgets import Budget
from AdvSegLib.errors import AdvSegError
from AdvSegLib.metrics.overlap import compare
from AdvSegLib.segmenters.memory import Relief
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Precision
from AdvSegLib.targets import Untargeted
from AdvSegLib.volumes import MARK, Image, LabelMap

Cancel = Callable[[], bool]
NO_GRAPH = ("does not require grad", "not have been used in the graph")
"""How torch says that what came out of a network has no path back to what went in."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases of one grid, that go through a model together."""

    cases: tuple[Judged, ...]

    @property
    def image(self) -> Image:
        """The image whose grid all share."""
        return self.cases[0].image

    def stack(self, segmenter: Segmenter) -> tuple[Tensor, Tensor]:
        """Return intensities ``(N, C, *spatial)`` and truths ``(N, *spatial)`` on the model's device."""
        x = torch.cat([segmenter.tensor(case.image) for case in self.cases])
        truths = np.stack([case.truth.array for case in self.cases]).astype(np.int64)
        return x, torch.from_numpy(truths).to(x.device)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is left of one case: Dice with the truth per label, their mean, per region; image and labels to show."""

    dice: dict[str, float | None]
    image: Image
    labels: LabelMap

    @property
    def mean(self) -> float:
        """Mean Dice over labels: a truth with anything in it has one."""
        value = self.dice["mean"]
        assert value is not None
        return value

    def changed(self, again: Outcome) -> float:
        """Return the share of voxels that another look labels otherwise, of those that either look labels."""
        first, second = self.labels.array, again.labels.array
        either = (first != 0) | (second != 0)
        return float(((first != second) & either).sum() / max(1, int(either.sum())))


def batches(cases: Sequence[Judged], size: int) -> list[Batch]:
    """Put neighbouring cases of the same grid together, at most ``size`` of them."""
    groups: list[list[Judged]] = []
    for case in cases:
        if groups and len(groups[-1]) < size and groups[-1][0].image.grid.matches(case.image.grid):
            groups[-1].append(case)
        else:
            groups.append([case])
    return [Batch(tuple(group)) for group in groups]


class Judge:
    """Says what is left of a case, as the unmodified pipeline segments it; ``notes`` says what memory forced.

    ``precision`` is what the attacks' gradients are computed in. Outcomes are judged in full precision.
    """

    def __init__(self, model: Segmenter, precision: Precision = "fp32") -> None:
        self.model, self.precision = model, precision
        self._relief = Relief(model)
        self._attack_notes: list[str] = []

    @property
    def notes(self) -> list[str]:
        """What was done otherwise than asked, each once."""
        return list(dict.fromkeys((*self._relief.notes, *self._attack_notes)))

    def outcome(self, case: Judged, image: Image) -> Outcome:
        """Segment an image and compare with the case's truth."""
        labels = self._relief.run(lambda segmenter: segmenter.segment(image))
        scores = compare(case.truth.array, labels.array, self.model.scheme)
        return Outcome({**scores["dice"], **scores["dice_regions"]}, image, labels)

    def trial(
        self,
        trial: Trial,
        batch: Batch,
        epsilon: float,
        *,
        craft_on: Segmenter | None = None,
        seed: int = 0,
        cancel: Cancel | None = None,
    ) -> list[Outcome]:
        """Attack ``batch`` within the trial's budget (a fraction of range), by default on the model itself."""
        victim = craft_on or self.model
        x, truths = batch.stack(victim)
        budget = Budget.of_range(x, epsilon if trial.epsilon is None else trial.epsilon)
        try:
            found = trial.make()(
                victim.on(batch.image), x, Untargeted(truths), budget,
                seed=seed, precision=self.precision, cancel=cancel,
            )  # fmt: skip
        except RuntimeError as error:
            if any(text in str(error) for text in NO_GRAPH):
                raise AdvSegError("no gradient comes back from the network to the image") from error
            raise
        self._attack_notes += found.notes
        arrays = found.adversarial.float().cpu().numpy()  # float32 is what files hold, and give back
        images = [case.image.with_array(array, mark=MARK) for case, array in zip(batch.cases, arrays, strict=True)]
        return [self.outcome(case, image) for case, image in zip(batch.cases, images, strict=True)]
