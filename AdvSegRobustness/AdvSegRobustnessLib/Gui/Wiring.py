"""Connections that fail aloud, and calls that are made once for many causes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


def wire(widget: Any, signal: str, slot: Callable[..., object]) -> None:
    """Connect ``signal`` ("clicked(bool)") of a widget; PythonQt only prints a line where there is no such signal."""
    if widget.connect(signal, slot) is False:
        raise RuntimeError(f"{widget.objectName}: no signal {signal}")


class Later:
    """Calls a function once, when Qt is idle again, however often it was asked to in between."""

    def __init__(self, function: Callable[[], object], milliseconds: int = 0) -> None:
        self._function = function
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.timeout.connect(self._call)

    def __call__(self, caller: Any = None, event: Any = None) -> None:
        """Ask for the call; the arguments are those of a VTK observer."""
        self._timer.start()

    def stop(self) -> None:
        """Forget a call that was asked for."""
        self._timer.stop()

    def _call(self) -> None:
        self._function()


def setShown(visible: bool, *widgets: Any) -> None:
    """Show or hide widgets, with their labels."""
    for widget in widgets:
        widget.setVisible(visible)


def setReady(button: Any, reason: str, tip: str) -> None:
    """Enable a button, or disable it with the reason as its tooltip."""
    button.enabled = not reason
    button.toolTip = reason or tip


def fillCombo(combo: Any, items: list[tuple[str, Any]]) -> None:
    """Fill a combo box with (text, data), keeping the chosen data where it still is there; no signal is sent."""
    kept = combo.currentData
    blocked = combo.blockSignals(True)
    combo.clear()
    for text, data in items:
        combo.addItem(text, data)
    combo.currentIndex = indexOfData(combo, kept)
    combo.blockSignals(blocked)


def indexOfData(combo: Any, data: Any) -> int:
    """Return where a combo box has ``data``, -1 where it has not."""
    return next((index for index in range(combo.count) if combo.itemData(index) == data), -1)
