"""Targets that need no drawing: one label everywhere, and a structure gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from AdvSegLib.labels import LabelScheme
from AdvSegLib.parameters import parameter
from AdvSegLib.target_maps.base import TargetMap
from AdvSegLib.target_maps.structures import OfStructure, find_structure
from AdvSegLib.volumes import LabelArray, LabelMap


@dataclass(frozen=True)
class Constant(TargetMap):
    """Every voxel one label; 0 asks for nothing at all."""

    name: ClassVar[str] = "constant"
    summary: ClassVar[str] = "One label everywhere"
    source: ClassVar[str] = "Liu et al. 2021, target of ti-FGSM"

    label: int = parameter(1, "label of every voxel; 0 is background", minimum=0)

    def about(self, base: LabelMap, scheme: LabelScheme) -> tuple[int, ...]:
        """Return the label; the background is about everything."""
        return (self.label,) if self.label else ()

    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Fill the grid."""
        scheme.check([self.label], "constant target")
        return np.full(base.grid.shape, self.label, np.int32)


@dataclass(frozen=True)
class Erased(OfStructure, TargetMap):
    """The structure becomes background, the rest is kept; an empty map is what is left where there was no rest."""

    name: ClassVar[str] = "erased"
    summary: ClassVar[str] = "A structure gone: background in its place"
    source: ClassVar[str] = "the limit of the shrinking in Bortsova et al. 2020, section 3.3"

    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Take the structure out."""
        gone = find_structure(self.structure, scheme).inside(base, "there is nothing to erase")
        erased: LabelArray = np.where(gone, np.int32(0), base.array)
        return erased
