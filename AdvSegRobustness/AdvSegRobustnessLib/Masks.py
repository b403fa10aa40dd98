"""Where noise may go: one segment, or the inside of a Markups ROI, as a mask on a scan's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import LabelMap
from AdvSegRobustnessLib.NodeGeometry import RAS_TO_LPS, nodeToWorld, toNumpy
from AdvSegRobustnessLib.ScanNodes import Scan
from AdvSegRobustnessLib.SegmentReading import Canvas, layersOf

TOUCHING = 1e-6
"""mm by which a voxel centre may lie outside an ROI's face: rounding of its matrices."""


def maskFromSegment(segmentationNode: Any, segmentId: str, scan: Scan) -> LabelMap:
    """Return one segment as 0 and 1 on ``scan.image.grid``; BadRequest where it covers no voxel of the scan."""
    if not isinstance(segmentationNode, slicer.vtkMRMLSegmentationNode) or segmentationNode.GetScene() is None:
        raise BadRequest("no segmentation is chosen for the region, or it is no longer in the scene")
    name, segmentation = segmentationNode.GetName(), segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId) if segmentId else None
    if segment is None:
        raise BadRequest(f"'{name}' has no segment '{segmentId}'; it has {', '.join(segmentation.GetSegmentIDs())}")
    ((_, mask),) = layersOf(segmentationNode, [segmentId], Canvas.of(scan))
    return _mask(mask, scan, f"segment '{segment.GetName()}' of '{name}'")


def maskFromRoi(roiNode: Any, scan: Scan) -> LabelMap:
    """Return the voxels whose centres lie in a Markups ROI as 0 and 1 on ``scan.image.grid``.

    ROI and scan may be turned against each other, and each under linear transforms. Raises BadRequest for an ROI that
    has no size or holds no voxel centre.
    """
    if not isinstance(roiNode, slicer.vtkMRMLMarkupsROINode) or roiNode.GetScene() is None:
        raise BadRequest("no ROI is chosen for the region, or it is no longer in the scene")
    half = np.array(roiNode.GetSize()) / 2
    if not (half > 0).all():
        raise BadRequest(f"the ROI '{roiNode.GetName()}' has no size: place it in a view first")
    nodeToWorld(roiNode)  # refuses transforms that are not linear
    grid = Canvas.of(scan).grid
    toObject = np.linalg.inv(toNumpy(roiNode.GetObjectToWorldMatrix()))
    indexToObject = toObject @ RAS_TO_LPS @ grid.affine
    scale = np.linalg.norm(toObject[:3, :3], axis=1)
    axes = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
    inside = np.ones(grid.shape, bool)
    for row, limit, step in zip(indexToObject[:3], half, scale, strict=True):
        place = row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2] + row[3]
        inside &= np.abs(place) <= limit + TOUCHING * step
    return _mask(inside, scan, f"the ROI '{roiNode.GetName()}'")


def _mask(mask: np.ndarray, scan: Scan, what: str) -> LabelMap:
    if not mask.any():
        raise BadRequest(f"{what} covers no voxel of '{scan.reference.GetName()}'")
    grid = scan.image.grid
    return LabelMap(mask.reshape(grid.shape).astype(np.int32), grid, {1: "region"})
