"""Lists of cases in JSON: ``dataset.json`` of the Medical Segmentation Decathlon, and MONAI datalists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AdvSegLib.cases.base import Case
from AdvSegLib.cases.layouts import file_case, finished, required, scheme_from_json, scheme_of_files, stem_of
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import PathLike

EXPECTED = '{"training": [{"image": path or [paths], "label": path}, ...]}'


def datalist_cases(json_path: PathLike, section: str = "training", labels: Sequence[str] | None = None) -> list[Case]:
    """Return the cases of one section of a list; relative paths start at the list's folder.

    Label names come from the list's ``labels``, else from ``labels`` (names of 1, 2, …), else every label file is
    read once for its values. Channel names come from ``modality`` or ``channel_names``. Raises BadRequest where the
    list cannot be read, the section is absent or empty, or a file is missing.
    """
    path = Path(json_path)
    data = load_json(path)
    sections = [key for key, value in data.items() if isinstance(value, list)]
    if section not in sections:
        raise BadRequest(f"{path}: no section '{section}'; it has {', '.join(sections) or 'none'}")
    entries = [_entry(item, path) for item in data[section]]
    truths = [truth for _, truth in entries if truth]
    relabel: dict[int, int] = {}
    scheme = scheme_from_json(data, path)
    if scheme is None:
        scheme, relabel = scheme_of_files(truths, labels)
    names = channels_of(data)
    cases = [
        file_case(_identifier(images), scheme, images, truth, names=names, relabel=relabel)
        for images, truth in entries
    ]
    return finished(cases, path, EXPECTED)


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; BadRequest where there is none."""
    if not path.is_file():
        raise BadRequest(f"{path}: no such file; expected a list of cases {EXPECTED}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadRequest(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise BadRequest(f"{path}: expected {EXPECTED}")
    return data


def channels_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return channel names of a ``dataset.json``: ``modality`` or nnU-Net's ``channel_names``, lower case.

    >>> channels_of({"modality": {"0": "FLAIR", "1": "T1w"}})
    ('flair', 't1w')
    """
    named = data.get("channel_names") or data.get("modality")
    if not isinstance(named, dict):
        return ()
    return tuple(str(named[key]).lower() for key in sorted(named, key=lambda key: int(key)))


def _entry(item: Any, path: Path) -> tuple[list[Path], Path | None]:
    if isinstance(item, str):  # the Decathlon's test section
        item = {"image": item}
    if not isinstance(item, dict) or not item.get("image"):
        raise BadRequest(f"{path}: entry {json.dumps(item)[:80]} names no image; expected {EXPECTED}")
    named = [item["image"]] if isinstance(item["image"], str) else list(item["image"])
    images = [path.parent / str(name) for name in named]
    for image in images:
        required(image, _identifier(images), "image")
    truth = path.parent / str(item["label"]) if item.get("label") else None
    return images, required(truth, _identifier(images), "label") if truth else None


def _identifier(images: Sequence[Path]) -> str:
    """Return the image's name; of several channels the part they share, or their folder's name.

    >>> _identifier([Path("a/x_t1.nii.gz"), Path("a/x_t2.nii.gz")]), _identifier([Path("b/t1.nii"), Path("b/u.nii")])
    ('x', 'b')
    """
    stems = [stem_of(image) for image in images]
    if len(stems) == 1:
        return stems[0]
    shared = 0
    while shared < min(map(len, stems)) and len({stem[shared] for stem in stems}) == 1:
        shared += 1
    parts = stems[0][:shared].replace("-", "_").rsplit("_", 1)
    return stems[0][: len(parts[0])] if len(parts) == 2 and parts[0] else images[0].parent.name
