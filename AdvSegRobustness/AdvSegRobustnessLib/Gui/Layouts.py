"""A result in the views: side by side and linked, in turn, in 3-D, as plots; and Slicer's own layout back again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .Channels import Channel, channelOf, recordedOf
from .Flicker import Flicker
from .LayoutXml import LAYOUTS
from .SliceViews import lookAt, showIn

DEFAULT_LAYOUT = 3
"""Four-up, where the layout that was shown before is one of ours (after a reload)."""


class Layouts:
    """Which of our layouts is shown, and of which result; ``onLeft()`` is called where somebody chose another one."""

    def __init__(self, scene: Any, onLeft: Callable[[], object]) -> None:
        self._scene, self._onLeft = scene, onLeft
        self.current = ""
        self._previous = DEFAULT_LAYOUT
        self._of: tuple[Any, ...] = ()
        self._limited: list[Any] = []
        self._observed: tuple[Any, int] | None = None
        self._switching = False
        self.flicker = Flicker(self._showTurn)
        self._turn: tuple[Any, Channel] | None = None

    @property
    def reason(self) -> str:
        """Why there are no layouts, "" where there are."""
        return "" if slicer.app.layoutManager() is not None else _("There are no views without the main window.")

    def show(self, name: str, result: Any, channel: str, seconds: float) -> None:
        """Show a layout, filled with a result's channel."""
        self._arrange(name)
        self._fill(result, channel, seconds)

    def showPlots(self, table: Any, charts: Sequence[Any]) -> None:
        """Show a table and at most two charts."""
        self._arrange("plots")
        self._of = ()
        for tag, chart in zip(("AdvPlot1", "AdvPlot2"), [*charts, None, None], strict=False):
            view = self._scene.GetSingletonNode(tag, "vtkMRMLPlotViewNode")
            view.SetPlotChartNodeID(None if chart is None else chart.GetID())
        self._scene.GetSingletonNode("AdvTable", "vtkMRMLTableViewNode").SetTableNodeID(
            None if table is None else table.GetID()
        )

    def update(self, result: Any, channel: str, seconds: float) -> None:
        """Show another result, channel or pace in the layout that is shown."""
        if self.current and self._of and self._of[:2] != (result.runId, channel):
            self._fill(result, channel, seconds)
        elif self.current == "flicker":
            self.flicker.setSeconds(seconds)

    def showRecorded(self, result: Any, channel: str) -> None:
        """Show the browser's selected iteration in place of the adversarial image, where that is side by side."""
        if self.current != "sideBySide":
            return
        volume, segmentation = recordedOf(result.browser, channel)
        showIn("AdvAdversarial", volume)
        self._limit(segmentation, [self._slice("AdvAdversarial")])
        self._limit(result.attacked, [self._slice("AdvAdversarial")], shown=segmentation is None)

    def restore(self) -> None:
        """Show the layout that was there before, and the segmentations everywhere again."""
        if not self.current:
            return
        self._leave()
        manager = slicer.app.layoutManager()
        if manager is not None:
            manager.setLayout(self._previous)

    def stopFlicker(self) -> None:
        """Stay at the image that is shown."""
        self.flicker.stop()

    def forget(self) -> None:
        """Let go of nodes that are about to go."""
        self.restore()
        self._of = ()

    def close(self) -> None:
        """Let go of timer and observer."""
        self.flicker.stop()
        if self._observed is not None:
            node, tag = self._observed
            node.RemoveObserver(tag)
            self._observed = None

    # -- arranging ------------------------------------------------------------------------------------------------

    def _arrange(self, name: str) -> None:
        manager = slicer.app.layoutManager()
        number, description = LAYOUTS[name]
        node = manager.layoutLogic().GetLayoutNode()
        self._observe(node)
        if node.IsLayoutDescription(number):
            node.SetLayoutDescription(number, description)
        else:
            node.AddLayoutDescription(number, description)
        ours = {number for number, _description in LAYOUTS.values()}
        if not self.current:
            self._previous = manager.layout if manager.layout not in ours else DEFAULT_LAYOUT
        self._leave()
        self._switching = True
        manager.setLayout(number)
        self._switching = False
        self.current = name

    def _observe(self, node: Any) -> None:
        if self._observed is None:
            self._observed = (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayout))

    def _onLayout(self, node: Any, event: str) -> None:
        if self._switching or not self.current or node.GetViewArrangement() == LAYOUTS[self.current][0]:
            return
        self._leave()
        self._onLeft()

    def _leave(self) -> None:
        self.flicker.stop()
        self.current, self._of, self._turn = "", (), None
        for node in self._limited:
            if node.GetScene() is not None:
                node.RemoveAllViewNodeIDs()
        self._limited = []

    # -- filling --------------------------------------------------------------------------------------------------

    def _fill(self, result: Any, channel: str, seconds: float) -> None:
        self._of = (result.runId, channel)
        if self.current == "sideBySide":
            self._sideBySide(result, channelOf(result, channel))
        elif self.current == "flicker":
            self._startFlicker(result, channelOf(result, channel), seconds)
        elif self.current == "threeD":
            self._threeD(result)
        else:
            self.showPlots(result.history or result.metrics, result.charts)
            self._of = (result.runId, channel)

    def _sideBySide(self, result: Any, channel: Channel) -> None:
        showIn("AdvClean", channel.clean)
        showIn("AdvAdversarial", channel.adversarial)
        showIn("AdvNoise", channel.under, channel.noise)
        showIn("AdvDifference", channel.under)
        self._limit(result.clean, [self._slice("AdvClean")])
        self._limit(result.attacked, [self._slice("AdvAdversarial")])
        self._limit(result.difference, [self._slice("AdvDifference")])
        if result.browser is not None:
            self._limit(recordedOf(result.browser, "")[1], [], shown=False)
        lookAt(("AdvClean", "AdvAdversarial", "AdvNoise", "AdvDifference"), channel.under, result.clean)

    def _startFlicker(self, result: Any, channel: Channel, seconds: float) -> None:
        self._turn = (result, channel)
        self._limit(result.difference, [self._slice("AdvDifference")])
        self._showTurn(False)
        lookAt(("AdvFlicker",), channel.under, result.clean)
        self.flicker.start(seconds)

    def _showTurn(self, adversarial: bool) -> None:
        """Show the clean (False) or the adversarial image and segmentation in the flickering view."""
        if self._turn is None:
            return
        result, channel = self._turn
        volume = channel.adversarial if adversarial else channel.clean
        if volume is None or volume.GetScene() is None:
            self.flicker.stop()
            return
        showIn("AdvFlicker", volume)
        here = [self._slice("AdvFlicker")]
        self._limit(result.attacked, here if adversarial else [self._slice("AdvAdversarial")])
        self._limit(result.clean, [self._slice("AdvClean")] if adversarial else here)

    def _threeD(self, result: Any) -> None:
        for segmentation, tag in ((result.clean, "AdvClean3D"), (result.attacked, "AdvAttacked3D")):
            segmentation.CreateClosedSurfaceRepresentation()
            view = self._scene.GetSingletonNode(tag, "vtkMRMLViewNode")
            view.SetLinkedControl(True)
            self._limit(segmentation, [view])
        self._limit(result.difference, [self._scene.GetSingletonNode("AdvClean3D", "vtkMRMLViewNode")], shown=False)
        manager = slicer.app.layoutManager()
        for index in range(manager.threeDViewCount):
            manager.threeDWidget(index).threeDView().resetFocalPoint()

    def _slice(self, tag: str) -> Any:
        return self._scene.GetSingletonNode(tag, "vtkMRMLSliceNode")

    def _limit(self, segmentation: Any, views: Sequence[Any], *, shown: bool = True) -> None:
        """Show a segmentation in these views only."""
        display = None if segmentation is None else segmentation.GetDisplayNode()
        if display is None:
            return
        ids = [view.GetID() if shown else "none" for view in views if view is not None] or ["none"]
        if list(display.GetViewNodeIDs() or ()) != ids:
            display.SetViewNodeIDs(ids)
        if display not in self._limited:
            self._limited.append(display)
