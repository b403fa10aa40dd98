"""A run's nodes: all or none, on the scan, in step with the files, and the same after saving and loading."""

# ruff: noqa: E402 - what needs Slicer is imported after the skip

from __future__ import annotations

import inspect
import json
import shutil

import numpy as np
import pytest
from fixtures_scene import rotation, segmentMask, snapshot, transformNode, voxelsOf, worldOf

pytest.importorskip("slicer")
pytest_plugins = ("slicer_fixtures", "fixtures_scene")

from AdvSegRobustnessLib.DifferenceNodes import differenceSegments
from AdvSegRobustnessLib.NoiseDisplay import noiseColorTable, setMagnification
from AdvSegRobustnessLib.ResultNodes import addRun, addSegmentation, findRuns, removeRun
from AdvSegRobustnessLib.SceneChange import hierarchyOf
from AdvSegRobustnessLib.TableNodes import columnOf

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import chest_scheme
from AdvSegLib.metrics.difference import difference_map
from AdvSegLib.volumes import MARK, Grid, LabelMap, read_image, read_labels

pytestmark = pytest.mark.usefixtures("aSlicer")


def added(scene, run, **options):
    return addRun(scene, run.folder, run.scan(scene), run.spec.scheme, **options)


def test_voxelsAndPlacesAreThoseOfTheFiles(aScene, aBrainRun):
    scan = aBrainRun.scan(aScene)
    result = addRun(aScene, aBrainRun.folder, scan, aBrainRun.spec.scheme)
    names = aBrainRun.spec.channels
    assert len(result.adversarial) == len(result.perturbation) == len(names) == 4
    for role, nodes in (("adversarial", result.adversarial), ("perturbation", result.perturbation)):
        for name, node, clean in zip(names, nodes, scan.nodes, strict=True):
            file = read_image(aBrainRun.folder / f"{role}_{name}.nii.gz")
            assert np.array_equal(voxelsOf(node), file.array[0])
            assert node.GetAttribute("AdvSeg.Mark") == MARK
            assert node.GetAttribute("AdvSeg.Channel") == name
            assert worldOf(node, (31, 7, 20)) == pytest.approx(worldOf(clean, (31, 7, 20)))
    assert "ADVERSARIAL t1 " in result.adversarial[0].GetName()
    for node, file in ((result.clean, "clean_labels"), (result.attacked, "adversarial_labels")):
        labels = read_labels(aBrainRun.folder / f"{file}.nii.gz").array
        for label in aBrainRun.spec.scheme.labels:
            mask = segmentMask(node, f"label{label.value}", scan.reference)
            assert np.array_equal(mask, labels == label.value)


def test_resultsLieOnAScanThatIsMoved(aScene, aFilmRun):
    scan = aFilmRun.scan(aScene)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation((0.0, 0.0, 0.4)), (3, -8, 0)
    scan.reference.SetAndObserveTransformNodeID(transformNode(aScene, matrix).GetID())
    result = addRun(aScene, aFilmRun.folder, scan, aFilmRun.spec.scheme)
    for node in (*result.adversarial, *result.perturbation):
        assert worldOf(node, (63, 5, 0)) == pytest.approx(worldOf(scan.reference, (63, 5, 0)))
    for node in (result.clean, result.attacked, result.difference):
        assert node.GetTransformNodeID() == scan.reference.GetTransformNodeID()
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is scan.reference


def test_windowOfCleanAndAdversarialIsOne(aScene, aBrainRun):
    result = added(aScene, aBrainRun)
    for clean, adversarial in zip(result.scanNodes, result.adversarial, strict=True):
        before = clean.GetDisplayNode().GetWindow(), clean.GetDisplayNode().GetLevel()
        adversarial.GetDisplayNode().SetWindowLevel(77.0, 33.0)
        assert (clean.GetDisplayNode().GetWindow(), clean.GetDisplayNode().GetLevel()) == (77.0, 33.0) != before
        adversarial.Modified()
        clean.GetImageData().Modified()
        assert clean.GetDisplayNode().GetWindow() == 77.0


def test_windowStaysWhatTheReaderHadSet(aScene, aFilmRun):
    scan = aFilmRun.scan(aScene)
    display = scan.reference.GetDisplayNode()
    automatic = display.GetWindow(), display.GetLevel()
    addRun(aScene, aFilmRun.folder, scan, aFilmRun.spec.scheme)
    assert (display.GetWindow(), display.GetLevel()) == automatic
    assert not display.GetAutoWindowLevel()


def test_noiseIsShownRoundZeroAndMagnified(aScene, aBrainRun):
    result = added(aScene, aBrainRun)
    for node in result.perturbation:
        largest, display = float(np.abs(voxelsOf(node)).max()), node.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel()) == (pytest.approx(2 * largest), 0.0)
        assert display.GetColorNode() is noiseColorTable(aScene)
    before = voxelsOf(result.perturbation[1]).copy()
    setMagnification(result, 4)
    assert result.perturbation[1].GetDisplayNode().GetWindow() == pytest.approx(np.abs(before).max() / 2)
    assert np.array_equal(voxelsOf(result.perturbation[1]), before)
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadRequest, match="positive number"):
            setMagnification(result, bad)


def test_noiseColoursAreSymmetricAndClearAtZero(aScene):
    table = noiseColorTable(aScene)
    assert noiseColorTable(aScene) is table
    count = table.GetNumberOfColors()
    colours = [[0.0] * 4 for _ in range(count)]
    for index in range(count):
        table.GetColor(index, colours[index])
    colours = np.array(colours)
    assert count % 2 == 1
    assert colours[count // 2, 3] == 0
    assert np.array_equal(colours[:, 3], colours[::-1, 3])
    assert (np.delete(colours[:, 3], count // 2) == 1).all(), "Slicer shows a colour, or does not"
    lightness = colours[:, :3].mean(axis=1)
    assert (np.diff(lightness[: count // 2]) < 0).all(), "the larger the noise, the lighter"
    assert (np.diff(lightness[count // 2 + 1 :]) > 0).all()
    assert colours[0, 2] > colours[0, 0], "below zero is blue"
    assert colours[-1, 0] > colours[-1, 2], "above zero is not"


def test_theLegendNamesChannelAndUnit(aScene, aFilmRun):
    import slicer

    scan = aFilmRun.scan(aScene)
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("HU", "UCUM", "Hounsfield unit")
    scan.reference.SetVoxelValueUnits(units)
    result = addRun(aScene, aFilmRun.folder, scan, aFilmRun.spec.scheme)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(result.perturbation[0])
    assert legend.GetTitleText() == "noise film\n(HU)"


def test_theDifferenceIsThatOfTheFiles(aScene, aFilmRun):
    result, names = added(aScene, aFilmRun), aFilmRun.spec.scheme.names
    before, after = (read_labels(aFilmRun.folder / f"{side}_labels.nii.gz").array for side in ("clean", "adversarial"))
    segmentation, seen = result.difference.GetSegmentation(), np.zeros(before.shape, int)
    for identity in segmentation.GetSegmentIDs():
        mask = segmentMask(result.difference, identity, result.scanNodes[0])
        kind = identity.rstrip("0123456789")
        value = int(identity[len(kind) :])
        expected = {
            "lost": (before == value) & (after == 0),
            "gained": (before == 0) & (after == value),
            "changed": (before == value) & (after != value) & (after != 0),
        }[kind]
        assert expected.any()
        assert np.array_equal(mask, expected)
        assert segmentation.GetSegment(identity).GetName().startswith(names[value])
        seen += mask
    assert np.array_equal(seen, (before != after).astype(int))


def test_differenceCoversEachKindOnce(rng):
    before, after = (rng.choice([0, 1, 2, 3, 4, 5], (3, 6, 7)).astype(np.uint8) for _ in range(2))
    values, styles = differenceSegments(before, after, chest_scheme())
    kinds = {style.value: {"lost": 1, "gained": 2, "changed": 3}[style.tags["AdvSeg.Change"]] for style in styles}
    grid = Grid.regular(before.shape)
    expected = difference_map(LabelMap(before, grid), LabelMap(after, grid)).array
    assert np.array_equal(np.vectorize({0: 0, **kinds}.get)(values), expected)
    assert len({style.color for style in styles}) == len(styles) == 15
    assert differenceSegments(before, before, chest_scheme())[1] == []


def test_theMetricTableHoldsTheNumbers(aScene, aBrainRun):
    result = added(aScene, aBrainRun)
    metrics = json.loads((aBrainRun.folder / "metrics.json").read_text())
    rows = columnOf(result.metrics, "structure")
    assert rows == ["necrotic core", "oedema", "enhancing tumour", "WT", "TC", "ET", "mean"]
    for title, key in (("clean Dice", "clean"), ("attacked Dice", "adversarial"), ("agreement", "agreement")):
        dice = {**metrics[key]["dice"], **metrics[key]["dice_regions"]}
        for name, cell in zip(rows, columnOf(result.metrics, title), strict=True):
            assert (np.isnan(cell) and dice[name] is None) or cell == pytest.approx(dice[name], abs=1e-4)
    assert columnOf(result.metrics, "ml clean")[1] == pytest.approx(metrics["volumes_ml"]["clean"]["oedema"], abs=1e-3)
    assert np.isnan(columnOf(result.metrics, "ml clean")[-1])
    assert result.metrics.GetTable().GetColumnByName("target Dice") is None, "no target, no column"
    assert result.metrics.GetUseColumnTitleAsColumnHeader()


def test_chartsDrawTheHistory(aScene, aBrainRun):
    result = added(aScene, aBrainRun)
    dice, psnr = result.charts
    assert "Dice against iteration" in dice.GetTitle()
    assert dice.GetTitle().isascii()
    series = dice.GetNthPlotSeriesNode(0)
    assert series.GetTableNode() is result.history
    assert (series.GetXColumnName(), series.GetYColumnName()) == ("iteration", "Dice")
    assert psnr.GetNthPlotSeriesNode(0).GetYColumnName() == "PSNR (dB)"
    decibel = columnOf(result.history, "PSNR (dB)")
    assert np.isnan(decibel[0])  # infinite before the first step
    assert np.isfinite(decibel[1:]).all()
    assert columnOf(result.history, "iteration") == [0, 1, 2]


def test_theFolderSaysAdversarialAndHoldsTheNodes(aScene, aFilmRun):
    hierarchy = hierarchyOf(aScene)
    first, second = added(aScene, aFilmRun, name="try"), added(aScene, aFilmRun, name="try")
    assert hierarchy.GetItemName(first.folderItem) == "ADVERSARIAL try"
    assert hierarchy.GetItemName(second.folderItem) == "ADVERSARIAL try (2)"
    for node in (*first.adversarial, *first.perturbation, first.clean, first.metrics, *first.charts):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == first.folderItem


def test_theFolderIsPutIntoTheScansStudy(aScene, aFilmRun):
    scan, hierarchy = aFilmRun.scan(aScene), hierarchyOf(aScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, scan.reference)
    result = addRun(aScene, aFilmRun.folder, scan, aFilmRun.spec.scheme)
    assert hierarchy.GetItemParent(result.folderItem) == study


def described(result):
    """Return what of a run must survive saving and loading."""
    return (
        result.runId, result.name, result.notes, [node.GetName() for node in result.helpers],
        [node.GetName() for node in (*result.adversarial, *result.perturbation, *result.charts, *result.scanNodes)],
        [voxelsOf(node).tobytes() for node in (*result.adversarial, *result.perturbation)],
        [node.GetAttribute("AdvSeg.Mark") for node in (*result.adversarial, *result.perturbation)],
        [(f"{n.GetDisplayNode().GetWindow():.5g}", n.GetDisplayNode().GetLevel()) for n in result.perturbation],
        [
            [(i, s.GetName(), s.GetTerminology(), tuple(round(255 * c) for c in s.GetColor()))
             for i in node.GetSegmentation().GetSegmentIDs() for s in [node.GetSegmentation().GetSegment(i)]]
            for node in (result.clean, result.attacked, result.difference)
        ],
        [segmentMask(result.attacked, i, result.scanNodes[0]).tobytes()
         for i in result.attacked.GetSegmentation().GetSegmentIDs()],
        columnOf(result.metrics, "structure"), columnOf(result.metrics, "agreement")[:1],
        [chart.GetNthPlotSeriesNode(0).GetTableNode() is result.history for chart in result.charts],
        result.target and result.target.GetName(), result.browser and result.browser.GetNumberOfItems(),
    )  # fmt: skip


@pytest.mark.parametrize("which", ["film", "brain"])
def test_aRunIsFoundAgainInASavedScene(aSlicer, aFilmRun, aBrainRun, tmp_path, which):
    run, scene = {"film": aFilmRun, "brain": aBrainRun}[which], aSlicer.scene
    scan = run.scan(scene)
    target = addSegmentationOf(scene, run, scan, tmp_path)
    result = addRun(scene, run.folder, scan, run.spec.scheme, name="kept", target=target)
    (found,) = findRuns(scene)
    expected = described(result)
    assert described(found) == expected
    path = aSlicer.save(tmp_path / "scene.mrb")
    aSlicer.clear()
    assert findRuns(scene) == []
    aSlicer.load(path)
    (found,) = findRuns(scene)
    assert described(found) == expected
    assert hierarchyOf(scene).GetItemName(found.folderItem) == "ADVERSARIAL kept"
    assert found.adversarial[0].GetDisplayNode() is found.scanNodes[0].GetDisplayNode()
    assert (
        found.attacked.GetNodeReference(found.attacked.GetReferenceImageGeometryReferenceRole())
        is (found.scanNodes[0])
    )
    import slicer

    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(found.perturbation[0])
    assert legend.GetTitleText().startswith("noise ")
    colour = [0.0] * 4
    found.perturbation[0].GetDisplayNode().GetColorNode().GetColor(127, colour)
    assert colour[3] == 0, "unchanged voxels are clear"


def test_theSameSceneLoadedTwiceHasTwoRuns(aSlicer, aFilmRun, tmp_path):
    added(aSlicer.scene, aFilmRun)
    path = aSlicer.save(tmp_path / "scene.mrb")
    aSlicer.load(path)
    runs = findRuns(aSlicer.scene)
    assert len(runs) == 2
    assert runs[0].folderItem != runs[1].folderItem
    assert not {node.GetID() for node in runs[0].adversarial} & {node.GetID() for node in runs[1].adversarial}


def addSegmentationOf(scene, run, scan, tmp_path):
    folder = tmp_path / "segmented"
    folder.mkdir()
    shutil.copy(run.folder / "clean_labels.nii.gz", folder / "labels.nii.gz")
    return addSegmentation(scene, folder, scan, run.spec.scheme, "prediction")


def test_aSegmentFolderBecomesASegmentation(aScene, aBrainRun, tmp_path):
    scan = aBrainRun.scan(aScene)
    node = addSegmentationOf(aScene, aBrainRun, scan, tmp_path)
    labels = read_labels(aBrainRun.folder / "clean_labels.nii.gz").array
    assert np.array_equal(segmentMask(node, "label2", scan.reference), labels == 2)
    assert node.GetName() == "prediction"


def test_removingARunLeavesEverythingElse(aScene, aBrainRun, aFilmRun):
    brain, film = aBrainRun.scan(aScene), aFilmRun.scan(aScene)
    hierarchy = hierarchyOf(aScene)
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), film.reference)
    before = snapshot(aScene)
    first = addRun(aScene, aBrainRun.folder, brain, aBrainRun.spec.scheme)
    second = addRun(aScene, aFilmRun.folder, film, aFilmRun.spec.scheme)
    mine = aScene.AddNewNodeByClass("vtkMRMLModelNode", "mine")
    hierarchy.CreateItem(first.folderItem, mine)
    removeRun(aScene, first)
    assert [run.runId for run in findRuns(aScene)] == [second.runId]
    assert mine.GetScene() is aScene
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(mine)) == hierarchy.GetSceneItemID()
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(mine), False, False)
    aScene.RemoveNode(mine)
    removeRun(aScene, second)
    assert snapshot(aScene) == before
    assert film.reference.GetDisplayNode() is not None


def test_aRunWhoseNodesWereDeletedIsStillFoundAndRemoved(aScene, aFilmRun):
    scan = aFilmRun.scan(aScene)
    before = snapshot(aScene)
    result = addRun(aScene, aFilmRun.folder, scan, aFilmRun.spec.scheme)
    aScene.RemoveNode(result.metrics)
    aScene.RemoveNode(result.adversarial[0])
    (found,) = findRuns(aScene)
    assert (found.runId, found.name, found.adversarial, found.metrics) == (result.runId, result.name, [], None)
    removeRun(aScene, found)
    left = [name for _, name in snapshot(aScene)[0]]
    assert left == [name for _, name in before[0]]


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def elsewhere(path):
    labels = read_image(path)
    affine = labels.grid.affine.copy()
    affine[0, -1] += 1.0
    LabelMap(labels.array[0].astype(np.int32), Grid(labels.grid.shape, affine)).write(path)


def smaller(path):
    labels = read_image(path)
    array = labels.array[0][:, :-1].astype(np.int32)
    LabelMap(array, Grid(array.shape, labels.grid.affine)).write(path)


def otherValues(path):
    labels = read_image(path)
    LabelMap(labels.array[0].astype(np.int32) + 40, labels.grid).write(path)


DAMAGE = {
    "a missing image": ("adversarial_film.nii.gz", lambda path: path.unlink(), "no such file"),
    "a missing label map": ("clean_labels.nii.gz", lambda path: path.unlink(), "no such file"),
    "missing numbers": ("metrics.json", lambda path: path.unlink(), "no such file"),
    "missing history": ("history.csv", lambda path: path.unlink(), "no such file"),
    "a truncated image": ("perturbation_film.nii.gz", truncated, "truncated or damaged"),
    "a flipped byte": ("adversarial_film.nii.gz", flipped, "truncated"),
    "an empty file": ("difference.nii.gz", lambda path: path.write_bytes(b""), "truncated, damaged or no NIfTI"),
    "text for an image": ("adversarial_film.nii.gz", lambda path: path.write_text("hello"), "truncated, damaged"),
    "a shifted label map": ("adversarial_labels.nii.gz", elsewhere, "not on the scan's grid (another place"),
    "another size": ("clean_labels.nii.gz", smaller, "not on the scan's grid (1 x 63 x 64 voxels, the scan 1 x 64"),
    "unknown labels": ("adversarial_labels.nii.gz", otherValues, "that the model does not have"),
    "another difference": ("difference.nii.gz", lambda path: otherValues(path), "not the difference of"),
    "no JSON": ("metrics.json", lambda path: path.write_text('{"schema": '), "not readable as JSON"),
    "no UTF-8": ("metrics.json", lambda path: path.write_bytes(b"\xff\xfe{"), "not readable as JSON"),
    "JSON of another kind": ("metrics.json", lambda path: path.write_text("[1]"), "not a JSON object"),
    "JSON without scores": ("metrics.json", lambda path: path.write_text('{"schema": "advseg.metrics/1"}'), "damaged"),
    "another schema": ("metrics.json", lambda path: path.write_text('{"schema": "x/9"}'), "schema 'x/9' is not"),
    "history of words": ("history.csv", lambda path: path.write_text("step,loss\na,b\n"), "damaged"),
    "history without rows": ("history.csv", lambda path: path.write_text("step,loss\n"), "damaged (no rows)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_aDamagedFolderAddsNothing(aScene, aFilmRun, tmp_path, damage):
    name, hurt, message = DAMAGE[damage]
    folder = shutil.copytree(aFilmRun.folder, tmp_path / "run")
    hurt(folder / name)
    scan = aFilmRun.scan(aScene)
    window = scan.reference.GetDisplayNode().GetAutoWindowLevel()
    before = snapshot(aScene)
    with pytest.raises(BadRequest) as caught:
        addRun(aScene, folder, scan, aFilmRun.spec.scheme)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(aScene) == before
    assert scan.reference.GetDisplayNode().GetAutoWindowLevel() == window


def test_aRunOfAnotherScanIsRefused(aScene, aFilmRun):
    scan = aFilmRun.scan(aScene)
    voxelsOf(scan.reference)[...] += 25
    from AdvSegRobustnessLib.ScanNodes import scanFromNodes

    changed = scanFromNodes(scan.nodes, aFilmRun.spec.channels, 2)
    before = snapshot(aScene)
    with pytest.raises(BadRequest, match="is not channel film of 'film'; is the run of this scan"):
        addRun(aScene, aFilmRun.folder, changed, aFilmRun.spec.scheme)
    assert snapshot(aScene) == before


def test_whatFailsWhileNodesAreMadeIsTakenBack(aScene, aBrainRun, monkeypatch):
    scan = aBrainRun.scan(aScene)
    before = snapshot(aScene)

    def broken(*arguments):
        raise RuntimeError("the hierarchy is gone")

    inside = inspect.unwrap(addRun).__globals__  # of this very function, whichever module a reload has left behind
    assert "putInFolder" in inside
    monkeypatch.setitem(inside, "putInFolder", broken)
    with pytest.raises(RuntimeError, match="hierarchy is gone"):
        addRun(aScene, aBrainRun.folder, scan, aBrainRun.spec.scheme)
    assert snapshot(aScene) == before
    assert findRuns(aScene) == []


def test_noFolderAtAll(aScene, aFilmRun, tmp_path):
    with pytest.raises(BadRequest, match="no such run folder"):
        addRun(aScene, tmp_path / "nothing", aFilmRun.scan(aScene), aFilmRun.spec.scheme)
