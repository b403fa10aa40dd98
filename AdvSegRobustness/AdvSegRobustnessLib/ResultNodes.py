"""A run folder as nodes of the scene, whole or not at all, and found again after saving and loading."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import vtk

from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import MARK
from AdvSegRobustnessLib.DifferenceNodes import addDifference
from AdvSegRobustnessLib.IterationNodes import INDEX_FILE, Recording, addRecording, readRecording
from AdvSegRobustnessLib.LabelNodes import schemeStyles
from AdvSegRobustnessLib.NoiseDisplay import removeUnusedTable, showAsNoise
from AdvSegRobustnessLib.PlotNodes import Axis, addChart
from AdvSegRobustnessLib.Roles import (
    CHANNEL_ATTRIBUTE,
    FOREIGN,
    MARK_ATTRIBUTE,
    NAME_ATTRIBUTE,
    NOTES_ATTRIBUTE,
    OWNED,
    ROLE_ATTRIBUTE,
    RUN_ATTRIBUTE,
    assign,
    referenceRole,
)
from AdvSegRobustnessLib.RunFolder import RunFolder, readLabels, readRun
from AdvSegRobustnessLib.ScanNodes import Scan, volumeFromArray
from AdvSegRobustnessLib.SceneChange import (
    addFolder,
    folderWith,
    hierarchyOf,
    itemIds,
    nodesWith,
    putInFolder,
    removeNodes,
    wholeOrNothing,
)
from AdvSegRobustnessLib.SegmentBuilding import segmentationNode
from AdvSegRobustnessLib.SharedDisplay import shareDisplay
from AdvSegRobustnessLib.TableNodes import addHistoryTable, addMetricsTable

__all__ = [
    "CHANNEL_ATTRIBUTE",
    "MARK_ATTRIBUTE",
    "ROLE_ATTRIBUTE",
    "RUN_ATTRIBUTE",
    "ResultNodes",
    "addRun",
    "addSegmentation",
    "findRuns",
    "removeRun",
]

FOLDER_PREFIX = "ADVERSARIAL"


@dataclass(eq=False)
class ResultNodes:
    """The nodes of one run. What a user has deleted since is None, or missing from its list."""

    runId: str
    name: str
    folderItem: int
    adversarial: list[Any]
    perturbation: list[Any]
    clean: Any
    attacked: Any
    difference: Any
    metrics: Any
    history: Any
    charts: list[Any] = field(default_factory=list)
    target: Any = None
    browser: Any = None
    scanNodes: list[Any] = field(default_factory=list)
    """The clean volumes, one a channel."""
    notes: tuple[str, ...] = ()
    """What the run warns of."""
    helpers: list[Any] = field(default_factory=list)
    """Plot series, sequences and the volumes and segmentation that show recorded iterations."""


def addSegmentation(scene: Any, folder: Path, scan: Scan, scheme: LabelScheme, name: str) -> Any:
    """Return a segmentation node of an ``advseg segment`` folder; BadRequest, and no node, where it is damaged."""
    labels = readLabels(Path(folder) / "labels.nii.gz", scan.image.grid.lifted(), scheme)
    with wholeOrNothing(scene):
        node = segmentationNode(scene, labels, schemeStyles(scheme), scan.reference, name)
        hierarchy = hierarchyOf(scene)
        beside = hierarchy.GetItemByDataNode(scan.reference)
        putInFolder(scene, hierarchy.GetItemParent(beside) if beside else hierarchy.GetSceneItemID(), [node])
    return node


def addRun(
    scene: Any, folder: Path, scan: Scan, scheme: LabelScheme, *, name: str | None = None, target: Any = None
) -> ResultNodes:
    """Add a run folder's results to the scene, all of them or none; return them.

    All nodes lie on the scan: its voxels, its parent transform. ``target`` is the segmentation the attack was to
    reach, where there is one in the scene; it is referred to, and stays its owner's. Recorded iterations become a
    sequence browser. Raises BadRequest for a folder that is damaged, not whole, or not of this scan.
    """
    run = readRun(Path(folder), scan, scheme)
    recording = readRecording(Path(folder), scan, scheme) if (Path(folder) / INDEX_FILE).exists() else None
    name = name or f"{run.metrics['attack']} on {scan.reference.GetName()}"
    with wholeOrNothing(scene):
        return _Adding(scene, scan, scheme, name, uuid.uuid4().hex).add(run, recording, target)


def findRuns(scene: Any) -> list[ResultNodes]:
    """Return the runs in the scene, oldest first, from attributes and references: also after loading a saved scene.

    A run is what its metric table refers to; where a user has deleted that table, what else has the run's ID.
    """
    tables = [node for node in nodesWith(scene, RUN_ATTRIBUTE) if node.GetAttribute(ROLE_ATTRIBUTE) == "metrics"]
    runs = [_gathered(scene, _referred(table), table) for table in tables]
    known = {table.GetAttribute(RUN_ATTRIBUTE) for table in tables}
    for node in nodesWith(scene, RUN_ATTRIBUTE):
        identity = node.GetAttribute(RUN_ATTRIBUTE)
        if identity not in known:
            known.add(identity)
            orphans: dict[str, list[Any]] = {}
            for other in nodesWith(scene, RUN_ATTRIBUTE, identity):
                orphans.setdefault(other.GetAttribute(ROLE_ATTRIBUTE), []).append(other)
            runs.append(_gathered(scene, orphans, node))
    return runs


def removeRun(scene: Any, result: ResultNodes) -> None:
    """Remove a run's nodes and its folder, nothing else: what a user put into the folder moves up.

    The browser goes first: while it is there, Slicer makes a new node for each one that it showed.
    """
    owned = (
        result.browser, *_proxies(result), *result.charts, *result.helpers, *result.adversarial, *result.perturbation,
        result.clean, result.attacked, result.difference, result.history, result.metrics,
    )  # fmt: skip
    removeNodes(scene, owned)
    removeUnusedTable(scene)
    hierarchy = hierarchyOf(scene)
    item = result.folderItem
    if item in itemIds(hierarchy) and hierarchy.GetItemAttribute(item, RUN_ATTRIBUTE) == result.runId:
        hierarchy.RemoveItem(item, False, False)


def _proxies(result: ResultNodes) -> list[Any]:
    """Return the run's nodes that the browser shows: of one that was deleted, Slicer makes another by itself."""
    shown = vtk.vtkCollection()
    if result.browser is not None:
        result.browser.GetAllProxyNodes(shown)
    nodes = [shown.GetItemAsObject(index) for index in range(shown.GetNumberOfItems())]
    return [node for node in nodes if node.GetAttribute(RUN_ATTRIBUTE) == result.runId]


def _referred(table: Any) -> dict[str, list[Any]]:
    """Return the nodes a metric table refers to, by role; itself included."""
    nodes: dict[str, list[Any]] = {"metrics": [table]}
    for role in (*OWNED, *FOREIGN):
        name = referenceRole(role)
        found = [table.GetNthNodeReference(name, index) for index in range(table.GetNumberOfNodeReferences(name))]
        nodes.setdefault(role, []).extend(node for node in found if node is not None)
    return nodes


def _gathered(scene: Any, nodes: Mapping[str, list[Any]], anchor: Any) -> ResultNodes:
    """Return nodes by role as a run."""
    runId = anchor.GetAttribute(RUN_ATTRIBUTE)

    def one(role: str) -> Any:
        return next(iter(nodes.get(role, [])), None)

    def several(role: str) -> list[Any]:
        return list(nodes.get(role, []))

    return ResultNodes(
        runId, anchor.GetAttribute(NAME_ATTRIBUTE) or runId, folderWith(scene, RUN_ATTRIBUTE, runId, anchor),
        several("adversarial"), several("perturbation"), one("clean"), one("attacked"), one("difference"),
        one("metrics"), one("history"), several("chart"), one("target"), one("browser"), several("scan"),
        tuple(json.loads(anchor.GetAttribute(NOTES_ATTRIBUTE) or "[]")),
        [*several("series"), *several("sequence"), *several("iteration")],
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Adding:
    """One run on its way into a scene."""

    scene: Any
    scan: Scan
    scheme: LabelScheme
    name: str
    runId: str

    def add(self, run: RunFolder, recording: Recording | None, target: Any) -> ResultNodes:
        metrics = addMetricsTable(self.scene, run.metrics, f"metrics ({self.name})")
        nodes = {
            **self._volumes(run), **self._segmentations(run), "metrics": [metrics],
            **self._history(run), **self._iterations(recording),
        }  # fmt: skip
        for role, several in nodes.items():
            for node in several:
                assign(node, self.runId, role)
                node.SetAttribute(NAME_ATTRIBUTE, self.name)
        metrics.SetAttribute(NOTES_ATTRIBUTE, json.dumps([str(note) for note in run.metrics["warnings"]]))
        self._refer(metrics, {**nodes, "scan": self.scan.nodes, "target": [target] if target is not None else []})
        self._file(nodes)
        for node, clean in zip(nodes["adversarial"], self.scan.nodes, strict=True):
            shareDisplay(node, clean)  # last: it is the one thing that touches the scan's own nodes
        return _gathered(self.scene, _referred(metrics), metrics)

    def _volumes(self, run: RunFolder) -> dict[str, list[Any]]:
        """Return adversarial and perturbation volumes, one each a channel."""
        adversarial = [self._volume("adversarial", index, array) for index, array in enumerate(run.adversarial)]
        noise = [self._volume("perturbation", index, array) for index, array in enumerate(run.perturbation)]
        for node, array in zip(noise, run.perturbation, strict=True):
            showAsNoise(node, array)
        return {"adversarial": adversarial, "perturbation": noise}

    def _volume(self, role: str, index: int, array: np.ndarray) -> Any:
        channel = self.scan.image.names[index]
        clean = self.scan.nodes[index]
        title = f"ADVERSARIAL {channel} ({self.name})" if role == "adversarial" else f"noise {channel} ({self.name})"
        node = volumeFromArray(self.scene, array, self.scan.reference, title)
        node.SetVoxelValueQuantity(clean.GetVoxelValueQuantity())
        node.SetVoxelValueUnits(clean.GetVoxelValueUnits())
        return assign(node, self.runId, role, channel=channel, mark=MARK)

    def _segmentations(self, run: RunFolder) -> dict[str, list[Any]]:
        reference, styles = self.scan.reference, schemeStyles(self.scheme)
        clean = segmentationNode(self.scene, run.clean, styles, reference, f"clean prediction ({self.name})")
        attacked = segmentationNode(
            self.scene, run.attacked, styles, reference, f"ADVERSARIAL prediction ({self.name})"
        )
        difference = addDifference(
            self.scene, run.clean, run.attacked, self.scheme, reference, f"difference ({self.name})"
        )
        for node in (clean, difference):
            node.GetDisplayNode().SetVisibility(False)  # three at once hide each other
        return {"clean": [clean], "attacked": [attacked], "difference": [difference]}

    def _history(self, run: RunFolder) -> dict[str, list[Any]]:
        table = addHistoryTable(self.scene, run.history, f"history ({self.name})")
        axis = Axis("iteration", "iteration")
        dice, diceSeries = addChart(
            self.scene, table, ["Dice"], axis, f"Dice against iteration ({self.name})", "Dice", unit=True
        )
        psnr, psnrSeries = addChart(
            self.scene, table, ["PSNR (dB)"], axis, f"PSNR against iteration ({self.name})", "PSNR (dB)"
        )
        return {"history": [table], "chart": [dice, psnr], "series": [*diceSeries, *psnrSeries]}

    def _iterations(self, recording: Recording | None) -> dict[str, list[Any]]:
        if recording is None:
            return {}
        added = addRecording(self.scene, recording, self.scan, self.scheme, self.name, self.runId)
        return {"browser": [added.browser], "sequence": list(added.sequences), "iteration": list(added.proxies)}

    def _refer(self, table: Any, nodes: Mapping[str, Any]) -> None:
        """Let the metric table refer to every node, so that the run is found after its IDs have changed."""
        for role, several in nodes.items():
            if role != "metrics":
                for node in several:
                    table.AddNodeReferenceID(referenceRole(role), node.GetID())

    def _file(self, nodes: Mapping[str, list[Any]]) -> None:
        """Hang the nodes into a folder of the subject hierarchy that says ADVERSARIAL."""
        item = addFolder(self.scene, f"{FOLDER_PREFIX} {self.name}", self.scan.reference)
        hierarchy = hierarchyOf(self.scene)
        hierarchy.SetItemAttribute(item, RUN_ATTRIBUTE, self.runId)
        hierarchy.SetItemAttribute(item, MARK_ATTRIBUTE, MARK)
        for several in nodes.values():
            putInFolder(self.scene, item, several)
