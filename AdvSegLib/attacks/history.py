"""What was true of each sample before each step of a walk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class StepRecord:
    """What was true of each sample *before* step ``step``, all ``(N,)`` on the attack's device.

    ``dice`` and ``iou`` are the mean foreground overlaps of the prediction with the goal's label map; distances are in
    the budget's unit. A sample that has left the walk keeps the numbers it left with.
    """

    step: int
    loss: Tensor
    dice: Tensor
    iou: Tensor
    linf: Tensor
    l2: Tensor
    mse: Tensor

    def numbers(self, sample: int = 0) -> dict[str, float]:
        """Return one sample's numbers; PSNR (dB) is relative to one unit of the budget, inf where nothing changed."""
        mse = float(self.mse[sample])
        return {
            "step": self.step,
            "loss": float(self.loss[sample]),
            "dice": float(self.dice[sample]),
            "iou": float(self.iou[sample]),
            "linf": float(self.linf[sample]),
            "l2": float(self.l2[sample]),
            "psnr": float("inf") if mse == 0 else float(-10 * torch.log10(self.mse[sample].double())),
        }


class Progress(Protocol):
    """Called before every step; reading the record's tensors is what costs a device sync."""

    def __call__(self, step: int, steps: int, record: StepRecord) -> None:
        """Take note of step ``step`` (from 0) of ``steps``."""


class Watch(Protocol):
    """Called before every step with the images as they stand."""

    def __call__(self, step: int, images: Tensor) -> None:
        """Look at ``images`` ``(N, C, *spatial)``, to read only, before step ``step`` (from 0)."""


class History:
    """The records of a walk: rows of the samples still walking are filled up with those that have left."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def add(self, step: int, values: Mapping[str, Tensor], index: Tensor | None) -> StepRecord:
        """Record ``values`` of the samples at ``index`` of the batch (of all of them where it is None)."""
        if index is not None:
            last = self.records[-1]
            values = {name: getattr(last, name).index_copy(0, index, value) for name, value in values.items()}
        record = StepRecord(step, **values)
        self.records.append(record)
        return record
