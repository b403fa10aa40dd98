"""Targets from files: a label map that a person drew, or another case's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.labels import LabelScheme
from AdvSegLib.parameters import parameter
from AdvSegLib.target_maps.base import TargetMap, replaced
from AdvSegLib.target_maps.places import centre_of_mass
from AdvSegLib.target_maps.structures import Structure, find_label, find_structure
from AdvSegLib.volumes import RASTER_SUFFIXES, Affine, Grid, LabelArray, LabelMap, read_labels


@dataclass(frozen=True)
class FromFile(TargetMap):
    """A target read from a label map file, resampled from its own geometry with nearest neighbour.

    Values are the scheme's. Where the file names its segments and one of the names is a structure of the scheme, all
    are taken by name.
    """

    file: str = parameter("", "label map: any image format, or .seg.nrrd")

    def __post_init__(self) -> None:
        """Refuse to go without a file."""
        super().__post_init__()
        if not self.file:
            raise BadRequest(f"{self.name}: give a label map file")


@dataclass(frozen=True)
class Drawn(FromFile):
    """A label map that a person drew, on the image's grid or another one."""

    name: ClassVar[str] = "drawn"
    summary: ClassVar[str] = "A label map drawn by hand"
    source: ClassVar[str] = "after Bortsova et al. 2020, section 3 (other structures keep the truth)"

    structure: str = parameter("", "what every non-zero voxel stands for; empty takes the file's own labels")
    replace: str = parameter(
        "structures",
        "structures: those in the drawing are replaced, others kept; everything: the drawing is the whole target",
        choices=("structures", "everything"),
    )

    def about(self, base: LabelMap, scheme: LabelScheme) -> tuple[int, ...]:
        """Return the structure, or what was drawn."""
        if self.structure:
            return super().about(base, scheme)
        return _in_scheme(read_labels(self.file, base.grid), scheme, self.file).values

    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Lay the drawing over the base, or in its place."""
        drawn = read_labels(self.file, base.grid)
        if self.structure:
            label = find_label(self.structure, scheme, "a drawing")
            drawn = replace(drawn, array=np.where(drawn.array != 0, np.int32(label.values[0]), np.int32(0)))
        else:
            drawn = _in_scheme(drawn, scheme, self.file)
        if self.replace == "everything":
            return drawn.array
        return replaced(base, Structure("the drawing", drawn.values), drawn.array, self.name)


@dataclass(frozen=True)
class OtherCase(FromFile):
    """Another case's label map, whole or one structure of it."""

    name: ClassVar[str] = "other-case"
    summary: ClassVar[str] = "Another case's label map"
    source: ClassVar[str] = "Ozbulak et al. 2019 (masks of other images)"

    structure: str = parameter("", "structure to take over, others are kept; empty takes the whole map")
    align: str = parameter(
        "grid",
        "grid: by its place in space (picture files: pixel on pixel); centre-of-mass: shifted onto the base's, in mm; "
        "none: voxel on voxel, whatever the geometry",
        choices=("grid", "centre-of-mass", "none"),
    )

    def about(self, base: LabelMap, scheme: LabelScheme) -> tuple[int, ...]:
        """Return the structure, or what the other case has."""
        return super().about(base, scheme) or _in_scheme(read_labels(self.file), scheme, self.file).values

    def labels(self, base: LabelMap, scheme: LabelScheme) -> LabelArray:
        """Take the map, or the structure, over."""
        wanted = find_structure(self.structure, scheme) if self.structure else Structure("foreground", scheme.values)
        other = _in_scheme(read_labels(self.file), scheme, self.file)
        there = wanted.inside(other, f"{self.file} has nothing to take over")
        other = replace(other, array=np.where(there, other.array, np.int32(0)))
        placed = self._placed(other, wanted, base)
        return replaced(base, wanted, placed.array, self.name) if self.structure else placed.array

    def _placed(self, other: LabelMap, wanted: Structure, base: LabelMap) -> LabelMap:
        """Return the other case's labels on the base's grid."""
        raster = Path(self.file).suffix.lower() in RASTER_SUFFIXES
        if self.align == "none" or raster:
            if other.grid.lifted().shape != base.grid.lifted().shape:
                sizes = " against ".join("x".join(str(n) for n in m.grid.shape) for m in (other, base))
                raise BadRequest(f"{self.file}: cannot lay voxel on voxel: {sizes}")
            other = LabelMap(other.array.reshape(base.grid.shape), base.grid, other.names)
        if self.align == "centre-of-mass":
            if other.grid.rank != base.grid.rank:
                raise BadRequest(
                    f"{self.file}: {other.grid.rank}-D labels cannot be centred on {base.grid.rank}-D ones"
                )
            mask = wanted.inside(base, "there is no place to put the other case's")
            shift = centre_of_mass(mask, base.grid) - centre_of_mass(other.array != 0, other.grid)
            other = replace(other, grid=_translated(other.grid, shift))
        try:
            placed = other.onto(base.grid)
        except BadRequest as error:
            raise BadRequest(f"{self.file}: {error}; align=centre-of-mass brings another patient's here") from error
        if not placed.values:
            raise BadRequest(f"{self.file}: no labelled voxel falls on the image's grid; try align=centre-of-mass")
        return placed


def _translated(grid: Grid, shift: Affine) -> Grid:
    affine = grid.affine.copy()
    affine[: grid.rank, grid.rank] += shift
    return Grid(grid.shape, affine)


def _in_scheme(labels: LabelMap, scheme: LabelScheme, file: str) -> LabelMap:
    """Return labels in the scheme's values, by name where the file names structures of the scheme."""
    mapping = _by_name({value: labels.names[value] for value in labels.values if value in labels.names}, scheme, file)
    labels = labels.relabelled(mapping) if mapping else labels
    scheme.check(labels.values, file)
    return labels


def _by_name(names: Mapping[int, str], scheme: LabelScheme, file: str) -> dict[int, int]:
    """Return file value to scheme value by name; empty where no name is known, BadRequest where only some are."""
    known = {name.casefold(): value for value, name in scheme.names.items()}
    if not any(name.casefold() in known for name in names.values()):
        return {}
    for name in names.values():
        if name.casefold() not in known:
            raise unknown_name(f"segment in {file}:", name, scheme.names.values())
    return {value: known[name.casefold()] for value, name in names.items()}
