"""PySide6 objects as PythonQt shows them to Python."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from PySide6.QtCore import SIGNAL, QMetaObject, QMetaType, QObject, SignalInstance

FAILURES: list[BaseException] = []
"""What was raised in slots since the list was cleared: PythonQt prints it and goes on, a test must fail."""
NUMBERS = {QMetaType.Type.Int, QMetaType.Type.Double, QMetaType.Type.Bool, QMetaType.Type.UInt}


class _Statics(type):
    """Class attributes (enums, static methods) are those of the PySide6 class."""

    def __getattr__(cls, name: str) -> Any:
        made = cls.__dict__.get("_qt") or next(base._qt for base in cls.__mro__ if "_qt" in base.__dict__)
        found = getattr(made, name)
        return _calling(found) if callable(found) and not isinstance(found, type) else found


class Wrapped(metaclass=_Statics):
    """A QObject: properties are attributes, everything else of it is called."""

    _qt: type = QObject
    _object: QObject

    def __init__(self, *args: Any, **options: Any) -> None:
        object.__setattr__(self, "_object", self._qt(*map(unwrap, args), **options))
        self._object._standin = self

    def __getattr__(self, name: str) -> Any:
        if name == "_object":
            raise AttributeError(name)
        made = self._object
        if name == "name":
            return made.objectName()
        if made.metaObject().indexOfProperty(name) >= 0:
            return wrap(made.property(name))
        if name.startswith("_") or not hasattr(type(made), name):
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        found = getattr(made, name)
        if isinstance(found, SignalInstance):
            return _Signal(self, name)
        return _calling(found) if callable(found) else found

    def __setattr__(self, name: str, value: Any) -> None:
        made = self._object
        name = "objectName" if name == "name" else name
        index = made.metaObject().indexOfProperty(name)
        if index < 0:
            raise AttributeError(f"{type(self).__name__} has no property '{name}'")
        kind = QMetaType.Type(made.metaObject().property(index).typeId()) if _isBuiltIn(made, index) else None
        if kind in NUMBERS and (value is None or isinstance(value, str)):
            raise AttributeError(f"{name}: a number is needed, not {value!r}")
        if kind == QMetaType.Type.QString and not isinstance(value, str | PurePath):
            value = str(value)  # PythonQt shows "None" too
        if kind == QMetaType.Type.Int and isinstance(value, float):
            value = int(value)
        if isinstance(value, PurePath | tuple):
            value = os.fspath(value) if isinstance(value, PurePath) else list(value)
        if not made.setProperty(name, unwrap(value)):
            raise AttributeError(f"property '{name}' cannot be set to {value!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapped) and self._object is other._object

    def __hash__(self) -> int:
        return id(self._object)

    def connect(self, signal: str, slot: Callable[..., object]) -> bool:
        """Connect by signature; one that the object has not is an error here (PythonQt prints a line)."""
        made = self._object
        text = QMetaObject.normalizedSignature(signal)
        text = (
            text.decode() if isinstance(text, bytes) else bytes(text).decode() if not isinstance(text, str) else text
        )
        relay = _relay(slot)
        name = getattr(type(made), "SIGNALS", {}).get(text)
        if name is not None:
            getattr(made, name).connect(relay)
        elif made.metaObject().indexOfSignal(text) >= 0:
            QObject.connect(made, SIGNAL(text), relay)
        else:
            raise AssertionError(f"{type(self).__name__} has no signal {signal}")
        self._relays.append((text, slot, relay, name))
        return True

    def disconnect(self, signal: str, slot: Callable[..., object]) -> bool:
        """Undo a connection; one that was never made is an error here."""
        for entry in self._relays:
            text, known, relay, name = entry
            if text == signal.replace(" ", "") and known == slot:
                self._relays.remove(entry)
                made = self._object
                if name is not None:
                    getattr(made, name).disconnect(relay)
                else:
                    QObject.disconnect(made, SIGNAL(text), relay)
                return True
        raise AssertionError(f"{signal} was not connected to {slot}")

    @property
    def _relays(self) -> list[Any]:
        return self._object.__dict__.setdefault("_relays", [])


class _Signal:
    """A signal by name, in its first form."""

    def __init__(self, owner: Wrapped, name: str) -> None:
        self._owner, self._name = owner, name

    def connect(self, slot: Callable[..., object]) -> bool:
        relay = _relay(slot)
        getattr(self._owner._object, self._name).connect(relay)
        self._owner._relays.append((self._name, slot, relay, self._name))
        return True

    def disconnect(self, slot: Callable[..., object]) -> bool:
        for entry in self._owner._relays:
            if entry[0] == self._name and entry[1] == slot:
                self._owner._relays.remove(entry)
                getattr(self._owner._object, self._name).disconnect(entry[2])
                return True
        raise AssertionError(f"{self._name} was not connected to {slot}")

    def emit(self, *args: Any) -> None:
        getattr(self._owner._object, self._name).emit(*map(unwrap, args))


_classes: dict[type, type[Wrapped]] = {QObject: Wrapped}


def wrapperClass(made: type) -> type[Wrapped]:
    """Return the stand-in class of a PySide6 class; its bases are those of the PySide6 class's."""
    if made not in _classes:
        bases = tuple(
            wrapperClass(base) for base in made.__bases__ if isinstance(base, type) and issubclass(base, QObject)
        )
        _classes[made] = _Statics(made.__name__, bases or (Wrapped,), {"_qt": made})
    return _classes[made]


def wrap(value: Any) -> Any:
    """Return what Python sees of a value from Qt."""
    if isinstance(value, QObject):
        known = value.__dict__.get("_standin") if hasattr(value, "__dict__") else None
        if known is None:
            known = object.__new__(wrapperClass(type(value)))
            object.__setattr__(known, "_object", value)
            value._standin = known
        return known
    if isinstance(value, list | tuple):
        return type(value)(wrap(item) for item in value) if type(value) in (list, tuple) else value
    return value


def unwrap(value: Any) -> Any:
    """Return what Qt is given for a value."""
    if isinstance(value, Wrapped):
        return value._object
    if isinstance(value, type) and issubclass(value, Wrapped):
        return value._qt
    return value


def _calling(found: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: wrap(found(*map(unwrap, args), **options))


def _relay(slot: Callable[..., object]) -> Callable[..., None]:
    taken = _taken(slot)

    def relay(*args: Any) -> None:
        try:
            slot(*map(wrap, args[:taken]))
        except BaseException as error:
            FAILURES.append(error)

    return relay


def _taken(slot: Callable[..., object]) -> int | None:
    """Return how many arguments a slot is given: no more than it has (None: all), as PythonQt counts."""
    function = getattr(slot, "__func__", slot)
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return int(code.co_argcount) - (function is not slot)


def _isBuiltIn(made: QObject, index: int) -> bool:
    kind = made.metaObject().property(index).typeId()
    return kind in {int(item.value) for item in (*NUMBERS, QMetaType.Type.QString)}
