"""The same attack on several models, or with several budgets."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest

from .Bindings import fillTickedList
from .Comparisons import chartsOf, findComparisons
from .Requests import fieldsOf, percents, requestFrom
from .Section import Section
from .Wiring import fillCombo, setReady, setShown, wire


class CompareSection(Section):
    """The part of section 6 that compares defenses and sweeps epsilon."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._listed: list[tuple[str, str]] | None = None
        self._tables: list[Any] = []
        self._tips = (self.ui.compareButton.toolTip, self.ui.sweepButton.toolTip)
        wire(self.ui.compareButton, "clicked(bool)", lambda _on: self.compare())
        wire(self.ui.sweepButton, "clicked(bool)", lambda _on: self.sweep())
        wire(self.ui.comparisonComboBox, "activated(int)", lambda _index: self.show())

    def update(self) -> None:
        """List the models that take this scan, and the comparisons of the scene."""
        parameters = self.panel.parameterNode
        if parameters is None:
            self.ui.compareButton.enabled = self.ui.sweepButton.enabled = False
            return
        listed = self.panel.model.comparable
        if listed != self._listed:
            self._listed = listed
            fillTickedList(self.ui.compareModelsList, listed, list(parameters.compareModels))
        self._listTables()
        busy = self.panel.run.busyReason
        setReady(self.ui.compareButton, busy or self.panel.reasonAgainst(self._checkCompare), self._tips[0])
        setReady(self.ui.sweepButton, busy or self.panel.reasonAgainst(self._checkSweep), self._tips[1])

    def compare(self) -> None:
        """Run the attack on each ticked model."""
        models = self._ticked
        self.panel.attempt(_("Comparison"), lambda: self._start(_("Comparison"), "compare", models, "model"))

    def sweep(self) -> None:
        """Run the attack with each epsilon."""
        self.panel.attempt(
            _("Sweep"),
            lambda: self._start(_("Sweep"), "sweep", percents(self.panel.parameterNode.sweepPercents), "epsilon"),
        )

    def show(self) -> None:
        """Show the chosen comparison's table and plot."""
        table = self._chosen
        if table is not None and not self.panel.results.layouts.reason:
            self.panel.results.layouts.showPlots(table, chartsOf(self.panel.scene, table))
            self.panel.results.showPressed()

    def _start(self, doing: str, method: str, over: list[Any], field: str) -> None:
        fields = fieldsOf(requestFrom(self.panel), field)
        call = getattr(self.panel.logic, method)
        self.panel.run.start(
            doing,
            lambda onEvent, onDone: call(over, wait=False, onEvent=onEvent, onDone=onDone, **fields),
            self._compared,
        )

    def _compared(self, comparison: Any) -> None:
        self.panel.results.stale = True
        self._listTables()
        self.panel.parameterNode.comparison = comparison.table.GetID()
        if comparison.failures:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in comparison.failures.items())
            self.panel.run.say(_("Not all runs succeeded. {reasons}").format(reasons=reasons))
        self.show()

    @property
    def _ticked(self) -> list[str]:
        """The ticked models that are listed: one ticked for another kind of scan does not count."""
        listed = {name for _text, name in self._listed or ()}
        return [name for name in self.panel.parameterNode.compareModels if name in listed]

    @property
    def _chosen(self) -> Any:
        wanted = self.panel.parameterNode.comparison
        return next((table for table in self._tables if table.GetID() == wanted), None)

    def _listTables(self) -> None:
        self._tables = findComparisons(self.panel.scene)
        fillCombo(self.ui.comparisonComboBox, [(table.GetName(), table.GetID()) for table in self._tables])
        setShown(bool(self._tables), self.ui.comparisonLabel, self.ui.comparisonComboBox)

    def _checkCompare(self) -> None:
        if len(self._ticked) < 2:
            raise BadRequest(_("Tick at least two models to compare."))
        requestFrom(self.panel)

    def _checkSweep(self) -> None:
        percents(self.panel.parameterNode.sweepPercents)
        if self.panel.parameterNode.norm != "linf":
            raise BadRequest(_("A sweep is over epsilon in % of the range: choose the L-inf norm in section 4."))
        requestFrom(self.panel)
