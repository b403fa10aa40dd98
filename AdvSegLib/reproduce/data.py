"""The cases a recipe runs on: a data set's folder, or phantoms; brought to the size the paper worked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AdvSegLib.cases.registry import open_cases
from AdvSegLib.errors import BadRequest

if TYPE_CHECKING:
    from AdvSegLib.cases.base import Case
    from AdvSegLib.reproduce.recipe import PaperRecipe
    from AdvSegLib.volumes import Grid, Image, LabelMap

PREPARATIONS = ("source", "path", "count", "seed", "size", "options", "nonempty")
HELD = 3
"""Samples a process keeps."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A case, read: its image, and its truth where somebody drew one."""

    identifier: str
    image: Image
    truth: LabelMap | None


@dataclass(frozen=True)
class DataSet:
    """Cases and how they are brought to the size worked at; safe to send to another process.

    ``origin`` says in words where cases that were not drawn come from.
    """

    name: str
    cases: tuple[Case, ...]
    size: tuple[int, ...] = ()
    drawn: bool = False
    origin: str = ""

    def __len__(self) -> int:
        return len(self.cases)

    def sample(self, index: int) -> Sample:
        """Read a case; the last few are kept."""
        return _sample(self, index)

    def other(self, index: int, seed: int) -> int:
        """Return the index of another case, by chance; BadRequest where there is only one."""
        if len(self.cases) < 2:
            raise BadRequest("another case's mask is the target: give at least two cases")
        step = int(np.random.default_rng((seed, index)).integers(1, len(self.cases)))
        return (index + step) % len(self.cases)


def data_sets(
    recipe: PaperRecipe, scale: str, path: str | None = None, source: str | None = None, count: int | None = None
) -> dict[str, DataSet]:
    """Return the data sets of a recipe by name.

    ``path`` is the folder of the data set (of several: ``name=folder,name=folder``), read by ``source``; without it
    phantoms are drawn. ``count`` limits the cases. A data set whose folder is not given is left out.
    """
    folders = _folders(recipe, path)
    found = {}
    for name, settings in recipe.data.items():
        if path is not None and name not in folders:
            continue
        plan = {**settings["paper"]} if path is not None else {**settings["phantom"], **settings.get(scale, {})}
        if scale == "quick-data":
            plan["count"] = settings.get("quick", {}).get("count", plan.get("count"))
        for key in plan:
            if key not in PREPARATIONS:
                raise BadRequest(f"{recipe.paper}: data {name}: unknown field '{key}'")
        plan["count"] = count or plan.get("count")
        found[name] = _opened(name, plan, folders.get(name), source)
    return found


def _folders(recipe: PaperRecipe, path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    names = list(recipe.data)
    if "=" not in path:
        return {names[0]: path}
    pairs = dict(part.partition("=")[::2] for part in path.split(","))
    for name in pairs:
        if name not in names:
            raise BadRequest(f"--data: {recipe.paper} has no data set '{name}'; it has {', '.join(names)}")
    return pairs


def _opened(name: str, plan: Mapping[str, Any], path: str | None, source: str | None) -> DataSet:
    if path is None:
        cases = drawn_cases(plan["source"], int(plan["count"]), int(plan.get("seed", 0)), int(plan["size"]))
        return DataSet(name, tuple(cases), drawn=True)
    cases = open_cases(source or plan["source"], path, **({} if source else plan.get("options", {})))
    chosen = _chosen(cases, plan.get("count"), int(plan.get("seed", 0)), bool(plan.get("nonempty")))
    size = tuple(plan.get("size", ()))
    brought = f", brought to {' x '.join(map(str, size))}" if size else ""
    origin = f"folder '{Path(path).name}' read as {source or plan['source']}{brought}"
    return DataSet(name, tuple(chosen), size, origin=origin)


def drawn_cases(source: str, count: int, seed: int, size: int) -> list[Case]:
    """Return phantoms of a source, whatever its arguments are called."""
    options: dict[str, Any] = {"count": count, "seed": seed, "shape" if "brain" in source else "size": size}
    return open_cases(source, **options)


def _chosen(cases: Sequence[Case], count: int | None, seed: int, nonempty: bool) -> list[Case]:
    """Return ``count`` cases by chance, in order; those whose truth is empty are passed over where asked."""
    order = np.random.default_rng(seed).permutation(len(cases))
    kept: list[int] = []
    for index in order:
        if count is not None and len(kept) >= count:
            break
        if nonempty and cases[index].read_truth is not None and not cases[index].truth().values:
            continue
        kept.append(int(index))
    if not kept:
        raise BadRequest("no case is left to run on")
    return [cases[index] for index in sorted(kept)]


@lru_cache(maxsize=HELD)
def _sample(data: DataSet, index: int) -> Sample:
    case = data.cases[index]
    image = case.image()
    truth = case.truth() if case.read_truth is not None else None
    if truth is not None and not truth.grid.matches(image.grid):
        truth = truth.onto(image.grid)
    size = fitted(data.size, image.grid.shape)
    if size and tuple(image.grid.shape) != size:
        grid = resized(image.grid, size)
        image, truth = coarse(image, grid), None if truth is None else truth.onto(grid)
    return Sample(case.identifier, image, truth)


def fitted(size: tuple[int, ...], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the size worked at; a picture kept as a volume of one slice keeps its slice.

    >>> fitted((16, 24), (1, 30, 40)), fitted((16, 24), (30, 40))
    ((1, 16, 24), (16, 24))
    """
    if len(size) == 2 and len(shape) == 3 and 1 in shape:
        place = list(shape).index(1)
        return (*size[:place], 1, *size[place:])
    return size


def coarse(image: Image, grid: Grid) -> Image:
    """Resample an image to a grid over the same box, averaging where it shrinks."""
    import torch

    from AdvSegLib.segmenters.preprocessing import resize
    from AdvSegLib.volumes import Image as Picture

    small = resize(torch.from_numpy(image.array)[None], grid.shape)[0].numpy()
    return Picture(small, grid, image.names, image.mark)


def repeated(image: Image, count: int) -> Image:
    """Return one channel as ``count`` equal ones (as paper 000's notebook feeds its networks)."""
    from AdvSegLib.volumes import Image as Picture

    names = tuple(f"{image.names[0]}{place}" for place in range(count))
    return Picture(np.repeat(image.array, count, axis=0), image.grid, names, image.mark)


def resized(grid: Grid, size: Sequence[int]) -> Grid:
    """Return a grid of ``size`` voxels that covers the same box, edge to edge."""
    from AdvSegLib.volumes import Grid as Place

    if len(size) != grid.rank:
        raise BadRequest(f"the recipe works at {' x '.join(map(str, size))}, the image is {grid.rank}-D")
    factors = np.array(grid.shape) / np.array(size)
    affine = grid.affine.copy()
    affine[: grid.rank, grid.rank] += affine[: grid.rank, : grid.rank] @ ((factors - 1) / 2)
    affine[: grid.rank, : grid.rank] = affine[: grid.rank, : grid.rank] * factors
    return Place(tuple(size), affine)
