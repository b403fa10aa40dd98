"""RGB photographs with one structure drawn on them: the optic disc of a fundus, a lesion of the skin.

Photographs have no place in space: their grid has unit pixels, and a mask belongs to its image pixel by pixel.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.layouts import files_below, finished, mask_above_half, open_folder, pixel_grid
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import RASTER_SUFFIXES, Image, LabelMap, PathLike, read_image

RGB = ("red", "green", "blue")
FUNDUS = re.compile(r"(?P<id>.+)_(?P<kind>image|mask)", re.IGNORECASE)
FUNDUS_EXPECTED = "pairs <id>_image.png and <id>_mask.png"
SKIN = re.compile(r"(?P<id>ISIC_\d+)(?P<kind>_segmentation)?", re.IGNORECASE)
SKIN_EXPECTED = "ISIC images ISIC_<number>.jpg and masks ISIC_<number>_Segmentation.png"


def fundus_cases(folder: PathLike) -> list[Case]:
    """Return fundus photographs with the optic disc (Ozbulak et al. 2019), masks cut at half.

    Raises BadRequest where no pair is found or a mask lacks its image.
    """
    return _cases(folder, FUNDUS, "mask", LabelScheme.binary("optic disc"), FUNDUS_EXPECTED)


def skin_cases(folder: PathLike) -> list[Case]:
    """Return dermoscopy images with their lesion (ISIC 2016-2018), images and masks at any depth below ``folder``.

    Raises BadRequest where no image is found or a mask lacks its image.
    """
    return _cases(folder, SKIN, "_segmentation", LabelScheme.binary("lesion"), SKIN_EXPECTED)


def _cases(folder: PathLike, pattern: re.Pattern[str], mask: str, scheme: LabelScheme, expected: str) -> list[Case]:
    root = open_folder(folder, expected)
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in files_below(root, RASTER_SUFFIXES):
        match = pattern.fullmatch(path.stem)
        if match:
            kind = (match["kind"] or "").lower()
            table = masks if kind == mask else images
            if match["id"] in table:
                raise BadRequest(f"{path}: second file of case {match['id']}; the first is {table[match['id']]}")
            table[match["id"]] = path
    for name in sorted(set(masks) - set(images)):
        raise BadRequest(f"{masks[name]}: mask without an image of case {name}; expected {expected}")
    cases = []
    for name, path in images.items():
        truth = partial(_truth, path, masks[name], scheme) if name in masks else None
        cases.append(Case(name, scheme, partial(read_photograph, path), truth))
    return finished(cases, root, expected)


def read_photograph(path: PathLike) -> Image:
    """Read an RGB picture ``(3, rows, columns)`` with unit pixels; BadRequest where it has no three channels."""
    image = read_image(path)
    if image.array.shape[0] != 3:
        raise BadRequest(f"{path}: {image.array.shape[0]} channels; an RGB photograph is needed")
    return Image(image.array, pixel_grid(image.grid.shape), RGB, image.mark)


def _truth(image: Path, path: Path, scheme: LabelScheme) -> LabelMap:
    mask = mask_above_half(read_image(path).array[0])
    shape = read_photograph(image).grid.shape
    if mask.shape != shape:
        sizes = ["x".join(map(str, size)) for size in (mask.shape, shape)]
        raise BadRequest(f"{path}: mask has {sizes[0]} pixels, its image {sizes[1]}")
    return LabelMap(mask.astype(np.int32), pixel_grid(shape), scheme.names)
