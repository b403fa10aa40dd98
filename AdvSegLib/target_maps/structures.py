"""Structures by name or label value: what target maps and noise regions are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.labels import LabelScheme
from AdvSegLib.parameters import Parameters, parameter
from AdvSegLib.volumes import LabelMap

BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Structure:
    """A named block of label values: one label, or the union a region stands for (BraTS' WT)."""

    name: str
    values: tuple[int, ...]

    def inside(self, labels: LabelMap, so: str) -> BoolArray:
        """Return the structure's voxels ``(*spatial)``; BadRequest, ending in ``so``, where there are none."""
        mask: BoolArray = np.isin(labels.array, self.values)
        if not mask.any():
            raise BadRequest(f"{self.name} is absent from the label map, so {so}")
        return mask


@dataclass(frozen=True)
class OfStructure(Parameters):
    """Parameters that name a structure; a label value given as a number becomes text."""

    structure: str = parameter("", "structure, by name (case does not matter) or label value; a region such as WT too")

    def __post_init__(self) -> None:
        """Refuse to go without a structure."""
        given: object = self.structure
        if isinstance(given, int) and not isinstance(given, bool):
            object.__setattr__(self, "structure", str(given))
        super().__post_init__()
        if not self.structure.strip():
            raise BadRequest(f"{self.name}: say which structure")


def find_structure(wanted: str, scheme: LabelScheme) -> Structure:
    """Return the label or region called ``wanted``, or the label of that value; BadRequest, with the nearest, if none.

    A name goes before a number, a label before a region.

    >>> find_structure("wt", LabelScheme.brats()).values, find_structure("4", LabelScheme.brats()).name
    ((1, 2, 4), 'enhancing tumour')
    """
    known = [Structure(label.name, (label.value,)) for label in scheme.labels]
    known += [Structure(region.name, region.values) for region in scheme.regions]
    text = wanted.strip()
    for match in (lambda s: s.name == text, lambda s: s.name.casefold() == text.casefold()):
        found = next(filter(match, known), None)
        if found is not None:
            return found
    for label in scheme.labels:
        if text == str(label.value):
            return Structure(label.name, (label.value,))
    raise unknown_name("structure", text, [s.name for s in known])


def find_label(wanted: str, scheme: LabelScheme, what: str) -> Structure:
    """Return a structure of one label value; BadRequest where ``wanted`` is a union of several."""
    found = find_structure(wanted, scheme)
    if len(found.values) > 1:
        names = ", ".join(scheme.names[value] for value in found.values)
        raise BadRequest(f"{what} is drawn with one label, and {found.name} is a union of several; name one: {names}")
    return found
