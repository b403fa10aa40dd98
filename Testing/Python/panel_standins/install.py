"""Puts the stand-ins where the panel's code looks for them, and takes them away again."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

EXTENSION = Path(__file__).resolve().parents[3] / "AdvSegRobustness"
OURS = ("AdvSegRobustness", "AdvSegRobustnessLib")
NAMES = ("qt", "ctk", "SampleData", "slicer.i18n", "slicer.parameterNodeWrapper", "slicer.ScriptedLoadableModule")


@dataclass
class Desk:
    """What a test sees of the application."""

    scene: Any
    layoutManager: Any
    application: Any
    qt: Any
    errors: list[str] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)

    def process(self) -> None:
        """Let Qt do what is due."""
        self.application.processEvents()


@contextmanager
def installed(headless: Any, *, mainWindow: bool = True, wrapper: Any = None) -> Iterator[Desk]:
    """Play the application round a headless scene; ``wrapper`` replaces the imitation of parameterNodeWrapper."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    _holdConstants()
    from PySide6.QtWidgets import QApplication

    QApplication.instance() or QApplication(["panel"])
    import slicer
    import slicer.util

    from . import application, modules, mrmlwidgets, parameternode, pythonqt, scripted

    _forget()
    modules.SETTINGS.clear()
    application.SampleDataLogic.sources.clear()
    kept = {name: vars(slicer).get(name) for name in ("mrmlScene", "app", "modules", "i18n")}
    keptUtil = {name: getattr(slicer.util, name) for name in
                ("errorDisplay", "setSliceViewerLayers", "startupEnvironment", "modulePath")}  # fmt: skip
    path = list(sys.path)
    sys.path.insert(0, str(EXTENSION))
    manager = application.LayoutManager(headless.scene, headless.application) if mainWindow else None
    app = pythonqt.wrap(application.Application(pythonqt.wrap(manager) if manager else None))
    desk = Desk(headless.scene, manager, app, modules.makeQt())
    translations = SimpleNamespace(tr=lambda text: text, translate=lambda context, text: text)
    for name, module in (
        ("qt", desk.qt), ("ctk", modules.makeCtk()), ("SampleData", application.sampleDataModule()),
        ("slicer.i18n", translations), ("slicer.parameterNodeWrapper", wrapper or parameternode),
        ("slicer.ScriptedLoadableModule", scripted),
    ):  # fmt: skip
        sys.modules[name] = module
    for name in ("qMRMLWidget", "qMRMLNodeComboBox", "qMRMLTableView", "qMRMLSegmentEditorWidget"):
        setattr(slicer, name, pythonqt.wrapperClass(getattr(mrmlwidgets, name)))
    slicer.mrmlScene, slicer.app, slicer.i18n = headless.scene, app, translations
    slicer.modules = SimpleNamespace(
        **{name.lower(): SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in headless.logics.items()}
    )
    slicer.util.errorDisplay = lambda text, **options: desk.errors.append(text)
    slicer.util.setSliceViewerLayers = lambda **layers: desk.shown.append(layers)
    slicer.util.startupEnvironment = lambda: dict(os.environ)
    slicer.util.modulePath = lambda name: str(EXTENSION / f"{name}.py")
    pythonqt.FAILURES.clear()
    try:
        yield desk
    finally:
        if manager is not None:
            manager.close()
        _forget()
        for name in NAMES:
            sys.modules.pop(name, None)
        for name, value in kept.items():
            setattr(slicer, name, value)
        for name, value in keptUtil.items():
            setattr(slicer.util, name, value)
        sys.path[:] = path


def _holdConstants() -> None:
    """Hold None, True and False so often that PySide6 cannot let them go.

    Before Python 3.12 made them immortal, PySide6 gives up a reference too many where an item's data is None, and at
    each emit(): thousands a test, and the interpreter aborts at its end ("none_dealloc").
    """
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 32


def _forget() -> None:
    """Have our modules imported anew: they hold on to the stand-ins of another test."""
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]


def moduleNamed(name: str) -> ModuleType:
    """Import one of our modules."""
    import importlib

    return importlib.import_module(name)
