"""The panel, every section unfolded, at the width it has in Slicer: nothing is clipped.

Set ADVSEG_PICTURES to a folder to keep the pictures.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fixtures_panel import OpenPanel
from panel_standins.picture import WIDTH, photograph

pytest_plugins = ("slicer_fixtures", "fixtures_scene", "fixtures_panel")


def unfold(panel: OpenPanel) -> None:
    for widget in vars(panel.ui).values():
        if type(widget).__name__ == "ctkCollapsibleButton":
            widget.collapsed = False


def place(name: str, tmp_path: Path) -> Path:
    return Path(os.environ.get("ADVSEG_PICTURES", tmp_path)) / name


def cut(widget: Any) -> bool:
    """Tell whether a label or button is smaller than its text."""
    from PySide6.QtWidgets import QLabel, QPushButton

    if not isinstance(widget, QLabel | QPushButton) or not widget.objectName() or not widget.isVisible():
        return False
    if isinstance(widget, QLabel) and widget.wordWrap():
        return False
    return widget.width() < widget.minimumSizeHint().width() - 1 or widget.height() < widget.sizeHint().height() - 4


@pytest.mark.parametrize("state", ["empty", "result", "drawing", "moved"])
def test_the_panel_fits_its_width_and_clips_nothing(aPanel: OpenPanel, tmp_path: Path, state: str) -> None:
    from PySide6.QtGui import QImage
    from PySide6.QtWidgets import QWidget

    if state != "empty":
        aPanel.drawSample()
    if state == "result":
        aPanel.click("applyButton")
    if state == "drawing":
        aPanel.click("drawTargetButton")
    if state == "moved":
        aPanel.parameters.goal, aPanel.parameters.region = "moved", "segment"
        aPanel.parameters.attack, aPanel.parameters.norm = "asma", "l2"
        aPanel.settle()
    unfold(aPanel)
    path = place(f"panel-{state}.png", tmp_path)
    photograph(aPanel.host, path)
    image = QImage(str(path))
    assert image.width() == WIDTH
    assert len({image.pixel(x, y) for x in range(0, WIDTH, 7) for y in range(0, image.height(), 7)}) > 10, "blank"

    made: Any = aPanel.host._object
    made.show()
    clipped = []
    for widget in made.findChildren(QWidget):
        if cut(widget):
            clipped.append((widget.objectName(), widget.size(), widget.sizeHint()))
        right = widget.mapTo(made, widget.rect().topRight()).x()
        if widget.isVisible() and widget.objectName() in vars(aPanel.ui) and right > WIDTH:
            clipped.append((widget.objectName(), "beyond the edge"))
    made.hide()
    assert clipped == []
