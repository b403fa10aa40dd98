"""The scan as a walk changed it, step by step: what a viewer scrubs through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.segmenters.bundle import write_json
from AdvSegLib.volumes import read_image

if TYPE_CHECKING:
    from AdvSegLib.segmenters.memory import Relief
    from AdvSegLib.volumes import Image, LabelMap

ITERATIONS_SCHEMA = "advseg.iterations/1"
FOLDER = "iterations"


class Iterations:
    """Writes every ``every``-th image of a walk into ``stage / "iterations"`` as it comes, so that none is held."""

    def __init__(self, stage: Path, every: int) -> None:
        self.stage = stage
        self.every = every
        self.steps: list[int] = []

    def __call__(self, step: int, image: Image) -> None:
        """Keep ``image`` as it stands before ``step``, where its turn has come."""
        if step % self.every:
            return
        (self.stage / FOLDER).mkdir(exist_ok=True)
        for index, path in enumerate(self._images(step, image.names)):
            image.channel(index).write(self.stage / path)
        self.steps.append(step)

    def finish(self, clean: Image, judge: Relief, history: Sequence[Mapping[str, Any]]) -> None:
        """Segment what was kept, read back, as the unmodified pipeline does, and write the index.

        The last entry is the adversarial image itself, with the files it already has.
        """
        entries = []
        for step in self.steps:
            images = self._images(step, clean.names)
            array = read_image([self.stage / path for path in images]).array.reshape(clean.array.shape)
            labels = f"{FOLDER}/step_{step:04d}_labels.nii.gz"
            _segmented(judge, clean.with_array(array)).write(self.stage / labels)
            entries.append(_entry(step, images, labels, history[step]))
        saved = [f"adversarial_{name}.nii.gz" for name in clean.names]
        entries.append(_entry(history[-1]["step"], saved, "adversarial_labels.nii.gz", history[-1]))
        write_json(self.stage / FOLDER / "index.json", {"schema": ITERATIONS_SCHEMA, "iterations": entries})

    @staticmethod
    def _images(step: int, names: Sequence[str]) -> list[str]:
        return [f"{FOLDER}/step_{step:04d}_{name}.nii.gz" for name in names]


def _segmented(judge: Relief, image: Image) -> LabelMap:
    return judge.run(lambda segmenter: segmenter.segment(image))


def _finite(value: Any) -> float | None:
    """Return a number as strict JSON takes it: what is not finite, or was not measured, is null."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _entry(step: int, images: Sequence[str], labels: str, row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: _finite(value) for name, value in row.items() if name not in ("step", "measured")}
    return {"step": step, "images": list(images), "labels": labels, "numbers": numbers}
