"""Volume nodes to images and back, exact on any grid and under linear transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import MARK, Grid, Image
from AdvSegRobustnessLib.NodeGeometry import ijkToRas, isNode, isVolume, placeLike, shapeOf, toVtk, worldGrid
from AdvSegRobustnessLib.Roles import MARK_ATTRIBUTE
from AdvSegRobustnessLib.Voxels import imageDataOf, scalarsOf

LARGEST = 1e30
"""Intensities beyond this overflow float32 as soon as anything is computed of them; the library's own limit."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as the model is to see it, and the nodes it came from, one a channel.

    ``image`` is in world LPS; of a 2-D film it has two spatial axes. ``notes`` say what was not taken as it was.
    """

    image: Image
    nodes: tuple[Any, ...]
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> Any:
        """The first channel's node: results get its grid and its parent transform."""
        return self.nodes[0]


def scanFromNodes(nodes: Sequence[Any], channelNames: Sequence[str], dims: int | None = None) -> Scan:
    """Return scalar volumes, one a channel, as one image; intensities as float32, geometry that of the world.

    Linear parent transforms, nested ones too, move the grid; no voxel is resampled by them. A channel on another grid
    than the first is resampled onto it by the library's own rule, and a note says so. ``dims`` is the model's number
    of spatial axes: with 2, a volume of one slice is a 2-D film.

    Raises BadRequest, naming the node, for another number of volumes than channels, a node that is missing or holds no
    voxels, colour or label-map volumes, NaN, infinite or enormous voxels, non-linear transforms and sheared axes, for
    a film of another axis than the third, and for a channel that lies nowhere near the first.
    """
    names = tuple(channelNames)
    _checkCount(nodes, names)
    images, notes = [], _notesOn(nodes, names)
    for node, name in zip(nodes, names, strict=True):
        image, rounded = _channel(node, name)
        if rounded:
            notes.append(f"'{node.GetName()}' was rounded to float32")
        if images and not image.grid.matches(images[0].grid):
            notes.append(f"'{node.GetName()}' ({name}) was resampled onto the grid of '{nodes[0].GetName()}'")
        images.append(_onto(image, images[0].grid, node) if images else image)
    array, grid = np.stack([image.array[0] for image in images]), images[0].grid
    if dims == 2 and grid.shape[0] > 1 and 1 in grid.shape[1:]:
        k, j, i = grid.shape
        raise BadRequest(
            f"'{nodes[0].GetName()}' has {i} x {j} x {k} voxels: its slices are lines, and the model reads pictures; "
            "a film lies in the first two axes (the Orient Scalar Volume module turns it)"
        )
    mark = MARK if any(node.GetAttribute(MARK_ATTRIBUTE) for node in nodes) else ""
    if dims == 2 and grid.shape[0] == 1:
        grid, more = _film(grid)
        array = array[:, 0]
        notes.extend(more)
    return Scan(Image(array, grid, names, mark), tuple(nodes), tuple(notes))


def volumeFromArray(scene: Any, array: np.ndarray, referenceNode: Any, name: str) -> Any:
    """Return a new scalar volume of ``(k, j, i)`` voxels with the reference's IJK-to-RAS and parent transform.

    A film's ``(row, column)`` is taken as one slice. bool, float16 and 64-bit integers get the next type that Slicer
    holds. The node has no display node yet. Raises BadRequest where the shape is not the reference's.
    """
    array = np.asarray(array)
    array = array[None] if array.ndim == 2 else array
    if array.shape != shapeOf(referenceNode):
        raise BadRequest(
            f"voxels {array.shape} do not fit '{referenceNode.GetName()}', which has {shapeOf(referenceNode)}"
        )
    imageData = imageDataOf(array)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(toVtk(ijkToRas(referenceNode)))
    node.SetAndObserveImageData(imageData)
    placeLike(node, referenceNode)
    return node


def _checkCount(nodes: Sequence[Any], names: Sequence[str]) -> None:
    """Raise BadRequest where volumes and channels do not go together one by one."""
    if len(nodes) != len(names):
        raise BadRequest(f"the model takes {len(names)} volumes ({', '.join(names)}), {len(nodes)} are chosen")
    for node, name in zip(nodes, names, strict=True):
        if node is None:
            raise BadRequest(f"no volume is chosen for channel '{name}'")
        if not isNode(node):
            raise BadRequest(f"channel '{name}': give a volume node, not {node!r}; slicer.util.getNode() finds it")
        if node.GetScene() is None:
            raise BadRequest(f"the volume '{node.GetName()}' of channel '{name}' is no longer in the scene")


def _notesOn(nodes: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Return what is unusual about the choice of volumes."""
    notes = []
    for node in dict.fromkeys(nodes):
        channels = [name for other, name in zip(nodes, names, strict=True) if other is node]
        if len(channels) > 1:
            notes.append(f"channels {', '.join(channels)} are all the volume '{node.GetName()}'")
        if node.GetAttribute(MARK_ATTRIBUTE):
            notes.append(f"'{node.GetName()}' is itself an adversarial image")
    return notes


def _channel(node: Any, name: str) -> tuple[Image, bool]:
    """Return one volume as an image of one channel, and whether float32 could not hold its numbers."""
    what = node.GetName()
    if not isVolume(node):
        raise BadRequest(f"'{what}' (channel {name}) is not a scalar volume but a {node.GetClassName()}")
    if isinstance(node, slicer.vtkMRMLLabelMapVolumeNode):
        raise BadRequest(f"'{what}' (channel {name}) is a label map, not an image")
    shapeOf(node, f" (channel {name})")
    voxels = scalarsOf(node.GetImageData())
    if voxels.ndim != 3:
        raise BadRequest(
            f"'{what}' (channel {name}) has {voxels.shape[3]} components a voxel (a colour picture?): "
            "convert it with the Vector to Scalar Volume module"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        intensities = voxels.astype(np.float32)
        rounded = voxels.dtype.itemsize > 2 and voxels.dtype != np.float32 and bool((intensities != voxels).any())
        bad = int(voxels.size - (np.abs(intensities) <= LARGEST).sum())
    if bad:
        raise BadRequest(f"'{what}' (channel {name}) has {bad} NaN, infinite or enormous voxels: repair it first")
    return Image(intensities[None], worldGrid(node), (name,)), rounded


def _onto(image: Image, grid: Grid, node: Any) -> Image:
    """Return a channel on the first one's grid."""
    try:
        return image.onto(grid)
    except BadRequest as error:
        raise BadRequest(f"'{node.GetName()}': {error}") from error


def _film(grid: Grid) -> tuple[Grid, list[str]]:
    """Return one slice's grid in two dimensions; its place in LPS is kept where the slice is axial."""
    affine = np.eye(3)
    if np.abs(grid.affine[2, 1:3]).max() <= 1e-6 * min(grid.spacing[1:]):
        affine[:2, :2], affine[:2, 2] = grid.affine[:2, 1:3], grid.affine[:2, 3]
        return Grid(grid.shape[1:], affine), []
    flat = Grid.regular(grid.shape[1:], grid.spacing[1:])
    return flat, ["the film is not axial: files of the run have in-plane coordinates; results lie on the film"]
