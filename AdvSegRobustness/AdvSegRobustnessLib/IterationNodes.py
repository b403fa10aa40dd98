"""Recorded iterations as one sequence browser of volumes and segmentation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import MARK
from AdvSegRobustnessLib.LabelNodes import schemeStyles
from AdvSegRobustnessLib.NodeGeometry import ijkToRas, toVtk
from AdvSegRobustnessLib.RecordingFiles import INDEX_FILE, Recording, readRecording
from AdvSegRobustnessLib.Roles import assign
from AdvSegRobustnessLib.ScanNodes import Scan, volumeFromArray
from AdvSegRobustnessLib.SceneChange import wholeOrNothing
from AdvSegRobustnessLib.SegmentBuilding import fillSegmentation, segmentationNode
from AdvSegRobustnessLib.SharedDisplay import shareDisplay
from AdvSegRobustnessLib.Voxels import imageDataOf

__all__ = ["INDEX_FILE", "AddedRecording", "Recording", "addIterations", "addRecording", "readRecording",
           "showIteration"]  # fmt: skip

NUMBERS_ATTRIBUTE = "AdvSeg.Numbers"
"""The loop's numbers of a recorded iteration, as JSON, on the segmentation shown."""


@dataclass(frozen=True, eq=False)
class AddedRecording:
    """A browser, its sequences (volumes by channel, then segmentation), and the nodes that show its selected item."""

    browser: Any
    sequences: tuple[Any, ...]
    proxies: tuple[Any, ...]


def addIterations(scene: Any, runFolder: Path, scan: Scan, scheme: LabelScheme, *, name: str = "iterations") -> Any:
    """Return a sequence browser of ``iterations/index.json``; BadRequest, and no node, where it is damaged.

    It is browsed by the attack's step. Volumes and segmentation that it shows keep their names and lie on the scan;
    browsing records nothing.
    """
    recording = readRecording(Path(runFolder), scan, scheme)
    with wholeOrNothing(scene):
        return addRecording(scene, recording, scan, scheme, name, "").browser


def showIteration(browser: Any, index: int) -> None:
    """Show the recorded iteration of an index (0 is the first); BadRequest where there is none."""
    count = browser.GetNumberOfItems()
    if not 0 <= index < count:
        raise BadRequest(f"iteration {index} was not recorded; there are 0 to {count - 1}")
    browser.SetSelectedItemNumber(index)


def addRecording(
    scene: Any, recording: Recording, scan: Scan, scheme: LabelScheme, name: str, runId: str
) -> AddedRecording:
    """Add a recording's browser, sequences and proxies to the scene."""
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"iterations ({name})")
    sequences, proxies = [], []
    for channel in range(len(scan.image.names)):
        proxy = _volumeProxy(scene, recording, channel, scan, name, runId)
        sequences.append(_volumeSequence(scene, recording, channel, proxy, scan))
        proxies.append(proxy)
    shown = segmentationNode(
        scene, recording[0].labels, schemeStyles(scheme), scan.reference, f"iteration prediction ({name})"
    )
    assign(shown, runId, "iteration")
    sequences.append(_labelSequence(scene, recording, shown, scan, scheme))
    proxies.append(shown)
    modified = browser.StartModify()  # else Slicer makes a proxy of its own as soon as it hears of a sequence
    for sequence, proxy in zip(sequences, proxies, strict=True):
        _browse(browser, sequence, proxy)
    browser.EndModify(modified)
    browser.SetSelectedItemNumber(0)
    for proxy, clean in zip(proxies, scan.nodes, strict=False):
        shareDisplay(proxy, clean)
    shown.GetDisplayNode().SetVisibility(False)
    return AddedRecording(browser, tuple(sequences), tuple(proxies))


def _volumeProxy(scene: Any, recording: Recording, channel: int, scan: Scan, name: str, runId: str) -> Any:
    title = f"ADVERSARIAL iteration {scan.image.names[channel]} ({name})"
    node = volumeFromArray(scene, recording[0].images[channel], scan.reference, title)
    return assign(node, runId, "iteration", channel=scan.image.names[channel], mark=MARK)


def _sequence(scene: Any, name: str) -> Any:
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("step")
    sequence.SetIndexUnit("")
    sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
    return sequence


def _volumeSequence(scene: Any, recording: Recording, channel: int, proxy: Any, scan: Scan) -> Any:
    sequence = _sequence(scene, f"{proxy.GetName()} sequence")
    for recorded in recording:
        empty = slicer.vtkMRMLScalarVolumeNode()
        empty.SetIJKToRASMatrix(toVtk(ijkToRas(scan.reference)))
        _likeProxy(empty, proxy, recorded.numbers)
        kept = sequence.SetDataNodeAtValue(empty, str(recorded.step))
        # Set after the node was copied into the sequence, voxels need not be copied with it.
        kept.SetAndObserveImageData(imageDataOf(recorded.images[channel]))
    return sequence


def _labelSequence(scene: Any, recording: Recording, proxy: Any, scan: Scan, scheme: LabelScheme) -> Any:
    sequence, styles = _sequence(scene, f"{proxy.GetName()} sequence"), schemeStyles(scheme)
    matrix = ijkToRas(scan.reference)
    for recorded in recording:
        node = slicer.vtkMRMLSegmentationNode()
        fillSegmentation(node, np.asarray(recorded.labels), styles, matrix)
        _likeProxy(node, proxy, recorded.numbers)
        sequence.SetDataNodeAtValue(node, str(recorded.step))
    return sequence


def _likeProxy(node: Any, proxy: Any, numbers: dict[str, Any]) -> None:
    """Give a recorded node the proxy's attributes: browsing overwrites the proxy's with them."""
    node.SetName(proxy.GetName())
    node.SetDescription(proxy.GetDescription())
    for attribute in proxy.GetAttributeNames():
        node.SetAttribute(attribute, proxy.GetAttribute(attribute))
    node.SetAttribute(NUMBERS_ATTRIBUTE, json.dumps(numbers))


def _browse(browser: Any, sequence: Any, proxy: Any) -> None:
    browser.AddSynchronizedSequenceNode(sequence)
    browser.AddProxyNode(proxy, sequence, False)
    browser.SetOverwriteProxyName(sequence, False)
    # With SaveChanges the browser shows a recorded volume itself, else a deep copy of it: for four channels of a
    # brain 0 ms a step instead of 90. A segmentation, which people draw on, is small enough to be copied.
    browser.SetSaveChanges(sequence, proxy.IsA("vtkMRMLVolumeNode"))
    browser.SetRecording(sequence, False)
