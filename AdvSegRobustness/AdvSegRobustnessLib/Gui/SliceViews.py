"""What slice views show, and where they look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer


def showIn(tag: str, background: Any, foreground: Any = None) -> None:
    """Show a volume, and one over it, in the slice view of a singleton tag; None shows nothing."""
    composite = slicer.app.layoutManager().sliceWidget(tag).mrmlSliceCompositeNode()
    composite.SetDoPropagateVolumeSelection(False)
    composite.SetLinkedControl(False)  # what follows is this view's own
    composite.SetBackgroundVolumeID(None if background is None else background.GetID())
    composite.SetInteractionFlags(composite.ForegroundVolumeFlag)  # else a new view never draws the noise's legend
    composite.SetForegroundVolumeID(None if foreground is None else foreground.GetID())
    composite.SetInteractionFlags(0)
    composite.SetForegroundOpacity(0.0 if foreground is None else 1.0)
    composite.SetLabelVolumeID(None)
    legend = None if foreground is None else slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(foreground)
    if legend is not None:
        legend.Modified()


def lookAt(tags: Sequence[str], volume: Any, segmentation: Any) -> None:
    """Link views, fit them to a volume, and go to the middle of a segmentation; films are seen from the front."""
    manager = slicer.app.layoutManager()
    for tag in tags:
        widget = manager.sliceWidget(tag)
        composite = widget.mrmlSliceCompositeNode()
        composite.SetLinkedControl(False)
        if isFilm(volume):
            widget.mrmlSliceNode().RotateToVolumePlane(volume)
        widget.sliceController().fitSliceToBackground()
        middle = None if isFilm(volume) else middleOf(segmentation)
        if middle is not None:
            widget.mrmlSliceNode().JumpSliceByOffsetting(*middle)
    for tag in tags:
        composite = manager.sliceWidget(tag).mrmlSliceCompositeNode()
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)


def isFilm(volume: Any) -> bool:
    """Tell whether a volume has one slice only."""
    image = None if volume is None else volume.GetImageData()
    return image is not None and 1 in image.GetDimensions()


def middleOf(segmentation: Any) -> tuple[float, float, float] | None:
    """Return the middle of what a segmentation node shows, in RAS; None where it is empty."""
    if segmentation is None:
        return None
    bounds = [0.0] * 6
    segmentation.GetRASBounds(bounds)
    if bounds[0] > bounds[1]:
        return None
    return ((bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2, (bounds[4] + bounds[5]) / 2)
