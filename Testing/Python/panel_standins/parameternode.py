"""``slicer.parameterNodeWrapper``, small: the types and pairs of widget and type that our panel may use.

Like Slicer's it is strict: a value of another type raises TypeError, one outside its limits ValueError, a widget that
does not fit a parameter's type RuntimeError, an unknown parameter ValueError. Values are kept in the node's parameters
(lists as JSON here), nodes as its references.
"""

from __future__ import annotations

import abc
import json
import typing
from typing import Annotated, Any

import vtk


class WithinRange:
    """Limits of a number."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} to {self.maximum}")


class GuiConnector(abc.ABC):
    """Base of what joins a widget and a value; abstract where Slicer's is."""

    def __init__(self) -> None:
        self._callback: Any = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def create(widget: Any, datatype: Any) -> Any: ...

    @abc.abstractmethod
    def _connect(self) -> None: ...

    @abc.abstractmethod
    def _disconnect(self) -> None: ...

    @abc.abstractmethod
    def widget(self) -> Any: ...

    @abc.abstractmethod
    def read(self) -> Any: ...

    @abc.abstractmethod
    def write(self, value: Any) -> None: ...

    def onChanged(self, callback: Any) -> None:
        self._callback = callback
        self._connect() if callback else self._disconnect()

    def changed(self) -> None:
        if self._callback:
            self._callback()


class _Property(GuiConnector):
    """A widget whose value is one property, told of by one signal."""

    def __init__(self, widget: Any, name: str, signal: str) -> None:
        super().__init__()
        self._widget, self._name, self._signal = widget, name, signal

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return False  # found by createGuiConnector

    @staticmethod
    def create(widget: Any, datatype: Any) -> Any: ...

    def widget(self) -> Any:
        return self._widget

    def _connect(self) -> None:
        getattr(self._widget, self._signal).connect(self.changed_)

    def _disconnect(self) -> None:
        getattr(self._widget, self._signal).disconnect(self.changed_)

    def changed_(self, *_args: Any) -> None:
        self.changed()

    def read(self) -> Any:
        return getattr(self._widget, self._name)

    def write(self, value: Any) -> None:
        if getattr(self._widget, self._name) != value:
            setattr(self._widget, self._name, value)


class _Node(_Property):
    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Return the connector of a widget and a type; RuntimeError for a pair that Slicer's refuses."""
    import ctk
    import qt
    import slicer

    base, notes = _split(datatype)
    limits = next((note for note in notes if isinstance(note, WithinRange)), None)
    kind = type(widget)
    if kind is slicer.qMRMLNodeComboBox and _isNode(base):
        widget.nodeTypes = [base().GetClassName()]
        return _Node(widget, "", "currentNodeChanged")
    if kind is ctk.ctkSliderWidget and base is float and limits is not None:
        return _limited(widget, limits, "valueChanged")
    if kind is qt.QDoubleSpinBox and base is float:
        return _limited(widget, limits, "valueChanged")
    if kind is qt.QSpinBox and base is int:
        return _limited(widget, limits, "valueChanged")
    if kind is qt.QCheckBox and base is bool:
        return _Property(widget, "checked", "toggled")
    if kind is qt.QLineEdit and base is str:
        return _Property(widget, "text", "textChanged")
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{kind}'.")


def _limited(widget: Any, limits: WithinRange | None, signal: str) -> GuiConnector:
    if limits is not None:
        widget.minimum, widget.maximum = limits.minimum, limits.maximum
    return _Property(widget, "value", signal)


def parameterNodeWrapper(described: type) -> type:
    """Return a class whose typed members are kept in a parameter node."""
    kinds = typing.get_type_hints(described, include_extras=True)
    defaults = {name: getattr(described, name, _default(kind)) for name, kind in kinds.items()}
    members = {name: property(_reader(name), _writer(name)) for name in kinds}
    return type(described.__name__, (_Wrapper,), {**members, "kinds": kinds, "defaults": defaults,
                                                  "__doc__": described.__doc__})  # fmt: skip


class _Wrapper:
    kinds: dict[str, Any]
    defaults: dict[str, Any]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[dict[str, GuiConnector], int]] = {}
        self._updating = False

    def getValue(self, name: str) -> Any:
        base, _ = _split(self.kinds[self._known(name)])
        node = self.parameterNode
        if _isNode(base):
            return node.GetNodeReference(name)
        if not node.HasParameter(name):
            node.SetParameter(name, _text(self.defaults[name]))
        text = node.GetParameter(name)
        return json.loads(text) if typing.get_origin(base) is list else base(text)

    def setValue(self, name: str, value: Any) -> None:
        base, notes = _split(self.kinds[self._known(name)])
        node = self.parameterNode
        if _isNode(base):
            if value is not None and not (hasattr(value, "IsA") and value.IsA(base.__name__)):
                raise TypeError(f"{name}: a {base.__name__} is needed, not {value!r}")
            node.SetNodeReferenceID(name, None if value is None else value.GetID())
            return
        allowed = (int, float) if base is float else list if typing.get_origin(base) is list else base
        if not isinstance(value, allowed) or (base is not bool and isinstance(value, bool)):
            raise TypeError(f"{name}: {base} is needed, not {value!r}")
        for note in notes:
            note.validate(value)
        node.SetParameter(name, _text(value))

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Join parameters and widgets (or connectors)."""
        connectors = {
            name: widget
            if isinstance(widget, GuiConnector)
            else createGuiConnector(widget, self.kinds[self._known(name)])
            for name, widget in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._callback(name, connector))
        tag = len(self._guis)
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._updateGui())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag: int) -> None:
        connectors, observer = self._guis.pop(tag)
        for connector in connectors.values():
            connector.onChanged(None)
        self.RemoveObserver(observer)

    def _callback(self, name: str, connector: GuiConnector) -> Any:
        def callback() -> None:
            if not self._updating:
                self.setValue(name, connector.read())

        return callback

    def _updateGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors, _observer in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, before: int) -> int:
        return self.parameterNode.EndModify(before)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def _known(self, name: str) -> str:
        if name not in self.kinds:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return name


def _reader(name: str) -> Any:
    return lambda self: self.getValue(name)


def _writer(name: str) -> Any:
    return lambda self, value: self.setValue(name, value)


def _split(datatype: Any) -> tuple[Any, tuple[Any, ...]]:
    args = typing.get_args(Annotated[datatype, None])
    return args[0], args[1:-1]


def _isNode(base: Any) -> bool:
    import slicer

    return isinstance(base, type) and issubclass(base, slicer.vtkMRMLNode)


def _default(kind: Any) -> Any:
    base, _ = _split(kind)
    if _isNode(base):
        return None
    return [] if typing.get_origin(base) is list else {str: "", int: 0, float: 0.0, bool: False}[base]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value)
