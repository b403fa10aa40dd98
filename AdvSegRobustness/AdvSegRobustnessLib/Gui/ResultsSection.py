"""Section 6: a result of the scene, in views, numbers and iterations."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest

from ..IterationNodes import showIteration
from ..NoiseDisplay import setMagnification
from ..ResultNodes import findRuns, removeRun
from .Channels import channelNames
from .Layouts import Layouts
from .Legend import legendText, legendTip
from .Section import Section
from .Wiring import fillCombo, setReady, setShown, wire

BUTTONS = ("sideBySide", "flicker", "threeD", "plots")


class ResultsSection(Section):
    """Which result is shown, and how."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.layouts = Layouts(panel.scene, onLeft=self.showPressed)
        self.stale = True
        """Whether nodes came or went since the runs were looked for."""
        self._runs: dict[str, Any] = {}
        self._shown: Any = None
        self._magnified: Any = None
        self._tips = {name: self._button(name).toolTip for name in (*BUTTONS, "restoreLayout")}
        self._legendTip = self.ui.differenceLegend.toolTip
        self._removeTip = self.ui.removeRunButton.toolTip
        for name in BUTTONS:
            wire(self._button(name), "clicked(bool)", lambda on, name=name: self.showLayout(name if on else ""))
        wire(self.ui.restoreLayoutButton, "clicked(bool)", lambda _on: self.showLayout(""))
        wire(self.ui.removeRunButton, "clicked(bool)", lambda _on: self.remove())
        wire(self.ui.iterationSlider, "valueChanged(double)", self._onIteration)

    # -- which ----------------------------------------------------------------------------------------------------

    @property
    def result(self) -> Any:
        """The chosen result, None where there is none."""
        return None if self.panel.parameterNode is None else self._runs.get(self.panel.parameterNode.run)

    def choose(self, result: Any) -> None:
        """Show a new result side by side."""
        self.stale = True
        self.panel.parameterNode.run = result.runId
        self.panel.update()
        if not self.layouts.reason:
            self.showLayout("sideBySide")

    def remove(self) -> None:
        """Remove the chosen result from the scene, and its folder."""
        result = self.result
        if result is None:
            return
        self.showLayout("")
        self.panel.run.folders.drop(result.runId)
        self.panel.attempt(_("Remove"), lambda: removeRun(self.panel.scene, result))
        self.stale = True
        self.panel.update()

    def update(self) -> None:
        """Show the chosen result; find out which there are where nodes came or went."""
        parameters = self.panel.parameterNode
        if parameters is None:
            self._runs, self._shown, self._magnified, self.stale = {}, None, None, True
        elif self.stale:
            self._find()
        result = self.result
        if result is not None and result is not self._shown:
            self._adopt(result)
        self._enable(result)
        if result is None:
            self._showNothing()
            return
        if result is not self._shown:
            self._show(result)
        if (result.runId, parameters.magnification) != self._magnified:
            self._magnified = (result.runId, parameters.magnification)
            setMagnification(result, parameters.magnification)
        self.layouts.update(result, self._channel, parameters.flickerSeconds)

    def _find(self) -> None:
        """Look for the runs; what is shown stays where it still is there."""
        self.stale = False
        parameters = self.panel.parameterNode
        self._runs = {result.runId: result for result in findRuns(self.panel.scene)}
        self._shown = None
        fillCombo(self.ui.runComboBox, [(result.name, result.runId) for result in self._runs.values()])
        if parameters.run not in self._runs:
            parameters.run = next(reversed(self._runs), "")

    def _adopt(self, result: Any) -> None:
        """Fill our layout where a loaded scene brought it, and press its button."""
        brought = self.layouts.loaded()
        if brought:
            self._showLayout(brought, result)
            self.showPressed()

    @property
    def _channel(self) -> str:
        return str(self.panel.parameterNode.shownChannel)

    # -- how ------------------------------------------------------------------------------------------------------

    def showLayout(self, name: str) -> None:
        """Show a layout of views ("" for the one before), and press the button of it."""
        result = self.result
        if name and result is not None:
            self.panel.attempt(_("Layout"), lambda: self._showLayout(name, result))
        else:
            self.layouts.restore()
        self.showPressed()

    def _showLayout(self, name: str, result: Any) -> None:
        if self.layouts.reason:
            raise BadRequest(self.layouts.reason)
        self.layouts.show(name, result, self._channel, self.panel.parameterNode.flickerSeconds)

    def showPressed(self) -> None:
        """Press the button of the layout that is shown, and no other."""
        for name in BUTTONS:
            self._button(name).checked = name == self.layouts.current
        self._enable(self.result)

    def _onIteration(self, value: float) -> None:
        result = self.result
        if result is not None and result.browser is not None:
            showIteration(result.browser, int(value))
            self.layouts.showRecorded(result, self._channel)
            self.ui.iterationLabel.text = _("Iteration {step}:").format(step=_stepOf(result.browser, int(value)))

    def _show(self, result: Any) -> None:
        """Bring everything that depends on the result alone in line with it."""
        self._shown = result
        names = channelNames(result)
        fillCombo(self.ui.shownChannelComboBox, [(name, name) for name in names])
        if self._channel not in names:
            self.panel.parameterNode.shownChannel = names[0] if names else ""
        self.ui.metricsTable.setMRMLTableNode(result.metrics)
        legend = legendText(result.difference)
        self.ui.differenceLegend.text = legend or _("none: both segmentations are the same")
        self.ui.differenceLegend.toolTip = legendTip(result.difference) or self._legendTip
        setShown(result.difference is not None, self.ui.differenceTitle, self.ui.differenceLegend)
        self._showIterations(result.browser)

    def _showIterations(self, browser: Any) -> None:
        count = 0 if browser is None else browser.GetNumberOfItems()
        setShown(count > 1, self.ui.iterationLabel, self.ui.iterationSlider)
        if count > 1:
            blocked = self.ui.iterationSlider.blockSignals(True)
            self.ui.iterationSlider.maximum = count - 1
            self.ui.iterationSlider.value = browser.GetSelectedItemNumber()
            self.ui.iterationSlider.blockSignals(blocked)
            self.ui.iterationLabel.text = _("Iteration {step}:").format(
                step=_stepOf(browser, browser.GetSelectedItemNumber())
            )

    def _showNothing(self) -> None:
        self._shown = None
        setShown(False, self.ui.iterationLabel, self.ui.iterationSlider)
        setShown(False, self.ui.differenceTitle, self.ui.differenceLegend)
        self.ui.metricsTable.setMRMLTableNode(None)
        self.ui.differenceLegend.text = ""

    def _enable(self, result: Any) -> None:
        none = "" if result is not None else _("There is no result yet: run an attack.")
        for name in BUTTONS:
            setReady(self._button(name), none or self.layouts.reason, self._tips[name])
        left = "" if self.layouts.current else _("None of these layouts is shown.")
        setReady(self.ui.restoreLayoutButton, left, self._tips["restoreLayout"])
        setReady(self.ui.removeRunButton, none or self.panel.run.busyReason, self._removeTip)

    def _button(self, name: str) -> Any:
        return getattr(self.ui, name + "Button")

    def close(self) -> None:
        """Give Slicer its layout back."""
        self.layouts.restore()
        self.layouts.close()
        self.ui.metricsTable.setMRMLTableNode(None)


def _stepOf(browser: Any, item: int) -> str:
    """Return the step of a recorded iteration, as the sequence indexes it."""
    return str(browser.GetMasterSequenceNode().GetNthIndexValue(item))
