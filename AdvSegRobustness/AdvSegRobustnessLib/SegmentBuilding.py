"""Segments out of an array of values: one shared layer, IDs of our own choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer

from AdvSegRobustnessLib.NodeGeometry import ijkToRas, placeLike, toVtk
from AdvSegRobustnessLib.Voxels import fill

BINARY = "Binary labelmap"


@dataclass(frozen=True)
class SegmentStyle:
    """One segment to be made: its value in the array, its ID and name, its colour (RGB 0-255), its tags."""

    value: int
    segmentId: str
    name: str
    color: tuple[int, int, int]
    tags: Mapping[str, str] = field(default_factory=dict)
    terminology: str = ""


def fillSegmentation(node: Any, values: np.ndarray, styles: Sequence[SegmentStyle], indexToRas: np.ndarray) -> None:
    """Give a segmentation node the segments of ``(k, j, i)`` values, which may be absent from the array.

    All segments share one layer, as after Slicer's own import of a label map. ``indexToRas`` maps (i, j, k).
    """
    layer = fill(slicer.vtkOrientedImageData(), compact(values))
    layer.SetImageToWorldMatrix(toVtk(indexToRas))
    segmentation = slicer.vtkSegmentation()
    segmentation.SetSourceRepresentationName(BINARY)
    for style in styles:
        segmentation.AddSegment(_segment(style, layer), style.segmentId)
    node.SetAndObserveSegmentation(segmentation)


def segmentationNode(
    scene: Any, values: np.ndarray, styles: Sequence[SegmentStyle], referenceNode: Any, name: str
) -> Any:
    """Return a new segmentation node on a volume: its grid, its parent transform, and it as reference geometry."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    fillSegmentation(node, values, styles, ijkToRas(referenceNode))
    placeLike(node, referenceNode)
    node.SetReferenceImageGeometryParameterFromVolumeNode(referenceNode)
    node.CreateDefaultDisplayNodes()
    return node


def compact(values: np.ndarray) -> np.ndarray:
    """Return label values in the smallest type that Slicer's segmentations use for them."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    kind = np.uint8 if low >= 0 and high < 256 else np.int16 if low >= -(2**15) and high < 2**15 else np.int32
    return np.ascontiguousarray(values, kind)


def _segment(style: SegmentStyle, layer: Any) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(style.name)
    segment.SetColor(*(channel / 255 for channel in style.color))
    segment.AddRepresentation(BINARY, layer)
    segment.SetLabelValue(style.value)
    if style.terminology:
        segment.SetTerminology(style.terminology)
    for tag, text in style.tags.items():
        segment.SetTag(tag, text)
    return segment
