"""What every target map is: a frozen dataclass that draws the label map an attack should make the network draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.parameters import Parameters
from AdvSegLib.target_maps.structures import Structure, find_structure
from AdvSegLib.volumes import LabelArray, LabelMap


@dataclass(frozen=True)
class TargetMap(Parameters, ABC):
    """Parameters of a label map to aim at; :meth:`draw` draws it from the one there is."""

    source: ClassVar[str]

    def draw(self, base: LabelMap, scheme: LabelScheme) -> LabelMap:
        """Return the target on ``base``'s grid, in ``scheme``'s values.

        ``base`` is the truth or the clean prediction; structures the target is not about are kept from it. Raises
        BadRequest for labels or structures that ``scheme`` or ``base`` does not have, and where nothing lands on the
        grid.
        """
        scheme.check(base.values, "base label map")
        return LabelMap(self.labels(base, scheme), base.grid, scheme.names)

    def about(self, base: LabelMap, scheme: LabelScheme) -> tuple[int, ...]:
        """Return the label values the target is about: what counts where the others are left to their fate."""
        named = str(getattr(self, "structure", ""))
        return find_structure(named, scheme).values if named else ()

    @abstractmethod
    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Return the target's label values ``(*spatial)``."""


def replaced(base: LabelMap, old: Structure, new: LabelArray, who: str) -> LabelArray:
    """Return ``base`` with ``new``'s non-zero labels in place of ``old``.

    The new shape covers whatever it lands on; where the old one was and the new one is not lies background. Raises
    BadRequest where ``new`` is empty.
    """
    if not new.any():
        raise BadRequest(f"{who}: nothing of {old.name} would be left on the image's grid")
    kept = np.where(np.isin(base.array, old.values), 0, base.array)
    placed: LabelArray = np.where(new != 0, new, kept).astype(np.int32)
    return placed
