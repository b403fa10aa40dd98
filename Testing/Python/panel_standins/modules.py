"""The modules ``qt`` and ``ctk``: PySide6's classes behind PythonQt's customs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import ctkwidgets, mrmlwidgets
from .pythonqt import wrap, wrapperClass

CUSTOM = {
    name: getattr(module, name)
    for module, names in (
        (ctkwidgets, ("ctkCollapsibleButton", "ctkSliderWidget", "ctkPathLineEdit")),
        (mrmlwidgets, ("qMRMLWidget", "qMRMLNodeComboBox", "qMRMLTableView", "qMRMLSegmentEditorWidget")),
    )
    for name in names
}
SETTINGS: dict[str, Any] = {}
"""The application's settings, in memory."""


class QSettings:
    """Settings that are forgotten."""

    def value(self, key: str, default: Any = None) -> Any:
        return SETTINGS.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        SETTINGS[key] = value


class UiLoader(QtUiTools.QUiLoader):
    """Makes stand-ins for Slicer's classes."""

    def createWidget(self, kind: str, parent: Any = None, name: str = "") -> Any:
        if kind not in CUSTOM:
            return super().createWidget(kind, parent, name)
        made = CUSTOM[kind](parent)
        made.setObjectName(name)
        return made


class QUiLoader:
    """Loads a .ui, and makes the connections that it lists (PySide6 cannot: MRML types are no Qt types)."""

    def load(self, file: Any) -> Any:
        """Return the wrapped top widget."""
        text = bytes(file._object.readAll().data()).decode()
        tree = ET.fromstring(text)
        listed = tree.find("connections")
        connections = [{part.tag: part.text for part in item} for item in (listed if listed is not None else [])]
        if listed is not None:
            tree.remove(listed)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        made = UiLoader().load(buffer)
        for item in connections:
            self._connect(made, item)
        return wrap(made)

    @staticmethod
    def _connect(top: Any, item: dict[str, str]) -> None:
        assert item["sender"] == top.objectName()
        receiver = top.findChild(QtWidgets.QWidget, item["receiver"])
        assert receiver is not None, f"no widget {item['receiver']} to connect"
        assert item["signal"] == "mrmlSceneChanged(vtkMRMLScene*)"
        assert item["slot"] == "setMRMLScene(vtkMRMLScene*)"
        top.mrmlSceneChanged.connect(receiver.setMRMLScene)


def makeQt() -> ModuleType:
    """Return the module ``qt``."""
    module = ModuleType("qt")
    for source in (QtCore, QtGui, QtWidgets):
        for name in dir(source):
            found = getattr(source, name)
            if isinstance(found, type) and issubclass(found, QtCore.QObject):
                found = wrapperClass(found)
            if name.startswith("Q"):
                setattr(module, name, found)
    module.QSettings, module.QUiLoader = QSettings, QUiLoader
    return module


def makeCtk() -> ModuleType:
    """Return the module ``ctk``."""
    module = ModuleType("ctk")
    for name in ("ctkCollapsibleButton", "ctkSliderWidget", "ctkPathLineEdit", "ctkCheckBox"):
        setattr(module, name, wrapperClass(getattr(ctkwidgets, name)))
    return module
