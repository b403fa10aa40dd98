"""Label maps to segmentation nodes and back; the reading side is in ``SegmentReading`` and ``Masks``."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import LabelMap
from AdvSegRobustnessLib.Masks import maskFromRoi, maskFromSegment
from AdvSegRobustnessLib.NodeGeometry import shapeOf
from AdvSegRobustnessLib.SegmentBuilding import BINARY, SegmentStyle, segmentationNode
from AdvSegRobustnessLib.SegmentReading import LABEL_NAME_TAG, LABEL_TAG, labelMapFromNode, segmentId
from AdvSegRobustnessLib.Terminology import terminologyEntry

__all__ = [
    "LABEL_TAG",
    "drawableTarget",
    "labelMapFromNode",
    "maskFromRoi",
    "maskFromSegment",
    "schemeStyles",
    "segmentId",
    "segmentationFromLabelMap",
]


def schemeStyles(scheme: LabelScheme) -> list[SegmentStyle]:
    """Return a segment for each label of a scheme: ID ``label<value>``, name, colour, terminology."""
    return [
        SegmentStyle(
            label.value, segmentId(label.value), label.name, label.color,
            {LABEL_TAG: str(label.value), LABEL_NAME_TAG: label.name}, terminologyEntry(label),
        )
        for label in scheme.labels
    ]  # fmt: skip


def segmentationFromLabelMap(
    scene: Any, labelMap: LabelMap, scheme: LabelScheme, name: str, referenceNode: Any
) -> Any:
    """Return a new segmentation node of a label map, on the volume it was made from.

    It has every segment of the scheme, in its order, those that are absent too. Voxels are laid one on one: the label
    map's grid is that of ``referenceNode``, seen in the world. Raises BadRequest for values the scheme does not have,
    and for another number of voxels.
    """
    scheme.check(labelMap.values)
    array = asVolume(labelMap.array, referenceNode)
    return segmentationNode(scene, array, schemeStyles(scheme), referenceNode, name)


def asVolume(array: np.ndarray, referenceNode: Any) -> np.ndarray:
    """Return ``(k, j, i)`` voxels, of a film's ``(row, column)`` one slice; BadRequest where they do not fit."""
    array = array[None] if array.ndim == 2 else array
    if array.shape != shapeOf(referenceNode):
        raise BadRequest(
            f"voxels {array.shape} do not fit '{referenceNode.GetName()}', which has {shapeOf(referenceNode)}"
        )
    return array


def drawableTarget(scene: Any, prediction: Any, name: str) -> Any:
    """Return a copy of a segmentation to be drawn on: segments, colours, terminology, reference and transform kept.

    Its voxels are its own: drawing leaves the prediction as it is. Attributes of the run are not taken along.
    """
    if not isinstance(prediction, slicer.vtkMRMLSegmentationNode) or prediction.GetScene() is None:
        raise BadRequest("a target is drawn on a segmentation: segment the scan first")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentation = slicer.vtkSegmentation()
    segmentation.DeepCopy(prediction.GetSegmentation())
    for other in _representations(segmentation):
        if other != BINARY:
            segmentation.RemoveRepresentation(other)
    node.SetAndObserveSegmentation(segmentation)
    node.SetAndObserveTransformNodeID(prediction.GetTransformNodeID())
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    node.SetNodeReferenceID(role, prediction.GetNodeReferenceID(role))
    node.CreateDefaultDisplayNodes()
    return node


def _representations(segmentation: Any) -> list[str]:
    names: list[str] = []
    segmentation.GetContainedRepresentationNames(names)
    return names
