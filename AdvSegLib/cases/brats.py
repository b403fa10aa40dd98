"""BraTS, the brain tumour data set: four MR channels and a tumour segmentation a case.

Layout of 2017-2021: ``<id>/<id>_t1.nii.gz, _t1ce, _t2, _flair, _seg`` with labels 1 necrosis, 2 oedema, 4 enhancing
(Bakas et al. 2017). Layout of 2023: ``<id>/<id>-t1n.nii.gz, -t1c, -t2w, -t2f, -seg`` with label 3 for enhancing.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.layouts import files_below, finished, open_folder
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import LabelMap, PathLike, read_image, read_labels

CHANNELS = ("t1", "t1gd", "t2", "flair")
ENDINGS = {"_": ("t1", "t1ce", "t2", "flair"), "-": ("t1n", "t1c", "t2w", "t2f")}
EXPECTED = (
    "BraTS folders <id>/<id>_{t1,t1ce,t2,flair,seg}.nii.gz (2017) or <id>/<id>-{t1n,t1c,t2w,t2f,seg}.nii.gz (2023)"
)
FILE = re.compile(r"(.+)(?:(_)(t1|t1ce|t2|flair|seg)|(-)(t1n|t1c|t2w|t2f|seg))\.nii(?:\.gz)?", re.IGNORECASE)


def brats_cases(folder: PathLike) -> list[Case]:
    """Return the cases of a BraTS folder: one case's, one of cases, or one with HGG and LGG sub-folders.

    Channels are ``t1, t1gd, t2, flair``; label 3 of the 2023 layout becomes 4. A case without ``seg`` has no truth.
    Raises BadRequest where no case is found or a case lacks a channel.
    """
    root = open_folder(folder, EXPECTED)
    found: dict[tuple[Path, str, str], dict[str, Path]] = {}
    for path in files_below(root, (".nii", ".nii.gz")):
        match = FILE.fullmatch(path.name)
        if match:
            mark = match[2] or match[4]
            key = (path.parent, match[1], mark)
            found.setdefault(key, {})[(match[3] or match[5]).lower()] = path
    cases = [_case(parent, name, mark, files) for (parent, name, mark), files in found.items()]
    return finished(cases, root, EXPECTED)


def _case(parent: Path, name: str, mark: str, files: dict[str, Path]) -> Case:
    missing = [f"{name}{mark}{ending}.nii.gz" for ending in ENDINGS[mark] if ending not in files]
    if missing:
        raise BadRequest(f"{parent}: case {name} lacks {', '.join(missing)}")
    channels = [files[ending] for ending in ENDINGS[mark]]
    truth = partial(_truth, files["seg"], mark) if "seg" in files else None
    return Case(name, LabelScheme.brats(), partial(read_image, channels, CHANNELS), truth)


def _truth(path: Path, mark: str) -> LabelMap:
    scheme = LabelScheme.brats()
    labels = read_labels(path)
    if mark == "-":
        if {3, 4} <= set(labels.values):
            raise BadRequest(f"{path}: label 4 is the resection cavity of BraTS 2024, which has no class here")
        labels = labels.relabelled({3: 4})
    scheme.check(labels.values, str(path))
    return LabelMap(labels.array, labels.grid, scheme.names)
