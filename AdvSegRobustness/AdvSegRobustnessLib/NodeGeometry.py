"""Where nodes lie: matrices of volume nodes and their parent transforms as the library's grids.

Slicer stores index-to-RAS of an index (i, j, k); :class:`AdvSegLib.volumes.Grid` maps (k, j, i) to LPS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Grid

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
REVERSED = np.eye(4)[[2, 1, 0, 3]]
"""Between (i, j, k, 1) and (k, j, i, 1)."""
PERPENDICULAR = 1e-3
"""Largest cosine between two axes that files and ITK still hold; that of ``AdvSegLib.volumes.itk``."""


def toNumpy(matrix: Any) -> np.ndarray:
    """Return a vtkMatrix4x4 as ``(4, 4)`` float64."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def toVtk(matrix: np.ndarray) -> Any:
    """Return ``(4, 4)`` as a vtkMatrix4x4."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, float).ravel().tolist())
    return result


def ijkToRas(volumeNode: Any) -> np.ndarray:
    """Return a volume node's own IJK-to-RAS ``(4, 4)``, its parent transform left out."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return toNumpy(matrix)


def nodeToWorld(node: Any) -> np.ndarray:
    """Return the matrix of a node's parent transforms, nested ones together; BadRequest where they are not linear."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise BadRequest(f"'{node.GetName()}' is under the non-linear transform '{parent.GetName()}': harden it first")
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return toNumpy(matrix)


def gridOf(shape: tuple[int, ...], indexToRas: np.ndarray, what: str) -> Grid:
    """Return the grid of ``(k, j, i)`` voxels; BadRequest, naming ``what``, where its axes are not perpendicular."""
    try:
        grid = Grid(shape, RAS_TO_LPS @ indexToRas @ REVERSED)
    except BadRequest as error:
        raise BadRequest(f"'{what}': {error}") from error
    if np.abs(grid.cosines.T @ grid.cosines - np.eye(3)).max() > PERPENDICULAR:
        raise BadRequest(
            f"'{what}' has axes that are not perpendicular (sheared by its transform or its file): "
            "resample it to a straight grid first"
        )
    return grid


def worldGrid(volumeNode: Any) -> Grid:
    """Return where a volume node's voxels are in the world (3-D): its own matrix under its parent transforms."""
    return gridOf(shapeOf(volumeNode), nodeToWorld(volumeNode) @ ijkToRas(volumeNode), volumeNode.GetName())


def placeLike(node: Any, referenceNode: Any) -> None:
    """Put a node under the parent transform of another."""
    node.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())


def isNode(thing: Any) -> bool:
    """Tell whether a thing is a node at all: in a console people give names and IDs too."""
    return isinstance(thing, slicer.vtkMRMLNode)


def shapeOf(volumeNode: Any, use: str = "") -> tuple[int, int, int]:
    """Return a volume node's number of voxels ``(k, j, i)``; BadRequest where it holds none (any more).

    ``use`` says in the message what the node is for.
    """
    data = volumeNode.GetImageData()
    if data is None or data.GetNumberOfPoints() == 0 or data.GetPointData().GetScalars() is None:
        raise BadRequest(f"'{volumeNode.GetName()}'{use} holds no voxels: load it again")
    i, j, k = data.GetDimensions()
    return k, j, i


def isVolume(node: Any) -> bool:
    """Tell whether a node is a scalar volume (label maps and colour volumes are such, too)."""
    return isinstance(node, slicer.vtkMRMLScalarVolumeNode)
