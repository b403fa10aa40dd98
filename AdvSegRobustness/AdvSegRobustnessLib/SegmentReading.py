"""Segmentations and label-map volumes as label values on a scan's grid, whatever grid they are on themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Grid, LabelMap
from AdvSegRobustnessLib.NodeGeometry import gridOf, isNode, isVolume, nodeToWorld, shapeOf, toNumpy, toVtk, worldGrid
from AdvSegRobustnessLib.ScanNodes import Scan
from AdvSegRobustnessLib.SegmentBuilding import BINARY
from AdvSegRobustnessLib.Voxels import scalarsOf

LABEL_TAG = "AdvSeg.Label"
"""Tag of a segment that holds its label value."""
LABEL_NAME_TAG = "AdvSeg.LabelName"
"""Tag that holds the label's name in the model it comes from: value 1 of another model is another structure."""


def segmentId(value: int) -> str:
    """Return the ID of the segment of a label value.

    >>> segmentId(3)
    'label3'
    """
    return f"label{value}"


def labelMapFromNode(
    node: Any, scan: Scan, scheme: LabelScheme, *, relabel: Mapping[int, int] | None = None
) -> tuple[LabelMap, tuple[str, ...]]:
    """Return a segmentation or label-map volume as label values on ``scan.image.grid``, and notes.

    A segment is the label of its tag :data:`LABEL_TAG`, else of its ID ``label<value>``, else of its name (case does
    not matter); ``relabel`` replaces values of tags, IDs and label-map voxels. Where segments overlap, the later one
    wins.
    What lies on other voxels than the scan's is resampled (nearest neighbour), and a note says so.

    Raises BadRequest for a segment that is no structure of the scheme (naming both sides), for an empty map, and for
    one that lies outside the scan.
    """
    if node is not None and not isNode(node):
        raise BadRequest(f"give a segmentation or label-map node, not {node!r}; slicer.util.getNode() finds it")
    if node is None or node.GetScene() is None:
        raise BadRequest("no segmentation or label map is chosen, or it is no longer in the scene")
    canvas = Canvas.of(scan)
    if isinstance(node, slicer.vtkMRMLSegmentationNode):
        drawn = _paintSegments(node, canvas, scheme, relabel or {})
    elif isVolume(node):
        drawn = _paintVolume(node, canvas, relabel or {})
    else:
        raise BadRequest(f"'{node.GetName()}' is neither a segmentation nor a label map, but a {node.GetClassName()}")
    if not drawn:
        raise BadRequest(f"'{node.GetName()}' is empty: no voxel is labelled")
    found = LabelMap(canvas.array.reshape(scan.image.grid.shape), scan.image.grid, scheme.names)
    if not found.values:
        raise BadRequest(f"'{node.GetName()}' does not overlap the scan '{scan.reference.GetName()}'")
    scheme.check(found.values, f"'{node.GetName()}'")
    return found, canvas.notesOn(node, scan)


@dataclass(eq=False)
class Canvas:
    """Label values on a scan's voxels, as seen in the world, on which layers are laid one after the other."""

    grid: Grid
    array: np.ndarray
    resampled: bool = False
    overlapping: int = 0
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, scan: Scan) -> Canvas:
        """Return an empty one on a scan."""
        if scan.reference.GetScene() is None:
            raise BadRequest(f"the scan '{scan.reference.GetName()}' is no longer in the scene")
        grid = worldGrid(scan.reference)
        return cls(grid, np.zeros(grid.shape, np.int32))

    def place(self, layer: np.ndarray, grid: Grid) -> np.ndarray:
        """Return a layer ``(k, j, i)`` on our voxels: moved by whole voxels where that is exact, else resampled."""
        start = _offset(grid, self.grid)
        if start is not None:
            return _pasted(layer, start, self.grid.shape)
        try:
            placed = LabelMap(layer, grid).onto(self.grid).array
        except BadRequest as error:
            if "overlap" not in str(error):
                raise
            placed = np.zeros(self.grid.shape, np.int32)  # this layer lies elsewhere; whether all do is asked later
        self.resampled |= bool(placed.any())
        return placed

    def paint(self, mask: np.ndarray, value: int) -> None:
        """Write a value where ``mask`` is set, over what is there."""
        self.overlapping += int((mask & (self.array != 0) & (self.array != value)).sum())
        self.array[mask] = value

    def notesOn(self, node: Any, scan: Scan) -> tuple[str, ...]:
        """Return what happened on the way."""
        name, notes = node.GetName(), []
        if self.resampled:
            notes.append(f"'{name}' was resampled onto the grid of '{scan.reference.GetName()}' (nearest neighbour)")
        if self.overlapping:
            notes.append(f"segments of '{name}' overlap in {self.overlapping} voxels: the later segment wins there")
        if self.ignored:
            notes.append(f"empty segments of '{name}' that the model does not know: {', '.join(self.ignored)}")
        return tuple(notes)


def layersOf(node: Any, ids: Sequence[str], canvas: Canvas) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each segment's ID and its mask on the canvas, in order; a layer that segments share is placed once."""
    segmentation, toWorld = _binary(node, canvas), nodeToWorld(node)
    last, placed = None, None
    for identity in ids:
        segment = segmentation.GetSegment(identity)
        image = segment.GetRepresentation(BINARY)
        if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
            yield identity, np.zeros(canvas.grid.shape, bool)
            continue
        if image is not last:
            last, placed = image, canvas.place(*_layer(image, toWorld, node.GetName()))
        yield identity, placed == segment.GetLabelValue()


def _layer(image: Any, toWorld: np.ndarray, what: str) -> tuple[np.ndarray, Grid]:
    """Return a layer's values and where they are in the world; its first voxel need not be number 0."""
    array = scalarsOf(image)
    matrix = toNumpy(_imageToWorld(image))
    first = np.eye(4)
    first[:3, 3] = image.GetExtent()[::2]
    return array.astype(np.int32), gridOf(array.shape, toWorld @ matrix @ first, what)


def _imageToWorld(image: Any) -> Any:
    matrix = toVtk(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    return matrix


def _binary(node: Any, canvas: Canvas) -> Any:
    """Return a segmentation's voxels; of one that has only surfaces, a copy filled on the canvas' grid."""
    segmentation = node.GetSegmentation()
    if segmentation is None or segmentation.GetNumberOfSegments() == 0:
        raise BadRequest(f"'{node.GetName()}' is empty: it has no segments")
    if segmentation.ContainsRepresentation(BINARY):
        return segmentation
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    frame = slicer.vtkOrientedImageData()
    k, j, i = canvas.grid.shape
    frame.SetDimensions(i, j, k)
    lpsToNode = np.linalg.inv(nodeToWorld(node)) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    frame.SetImageToWorldMatrix(toVtk(lpsToNode @ canvas.grid.affine @ np.eye(4)[[2, 1, 0, 3]]))
    converter = slicer.vtkSegmentationConverter
    copy.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(frame)
    )
    if not copy.CreateRepresentation(BINARY):
        raise BadRequest(f"'{node.GetName()}' has no voxels and its surfaces cannot be filled")
    canvas.resampled = True
    return copy


def _paintSegments(node: Any, canvas: Canvas, scheme: LabelScheme, relabel: Mapping[int, int]) -> bool:
    """Paint all segments; tell whether any has a voxel, on the scan or off it."""
    segmentation = node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    values = {identity: _valueOf(segmentation.GetSegment(identity), identity, scheme, relabel) for identity in ids}
    drawn, unknown, ignored = False, [], []
    for identity, mask in layersOf(node, ids, canvas):
        segment, value = segmentation.GetSegment(identity), values[identity]
        full = bool(mask.any()) or _hasVoxels(segment)
        drawn |= full
        if value is None:
            (unknown if full else ignored).append(segment.GetName())
        else:
            canvas.paint(mask, value)
    if unknown:
        theirs, ours = ", ".join(unknown), ", ".join(label.name for label in scheme.labels)
        raise BadRequest(f"segments of '{node.GetName()}' that the model does not know: {theirs}; it has {ours}")
    canvas.ignored = tuple(ignored)
    return drawn


def _hasVoxels(segment: Any) -> bool:
    image = segment.GetRepresentation(BINARY)
    if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
        return False
    return bool((scalarsOf(image) == segment.GetLabelValue()).any())


def _valueOf(segment: Any, identity: str, scheme: LabelScheme, relabel: Mapping[int, int]) -> int | None:
    """Return the label a segment stands for, or None."""
    tag, origin = tagOf(segment, LABEL_TAG), tagOf(segment, LABEL_NAME_TAG)
    known = {str(label.value): label.value for label in scheme.labels}
    ours = not origin or scheme.names.get(int(tag) if tag.isdigit() else 0) == origin
    number = tag or (identity[5:] if identity.startswith("label") else "")
    if number.isdigit() and int(number) in relabel:
        return relabel[int(number)]
    if ours and number in known:
        return known[number]
    byName = {label.name.casefold(): label.value for label in scheme.labels}
    for name in (segment.GetName() or "", origin):
        if name.strip().casefold() in byName:
            return byName[name.strip().casefold()]
    return None


def tagOf(segment: Any, name: str) -> str:
    """Return a segment's tag; empty where it has none."""
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""


def _paintVolume(node: Any, canvas: Canvas, relabel: Mapping[int, int]) -> bool:
    """Paint a volume of label values; tell whether any is not 0."""
    shapeOf(node)
    voxels = scalarsOf(node.GetImageData())
    if voxels.ndim != 3 or not (np.abs(voxels.astype(np.float64)) < 2**31).all() or (voxels != np.rint(voxels)).any():
        raise BadRequest(f"'{node.GetName()}' holds values that are not whole numbers: is it an image?")
    labels = LabelMap(voxels.astype(np.int32), worldGrid(node)).relabelled(dict(relabel))
    canvas.array[...] = canvas.place(labels.array, labels.grid)
    return bool(labels.array.any())


def _offset(inner: Grid, outer: Grid) -> tuple[int, ...] | None:
    """Return at which voxel of ``outer`` the first one of ``inner`` lies; None where their voxels do not coincide."""
    between = np.linalg.solve(outer.affine, inner.affine)
    start = np.rint(between[:3, 3]).astype(int)
    moved = Grid(inner.shape, outer.affine @ _shift(start))
    return tuple(int(n) for n in start) if moved.matches(inner) else None


def _shift(start: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = start
    return matrix


def _pasted(layer: np.ndarray, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return ``shape`` voxels with a layer laid in from a voxel on; what sticks out is cut."""
    result = np.zeros(shape, np.int32)
    low = [max(0, s) for s in start]
    high = [min(n, s + m) for n, s, m in zip(shape, start, layer.shape, strict=True)]
    if all(a < b for a, b in zip(low, high, strict=True)):
        target = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        source = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        result[target] = layer[source]
    return result
