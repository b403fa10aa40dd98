"""The grid a segmentation or label map was drawn on, where it is not to be laid onto the scan's."""

from __future__ import annotations

from typing import Any

import numpy as np

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Image
from AdvSegRobustnessLib.NodeGeometry import isVolume, worldGrid
from AdvSegRobustnessLib.ScanNodes import Scan, scanFromNodes

CHANNEL = ("drawing",)


def onOwnGrid(node: Any, scan: Scan) -> Scan:
    """Return a stand-in for ``scan`` on the grid of the volume that a segmentation or label map was drawn on.

    BadRequest where that volume is not in the scene, or where a film's label map has no such volume.
    """
    film = scan.image.grid.rank == 2
    if isVolume(node) and not film:
        grid = worldGrid(node)
        return Scan(Image(np.zeros((1, *grid.shape), np.float32), grid, CHANNEL), (node,))
    role = getattr(node, "GetReferenceImageGeometryReferenceRole", str)()
    volume = node.GetNodeReference(role) if role else None
    if volume is None:
        raise BadRequest(
            f"'{node.GetName()}': the volume it was drawn on is not in the scene, so nobody knows its own grid; "
            "take align=grid"
        )
    return scanFromNodes([volume], CHANNEL, 2 if film else None)
