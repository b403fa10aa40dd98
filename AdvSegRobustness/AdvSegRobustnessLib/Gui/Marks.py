"""The mark in every view that shows an adversarial image, and in no other: Slicer's standard views included."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from ..Roles import MARK_ATTRIBUTE, ROLE_ATTRIBUTE
from .Wiring import Later

MARK_TEXT = "ADVERSARIAL\nnot for clinical use"
MARK_COLOR = (1.0, 0.45, 0.1)


class MarkKeeper:
    """Watches scene and layout, and keeps a text in the renderers of the views concerned."""

    def __init__(self, scene: Any, layoutManager: Any) -> None:
        self._scene, self._manager = scene, layoutManager
        self._marks: dict[str, tuple[Any, Any]] = {}
        self.later = Later(self.refresh)
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
        self._always = [(scene, scene.AddObserver(event, self.later)) for event in events]
        layout = layoutManager.layoutLogic().GetLayoutNode()
        self._always.append((layout, layout.AddObserver(vtk.vtkCommand.ModifiedEvent, self.later)))
        self._watched: dict[Any, int] = {}  # no VTKObservationMixin: it would hold removed volumes, with their voxels
        self.refresh()

    @property
    def marked(self) -> set[str]:
        """The names of the views that bear the mark."""
        return set(self._marks)

    @property
    def watched(self) -> list[Any]:
        """The nodes on which it depends what views show."""
        return list(self._watched)

    def refresh(self) -> None:
        """Mark what shows adversarial images now, unmark what does not."""
        self._watch()
        views = self._views()
        now = {name: view for name, view, _shows in views}
        concerned = {name: view for name, view, shows in views if shows}
        for name in list(self._marks):
            if name not in concerned or rendererOf(concerned[name]) is not self._marks[name][0]:  # or made anew
                self._unmark(name, now.get(name))
        for name, view in concerned.items():
            if name not in self._marks:
                self._mark(name, view)

    def close(self) -> None:
        """Take all marks away, and stop watching."""
        self.later.stop()
        for watched, tag in (*self._always, *self._watched.items()):
            watched.RemoveObserver(tag)
        self._always, self._watched = [], {}
        now = {name: view for name, view, _shows in self._views()}
        for name in list(self._marks):
            self._unmark(name, now.get(name))

    # -- what is shown --------------------------------------------------------------------------------------------

    def _views(self) -> list[tuple[str, Any, bool]]:
        """Return every view: its name, its widget, and whether it shows an adversarial image."""
        found = []
        for name in self._manager.sliceViewNames():
            widget = self._manager.sliceWidget(name)
            if widget is None:
                continue
            found.append((name, widget.sliceView(), self._inSlice(widget.mrmlSliceCompositeNode())))
        for index in range(self._manager.threeDViewCount):
            widget = self._manager.threeDWidget(index)
            node = widget.mrmlViewNode()
            found.append((node.GetID(), widget.threeDView(), self._inThreeD(node)))
        return found

    def _inSlice(self, composite: Any) -> bool:
        shown = [composite.GetBackgroundVolumeID()]
        if composite.GetForegroundOpacity() > 0:
            shown.append(composite.GetForegroundVolumeID())
        if composite.GetLabelOpacity() > 0:
            shown.append(composite.GetLabelVolumeID())
        return any(isMarked(self._scene.GetNodeByID(nodeId)) for nodeId in shown if nodeId)

    def _inThreeD(self, view: Any) -> bool:
        if any(_showsIn3D(node, view) for node in self._adversarial()):
            return True
        return any(
            node.GetSliceVisible() and node.IsDisplayableInThreeDView(view.GetID()) and self._sliceShows(node)
            for node in _nodes(self._scene, "vtkMRMLSliceNode")
        )

    def _sliceShows(self, sliceNode: Any) -> bool:
        widget = self._manager.sliceWidget(sliceNode.GetLayoutName())
        return widget is not None and self._inSlice(widget.mrmlSliceCompositeNode())

    def _adversarial(self) -> list[Any]:
        return [node for node in _nodes(self._scene, "vtkMRMLDisplayableNode") if isMarked(node) or isAttacked(node)]

    def _watch(self) -> None:
        """Watch the nodes on which it depends what views show; let go of those that went, and of their voxels."""
        wanted = {
            node: vtk.vtkCommand.ModifiedEvent
            for kind in ("vtkMRMLSliceCompositeNode", "vtkMRMLSliceNode")
            for node in _nodes(self._scene, kind)
        }
        wanted |= dict.fromkeys(self._adversarial(), slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent)
        for node in [node for node in self._watched if node not in wanted]:
            node.RemoveObserver(self._watched.pop(node))
        for node, event in wanted.items():
            if node not in self._watched:
                self._watched[node] = node.AddObserver(event, self.later)

    # -- the mark -------------------------------------------------------------------------------------------------

    def _mark(self, name: str, view: Any) -> None:
        renderer = rendererOf(view)
        if renderer is None:
            return
        actor = markActor()
        renderer.AddViewProp(actor)
        self._marks[name] = (renderer, actor)
        view.scheduleRender()

    def _unmark(self, name: str, view: Any) -> None:
        """Take a mark away; ``view`` is the widget that is called so now, None where it is gone."""
        renderer, actor = self._marks.pop(name)
        renderer.RemoveViewProp(actor)
        if view is not None:
            view.scheduleRender()


def rendererOf(view: Any) -> Any:
    """Return the renderer of a view's images."""
    return view.renderWindow().GetRenderers().GetFirstRenderer()


def isMarked(node: Any) -> bool:
    """Tell whether a node is an adversarial or perturbation volume."""
    return node is not None and bool(node.GetAttribute(MARK_ATTRIBUTE))


def isAttacked(node: Any) -> bool:
    """Tell whether a node is the segmentation of an adversarial image."""
    return node.GetAttribute(ROLE_ATTRIBUTE) == "attacked"


def markActor() -> Any:
    """Return the text, at the upper edge of whatever view it is put into."""
    actor = vtk.vtkTextActor()
    actor.SetInput(MARK_TEXT)
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(0.5, 0.985)
    style = actor.GetTextProperty()
    style.SetJustificationToCentered()
    style.SetVerticalJustificationToTop()
    style.SetFontSize(15)
    style.SetBold(True)
    style.SetColor(*MARK_COLOR)
    style.SetBackgroundColor(0, 0, 0)
    style.SetBackgroundOpacity(0.6)
    return actor


def _showsIn3D(node: Any, view: Any) -> bool:
    """Tell whether a displayable node is drawn in a 3-D view: as surfaces, or as a rendered volume."""
    for index in range(node.GetNumberOfDisplayNodes()):
        display = node.GetNthDisplayNode(index)
        if display is None or not display.GetVisibility() or not display.IsDisplayableInView(view.GetID()):
            continue
        if display.IsA("vtkMRMLVolumeRenderingDisplayNode"):
            return True
        if display.IsA("vtkMRMLSegmentationDisplayNode") and display.GetVisibility3D() and _hasSurface(node):
            return True
    return False


def _hasSurface(segmentation: Any) -> bool:
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(segmentation.GetSegmentation().ContainsRepresentation(name))


def _nodes(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


_shared: MarkKeeper | None = None


def keepMarks(scene: Any) -> None:
    """Begin to keep the marks of the application's views; nothing where there are no views, or they are kept."""
    global _shared
    manager = slicer.app.layoutManager()
    if _shared is None and manager is not None:
        _shared = MarkKeeper(scene, manager)


def dropMarks() -> None:
    """Stop keeping them."""
    global _shared
    if _shared is not None:
        _shared.close()
        _shared = None
