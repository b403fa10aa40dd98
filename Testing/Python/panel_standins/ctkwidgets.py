"""The CTK widgets that the panel uses."""

from __future__ import annotations

from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

HEADER = 24
UNLIMITED = 16777215


class ctkCollapsibleButton(QWidget):  # noqa: N801 - as Slicer calls it
    """A title above contents that fold."""

    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(2, HEADER + 2, 2, 2)

    def _setText(self, text: str) -> None:
        self._text = text

    def _setCollapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self.setMaximumHeight(HEADER if collapsed else UNLIMITED)
        self.setMinimumHeight(HEADER if collapsed else 0)
        self.contentsCollapsed.emit(collapsed)

    text = Property(str, lambda self: self._text, _setText)
    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)

    def paintEvent(self, event: object) -> None:
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(HEADER)
        option.text = ("▸  " if self._collapsed else "▾  ") + self._text
        painter = QPainter(self)
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_PanelButtonCommand, option, painter, self)
        painter.drawText(option.rect.adjusted(8, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, option.text)
        painter.end()


class ctkSliderWidget(QWidget):  # noqa: N801 - as Slicer calls it
    """A slider with a spin box; the value is not rounded to the decimals."""

    valueChanged = Signal(float)
    SIGNALS = {"valueChanged(double)": "valueChanged"}  # noqa: RUF012

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value, self._low, self._high = 0.0, 0.0, 99.0
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        self._slider.setMaximum(1000)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.setMaximum(99)
        self._box.valueChanged.connect(self._onBox)

    def _onBox(self, value: float) -> None:
        if abs(value - self._value) >= 10 ** -self._box.decimals() / 2:
            self._setValue(value)

    def _setValue(self, value: float) -> None:
        value = min(max(value, self._low), self._high)
        changed, self._value = value != self._value, value
        self._box.setValue(value)
        self._slider.setValue(round(1000 * (value - self._low) / ((self._high - self._low) or 1)))
        if changed:
            self.valueChanged.emit(value)

    def _setMinimum(self, value: float) -> None:
        self._low = value
        self._box.setMinimum(value)
        self._setValue(self._value)

    def _setMaximum(self, value: float) -> None:
        self._high = value
        self._box.setMaximum(value)
        self._setValue(self._value)

    value = Property(float, lambda self: self._value, _setValue)
    minimum = Property(float, lambda self: self._low, _setMinimum)
    maximum = Property(float, lambda self: self._high, _setMaximum)
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self._box.setDecimals(value))
    singleStep = Property(
        float, lambda self: self._box.singleStep(), lambda self, value: self._box.setSingleStep(value)
    )
    pageStep = Property(float, lambda self: self._slider.pageStep(), lambda self, value: self._slider.setPageStep(1))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, value: self._box.setSuffix(value))
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, value: self._box.setPrefix(value))
    tracking = Property(bool, lambda self: True, lambda self, value: None)


class ctkPathLineEdit(QWidget):  # noqa: N801 - as Slicer calls it
    """A line for a path, with a button that would open a dialog."""

    currentPathChanged = Signal(str)
    SIGNALS = {"currentPathChanged(QString)": "currentPathChanged"}  # noqa: RUF012
    Dirs, Files, Readable, Writable, Executable = 1, 2, 16, 32, 64

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line, button = QLineEdit(self), QToolButton(self)
        self._filters, self._names = 0, []
        button.setText("…")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line, 1)
        layout.addWidget(button)
        self._line.textChanged.connect(self.currentPathChanged)

    def _setFilters(self, filters: int) -> None:
        self._filters = filters

    def _setNames(self, names: list[str]) -> None:
        self._names = names

    currentPath = Property(str, lambda self: self._line.text(), lambda self, path: self._line.setText(path))
    filters = Property(int, lambda self: self._filters, _setFilters)
    nameFilters = Property("QStringList", lambda self: self._names, _setNames)


class ctkCheckBox(QWidget):  # noqa: N801 - as Slicer calls it
    """Named by Slicer's connectors."""
