"""What happens when memory runs out: a lighter way to the same numbers, then smaller windows, said aloud."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch

from AdvSegLib.segmenters.spec import Windows

if TYPE_CHECKING:
    from AdvSegLib.segmenters.segmenter import Segmenter

Result = TypeVar("Result")
SMALLEST = 32
"""No window is halved below this many voxels a side."""


class Relief:
    """Runs work on a segmenter, and again on a lighter one where memory ran out; ``notes`` says what changed."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.notes: list[str] = []

    def run(self, work: Callable[[Segmenter], Result]) -> Result:
        """Return ``work(segmenter)``; later calls start from the lighter segmenter that was needed before."""
        while True:
            try:
                return work(self.segmenter)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                step = lighter(self.segmenter)
                if step is None:
                    raise
            # outside the handler: the exception's frames held the tensors that did not fit
            self.segmenter, note = step
            self.notes.append(note)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on the CPU."""
    text = str(error).lower()
    said = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in text for words in said)


def lighter(segmenter: Segmenter) -> tuple[Segmenter, str] | None:
    """Return a segmenter that needs less memory, and what is different; None where nothing is left to try.

    First fewer windows at a time and activations computed again on the way back, which give the same numbers; then
    windows of half the side, which do not.
    """
    windows = segmenter.spec.windows
    if windows is not None and windows.batch > 1:
        return _with_windows(segmenter, replace(windows, batch=1)), "memory ran out: one window at a time"
    if not segmenter.checkpointed and segmenter.can_checkpoint:
        return replace(segmenter, checkpointed=True), "memory ran out: activations are computed again on the way back"
    size = windows.size if windows is not None else segmenter.last_size
    if size is None:
        return None
    half = tuple(_half(n, segmenter.spec.multiple) for n in size)
    if half == tuple(size):
        return None
    base = windows or Windows(half, overlap=0.5)
    return _with_windows(segmenter, replace(base, size=half)), (
        f"memory ran out: windows of {' x '.join(map(str, half))} voxels, "
        "not the model's own pass: gradients or labels differ from the model's where this was needed"
    )


def _half(n: int, multiple: int) -> int:
    """Return half of ``n``, rounded up to ``multiple``, no smaller than SMALLEST and no larger than ``n``."""
    return min(n, max(SMALLEST, multiple * math.ceil(n / 2 / multiple)))


def _with_windows(segmenter: Segmenter, windows: Windows) -> Segmenter:
    return replace(segmenter, spec=replace(segmenter.spec, windows=windows))
