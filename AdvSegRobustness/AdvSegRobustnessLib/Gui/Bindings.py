"""Widgets bound to the parameter node: Slicer's own connectors, and two for lists that are known only at run time."""

from __future__ import annotations

from typing import Any

import qt
from slicer.parameterNodeWrapper import GuiConnector

from .Wiring import indexOfData

PARAMETER_PROPERTY = "SlicerParameterName"


class DataComboConnector(GuiConnector):
    """A text and the data of a combo box's chosen item (Slicer's own connector takes fixed choices only)."""

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Tell whether a widget is a combo box and the parameter a text."""
        return isinstance(widget, qt.QComboBox) and datatype is str

    @staticmethod
    def create(widget: Any, datatype: Any) -> DataComboConnector:
        """Return the connector."""
        return DataComboConnector(widget)

    def __init__(self, combo: Any) -> None:
        super().__init__()
        self._combo = combo

    def _connect(self) -> None:
        self._combo.connect("currentIndexChanged(int)", self._onChanged)

    def _disconnect(self) -> None:
        self._combo.disconnect("currentIndexChanged(int)", self._onChanged)

    def _onChanged(self, _index: int) -> None:
        self.changed()

    def widget(self) -> Any:
        """Return the combo box."""
        return self._combo

    def read(self) -> str:
        """Return the chosen item's data, "" where none is chosen."""
        return self._combo.currentData or ""

    def write(self, value: str) -> None:
        """Choose the item of this data; one that the list does not have yet (from a loaded scene) joins it."""
        index = indexOfData(self._combo, value)
        if index < 0 and value:
            self._combo.addItem(value, value)
            index = self._combo.count - 1
        self._combo.currentIndex = index


class TickedListConnector(GuiConnector):
    """A list of texts and the ticked items of a list widget."""

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Tell whether a widget is a list and the parameter a list of texts."""
        return isinstance(widget, qt.QListWidget) and datatype == list[str]

    @staticmethod
    def create(widget: Any, datatype: Any) -> TickedListConnector:
        """Return the connector."""
        return TickedListConnector(widget)

    def __init__(self, widget: Any) -> None:
        super().__init__()
        self._list = widget

    def _connect(self) -> None:
        self._list.connect("itemChanged(QListWidgetItem*)", self._onChanged)

    def _disconnect(self) -> None:
        self._list.disconnect("itemChanged(QListWidgetItem*)", self._onChanged)

    def _onChanged(self, _item: Any) -> None:
        self.changed()

    def widget(self) -> Any:
        """Return the list widget."""
        return self._list

    def read(self) -> list[str]:
        """Return the data of the ticked items."""
        return [item.data(qt.Qt.UserRole) for item in self._items() if item.checkState() == qt.Qt.Checked]

    def write(self, value: list[str]) -> None:
        """Tick the items whose data is in ``value``."""
        for item in self._items():
            item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in value else qt.Qt.Unchecked)

    def _items(self) -> list[Any]:
        return [self._list.item(row) for row in range(self._list.count)]


def fillTickedList(widget: Any, items: list[tuple[str, str]], ticked: list[str]) -> None:
    """Fill a list widget with (text, data) to be ticked; no signal is sent."""
    blocked = widget.blockSignals(True)
    widget.clear()
    for row, (text, data) in enumerate(items):
        widget.addItem(text)
        item = widget.item(row)
        item.setData(qt.Qt.UserRole, data)
        item.setToolTip(data)
        item.setCheckState(qt.Qt.Checked if data in ticked else qt.Qt.Unchecked)
    widget.blockSignals(blocked)


def boundWidgets(ui: Any) -> dict[str, Any]:
    """Return the widgets of a loaded .ui by the parameter they mirror."""
    found = {widget.property(PARAMETER_PROPERTY): widget for widget in vars(ui).values()}
    return {name: widget for name, widget in found.items() if name}


def connectPanel(parameterNode: Any, ui: Any, forms: dict[str, GuiConnector]) -> int:
    """Connect every bound widget of ``ui`` to its parameter; return the tag that ``disconnectGui`` takes.

    ``forms`` are the connectors of generated widgets, by parameter.
    """
    mapping: dict[str, Any] = {}
    for name, widget in boundWidgets(ui).items():
        if name in forms:
            mapping[name] = forms[name]
        elif isinstance(widget, qt.QComboBox):
            mapping[name] = DataComboConnector(widget)
        elif isinstance(widget, qt.QListWidget):
            mapping[name] = TickedListConnector(widget)
        else:
            mapping[name] = widget
    return parameterNode.connectParametersToGui(mapping)
