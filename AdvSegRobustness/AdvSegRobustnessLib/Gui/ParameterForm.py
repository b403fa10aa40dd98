"""Generated widgets for the parameters of one kind of thing (attack, goal, region), kept as JSON of all kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import GuiConnector

from .ParameterFields import Field, makeField, title

LABEL_WIDTH = 86
"""As that of the labels in the .ui, so that all fields begin at one line."""


class ParameterForm(GuiConnector):
    """Shows the parameters of one kind in a holder; what was changed from its default is remembered for every kind.

    As a connector its value is JSON: ``{"pgd": {"steps": 20}}``.
    """

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Tell that it is never found by widget: it is made, and given to the connection."""
        return False

    @staticmethod
    def create(widget: Any, datatype: Any) -> None:
        """Return nothing: see :meth:`canRepresent`."""

    def __init__(self, holder: Any) -> None:
        super().__init__()
        self._holder = holder
        self._content: Any = None
        self._more: Any = None  # held: a widget without a parent goes with the last who knows it
        self._values: dict[str, dict[str, Any]] = {}
        self._kind = ""
        self._shown: Any = None
        self._declared: dict[str, Mapping[str, Any]] = {}
        self._fields: dict[str, Field] = {}
        self._writing = False

    # -- what it shows --------------------------------------------------------------------------------------------

    def show(
        self,
        kind: str,
        parameters: Sequence[Mapping[str, Any]],
        *,
        structures: Sequence[str] = (),
        needsStructure: bool = True,
        shared: Sequence[str] = (),
    ) -> None:
        """Make the widgets of a kind; nothing happens where they are there already. ``shared`` ones are folded."""
        wanted = (kind, tuple(item["name"] for item in parameters), tuple(structures), needsStructure)
        if wanted == self._shown:
            return
        self._shown, self._kind = wanted, kind
        self._declared = {item["name"]: item for item in parameters}
        self._clear()
        self._content = qt.QWidget()
        form = qt.QFormLayout(self._content)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(qt.QFormLayout.AllNonFixedFieldsGrow)
        more = self._folded() if any(name in shared for name in self._declared) else None
        for name, declared in self._declared.items():
            field = makeField(declared, self._onChanged, structures, needsStructure)
            self._fields[name] = field
            (more if name in shared else form).addRow(_labelOf(name, field), field.widget)
        if more is not None:
            form.addRow(self._more)
        self._holder.layout().addWidget(self._content)
        self._holder.setVisible(bool(self._declared))
        self._load()

    @property
    def values(self) -> dict[str, Any]:
        """Return the values of the kind shown, those at their defaults left out."""
        given = {name: field.get() for name, field in self._fields.items()}
        return {
            name: value
            for name, value in given.items()
            if value is not None and value != self._declared[name]["default"]
        }

    @property
    def problem(self) -> str:
        """Return what is wrong with a value, "" where nothing is."""
        return next((field.problem for field in self._fields.values() if field.problem), "")

    @property
    def fields(self) -> Mapping[str, Field]:
        """Return the fields shown, by parameter."""
        return self._fields

    def _folded(self) -> Any:
        """Make the folded part, and return its layout."""
        self._more = ctk.ctkCollapsibleButton()
        self._more.text = _("More parameters")
        self._more.collapsed = True
        self._more.toolTip = _("Parameters that most attacks share and few need.")
        layout = qt.QFormLayout(self._more)
        layout.setFieldGrowthPolicy(qt.QFormLayout.AllNonFixedFieldsGrow)
        return layout

    def _clear(self) -> None:
        self._fields = {}
        if self._content is not None:
            self._holder.layout().removeWidget(self._content)
            self._content.hide()
            self._content.setParent(None)
            self._content.deleteLater()
            self._content = None

    def _load(self) -> None:
        self._writing = True
        given = self._values.get(self._kind, {})
        for name, field in self._fields.items():
            field.set(given.get(name, self._declared[name]["default"]))
        self._writing = False

    def _onChanged(self) -> None:
        if not self._writing:
            self._values[self._kind] = self.values
            self.changed()

    # -- as a connector -------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Nothing to connect: the fields call :meth:`_onChanged`."""

    def _disconnect(self) -> None:
        """Nothing to disconnect."""

    def widget(self) -> Any:
        """Return the holder."""
        return self._holder

    def read(self) -> str:
        """Return the values of every kind as JSON."""
        return json.dumps({kind: values for kind, values in self._values.items() if values}, sort_keys=True)

    def write(self, value: str) -> None:
        """Take the values of every kind from JSON; what is no such JSON (a damaged scene) counts as empty."""
        values = parsed(value)
        if values != json.loads(self.read()):
            self._values = values
            self._load()


def _labelOf(name: str, field: Field) -> Any:
    label = qt.QLabel(title(name) + ":")
    label.setMinimumWidth(LABEL_WIDTH)
    label.toolTip = field.widget.toolTip
    return label


def parsed(text: str) -> dict[str, dict[str, Any]]:
    """Return the values in a form's JSON, {} for a text that holds none."""
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(data, dict):
        return {}
    return {kind: values for kind, values in data.items() if isinstance(values, dict)}
