"""The one list of case sources, for the command line, the interface and the documentation. Light to import."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from AdvSegLib.errors import BadRequest, unknown_name

if TYPE_CHECKING:
    from AdvSegLib.cases.base import Case


@dataclass(frozen=True)
class SourceInfo:
    """A source of cases: its name, what it reads or draws, and the function that opens it."""

    name: str
    description: str
    module: str
    function: str
    needs_path: bool = True

    def load(self) -> Callable[..., list[Case]]:
        """Import and return the function."""
        module = importlib.import_module(f"AdvSegLib.cases.{self.module}")
        return cast("Callable[..., list[Case]]", getattr(module, self.function))


SOURCES: tuple[SourceInfo, ...] = (
    SourceInfo("brats", "BraTS brain tumours, 2017 or 2023 layout: t1, t1gd, t2, flair", "brats", "brats_cases"),
    SourceInfo("chest", "JSRT chest X-rays with SCR masks of five structures", "chest", "chest_cases_from"),
    SourceInfo("fundus", "fundus photographs with the optic disc", "photographs", "fundus_cases"),
    SourceInfo("skin", "ISIC dermoscopy images with the lesion", "photographs", "skin_cases"),
    SourceInfo("gi-tract", "UW-Madison abdominal MR with stomach and bowels", "gi_tract", "gi_tract_cases"),
    SourceInfo("datalist", "dataset.json of the Decathlon, or a MONAI datalist", "datalist", "datalist_cases"),
    SourceInfo("folder", "plain folder of image and label pairs, or nnU-Net raw data", "folder", "folder_cases"),
    SourceInfo("phantom-brain", "drawn brain MR with a tumour (count, seed)", "brain_phantom", "brain_cases", False),
    SourceInfo("phantom-chest", "drawn chest X-rays (count, seed)", "chest_phantom", "chest_cases", False),
    SourceInfo("phantom-fundus", "drawn fundus photographs with the optic disc (count, seed)", "fundus_phantom",
               "fundus_cases_drawn", False),
    SourceInfo("phantom-skin", "drawn skin lesions (count, seed)", "skin_phantom", "skin_cases_drawn", False),
    SourceInfo("phantom-abdomen", "drawn abdominal MR slices with stomach and bowels (count, seed)", "abdomen_phantom",
               "abdomen_cases_drawn", False),
)  # fmt: skip


def source_info(name: str) -> SourceInfo:
    """Return the source of that name; BadRequest, with the nearest, where there is none."""
    for source in SOURCES:
        if source.name == name:
            return source
    raise unknown_name("case source", name, [source.name for source in SOURCES])


def open_cases(source: str, path: str | Path | None = None, **options: Any) -> list[Case]:
    """Return the cases of a source: of the folder or file ``path``, or drawn where it is a phantom.

    ``options`` are those of the source's function (``slices``, ``section``, ``labels``, ``count``, ``seed``). Raises
    BadRequest for an unknown source or option, a path that is missing or not wanted, and for what the source refuses.
    """
    info = source_info(source)
    if info.needs_path != (path is not None):
        raise BadRequest(f"case source '{source}' {'needs a' if info.needs_path else 'takes no'} path")
    function = info.load()
    arguments = (path,) if info.needs_path else ()
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise BadRequest(f"case source '{source}': {error}") from error
    return function(*arguments, **options)
