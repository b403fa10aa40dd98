"""The widget that Slicer gives to a module's widget class."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Property
from PySide6.QtWidgets import QVBoxLayout

from .mrmlwidgets import qMRMLWidget
from .pythonqt import wrap


class ModuleHost(qMRMLWidget):
    """A module's panel; knows whether it is the one that is open."""

    _entered = True

    def _setEntered(self, entered: bool) -> None:
        self._entered = entered

    isEntered = Property(bool, lambda self: self._entered, _setEntered)

    @classmethod
    def make(cls) -> Any:
        """Return a wrapped host on the present scene."""
        made = cls()
        made.setLayout(QVBoxLayout())
        made.layout().setContentsMargins(0, 0, 0, 0)
        made.setMRMLScene(slicer.mrmlScene)
        return wrap(made)
