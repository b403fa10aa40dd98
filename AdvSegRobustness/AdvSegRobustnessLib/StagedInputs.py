"""A request's nodes as files, and the job that names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.catalogue import model_folder, shipped_models
from AdvSegLib.volumes import Image, LabelMap
from AdvSegLib.volumes.itk import load_itk, to_sitk
from AdvSegRobustnessLib.AttackRequest import ROI, SEGMENT, UNTARGETED, WHOLE, AttackRequest
from AdvSegRobustnessLib.LabelNodes import labelMapFromNode, maskFromRoi, maskFromSegment
from AdvSegRobustnessLib.NodeGeometry import isNode
from AdvSegRobustnessLib.OwnGrids import onOwnGrid
from AdvSegRobustnessLib.ScanNodes import Scan

FILE_PARAMETER = "file"


def stageScan(folder: Path, scan: Scan) -> list[str]:
    """Write a scan, a file a channel, and return their paths. NRRD, not compressed: exact, and fast to write."""
    image = scan.image
    return [_write(folder / f"{name}.nrrd", image.array[index : index + 1], image)
            for index, name in enumerate(image.names)]  # fmt: skip


def stageSegment(
    folder: Path, model: str, scan: Scan, scheme: LabelScheme, *, truth: Any = None, device: str = "auto"
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write the inputs of a segmentation; return the worker's request (without ``id`` and ``out``) and notes."""
    request = {"do": "segment", "model": _modelName(model), "image": stageScan(folder, scan), "device": device}
    notes: tuple[str, ...] = ()
    if truth is not None:
        request["truth"], notes = _labels(folder / "truth.nrrd", truth, scan, scheme)
    return request, notes


def stageAttack(
    folder: Path, request: AttackRequest, scan: Scan, scheme: LabelScheme, *, image: Sequence[str] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write an attack's inputs into ``folder``; return the job (``advseg.job/1``) and notes.

    ``image`` are the scan's files where they were written before. BadRequest for label maps that are empty, name
    segments the model does not have, or lie elsewhere.
    """
    notes: list[str] = []
    job: dict[str, Any] = {
        "model": _modelName(request.model), "image": list(image) or stageScan(folder, scan), "attack": request.attack,
        "parameters": dict(request.parameters), "norm": request.norm, "seed": request.seed, "device": request.device,
        "precision": request.precision,
    }  # fmt: skip
    if request.epsilon is not None:
        job["epsilon"] = float(request.epsilon)
    if request.keep is not None:
        job["keep"] = request.keep
    if request.record:
        job["record"] = request.record
    if request.surrogate is not None:
        job["surrogate"] = _modelName(request.surrogate)
    if request.truth is not None:
        job["truth"], more = _labels(folder / "truth.nrrd", request.truth, scan, scheme, request.relabel)
        notes += more
    if request.goal != UNTARGETED:
        job["aim"] = {"kind": request.goal, **_aim(folder, request, scan, scheme, notes)}
    if request.region != WHOLE:
        job["region"] = _region(folder, request, scan)
    return job, tuple(notes)


def _modelName(model: str) -> str:
    """Return a model as the worker, which runs elsewhere, finds it: a shipped name, else the folder's full path."""
    return str(model) if str(model) in shipped_models() else str(model_folder(model).resolve())


def _aim(folder: Path, request: AttackRequest, scan: Scan, scheme: LabelScheme, notes: list[str]) -> dict[str, Any]:
    """Return the parameters of the target map, its segmentation written to a file."""
    parameters = dict(request.goalParameters)
    if request.target is None:
        return parameters
    file = folder / "target.nrrd"
    if request.goal == "drawn" and parameters.get("structure"):
        return {**parameters, FILE_PARAMETER: _writeLabels(file, _anySegment(request.target, scan))}
    if request.goal == "drawn":
        parameters = {"replace": "everything", **parameters}
    where = scan
    if parameters.get("align", "grid") != "grid":
        where = onOwnGrid(request.target, scan)
    parameters[FILE_PARAMETER], more = _labels(file, request.target, where, scheme)
    notes += more
    return parameters


def _region(folder: Path, request: AttackRequest, scan: Scan) -> dict[str, Any]:
    """Return where noise may go, a segment or ROI written to a mask file."""
    if request.region == SEGMENT:
        mask = maskFromSegment(request.regionNode, _segmentId(request.regionNode, request.regionSegment), scan)
    elif request.region == ROI:
        mask = maskFromRoi(request.regionNode, scan)
    else:
        parameters = dict(request.regionParameters)
        if parameters.get(FILE_PARAMETER):
            parameters[FILE_PARAMETER] = str(Path(parameters[FILE_PARAMETER]).resolve())
        return {"kind": request.region, **parameters}
    return {"kind": "mask", FILE_PARAMETER: _writeLabels(folder / "region.nrrd", mask)}


def _segmentId(node: Any, wanted: str) -> str:
    """Return the ID of a segment given by ID or name; BadRequest with the names there are."""
    if not hasattr(node, "GetSegmentation"):
        raise BadRequest(f"region segment: '{_nameOf(node)}' is no segmentation node")
    segmentation = node.GetSegmentation()
    if segmentation.GetSegment(wanted) is not None:
        return wanted
    found = segmentation.GetSegmentIdBySegmentName(wanted)
    if not found:
        ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        names = ", ".join(segmentation.GetSegment(item).GetName() for item in ids) or "none"
        raise BadRequest(f"segmentation '{node.GetName()}' has no segment '{wanted}'; it has {names}")
    return str(found)


def _nameOf(thing: Any) -> str:
    """Return a node's name; in a console people give names and IDs instead of nodes."""
    return str(thing.GetName() if isNode(thing) else thing)


def _anySegment(node: Any, scan: Scan) -> LabelMap:
    """Return everything that is drawn, whatever its segments are called, as 0 and 1."""
    if not hasattr(node, "GetSegmentation"):
        raise BadRequest(f"'{_nameOf(node)}' is no segmentation node: with a structure named, draw in a segmentation")
    segmentation = node.GetSegmentation()
    drawn = np.zeros(scan.image.grid.shape, np.int32)
    for index in range(segmentation.GetNumberOfSegments()):
        try:
            drawn |= maskFromSegment(node, segmentation.GetNthSegmentID(index), scan).array
        except BadRequest:
            continue  # this segment is empty; that all are is told below
    if not drawn.any():
        raise BadRequest(f"target '{node.GetName()}' is empty: nothing is drawn in it")
    return LabelMap(drawn, scan.image.grid)


def _labels(
    path: Path, node: Any, scan: Scan, scheme: LabelScheme, relabel: Any = None
) -> tuple[str, tuple[str, ...]]:
    """Write a segmentation or label map in the model's values; return its path, and notes."""
    labels, notes = labelMapFromNode(node, scan, scheme, relabel=relabel or None)
    return _writeLabels(path, labels), notes


def _writeLabels(path: Path, labels: LabelMap) -> str:
    high = int(labels.array.max(initial=0))
    dtype = np.uint8 if high < 256 else np.uint16 if high < 65536 else np.int32
    return _write(path, labels.array[None].astype(dtype), labels)


def _write(path: Path, array: Any, placed: Image | LabelMap) -> str:
    """Write ``(1, *spatial)`` voxels on the grid of an image or label map; a film becomes a single slice."""
    try:
        load_itk().WriteImage(to_sitk(array, placed.grid.lifted()), str(path), False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise AdvSegError(f"{path}: cannot write ({reason})") from error
    return str(path)
