"""A plain folder of images and labels, in any of three layouts: ``images/`` and ``labels/``, paired names, nnU-Net."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.datalist import channels_of, load_json
from AdvSegLib.cases.layouts import (
    file_case,
    files_below,
    finished,
    open_folder,
    required,
    scheme_from_json,
    scheme_of_files,
    stem_of,
)
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import PathLike

EXPECTED = (
    "images/ and labels/ with files of the same name, or <id>_image.* and <id>_label.* (_mask, _seg), or nnU-Net's "
    "dataset.json, imagesTr/<id>_0000.nii.gz and labelsTr/<id>.nii.gz"
)
PAIR = re.compile(r"(.+)_(image|label|labels|mask|seg)")
CHANNEL = re.compile(r"(.+)_(\d{4})")


def folder_cases(folder: PathLike, labels: Sequence[str] | None = None) -> list[Case]:
    """Return the image and label pairs of a folder; an image without label is a case without truth.

    ``labels`` names values 1, 2, …; without it (and without nnU-Net's ``dataset.json``) every label file is read
    once for its values. Raises BadRequest where no layout fits, a label lacks its image or a channel is missing.
    """
    root = open_folder(folder, EXPECTED)
    if (root / "imagesTr").is_dir():
        return _nnunet(root)
    if (root / "images").is_dir():
        images = {stem_of(path): path for path in files_below(root / "images")}
        drawn = next((root / name for name in ("labels", "masks") if (root / name).is_dir()), None)
        truths = {stem_of(path): path for path in files_below(drawn)} if drawn else {}
    else:
        images, truths = _pairs(root)
    for name in sorted(set(truths) - set(images)):
        raise BadRequest(f"{truths[name]}: label without an image '{name}'; expected {EXPECTED}")
    scheme, relabel = scheme_of_files(truths.values(), labels)
    cases = [file_case(name, scheme, [path], truths.get(name), relabel=relabel) for name, path in images.items()]
    return finished(cases, root, EXPECTED)


def _pairs(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    images: dict[str, Path] = {}
    truths: dict[str, Path] = {}
    for path in files_below(root):
        match = PAIR.fullmatch(stem_of(path))
        if match:
            table = images if match[2] == "image" else truths
            if match[1] in table:
                raise BadRequest(f"{path}: second file of case {match[1]}; the first is {table[match[1]]}")
            table[match[1]] = path
    return images, truths


def _nnunet(root: Path) -> list[Case]:
    listing = required(root / "dataset.json", root.name, "nnU-Net description")
    data = load_json(listing)
    scheme = scheme_from_json(data, listing)
    if scheme is None:
        raise BadRequest(f"{listing}: has no 'labels'")
    names = channels_of(data)
    found: dict[str, dict[int, Path]] = {}
    for path in files_below(root / "imagesTr"):
        match = CHANNEL.fullmatch(stem_of(path))
        if match:
            found.setdefault(match[1], {})[int(match[2])] = path
    truths = {stem_of(path): path for path in files_below(root / "labelsTr")}
    cases = []
    for name, channels in found.items():
        absent = set(range(max(len(names), *channels, 1))) - set(channels)
        if absent:
            raise BadRequest(f"{root / 'imagesTr'}: case {name} lacks channel {name}_{min(absent):04d}")
        paths = [channels[index] for index in sorted(channels)]
        cases.append(file_case(name, scheme, paths, truths.get(name), names=names))
    return finished(cases, root, EXPECTED)
