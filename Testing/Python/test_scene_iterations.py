"""Recorded iterations as a sequence browser, and several runs compared in tables and charts."""

# ruff: noqa: E402 - what needs Slicer is imported after the skip

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from fixtures_scene import segmentMask, snapshot, voxelsOf

pytest.importorskip("slicer")
pytest_plugins = ("slicer_fixtures", "fixtures_scene")

from AdvSegRobustnessLib.ComparisonNodes import addComparison
from AdvSegRobustnessLib.IterationNodes import addIterations, showIteration
from AdvSegRobustnessLib.ResultNodes import addRun, findRuns, removeRun
from AdvSegRobustnessLib.TableNodes import columnOf

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import MARK, read_image

pytestmark = pytest.mark.usefixtures("aSlicer")


def shown(browser):
    """Return the nodes a browser shows, volumes first."""
    import vtk

    sequences = vtk.vtkCollection()
    browser.GetSynchronizedSequenceNodes(sequences, True)
    return [browser.GetProxyNode(sequences.GetItemAsObject(n)) for n in range(sequences.GetNumberOfItems())]


def recorded(run, step, channel):
    return read_image(run.folder / f"iterations/step_{step:04d}_{run.spec.channels[channel]}.nii.gz").array[0]


def checkBrowsing(run, browser, reference):
    *volumes, labels = shown(browser)
    names = [node.GetName() for node in (*volumes, labels)]
    for index in (0, 2, 1, 2, 0):
        showIteration(browser, index)
        for channel, node in enumerate(volumes):
            assert np.array_equal(voxelsOf(node), recorded(run, index, channel)), "browsing changed what was recorded"
            assert node.GetAttribute("AdvSeg.Mark") == MARK
        assert segmentMask(labels, "label2", reference).sum() == 10 * (index + 1)
        assert [node.GetName() for node in (*volumes, labels)] == names
    assert browser.GetNumberOfItems() == 3


def test_browsingShowsEachIterationAndRecordsNothing(aScene, aBrainRun):
    scan = aBrainRun.scan(aScene)
    browser = addIterations(aScene, aBrainRun.folder, scan, aBrainRun.spec.scheme)
    checkBrowsing(aBrainRun, browser, scan.reference)
    classes = [aScene.GetNthNode(n).GetClassName() for n in range(aScene.GetNumberOfNodes())]
    assert classes.count("vtkMRMLScalarVolumeNode") == 8, "the scan, and one proxy a channel: none of Slicer's own"
    assert classes.count("vtkMRMLSegmentationNode") == 1
    master = browser.GetMasterSequenceNode()
    assert [master.GetNthIndexValue(n) for n in range(3)] == ["0", "2", "4"]
    assert master.GetIndexName() == "step"
    *volumes, labels = shown(browser)
    for node, clean in zip(volumes, scan.nodes, strict=True):
        assert node.GetDisplayNode() is clean.GetDisplayNode()
    assert json.loads(labels.GetAttribute("AdvSeg.Numbers")) == {"dice": 1.0}


def test_windowAndTransformStayWhileBrowsing(aScene, aBrainRun):
    scan = aBrainRun.scan(aScene)
    moved = aScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    scan.reference.SetAndObserveTransformNodeID(moved.GetID())
    browser = addIterations(aScene, aBrainRun.folder, scan, aBrainRun.spec.scheme)
    scan.reference.GetDisplayNode().SetWindowLevel(50, 20)
    showIteration(browser, 2)
    for node in shown(browser):
        assert node.GetTransformNodeID() == moved.GetID()
    assert shown(browser)[0].GetDisplayNode().GetWindow() == 50


def test_drawingOnTheShownSegmentationLeavesTheRecord(aScene, aBrainRun):
    scan = aBrainRun.scan(aScene)
    browser = addIterations(aScene, aBrainRun.folder, scan, aBrainRun.spec.scheme)
    labels = shown(browser)[-1]
    labels.GetSegmentation().RemoveSegment("label2")
    showIteration(browser, 1)
    showIteration(browser, 0)
    assert segmentMask(labels, "label2", scan.reference).sum() == 10


def test_aRunBringsItsIterationsAndTakesThemAlong(aSlicer, aBrainRun, tmp_path):
    scene = aSlicer.scene
    scan = aBrainRun.scan(scene)
    before = snapshot(scene)
    result = addRun(scene, aBrainRun.folder, scan, aBrainRun.spec.scheme)
    checkBrowsing(aBrainRun, result.browser, scan.reference)
    path = aSlicer.save(tmp_path / "x.mrb")
    removeRun(scene, result)
    assert [name for _, name in snapshot(scene)[0] if "iteration" in name] == []
    assert snapshot(scene)[1] == before[1]
    aSlicer.clear()
    aSlicer.load(path)
    (found,) = findRuns(scene)
    checkBrowsing(aBrainRun, found.browser, found.scanNodes[0])
    (again,) = findRuns(scene)
    assert len(again.helpers) == len(result.helpers)


def test_whatSlicerShowsInPlaceOfADeletedNodeGoesWithTheRun(aScene, aBrainRun):
    """While a browser is in the scene Slicer makes a new node for one that was deleted, adversarial as it is."""
    result = addRun(aScene, aBrainRun.folder, aBrainRun.scan(aScene), aBrainRun.spec.scheme)
    aScene.RemoveNode(shown(result.browser)[0])
    showIteration(result.browser, 1)
    assert shown(result.browser)[0] is not None, "this test needs the node that Slicer makes"
    (found,) = findRuns(aScene)
    removeRun(aScene, found)
    assert [aScene.GetNthNode(n).GetName() for n in range(aScene.GetNumberOfNodes())
            if aScene.GetNthNode(n).GetAttribute("AdvSeg.Run")] == []  # fmt: skip
    assert findRuns(aScene) == []


def test_anIterationThatWasNotRecordedIsRefused(aScene, aBrainRun):
    browser = addIterations(aScene, aBrainRun.folder, aBrainRun.scan(aScene), aBrainRun.spec.scheme)
    for index in (-1, 3):
        with pytest.raises(BadRequest, match="there are 0 to 2"):
            showIteration(browser, index)


def edited(change):
    def hurt(folder):
        path = folder / "iterations" / "index.json"
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return hurt


DAMAGE = {
    "no JSON": (lambda folder: (folder / "iterations/index.json").write_text("{"), "not readable as JSON"),
    "a missing image": (lambda folder: (folder / "iterations/step_0001_t2.nii.gz").unlink(), "no such file"),
    "a truncated image": (
        lambda folder: (folder / "iterations/step_0001_t2.nii.gz").write_bytes(b"\x1f\x8b123"), "truncated",
    ),
    "another schema": (edited(lambda data: data.update(schema="x")), "schema 'x' is not"),
    "no iterations": (edited(lambda data: data.update(iterations=[])), "at least one iteration"),
    "steps that do not grow": (edited(lambda data: data["iterations"][1].update(step=0)), "steps that grow"),
    "too few channels": (edited(lambda data: data["iterations"][2]["images"].pop()), "4 images each"),
    "a step without labels": (edited(lambda data: data["iterations"][0].pop("labels")), "damaged"),
    "a file outside": (
        edited(lambda data: data["iterations"][0].update(labels="../../etc/passwd")), "not inside the run folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damagedIterationsAddNothingAtAll(aScene, aBrainRun, tmp_path, damage):
    hurt, message = DAMAGE[damage]
    folder = shutil.copytree(aBrainRun.folder, tmp_path / "run")
    hurt(folder)
    scan = aBrainRun.scan(aScene)
    before = snapshot(aScene)
    for add in (addRun, addIterations):
        with pytest.raises(BadRequest) as caught:
            add(aScene, folder, scan, aBrainRun.spec.scheme)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert snapshot(aScene) == before


@pytest.fixture
def threeRuns(aFilmRun, tmp_path):
    """Return runs of three budgets, unsorted; numbers only."""
    found = []
    for epsilon in (0.04, 0.01, 0.02):
        folder = tmp_path / f"run{epsilon}"
        folder.mkdir()
        metrics = json.loads((aFilmRun.folder / "metrics.json").read_text())
        metrics["budget"]["asked"]["epsilon"] = epsilon
        metrics["adversarial"]["dice"] = dict.fromkeys(metrics["adversarial"]["dice"], 0.9 - 10 * epsilon)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        found.append((f"eps {epsilon}", folder))
    return found


def test_aSweepIsDrawnAgainstGrowingEpsilon(aScene, threeRuns):
    table, charts = addComparison(aScene, threeRuns, "sweep", "epsilon")
    assert columnOf(table, "epsilon (% of range)") == [1, 2, 4]
    assert columnOf(table, "run") == ["eps 0.01", "eps 0.02", "eps 0.04"]
    assert columnOf(table, "attacked Dice") == pytest.approx([0.8, 0.7, 0.5])
    dice, structures, psnr = charts
    names = [dice.GetNthPlotSeriesNode(n).GetYColumnName() for n in range(dice.GetNumberOfPlotSeriesNodes())]
    assert names == ["clean Dice", "attacked Dice", "agreement"]
    assert {dice.GetNthPlotSeriesNode(n).GetXColumnName() for n in range(3)} == {"epsilon (% of range)"}
    assert structures.GetNumberOfPlotSeriesNodes() == 5
    assert columnOf(table, "heart") == pytest.approx([0.8, 0.7, 0.5])
    assert psnr.GetYAxisTitle() == "PSNR (dB)"
    hierarchy = aScene.GetSubjectHierarchyNode()
    folder = hierarchy.GetItemByName("sweep")
    series = [chart.GetNthPlotSeriesNode(n) for chart in charts for n in range(chart.GetNumberOfPlotSeriesNodes())]
    for node in (table, *charts, *series):  # Slicer's plugin for plots would leave series at the scene's root
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder, node.GetName()
    assert all(chart.GetTitle().isascii() for chart in charts)


def test_modelsAreComparedAsBars(aScene, threeRuns):
    import slicer

    table, charts = addComparison(aScene, threeRuns, "defenses")
    assert columnOf(table, "model") == ["eps 0.04", "eps 0.01", "eps 0.02"]
    series = charts[0].GetNthPlotSeriesNode(1)
    assert series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar
    assert series.GetLabelColumnName() == "model"


def test_comparisonsThatCannotBeAddNothing(aScene, threeRuns, tmp_path):
    before = snapshot(aScene)
    label, folder = threeRuns[0]
    other = shutil.copytree(folder, tmp_path / "l2")
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["budget"]["norm"] = "l2"
    (other / "metrics.json").write_text(json.dumps(metrics))
    for runs, axis, message in (
        ([], "model", "distinct labels"),
        ([(label, folder), (label, folder)], "model", "distinct labels"),
        (threeRuns, "colour", "unknown axis 'colour'"),
        ([("a", tmp_path / "none")], "model", "no such run folder"),
        ([("a", folder), ("b", other)], "epsilon", "different norms"),
    ):
        with pytest.raises(BadRequest, match=message):
            addComparison(aScene, runs, "x", axis)
    assert snapshot(aScene) == before
    table, _ = addComparison(aScene, [("a", folder), ("b", other)], "x")
    assert table.GetTable().GetColumnByName("epsilon (% of range)") is None
