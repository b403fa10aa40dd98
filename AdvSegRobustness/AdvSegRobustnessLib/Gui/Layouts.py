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
from .ShownSegmentations import ShownSegmentations, freeFromOurViews
from .SliceViews import lookAt, showIn
from .Wiring import Later

DEFAULT_LAYOUT = 3
"""Four-up, where the layout that was shown before is one of ours (after a reload)."""

SETTLE_MS = 100
"""How long new views may take until they have their size."""


class Layouts:
    """Which of our layouts is shown, and of which result; ``onLeft()`` is called where somebody chose another one."""

    def __init__(self, scene: Any, onLeft: Callable[[], object]) -> None:
        self._scene, self._onLeft = scene, onLeft
        self.current = ""
        self._previous = DEFAULT_LAYOUT
        self._of: tuple[Any, ...] = ()
        self._segmentations = ShownSegmentations(scene)
        self._observed: tuple[Any, int] | None = None
        self._switching = False
        self.flicker = Flicker(self._showTurn)
        self._turn: tuple[Any, Channel] | None = None
        self._restoring = Later(self._restoreAfterClosing)
        self._look: tuple[Any, ...] = ()
        self._looking = Later(self._lookAgain, SETTLE_MS)

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
        here = [self._slice("AdvAdversarial")]
        self._segmentations.show(segmentation, here)
        self._segmentations.show(result.attacked, here if segmentation is None else [])

    def restore(self) -> None:
        """Show the layout that was there before, and the segmentations everywhere again."""
        if self.current:
            self._leave()
            self._restoreLayout()

    def _restoreLayout(self) -> None:
        manager = slicer.app.layoutManager()
        if manager is not None:
            manager.setLayout(self._previous)

    def _restoreAfterClosing(self) -> None:
        """Leave our layout, which is empty now; a scene that was loaded at once keeps its own."""
        empty = self._scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
        if not self.current and self._shownByManager() and empty:
            self._restoreLayout()

    def _shownByManager(self) -> str:
        """Return which of our layouts Slicer shows, "" for none."""
        manager = slicer.app.layoutManager()
        shown = None if manager is None else manager.layout
        return next((name for name, (number, _text) in LAYOUTS.items() if number == shown), "")

    def loaded(self) -> str:
        """Return which of our layouts a loaded scene has brought, "" for none; put right what it had saved."""
        if self.current:
            return ""
        freeFromOurViews(self._scene)
        return self._shownByManager()

    def stopFlicker(self) -> None:
        """Stay at the image that is shown."""
        self.flicker.stop()

    def resumeFlicker(self, seconds: float) -> None:
        """Go on, where that layout is shown."""
        if self.current == "flicker" and self._turn is not None:
            self.flicker.start(seconds)

    def forget(self) -> None:
        """Let go of nodes that are about to go; the layout follows when they have: now, views would be made anew."""
        if self.current:
            self._leave()
            self._onLeft()
            self._restoring()

    def close(self) -> None:
        """Let go of timers and observer."""
        self.flicker.stop()
        self._restoring.stop()
        self._looking.stop()
        if self._observed is not None:
            node, tag = self._observed
            node.RemoveObserver(tag)
            self._observed = None

    # -- arranging ------------------------------------------------------------------------------------------------

    def _arrange(self, name: str) -> None:
        manager = slicer.app.layoutManager()
        number = LAYOUTS[name][0]
        self._observe(manager.layoutLogic().GetLayoutNode())
        describeLayouts(manager)
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
        self._looking.stop()
        self.current, self._of, self._turn, self._look = "", (), None, ()
        self._segmentations.release()

    # -- filling --------------------------------------------------------------------------------------------------

    def _fill(self, result: Any, channel: str, seconds: float) -> None:
        self._of = (result.runId, channel)
        self._segmentations.hideOthers((result.clean, result.attacked, result.difference))
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
        self._segmentations.show(result.clean, [self._slice("AdvClean")])
        self._segmentations.show(result.attacked, [self._slice("AdvAdversarial")])
        self._segmentations.show(result.difference, [self._slice("AdvDifference")])
        self._lookAt(("AdvClean", "AdvAdversarial", "AdvNoise", "AdvDifference"), channel.under, result.clean)

    def _startFlicker(self, result: Any, channel: Channel, seconds: float) -> None:
        self._turn = (result, channel)
        self._segmentations.show(result.difference, [])
        self._showTurn(False)
        self._lookAt(("AdvFlicker",), channel.under, result.clean)
        self.flicker.start(seconds)

    def _lookAt(self, *look: Any) -> None:
        """Have the views look there, and once more when they have got their size: fitting depends on it."""
        self._look = look
        lookAt(*look)
        self._looking()

    def _lookAgain(self) -> None:
        look, self._look = self._look, ()
        if look and self.current in ("sideBySide", "flicker") and look[1] is not None and look[1].GetScene():
            lookAt(*look)

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
        self._segmentations.show(result.attacked, here if adversarial else [])
        self._segmentations.show(result.clean, [] if adversarial else here)

    def _threeD(self, result: Any) -> None:
        views = []
        for segmentation, tag in ((result.clean, "AdvClean3D"), (result.attacked, "AdvAttacked3D")):
            view = self._scene.GetSingletonNode(tag, "vtkMRMLViewNode")
            view.SetLinkedControl(True)
            if segmentation is not None:
                segmentation.CreateClosedSurfaceRepresentation()
                self._segmentations.show(segmentation, [view])
            views.append(view)
        self._segmentations.show(result.difference, [])
        manager = slicer.app.layoutManager()
        for index in range(manager.threeDViewCount):
            widget = manager.threeDWidget(index)
            if widget.mrmlViewNode() in views:  # a new view looks at the origin from a fixed distance
                widget.threeDView().resetFocalPoint()
                widget.threeDView().resetCamera()

    def _slice(self, tag: str) -> Any:
        return self._scene.GetSingletonNode(tag, "vtkMRMLSliceNode")


def describeLayouts(manager: Any) -> None:
    """Have Slicer know our layouts: from its start, for a loaded scene may be shown in one of them."""
    node = manager.layoutLogic().GetLayoutNode()
    for number, description in LAYOUTS.values():
        if node.IsLayoutDescription(number):
            node.SetLayoutDescription(number, description)
        else:
            node.AddLayoutDescription(number, description)
