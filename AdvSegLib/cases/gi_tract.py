"""UW-Madison GI tract (Kaggle 2022; Lee et al., Data in Brief 57, 111159, 2024): abdominal MR with three organs.

``train.csv`` has columns ``id, class, segmentation``; images are
``train/case123/case123_day20/scans/slice_0001_266_266_1.50_1.50.png``, 16 bits, width, height and pixel spacing in mm
in the name, slices 3 mm thick. The competition's page counts pixels from 1 and down the columns; its files count
from 1 along the *rows*: only so does the stomach of case123_day20_slice_0065 ("28094 3 ...", 266 pixels wide: row 105,
column 163) lie on the patient's left, and so decodes them CarnoZhao/Kaggle-UWMGIT (data_preprocess.py), which also
sets case7_day0 and case81_day30 aside as wrongly drawn.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.layouts import files_below, finished, open_folder
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Grid, Image, LabelMap, PathLike, read_image

ORGANS = ("large_bowel", "small_bowel", "stomach")
"""In the order of painting: a label map holds one value a voxel, so where organs overlap the later one shows."""

SLICE_MM = 3.0
SLICE = re.compile(r"slice_(\d+)_(\d+)_(\d+)_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)\.png")
EXPECTED = "train.csv and train/case<n>/case<n>_day<m>/scans/slice_<k>_<w>_<h>_<mm>_<mm>.png"
Runs: TypeAlias = Mapping[str, Mapping[str, str]]
"""Run lengths by slice identifier, then by organ."""


def gi_tract_cases(folder: PathLike, slices: bool = False) -> list[Case]:
    """Return one 3-D case a scan (case and day), or with ``slices`` one 2-D case a slice.

    Spacing is that of the file names, 3 mm between slices; orientation is not recorded. Without ``train.csv`` cases
    have no truth. Raises BadRequest where no scan is found or a slice is missing.
    """
    root = open_folder(folder, EXPECTED)
    days: dict[str, dict[int, Path]] = {}
    for path in files_below(root, (".png",)):
        match = SLICE.fullmatch(path.name)
        if match and path.parent.name == "scans":
            days.setdefault(path.parent.parent.name, {})[int(match[1])] = path
    table = root / "train.csv"
    runs = read_runs(table) if table.exists() else None
    cases = []
    for day, files in days.items():
        _check_slices(root, day, files, runs)
        if slices:
            cases += [_case(_name(day, number), [_name(day, number)], [files[number]], runs) for number in files]
        else:
            numbers = sorted(files)
            cases.append(_case(day, [_name(day, n) for n in numbers], [files[n] for n in numbers], runs))
    return finished(cases, root, EXPECTED)


def decode_rle(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Turn pairs ``start length`` (pixels counted from 1 along the rows) into a mask; '' is an empty mask.

    Raises BadRequest for numbers that are no pairs or leave the image.

    >>> decode_rle("2 2 6 1", (2, 3)).astype(int).tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    mask = np.zeros(shape[0] * shape[1], bool)
    try:
        numbers = [int(part) for part in text.split()]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError as error:
        raise BadRequest(f"run lengths are not pairs of whole numbers: '{text[:40]}'") from error
    for start, length in pairs:
        if start < 1 or length < 1 or start - 1 + length > mask.size:
            raise BadRequest(f"run '{start} {length}' leaves an image of {shape[0]}x{shape[1]} pixels")
        mask[start - 1 : start - 1 + length] = True
    return mask.reshape(shape)


def encode_rle(mask: NDArray[np.bool_]) -> str:
    """Turn a mask ``(rows, columns)`` into pairs ``start length``; the inverse of :func:`decode_rle`.

    >>> encode_rle(np.array([[0, 1, 1], [0, 0, 1]], bool))
    '2 2 6 1'
    """
    flat = np.concatenate([[0], np.asarray(mask, bool).ravel(), [0]]).astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(flat) == 1), np.flatnonzero(np.diff(flat) == -1)
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends, strict=True))


def read_runs(path: Path) -> Runs:
    """Read ``train.csv``; BadRequest where its columns or classes are others."""
    runs: dict[str, dict[str, str]] = {}
    with open(path, newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        if not {"id", "class", "segmentation"} <= set(rows.fieldnames or ()):
            raise BadRequest(f"{path}: columns id, class, segmentation expected, got {rows.fieldnames}")
        for row in rows:
            if row["class"] not in ORGANS:
                raise BadRequest(f"{path}: unknown class '{row['class']}'; known: {', '.join(ORGANS)}")
            runs.setdefault(row["id"], {})[row["class"]] = row["segmentation"] or ""
    return runs


def _name(day: str, number: int) -> str:
    return f"{day}_slice_{number:04d}"


def _check_slices(root: Path, day: str, files: Mapping[int, Path], runs: Runs | None) -> None:
    listed = {int(name.rsplit("_", 1)[1]) for name in runs or () if name.startswith(f"{day}_slice_")}
    missing = (listed | set(range(min(files), max(files) + 1))) - set(files)
    if missing:
        raise BadRequest(f"{root}: scan {day} lacks slice {min(missing):04d} ({len(missing)} missing in all)")


def _case(identifier: str, names: Sequence[str], files: Sequence[Path], runs: Runs | None) -> Case:
    scheme = LabelScheme.sigmoid(*(organ.replace("_", " ") for organ in ORGANS))
    flat = identifier == names[0]
    own = [(runs or {}).get(name, {}) for name in names]
    truth = partial(_truth, files, own, flat, scheme) if runs is not None else None
    return Case(identifier, scheme, partial(_image, files, flat), truth)


def _image(files: Sequence[Path], flat: bool) -> Image:
    planes = [_plane(path) for path in files]
    sizes = {plane.shape for plane in planes}
    if len(sizes) > 1:
        raise BadRequest(f"{files[0].parent}: slices differ in size: {sorted(sizes)}")
    array = np.stack(planes)
    return Image(array if flat else array[None], _grid(files, planes[0].shape, flat), ("mr",))


def _plane(path: Path) -> NDArray[np.float32]:
    plane: NDArray[np.float32] = read_image(path).array[0]
    match = SLICE.fullmatch(path.name)
    if match and sorted(plane.shape) != sorted((int(match[2]), int(match[3]))):
        raise BadRequest(f"{path}: holds {plane.shape[0]}x{plane.shape[1]} pixels, not those of its name")
    return plane


def _grid(files: Sequence[Path], shape: tuple[int, ...], flat: bool) -> Grid:
    match = SLICE.fullmatch(files[0].name)
    across, down = (float(match[4]), float(match[5])) if match else (1.0, 1.0)
    if flat:
        return Grid.regular(shape, (down, across))
    return Grid.regular((len(files), *shape), (SLICE_MM, down, across))


def _truth(files: Sequence[Path], runs: Sequence[Mapping[str, str]], flat: bool, scheme: LabelScheme) -> LabelMap:
    shape = _plane(files[0]).shape
    labels = np.zeros((len(files), *shape), np.int32)
    for plane, path, own in zip(labels, files, runs, strict=True):
        for value, organ in enumerate(ORGANS, start=1):
            try:
                plane[decode_rle(own.get(organ, ""), (shape[0], shape[1]))] = value
            except BadRequest as error:
                raise BadRequest(f"{path}: {organ}: {error}") from error
    return LabelMap(labels[0] if flat else labels, _grid(files, shape, flat), scheme.names)
