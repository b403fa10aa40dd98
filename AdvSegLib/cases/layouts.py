"""What the readers of data-set folders share: finding files, naming labels, reading masks drawn as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.cases.base import Case
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import PALETTE, Label, LabelScheme
from AdvSegLib.volumes import RASTER_SUFFIXES, SCAN_SUFFIXES, Grid, LabelMap, PathLike, read_image, read_labels

IMAGE_SUFFIXES = (".seg.nrrd", *SCAN_SUFFIXES, *RASTER_SUFFIXES)


def open_folder(folder: PathLike, expected: str) -> Path:
    """Return ``folder`` as a path; BadRequest, saying what was expected, where it is no folder."""
    path = Path(folder)
    if not path.is_dir():
        raise BadRequest(f"{path}: no such folder; expected {expected}")
    return path


def finished(cases: Sequence[Case], folder: Path, expected: str) -> list[Case]:
    """Return cases in order of identifier; BadRequest where there is none or two have the same name."""
    if not cases:
        raise BadRequest(f"{folder}: no case found; expected {expected}")
    ordered = sorted(cases, key=lambda case: case.identifier)
    for first, second in pairwise(ordered):
        if first.identifier == second.identifier:
            raise BadRequest(f"{folder}: two cases are called {first.identifier}; open their folders one by one")
    return ordered


def files_below(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> Iterator[Path]:
    """Yield files at any depth with one of ``suffixes`` (any case), sorted, hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.name.lower().endswith(tuple(suffixes)) and not hidden and path.is_file():
            yield path


def stem_of(path: Path) -> str:
    """Return the file name without its image suffix.

    >>> stem_of(Path("a/liver_1.5.nii.gz")), stem_of(Path("b.seg.nrrd")), stem_of(Path("c.IMG"))
    ('liver_1.5', 'b', 'c')
    """
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def required(path: Path, identifier: str, what: str) -> Path:
    """Return ``path``; BadRequest where that file of a case is missing."""
    if not path.exists():
        raise BadRequest(f"{path}: missing; case {identifier} needs it as its {what}")
    return path


def mask_above_half(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where an (anti-aliased) mask is more than half on; its range is 0-1, 0-255 or 0-65535.

    >>> mask_above_half(np.array([0, 127, 128, 255])).tolist()
    [False, False, True, True]
    """
    top = values.max(initial=0)
    level = 0.5 if top <= 1 else 127.5 if top <= 255 else 32767.5
    return np.asarray(values > level)


def scheme_of(names: Mapping[int, str]) -> LabelScheme:
    """Return softmax classes for label values and names; 0 is background and left out."""
    items = sorted((value, name) for value, name in names.items() if value != 0)
    labels = (Label(value, name, PALETTE[index % len(PALETTE)]) for index, (value, name) in enumerate(items))
    return LabelScheme("softmax", tuple(labels))


def scheme_from_json(data: Mapping[str, Any], path: Path) -> LabelScheme | None:
    """Read ``labels`` of a Decathlon or nnU-Net ``dataset.json``; None where it has none.

    Decathlon and nnU-Net 1 map value to name, nnU-Net 2 name to value, or to a list of values (regions, painted in
    the order of ``regions_class_order``), which gives a sigmoid scheme.
    """
    labels = data.get("labels")
    if labels is None:
        return None
    try:
        if any(isinstance(value, list) for value in labels.values()):
            return _region_scheme(labels, data["regions_class_order"])
        if all(str(key).isdigit() for key in labels):
            return scheme_of({int(value): str(name) for value, name in labels.items()})
        return scheme_of({int(value): str(name) for name, value in labels.items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"{path}: 'labels' cannot be understood: {labels!r}") from error


def _region_scheme(labels: Mapping[str, Any], order: Sequence[int]) -> LabelScheme:
    regions = [(name, value) for name, value in labels.items() if value != 0]
    members = tuple(tuple(value) if isinstance(value, list) else (value,) for _, value in regions)
    drawn = tuple(
        Label(value, name, PALETTE[index % len(PALETTE)])
        for index, ((name, _), value) in enumerate(zip(regions, order, strict=True))
    )
    return LabelScheme("sigmoid", drawn, members)


def scheme_of_files(paths: Iterable[Path], names: Sequence[str] | None) -> tuple[LabelScheme, dict[int, int]]:
    """Return the scheme of label files, and how to relabel them.

    ``names`` are those of values 1, 2, …; without them every file is read once for its values. Picture masks of 0 and
    255 become one structure of value 1.
    """
    files = list(paths)
    pictures = bool(files) and all(path.suffix.lower() in RASTER_SUFFIXES for path in files)
    if names:
        return LabelScheme.softmax(*names), {255: 1} if pictures and len(names) == 1 else {}
    found = sorted({value for path in files for value in read_labels(path).values})
    if pictures and found == [255]:
        return LabelScheme.binary("structure"), {255: 1}
    return scheme_of({value: f"label {value}" for value in found or [1]}), {}


def file_case(
    identifier: str,
    scheme: LabelScheme,
    images: Sequence[Path],
    truth: Path | None = None,
    *,
    names: Sequence[str] = (),
    relabel: Mapping[int, int] | None = None,
) -> Case:
    """Return a case of image files (one a channel) and a label file, read on demand."""
    read_truth = partial(_read_truth, images[0], truth, scheme, dict(relabel or {})) if truth else None
    return Case(identifier, scheme, partial(read_image, list(images), tuple(names)), read_truth)


def _read_truth(image: Path, path: Path, scheme: LabelScheme, relabel: Mapping[int, int]) -> LabelMap:
    """Read a label file; a picture takes the place and spacing of its image, a scan keeps its own."""
    picture = path.suffix.lower() in RASTER_SUFFIXES
    labels = read_labels(path, read_image(image).grid if picture else None).relabelled(relabel)
    scheme.check(labels.values, str(path))
    return LabelMap(labels.array, labels.grid, scheme.names)


def pixel_grid(shape: Sequence[int]) -> Grid:
    """Return the grid of a photograph: unit pixels, whatever print resolution its file names."""
    return Grid.regular(tuple(shape), 1.0)
