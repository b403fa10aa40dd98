"""One widget for one declared parameter (see AdvSegLib.parameters): with its limits, default and tooltip."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .Wiring import indexOfData, wire

LARGEST = 2**31 - 1
WRONG = "QLineEdit { color: #c0392b; }"
Changed = Callable[[], object]


class BoolField:
    """A tick box."""

    def __init__(self, declared: Mapping[str, Any], changed: Changed) -> None:
        self.widget = qt.QCheckBox()
        self.set(declared["default"])
        wire(self.widget, "toggled(bool)", lambda _on: changed())

    problem = ""

    def get(self) -> bool:
        """Return whether it is ticked."""
        return bool(self.widget.checked)

    def set(self, value: Any) -> None:
        """Tick it or not."""
        self.widget.checked = bool(value)


class IntField:
    """A spin box; where the parameter may be left out, one below its minimum says so."""

    def __init__(self, declared: Mapping[str, Any], changed: Changed) -> None:
        self.widget = qt.QSpinBox()
        low = int(declared.get("minimum", 0))
        self._unset = low - 1 if declared["default"] is None else None
        self.widget.setRange(low if self._unset is None else self._unset, int(declared.get("maximum", LARGEST)))
        if self._unset is not None:
            self.widget.specialValueText = _("default")
        self.set(declared["default"])
        wire(self.widget, "valueChanged(int)", lambda _value: changed())

    problem = ""

    def get(self) -> int | None:
        """Return the number, or None where it is left out."""
        value = int(self.widget.value)
        return None if value == self._unset else value

    def set(self, value: Any) -> None:
        """Show a number, or that there is none."""
        self.widget.value = self._unset if value is None else int(value)


class FloatField:
    """A line for a number such as 0.25 or 1e-05; empty where the parameter may be left out."""

    def __init__(self, declared: Mapping[str, Any], changed: Changed) -> None:
        self.widget = qt.QLineEdit()
        self._name = declared["name"]
        self._low, self._high = declared.get("minimum", -math.inf), declared.get("maximum", math.inf)
        self._optional = declared["default"] is None
        if self._optional:
            self.widget.placeholderText = _("default")
        self.set(declared["default"])
        wire(self.widget, "textChanged(QString)", lambda _text: self._onText(changed))

    @property
    def problem(self) -> str:
        """Return what is wrong with the text, "" where nothing is."""
        text = self.widget.text.strip()
        if not text and self._optional:
            return ""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if self._low <= value <= self._high:
            return ""
        return _("{name}: a number {limits} is needed, not '{text}'").format(
            name=self._name, limits=limitsText(self._low, self._high), text=text
        )

    def get(self) -> float | None:
        """Return the number; None where it is left out or wrong."""
        text = self.widget.text.strip()
        return None if self.problem or not text else float(text)

    def set(self, value: Any) -> None:
        """Show a number, or nothing."""
        self.widget.text = (
            "" if value is None else f"{value:g}" if float(f"{value:g}") == value else repr(float(value))
        )

    def _onText(self, changed: Changed) -> None:
        self.widget.setStyleSheet(WRONG if self.problem else "")
        changed()


class ChoiceField:
    """A list of names; where the parameter may be left out, the first item says so."""

    def __init__(self, declared: Mapping[str, Any], changed: Changed, choices: Sequence[str], none: str = "") -> None:
        self.widget = qt.QComboBox()
        if none:
            self.widget.addItem(none, "")
        for choice in choices:
            self.widget.addItem(choice, choice)
        self.set(declared["default"])
        wire(self.widget, "currentIndexChanged(int)", lambda _index: changed())

    problem = ""

    def get(self) -> str | None:
        """Return the chosen name, None for the item that leaves it out."""
        return self.widget.currentData or None

    def set(self, value: Any) -> None:
        """Choose a name; the first item where there is no such name."""
        self.widget.currentIndex = max(0, indexOfData(self.widget, value or ""))


class TextField:
    """A line of text."""

    def __init__(self, declared: Mapping[str, Any], changed: Changed) -> None:
        self.widget = qt.QLineEdit()
        self.set(declared["default"])
        wire(self.widget, "textChanged(QString)", lambda _text: changed())

    problem = ""

    def get(self) -> str | None:
        """Return the text, None where there is none."""
        return self.widget.text.strip() or None

    def set(self, value: Any) -> None:
        """Show a text."""
        self.widget.text = value or ""


Field = BoolField | IntField | FloatField | ChoiceField | TextField


def makeField(declared: Mapping[str, Any], changed: Changed, structures: Sequence[str], needed: bool) -> Field:
    """Return the widget of a declared parameter.

    ``structures`` are the names a parameter called ``structure`` can have; unless ``needed``, it may be left out.
    """
    field: Field
    if declared["name"] == "structure" and structures:
        field = ChoiceField(declared, changed, structures, "" if needed else _("all"))
    elif "choices" in declared:
        field = ChoiceField(declared, changed, declared["choices"], "" if declared["default"] else _("default"))
    else:
        kinds = {"bool": BoolField, "int": IntField, "float": FloatField, "str": TextField}
        field = kinds[declared["type"]](declared, changed)
    field.widget.objectName = "parameter_" + declared["name"]
    field.widget.toolTip = tooltip(declared)
    return field


def title(name: str) -> str:
    """Return a parameter's name as a label: ``random_start`` is "Random start"."""
    return name.replace("_", " ").capitalize().replace("Iou", "IoU")


def tooltip(declared: Mapping[str, Any]) -> str:
    """Return what a parameter means, its limits and its default."""
    text = declared["doc"][:1].upper() + declared["doc"][1:] + "."
    low, high = declared.get("minimum", -math.inf), declared.get("maximum", math.inf)
    if math.isfinite(low) or math.isfinite(high):
        text += " " + _("Allowed: {limits}.").format(limits=limitsText(low, high))
    if declared["default"] not in (None, ""):
        text += " " + _("Default: {value}.").format(value=declared["default"])
    return text


def limitsText(low: float, high: float) -> str:
    """Return limits as words, e.g. "0 to 1"."""
    if math.isfinite(low) and math.isfinite(high):
        return _("{low:g} to {high:g}").format(low=low, high=high)
    return _("{low:g} or more").format(low=low) if math.isfinite(low) else _("of any size")
