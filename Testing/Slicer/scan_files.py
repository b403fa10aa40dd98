"""Which files of a folder are scans: the cases a batch script works off."""

from __future__ import annotations

import dataclasses
import pathlib

from AdvSegLib.errors import BadRequest

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
TRUTHS = ("labels", "label", "seg", "mask", "truth")


@dataclasses.dataclass
class ScanFiles:
    """A case: a file a channel, and the truth's where there is one; ``missing`` names channels without a file."""

    name: str
    volumes: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    truth: pathlib.Path | None = None
    missing: tuple[str, ...] = ()


def find_scans(folder: pathlib.Path, channels: tuple[str, ...]) -> list[ScanFiles]:
    """Return the scans of a folder, sorted by name: its own files, and each sub-folder's.

    A file is ``<case>_<channel>`` (as ``advseg cases --out`` and BraTS write), in a case's own sub-folder also
    ``<channel>`` alone; ``<case>_labels`` (or seg, mask, truth) is the truth. Where the model takes one channel, every
    other file is a case of its own. BadRequest where there is no scan, or one channel has two files.
    """
    if not folder.is_dir():
        raise BadRequest(f"{folder}: no such folder")
    cases: dict[str, ScanFiles] = {}
    for place in (folder, *sorted(item for item in folder.iterdir() if item.is_dir())):
        for file in sorted(place.iterdir()):
            if file.is_file() and file.name.lower().endswith(SUFFIXES) and not file.name.startswith("."):
                _sort_in(cases, file, channels, "" if place == folder else place.name)
    found = [case for _, case in sorted(cases.items()) if case.volumes]
    if not found:
        raise BadRequest(f"{folder}: no scan in it; files are named <case>_<channel>, channels: {', '.join(channels)}")
    for case in found:
        case.missing = tuple(name for name in channels if name not in case.volumes)
    return found


def _sort_in(cases: dict[str, ScanFiles], file: pathlib.Path, channels: tuple[str, ...], place: str) -> None:
    """Put a file where it belongs: a channel, a truth, a case of its own, or nowhere."""
    stem = _stem(file)
    case, _, last = stem.rpartition("_")
    known = {name.casefold(): name for name in channels}
    what = last.casefold()
    if what not in known and what not in TRUTHS:
        if len(channels) > 1:
            return
        case, what = stem, channels[0].casefold()
    name = "/".join(filter(None, (place, case if case != place else "")))
    scan = cases.setdefault(name or stem, ScanFiles(name or stem))
    taken = scan.truth if what in TRUTHS else scan.volumes.get(known[what])
    if taken is not None:
        raise BadRequest(f"{file}: second file of {what} of case {scan.name}; the first is {taken}")
    if what in TRUTHS:
        scan.truth = file
    else:
        scan.volumes[known[what]] = file


def _stem(file: pathlib.Path) -> str:
    """Return a file's name without its suffix, ``.seg.nrrd`` of Slicer's segmentations as well."""
    suffix = next(suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix))
    stem = file.name[: -len(suffix)]
    return stem[:-4] + "_seg" if stem.lower().endswith(".seg") else stem
