"""Which segmentation is seen in which view while one of our layouts is shown; and everything as before afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

OURS = "Adv"
"""What the singleton tags of our views begin with."""
NOWHERE = "none"
"""In place of a view's ID: no view has it."""


class ShownSegmentations:
    """Shows segmentations in some views only; remembers how they were shown before."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._before: dict[Any, int] = {}
        """Visibility by display node, as it was before the first change."""

    def show(self, segmentation: Any, views: Sequence[Any]) -> None:
        """Show a segmentation in these views and in no other; in none where there are none."""
        display = _displayOf(segmentation)
        if display is None:
            return
        self._before.setdefault(display, display.GetVisibility())
        ids = [view.GetID() for view in views if view is not None] or [NOWHERE]
        if list(display.GetViewNodeIDs() or ()) != ids:
            display.SetViewNodeIDs(ids)
        display.SetVisibility(True)

    def hideOthers(self, kept: Iterable[Any]) -> None:
        """Hide what would lie over all views, such as the truth: what is not among ``kept``."""
        kept = [_displayOf(segmentation) for segmentation in kept]
        for segmentation in _segmentations(self._scene):
            display = _displayOf(segmentation)
            if display is None or display in kept or not display.GetVisibility():
                continue
            self._before.setdefault(display, display.GetVisibility())
            display.SetVisibility(False)

    def release(self) -> None:
        """Show everything as before."""
        for display, visibility in self._before.items():
            if display.GetScene() is not None:
                display.RemoveAllViewNodeIDs()
                display.SetVisibility(visibility)
        self._before = {}


def freeFromOurViews(scene: Any) -> None:
    """Show everywhere again what a loaded scene shows in our views only, for it was saved while they were shown."""
    for segmentation in _segmentations(scene):
        display = _displayOf(segmentation)
        ids = () if display is None else display.GetViewNodeIDs() or ()
        if any(nodeId == NOWHERE or _isOurs(scene.GetNodeByID(nodeId)) for nodeId in ids):
            display.RemoveAllViewNodeIDs()


def _isOurs(view: Any) -> bool:
    return view is not None and str(view.GetSingletonTag() or "").startswith(OURS)


def _displayOf(segmentation: Any) -> Any:
    return None if segmentation is None else segmentation.GetDisplayNode()


def _segmentations(scene: Any) -> list[Any]:
    kind = "vtkMRMLSegmentationNode"
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
