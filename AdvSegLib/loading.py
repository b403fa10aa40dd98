"""Where models and images come from: the disk every time, or what the last jobs left in memory. Light at import."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from AdvSegLib.segmenters.bundle import INFERENCE, METADATA, TORCH_WEIGHTS, WEIGHTS
from AdvSegLib.segmenters.catalogue import load_model, model_folder

if TYPE_CHECKING:
    from AdvSegLib.segmenters.segmenter import Segmenter
    from AdvSegLib.volumes import Image

DETACHED = (".mhd", ".nhdr", ".hdr", ".img")
"""Formats of two files, where the one that is named does not change with its voxels."""

Stamp = tuple[tuple[str, int, int, int], ...]
Heard = Callable[[str, str, bool], None]
T = TypeVar("T")


class Loader(Protocol):
    """What a job asks for its model and its image."""

    def model(self, name: str, device: str) -> Segmenter:
        """Return a model by shipped name or folder, on a torch device."""

    def image(self, paths: Sequence[str]) -> Image:
        """Return the image of these files, one a channel or one of all."""


class Fresh:
    """Reads everything from disk, every time."""

    def model(self, name: str, device: str) -> Segmenter:
        """Load a model."""
        return load_model(name, device)

    def image(self, paths: Sequence[str]) -> Image:
        """Read an image."""
        from AdvSegLib.volumes import read_image

        return read_image(paths)


def _model_files(folder: Path) -> list[Path]:
    """Return the files a model is made of, those of an ensemble's members among them."""
    from AdvSegLib.segmenters.ensemble import is_ensemble, member_folders

    files = [folder / part for part in (METADATA, INFERENCE, WEIGHTS, TORCH_WEIGHTS)]
    if is_ensemble(folder):
        definition = json.loads((folder / INFERENCE).read_text(encoding="utf-8"))["ensemble"]
        files += [file for member in member_folders(folder, definition) for file in _model_files(member)]
    return files


class Warm:
    """Keeps the last ``models`` and ``images`` (``image_bytes`` in all), and loads anew what has changed on disk.

    Everybody gets the same objects: images are read-only, models are to be left where they are. ``heard(what, name,
    warm)`` is told of every model and image asked for. One thread at a time.
    """

    def __init__(
        self,
        models: int = 2,
        images: int = 4,
        image_bytes: int = 2 << 30,
        heard: Heard = lambda what, name, warm: None,
    ) -> None:
        self._fresh = Fresh()
        self._models: _Shelf[Segmenter] = _Shelf(models)
        self._images: _Shelf[Image] = _Shelf(images)
        self._image_bytes = image_bytes
        self._heard = heard

    def model(self, name: str, device: str) -> Segmenter:
        """Return a model, kept as long as the files of its bundle are the same."""
        folder = model_folder(name).resolve()
        stamp = _stamp(file for file in _model_files(folder) if file.exists())
        segmenter, warm = self._models.take((folder, device), stamp, lambda: self._fresh.model(str(folder), device))
        self._heard("model", name, warm)
        return segmenter

    def image(self, paths: Sequence[str]) -> Image:
        """Return an image, read-only, kept as long as its files are the same."""
        names = tuple(os.path.abspath(path) for path in paths)
        image, warm = self._images.take(names, _image_stamp(names), lambda: self._read(paths))
        self._images.shrink(lambda kept: kept.array.nbytes, self._image_bytes)
        self._heard("image", ", ".join(paths), warm)
        return image

    def release(self) -> None:
        """Forget all models and images."""
        self._models.clear()
        self._images.clear()

    def _read(self, paths: Sequence[str]) -> Image:
        image = self._fresh.image(paths)
        image.array.setflags(write=False)
        image.grid.affine.setflags(write=False)
        return image


class _Shelf(Generic[T]):
    """The last few things made, each with the stamp of the files it was made from."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: OrderedDict[Hashable, tuple[Stamp, T]] = OrderedDict()

    def take(self, key: Hashable, stamp: Stamp | None, make: Callable[[], T]) -> tuple[T, bool]:
        """Return what is kept of ``key``, or make it, and which it was; without a stamp nothing is kept."""
        if key in self._kept and self._kept[key][0] == stamp:
            self._kept.move_to_end(key)
            return self._kept[key][1], True
        self._kept.pop(key, None)
        while len(self._kept) >= self._count:  # before, not after: two big models need not fit beside a third
            self._kept.popitem(last=False)
        made = make()
        if stamp is not None:
            self._kept[key] = (stamp, made)
        return made, False

    def shrink(self, size: Callable[[T], int], limit: int) -> None:
        """Drop the oldest until all that is kept fits ``limit``."""
        while sum(size(kept) for _, kept in self._kept.values()) > limit:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()


def _image_stamp(names: Sequence[str]) -> Stamp | None:
    """Return the stamp of an image's files, folders of DICOM slices included; None where it would not tell."""
    if any(name.lower().endswith(DETACHED) for name in names):
        return None
    files: list[Path] = []
    for path in map(Path, names):
        files += sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    return _stamp(files)


def _stamp(files: Iterable[Path]) -> Stamp | None:
    """Return what changes with the files; taken *before* they are read, so that a late change is seen next time."""
    try:
        found = [(str(file), file.stat()) for file in files]
    except OSError:
        return None  # whoever reads it will say what is wrong
    return tuple((name, state.st_mtime_ns, state.st_size, state.st_ino) for name, state in found)
