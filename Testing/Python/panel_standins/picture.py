"""The panel as a picture, to be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize
from PySide6.QtWidgets import QApplication

WIDTH = 420


def photograph(widget: Any, path: Path) -> QSize:
    """Save a wrapped widget, as high as it wants to be at the panel's width; return the size of the picture."""
    made = widget._object
    for _round in range(3):  # layouts settle in a few rounds
        height = max(made.sizeHint().height(), made.heightForWidth(WIDTH), made.minimumSizeHint().height())
        made.resize(WIDTH, height)
        made.show()
        QApplication.processEvents()
    picture = made.grab()
    assert picture.save(str(path))
    made.hide()
    return picture.size()
