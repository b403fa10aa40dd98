"""A case: one patient's image, and the truth where somebody drew it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Image, LabelMap


@dataclass(frozen=True)
class Case:
    """One image with its truth, read or drawn when asked for.

    ``scheme`` says what the label values mean; ``read_truth`` is None where no truth exists.
    """

    identifier: str
    scheme: LabelScheme
    read_image: Callable[[], Image] = field(repr=False)
    read_truth: Callable[[], LabelMap] | None = field(default=None, repr=False)

    def image(self) -> Image:
        """Read or draw the image."""
        return self.read_image()

    def truth(self) -> LabelMap:
        """Read or draw the truth; BadRequest where there is none."""
        if self.read_truth is None:
            raise BadRequest(f"case {self.identifier} has no truth")
        return self.read_truth()

    def write(self, folder: Path) -> list[Path]:
        """Write ``<identifier>_<channel>.nii.gz`` and, where there is a truth, ``<identifier>_labels.nii.gz``."""
        folder.mkdir(parents=True, exist_ok=True)
        image = self.image()
        written = [
            image.channel(index).write(folder / f"{self.identifier}_{name}.nii.gz")
            for index, name in enumerate(image.names)
        ]
        if self.read_truth is not None:
            written.append(self.truth().write(folder / f"{self.identifier}_labels.nii.gz"))
        return written
