"""Scripts for a real Slicer, run here: on slicer-core, the stand-ins of the panel, and what little else they ask for.

This proves the scripts themselves; what only the application can prove stays with the application.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from panel_standins.host import ModuleHost
from panel_standins.install import EXTENSION, Desk, moduleNamed
from panel_standins.pythonqt import wrap
from PySide6.QtCore import QEventLoop
from PySide6.QtWidgets import QApplication, QWidget
from slicer_fixtures import HeadlessSlicer

ROOT = Path(__file__).resolve().parents[2]


class LoadedModule:
    """The module as the application's module manager has it."""

    name = "AdvSegRobustness"
    path = str(EXTENSION / "AdvSegRobustness.py")
    icon = SimpleNamespace(isNull=lambda: False)

    def __init__(self, scene: Any) -> None:
        self._host, self._scene = ModuleHost.make(), scene
        module = moduleNamed("AdvSegRobustness")
        self.acknowledgementText = self.helpText = self.title = ""
        self.categories: list[str] = []
        self.contributors: list[str] = []
        module.AdvSegRobustness(self)  # writes its texts into its parent
        self._widget = module.AdvSegRobustnessWidget(self._host)
        self._widget.setup()
        self._host._object.show()

    def widgetRepresentation(self) -> Any:
        return self._host

    def self(self) -> Any:
        return self._widget

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self._host.setMRMLScene(scene)

    def mrmlScene(self) -> Any:
        return self._scene

    def close(self) -> None:
        self._widget.exit()
        self._widget.cleanup()
        self._host.setMRMLScene(None)


def playApplication(headless: HeadlessSlicer, desk: Desk, setattr_: Callable[[Any, str, Any], None]) -> LoadedModule:
    """Give ``slicer`` what the scripts use of the application: the loaded module, saving, loading, selecting.

    ``ADVSEG_PYTHON`` must name a Python with torch: there is no ``slicer.packaging`` here that would install it.
    """
    loop = QEventLoop()
    # PySide6 6.12: QApplication.processEvents takes a reference of None away each time, until the interpreter dies.
    setattr_(QApplication, "processEvents", staticmethod(lambda: loop.processEvents()))
    loaded = LoadedModule(headless.scene)
    slicer.modules.advsegrobustness = loaded
    here = SimpleNamespace(open="AdvSegRobustness")

    def saveScene(path: str, properties: dict[str, Any] | None = None) -> bool:
        headless.save(Path(path))
        return True

    def selectModule(name: str) -> None:
        if (name == "AdvSegRobustness") != (here.open == "AdvSegRobustness"):
            loaded.self().enter() if name == "AdvSegRobustness" else loaded.self().exit()
        here.open = name

    for name, function in {
        "saveScene": saveScene,
        "loadScene": lambda path, properties=None: headless.load(Path(path)),
        "selectModule": selectModule,
        "getModuleWidget": lambda name: loaded.self(),
        "findChild": lambda widget, name: wrap(widget._object.findChild(QWidget, name)),
        "reloadScriptedModule": lambda name: None,
    }.items():
        setattr_(slicer.util, name, function)
    return loaded


def runScript(path: Path) -> None:
    """Run a script as Slicer does: by its path, as ``__main__``."""
    kept = list(sys.path)
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.path[:] = kept
        sys.modules.pop("in_slicer", None)
