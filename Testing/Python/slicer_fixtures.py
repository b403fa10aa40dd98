"""A headless scene of Slicer's own MRML (the ``slicer-core`` wheel), with the logics that our scene code meets.

No window, no Qt, no ``slicer.app``: what is tested on it must do with scene, nodes and logics. Import it lazily: the
fixture skips where ``slicer`` cannot be imported, and never otherwise.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

EXTENSION = Path(__file__).resolve().parents[2] / "AdvSegRobustness"
if str(EXTENSION) not in sys.path:
    sys.path.insert(0, str(EXTENSION))  # Slicer does so for a module's folder

LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
}
"""Modules whose logics are created, and their classes."""


@dataclass(eq=False)
class HeadlessSlicer:
    """A scene with application logic and module logics; holds them alive. ``close`` before it goes."""

    folder: Path
    scene: Any = None
    application: Any = None
    logics: dict[str, Any] = field(default_factory=dict)
    keep: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Build the scene; application logic and colours come first, because other logics look for them."""
        import slicer

        self.scene = slicer.vtkMRMLScene()
        self.application = slicer.vtkSlicerApplicationLogic()
        home = self.folder / "home"
        (home / "share" / "ColorFiles").mkdir(parents=True)  # an empty one: without it start-up complains
        self.application.SetHomeDirectory(str(home))
        self.application.SetShareDirectory("share")
        self.application.SetMRMLScene(self.scene)
        self.application.SetSliceLogics(self._kept("vtkCollection"))
        self.application.SetViewLogics(self._kept("vtkCollection"))
        colors = self._logic("Colors", "vtkSlicerColorLogic")
        self.application.GetColorLogic().SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()
        for name, className in LOGICS.items():
            self._logic(name, className)
        self._addReading()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)

    def save(self, path: Path) -> Path:
        """Save the scene as ``.mrb``."""
        self.scene.SetURL(str(path))
        self.scene.SetRootDirectory(str(path.parent))
        assert self.scene.WriteToMRB(str(path)), f"could not write {path}"
        return path

    def load(self, path: Path) -> None:
        """Load an ``.mrb`` into the scene, beside what is there."""
        self.scene.SetRootDirectory(str(path.parent))
        assert self.scene.ReadFromMRB(str(path)), f"could not read {path}"

    def clear(self) -> None:
        """Close the scene, as File > Close Scene does: singleton nodes stay."""
        self.scene.Clear(0)

    def close(self) -> None:
        """Take logics off the scene."""
        self.scene.Clear(1)
        for logic in self.logics.values():
            logic.SetMRMLScene(None)

    def _kept(self, vtkClass: str) -> Any:
        import vtk

        self.keep.append(getattr(vtk, vtkClass)())
        return self.keep[-1]

    def _logic(self, name: str, className: str) -> Any:
        import slicer

        logic = getattr(slicer, className)()
        logic.SetMRMLApplicationLogic(self.application)
        logic.SetMRMLScene(self.scene)
        self.application.SetModuleLogic(name, logic)
        self.logics[name] = logic
        return logic

    def _addReading(self) -> None:
        """Give the scene what reading an ``.mrb`` needs: a manager of data with a cache folder."""
        import slicer

        cache = self.folder / "cache"
        cache.mkdir()
        remote, data = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
        for logic in (remote, data):
            logic.SetMRMLApplicationLogic(self.application)
            logic.SetMRMLScene(self.scene)
        remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        data.SetAndObserveDataIOManager(remote.GetDataIOManager())
        remote.AddDataIOToScene()
        self.keep += [remote, data]


@pytest.fixture
def aSlicer() -> Iterator[HeadlessSlicer]:
    """Return a fresh headless Slicer; skips where the ``slicer-core`` wheel is absent."""
    pytest.importorskip("slicer")
    with tempfile.TemporaryDirectory(prefix="advseg-scene-") as folder:
        slicerAlone = HeadlessSlicer(Path(folder))
        yield slicerAlone
        slicerAlone.close()


@pytest.fixture
def aScene(aSlicer: HeadlessSlicer) -> Any:
    """Return a fresh scene of real MRML."""
    return aSlicer.scene
