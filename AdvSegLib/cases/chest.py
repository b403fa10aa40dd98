"""JSRT chest radiographs with the SCR masks of heart, lungs and clavicles (van Ginneken et al. 2006).

SCR is distributed as ``scratch/fold1/masks/<structure>/JPCLN001.gif`` (and ``fold2``), 1024x1024, 0 and 255, with
``heart, left lung, right lung, left clavicle, right clavicle``; left is the patient's, on the right of the picture.
JSRT images are ``JPCLN001.IMG``: 2048x2048 big-endian 16-bit numbers without header, 12 bits used, 0.175 mm
(Shiraishi et al. 2000).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.layouts import IMAGE_SUFFIXES, files_below, finished, mask_above_half, open_folder, stem_of
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import chest_scheme
from AdvSegLib.volumes import Grid, Image, LabelMap, PathLike, read_image

EXPECTED = (
    "images (PNG, TIFF, NIfTI or JSRT .IMG) and mask folders heart, left lung, right lung, left clavicle, "
    "right clavicle (SCR: fold1/masks/left lung/<id>.gif)"
)
PAINT_ORDER = ("left lung", "right lung", "heart", "left clavicle", "right clavicle")
"""Clavicles cross the lungs and are painted over them."""

JSRT_SIDE = 2048
JSRT_MM = 0.175
JSRT_WHITE = 4095


def chest_cases_from(folder: PathLike) -> list[Case]:
    """Return the radiographs below ``folder`` with their masks, in the five structures of paper 003.

    Mask folders are found at any depth by name (``left lung`` or ``left_lung``), images are all other pictures; an
    image without any mask has no truth. Masks of another size are scaled pixel by pixel. Raises BadRequest where
    images or a structure's folder are missing, or an image has masks of some structures only.
    """
    root = open_folder(folder, EXPECTED)
    masks: dict[str, dict[str, Path]] = {name: {} for name in PAINT_ORDER}
    images: dict[str, Path] = {}
    for path in files_below(root, (*IMAGE_SUFFIXES, ".gif", ".img")):
        structure = path.parent.name.lower().replace("_", " ").replace("-", " ")
        if structure in masks:
            masks[structure].setdefault(stem_of(path), path)
        elif "masks" not in path.relative_to(root).parts:
            images.setdefault(stem_of(path), path)  # JSRT holds each image in two folders
    absent = [name for name, files in masks.items() if not files]
    if absent:
        raise BadRequest(f"{root}: no masks of {', '.join(absent)}; expected {EXPECTED}")
    cases = [_case(name, path, masks, root) for name, path in images.items()]
    return finished(cases, root, EXPECTED)


def _case(name: str, image: Path, masks: Mapping[str, Mapping[str, Path]], root: Path) -> Case:
    own = {structure: files[name] for structure, files in masks.items() if name in files}
    missing = [structure for structure in PAINT_ORDER if structure not in own]
    if own and missing:
        raise BadRequest(f"{root}: case {name} lacks its mask of {', '.join(missing)}")
    truth = partial(_truth, image, own) if own else None
    return Case(name, chest_scheme(), partial(read_radiograph, image), truth)


def read_radiograph(path: PathLike) -> Image:
    """Read a grey radiograph; a JSRT ``.IMG`` is inverted (4095 - value), so that bone is bright as on a light box.

    Raises BadRequest for an ``.IMG`` of another size, and for a picture in colour.
    """
    source = Path(path)
    if source.suffix.lower() == ".img":
        return _read_jsrt(source)
    image = read_image(source)
    if len(image.names) == 1:
        return image
    if not (image.array == image.array[:1]).all():
        raise BadRequest(f"{source}: radiograph is in colour ({len(image.names)} channels); grey is needed")
    return image.channel(0)


def _read_jsrt(path: Path) -> Image:
    needed = JSRT_SIDE * JSRT_SIDE * 2
    if not path.exists() or path.stat().st_size != needed:
        raise BadRequest(f"{path}: not a JSRT image of {needed} bytes (2048x2048, 16 bits, no header)")
    values = np.fromfile(path, ">u2").reshape(1, JSRT_SIDE, JSRT_SIDE).astype(np.float32)
    return Image.from_array(JSRT_WHITE - values, JSRT_MM)


def _truth(image: Path, masks: Mapping[str, Path]) -> LabelMap:
    scheme = chest_scheme()
    values = {name: value for value, name in scheme.names.items()}
    grid = read_radiograph(image).grid
    labels = np.zeros(grid.shape, np.int32)
    for structure in PAINT_ORDER:
        path = masks[structure]
        labels[..., scaled_mask(_read_mask(path), grid, path)] = values[structure]
    return LabelMap(labels, grid, scheme.names)


def _read_mask(path: Path) -> NDArray[np.bool_]:
    """Return a mask ``(rows, columns)``; ITK reads no GIF, hence Pillow."""
    if path.suffix.lower() != ".gif":
        array = read_image(path).array[0]
        return mask_above_half(array.reshape(array.shape[-2:]))
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as picture:
            return mask_above_half(np.asarray(picture.convert("L")))
    except OSError as error:
        raise BadRequest(f"{path}: truncated or damaged") from error


def scaled_mask(mask: NDArray[Any], grid: Grid, path: Path) -> NDArray[Any]:
    """Scale a mask to the last two axes of ``grid``, nearest pixel centre; BadRequest for another aspect."""
    rows, columns = grid.shape[-2:]
    down, across = mask.shape[0] / rows, mask.shape[1] / columns
    if abs(down / across - 1) > 0.01:
        raise BadRequest(f"{path}: mask of {mask.shape[0]}x{mask.shape[1]} does not fit an image of {rows}x{columns}")
    take_rows = ((np.arange(rows) + 0.5) * down).astype(int)
    take_columns = ((np.arange(columns) + 0.5) * across).astype(int)
    return np.asarray(mask[np.ix_(take_rows, take_columns)])
