"""Label maps to segmentations and back: exact voxels, stable names, one clear message for what does not fit."""

# ruff: noqa: E402 - what needs Slicer is imported after the skip

from __future__ import annotations

import numpy as np
import pytest
from fixtures_scene import SCHEME, indexToRas, rigid, segmentMask, transformNode, volumeNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("slicer")
pytest_plugins = ("slicer_fixtures", "fixtures_scene")

from AdvSegRobustnessLib.LabelNodes import (
    LABEL_TAG,
    drawableTarget,
    labelMapFromNode,
    maskFromRoi,
    maskFromSegment,
    segmentationFromLabelMap,
)
from AdvSegRobustnessLib.ScanNodes import scanFromNodes
from AdvSegRobustnessLib.SegmentReading import tagOf

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Grid, LabelMap

pytestmark = pytest.mark.usefixtures("aSlicer")
MANY = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPE = (4, 5, 6)
VALUES = (0, 1, 2, 5, 7)
OBLIQUE = np.array([[1.2, -0.5, 0, 9], [0.9, 1.0 / 1.5, 0, -4], [0, 0, -2, 30], [0, 0, 0, 1.0]])
OBLIQUE[:3, 1] = np.array([-0.6, 0.8, 0]) * 0.7
OBLIQUE[:3, 0] = np.array([0.8, 0.6, 0]) * 1.5


def someLabels(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).choice(VALUES, shape).astype(np.int32)


def aScan(scene, matrix=OBLIQUE, shape=SHAPE, name="scan", dims=None):
    node = volumeNode(scene, np.random.default_rng(1).random(shape).astype(np.float32), matrix, name)
    return scanFromNodes([node], ["t1"], dims)


def segmented(scene, scan, array, scheme=SCHEME, name="labels"):
    return segmentationFromLabelMap(scene, LabelMap(array, scan.image.grid), scheme, name, scan.reference)


def segmentsOf(node):
    segmentation = node.GetSegmentation()
    return {identity: segmentation.GetSegment(identity) for identity in segmentation.GetSegmentIDs()}


@MANY
@given(matrix=indexToRas(), moved=rigid(), seed=st.integers(0, 10**6))
def test_labelsToSegmentationAndBackIsExactAnywhere(aScene, matrix, moved, seed):
    scan, labels = aScan(aScene, matrix), someLabels(seed)
    scan.reference.SetAndObserveTransformNodeID(transformNode(aScene, moved).GetID())
    scan = scanFromNodes(scan.nodes, ["t1"])
    node = segmented(aScene, scan, labels)
    again, notes = labelMapFromNode(node, scan, SCHEME)
    assert np.array_equal(again.array, labels)
    assert again.grid is scan.image.grid
    assert notes == ()
    assert node.GetTransformNodeID() == scan.reference.GetTransformNodeID()


@MANY
@given(matrix=indexToRas(), seed=st.integers(0, 10**6))
def test_slicerSeesTheSameVoxelsInEverySegment(aScene, matrix, seed):
    scan, labels = aScan(aScene, matrix), someLabels(seed)
    node = segmented(aScene, scan, labels)
    for value in VALUES[1:]:
        assert np.array_equal(segmentMask(node, f"label{value}", scan.reference), labels == value)


def test_namesColoursAndTerminologyAreTheSchemes(aScene):
    scan = aScan(aScene)
    node = segmented(aScene, scan, np.where(someLabels() == 1, 1, 0))
    segments = segmentsOf(node)
    assert list(segments) == ["label1", "label2", "label5", "label7"]  # the absent ones, too, in the scheme's order
    assert [s.GetName() for s in segments.values()] == ["heart", "left clavicle", "oedema", "no code"]
    assert [tagOf(s, LABEL_TAG) for s in segments.values()] == ["1", "2", "5", "7"]
    assert np.rint(np.array(segments["label1"].GetColor()) * 255).tolist() == [230, 75, 53]
    assert node.GetSegmentation().GetNumberOfLayers("Binary labelmap") == 1
    role = type(node).GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is scan.reference


@pytest.mark.parametrize(
    ("identity", "category", "kind", "modifier"),
    [
        ("label1", "SCT^123037004^Anatomical Structure", "SCT^80891009^Heart", "^^"),
        ("label2", "SCT^123037004^Anatomical Structure", "SCT^51299004^Clavicle", "SCT^7771000^Left"),
        ("label5", "SCT^49755003^Morphologically Altered Structure", "SCT^79654002^Edema", "^^"),
        ("label7", "SCT^85756007^Tissue", "SCT^85756007^Tissue", "^^"),
    ],
)
def test_terminologyIsReadBackBySlicersOwnLogic(aScene, identity, category, kind, modifier):
    import slicer

    node = segmented(aScene, aScan(aScene), someLabels())
    entry = slicer.vtkSlicerTerminologyEntry()
    text = segmentsOf(node)[identity].GetTerminology()
    assert slicer.vtkSlicerTerminologiesModuleLogic().DeserializeTerminologyEntry(text, entry)

    def code(part):
        return f"{part.GetCodingSchemeDesignator()}^{part.GetCodeValue()}^{part.GetCodeMeaning()}"

    assert code(entry.GetCategoryObject()) == category
    assert code(entry.GetTypeObject()) == kind
    found = entry.GetTypeModifierObject()
    assert (code(found) if found.GetCodeValue() else "^^") == modifier


def test_aSegmentIsKnownByTagThenIdThenName(aScene):
    scan, labels = aScan(aScene), someLabels()
    node = segmented(aScene, scan, labels)
    segmentsOf(node)["label1"].SetName("renamed by its reader")  # the tag stands
    segmentsOf(node)["label2"].RemoveTag(LABEL_TAG)  # then the ID
    oedema = segmentsOf(node)["label5"]
    oedema.RemoveTag(LABEL_TAG)
    node.GetSegmentation().RemoveSegment("label5")
    node.GetSegmentation().AddSegment(oedema, "Segment_9")
    oedema.SetName("OEDEMA ")  # then the name
    assert np.array_equal(labelMapFromNode(node, scan, SCHEME)[0].array, labels)


def test_valueOneOfAnotherModelIsNotTakenForOurs(aScene):
    scan = aScan(aScene)
    node = segmented(aScene, scan, someLabels())
    other = LabelScheme.softmax("oedema", "heart")
    for identity in ("label2", "label7"):
        node.GetSegmentation().RemoveSegment(identity)
    found, _ = labelMapFromNode(node, scan, other)
    expected = np.select([someLabels() == 5, someLabels() == 1], [1, 2], default=0)
    assert np.array_equal(found.array, expected)


def test_unknownSegmentsNameBothSides(aScene):
    scan = aScan(aScene)
    node = segmented(aScene, scan, someLabels(), name="mine")
    with pytest.raises(BadRequest, match=r"of 'mine' .*: heart, left clavicle, no code; it has lung, oedema"):
        labelMapFromNode(node, scan, LabelScheme.softmax("lung", "oedema"))


def test_anEmptyUnknownSegmentIsOnlyNoted(aScene):
    scan = aScan(aScene)
    node = segmented(aScene, scan, someLabels())
    node.GetSegmentation().AddEmptySegment("Segment_1", "Segment_1")
    found, notes = labelMapFromNode(node, scan, SCHEME)
    assert np.array_equal(found.array, someLabels())
    assert notes == ("empty segments of 'labels' that the model does not know: Segment_1",)


def test_relabelReplacesValues(aScene):
    scan = aScan(aScene)
    raw = volumeNode(aScene, np.where(someLabels() == 5, 3, 0).astype(np.int16), OBLIQUE, "truth")
    with pytest.raises(BadRequest, match=r"'truth' holds labels \[3\] that the model does not have"):
        labelMapFromNode(raw, scan, SCHEME)
    found, _ = labelMapFromNode(raw, scan, SCHEME, relabel={3: 5})
    assert np.array_equal(found.array, np.where(someLabels() == 5, 5, 0))


def test_overlappingSegmentsTheLaterWinsAndItIsSaid(aScene):
    import slicer

    scan = aScan(aScene)
    first, second = np.zeros(SHAPE, np.int32), np.zeros(SHAPE, np.int32)
    first[:, :3], second[:, 2:] = 1, 2
    node, other = segmented(aScene, scan, first), segmented(aScene, scan, second)
    node.GetSegmentation().RemoveSegment("label2")
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentsOf(other)["label2"])
    node.GetSegmentation().AddSegment(copy, "label2")
    found, notes = labelMapFromNode(node, scan, SCHEME)
    assert np.array_equal(found.array, np.where(second, 2, first))
    assert notes == ("segments of 'labels' overlap in 24 voxels: the later segment wins there",)


def test_aCroppedLayerIsLaidInVoxelByVoxel(aScene):
    """Slicer's effects crop a layer to what is drawn: its extent then starts anywhere."""
    scan, labels = aScan(aScene), np.zeros(SHAPE, np.int32)
    labels[1:3, 2:4, 3:6] = 5
    node = segmented(aScene, scan, labels)
    layer = segmentsOf(node)["label5"].GetRepresentation("Binary labelmap")
    import slicer

    slicer.vtkOrientedImageDataResample.CopyImage(layer, layer, (3, 5, 2, 3, 1, 2))
    assert layer.GetExtent() == (3, 5, 2, 3, 1, 2)
    found, notes = labelMapFromNode(node, scan, SCHEME)
    assert np.array_equal(found.array, labels)
    assert notes == ()


def test_anotherGridIsResampledWithANote(aScene):
    scan, labels = aScan(aScene, np.diag([2.0, 2.0, 2.0, 1.0])), someLabels()
    fineScan = aScan(
        aScene, np.array([[1, 0, 0, -0.5], [0, 1, 0, -0.5], [0, 0, 1, -0.5], [0, 0, 0, 1.0]]), (8, 10, 12)
    )
    fine = segmented(aScene, fineScan, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    found, notes = labelMapFromNode(fine, scan, SCHEME)
    assert np.array_equal(found.array, labels)
    assert notes == ("'labels' was resampled onto the grid of 'scan' (nearest neighbour)",)


def test_labelsUnderATransformLandWhereTheyAreSeen(aScene):
    scan, labels = aScan(aScene, np.eye(4)), someLabels()
    node = segmented(aScene, scan, labels)
    shift = np.eye(4)
    shift[0, 3] = 2.0
    node.SetAndObserveTransformNodeID(transformNode(aScene, shift).GetID())
    found, notes = labelMapFromNode(node, scan, SCHEME)
    assert np.array_equal(found.array[:, :, 2:], labels[:, :, :-2])
    assert not found.array[:, :, :2].any()
    assert notes == ()


def test_aFilmsLabelsHaveTwoAxes(aScene):
    scan = aScan(aScene, np.diag([0.2, 0.3, 1, 1]), (1, 5, 6), dims=2)
    labels = someLabels(shape=(5, 6))
    node = segmented(aScene, scan, labels)
    assert np.array_equal(labelMapFromNode(node, scan, SCHEME)[0].array, labels)


def test_surfacesAloneAreFilledAndSaidSo(aScene):
    scan, labels = aScan(aScene, np.eye(4), (16, 16, 16)), np.zeros((16, 16, 16), np.int32)
    labels[4:12, 4:12, 4:12] = 1
    node = segmented(aScene, scan, labels)
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    found, notes = labelMapFromNode(node, scan, SCHEME)
    shared = (found.array == 1) & (labels == 1)
    assert 2 * shared.sum() / ((found.array == 1).sum() + 512) > 0.9
    assert "resampled" in notes[0]
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap"), "the user's node was changed"


@pytest.mark.parametrize(
    "how",
    ["none", "no segments", "all zero", "removed", "elsewhere", "a model", "fractions", "a name", "no scalars"],
)
def test_whatHoldsNoLabelsIsRefusedInOneLine(aScene, how):
    scan = aScan(aScene)
    node = segmented(aScene, scan, np.zeros(SHAPE, np.int32), name="it")
    if how == "none":
        node = None
    elif how == "no segments":
        node = aScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "it")
    elif how == "removed":
        aScene.RemoveNode(node)
    elif how == "a name":
        node = "it"
    elif how == "no scalars":
        import vtk

        node = aScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "it")
        bare = vtk.vtkImageData()
        bare.SetDimensions(3, 4, 5)
        node.SetAndObserveImageData(bare)
    elif how == "elsewhere":
        far = OBLIQUE.copy()
        far[:3, 3] += 5000
        node = segmented(aScene, aScan(aScene, far), someLabels(), name="it")
    elif how == "a model":
        node = aScene.AddNewNodeByClass("vtkMRMLModelNode", "it")
    elif how == "fractions":
        node = volumeNode(aScene, np.full(SHAPE, 0.5, np.float32), OBLIQUE, "it")
    with pytest.raises(BadRequest) as caught:
        labelMapFromNode(node, scan, SCHEME)
    expected = {
        "none": "no segmentation or label map is chosen", "no segments": "is empty: it has no segments",
        "all zero": "'it' is empty: no voxel is labelled", "removed": "no longer in the scene",
        "elsewhere": "'it' does not overlap the scan 'scan'", "a model": "neither a segmentation nor a label map",
        "fractions": "values that are not whole numbers", "a name": "node, not 'it'",
        "no scalars": "'it' holds no voxels",
    }[how]  # fmt: skip
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_valuesTheSchemeLacksMakeNoSegmentation(aScene):
    scan = aScan(aScene)
    small = LabelMap(someLabels(shape=(2, 2, 2)), Grid((2, 2, 2), scan.image.grid.affine))
    count = aScene.GetNumberOfNodes()
    with pytest.raises(BadRequest, match=r"holds labels \[4\]"):
        segmented(aScene, scan, np.full(SHAPE, 4))
    with pytest.raises(BadRequest, match="do not fit 'scan'"):
        segmentationFromLabelMap(aScene, small, SCHEME, "x", scan.reference)
    assert aScene.GetNumberOfNodes() == count


def test_aDrawableTargetIsACopyToTheLastVoxel(aScene):
    scan, labels = aScan(aScene), someLabels()
    prediction = segmented(aScene, scan, labels)
    prediction.SetAttribute("AdvSeg.Run", "abc")
    prediction.CreateClosedSurfaceRepresentation()
    prediction.SetAndObserveTransformNodeID(transformNode(aScene, np.diag([-1, -1, 1, 1.0])).GetID())
    target = drawableTarget(aScene, prediction, "target")
    assert target.GetName() == "target"
    assert target.GetAttribute("AdvSeg.Run") is None
    assert target.GetTransformNodeID() == prediction.GetTransformNodeID()
    role = type(target).GetReferenceImageGeometryReferenceRole()
    assert target.GetNodeReference(role) is scan.reference
    assert not target.GetSegmentation().ContainsRepresentation("Closed surface")
    for identity, segment in segmentsOf(prediction).items():
        copy = segmentsOf(target)[identity]
        assert (copy.GetName(), copy.GetColor(), copy.GetTerminology(), tagOf(copy, LABEL_TAG)) == (
            segment.GetName(), segment.GetColor(), segment.GetTerminology(), tagOf(segment, LABEL_TAG),
        )  # fmt: skip
    from AdvSegRobustnessLib.Voxels import scalarsOf

    scalarsOf(segmentsOf(target)["label1"].GetRepresentation("Binary labelmap"))[...] = 0
    prediction.SetAndObserveTransformNodeID(None)
    assert np.array_equal(labelMapFromNode(prediction, scan, SCHEME)[0].array, labels)


def test_aDrawableTargetNeedsASegmentation(aScene):
    with pytest.raises(BadRequest, match="segment the scan first"):
        drawableTarget(aScene, None, "x")


def test_aSegmentsMaskIsItsVoxels(aScene):
    scan, labels = aScan(aScene), np.where(someLabels() == 7, 0, someLabels())
    node = segmented(aScene, scan, labels)
    assert np.array_equal(maskFromSegment(node, "label2", scan).array, labels == 2)
    with pytest.raises(BadRequest, match="segment 'no code' of 'labels' covers no voxel of 'scan'"):
        maskFromSegment(node, "label7", scan)
    with pytest.raises(BadRequest, match="has no segment 'label9'; it has label1, label2"):
        maskFromSegment(node, "label9", scan)
    with pytest.raises(BadRequest, match="no segmentation is chosen"):
        maskFromSegment(None, "label1", scan)


@MANY
@given(matrix=indexToRas(), turned=rigid(), moved=rigid(), size=st.tuples(*[st.floats(1, 12)] * 3))
def test_anRoisMaskIsWhatSlicerCallsInside(aScene, matrix, turned, moved, size):
    from fixtures_scene import worldOf

    scan = aScan(aScene, matrix)
    roi = aScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetSize(*size)
    turned = turned.copy()
    turned[:3, 3] = np.linalg.inv(moved)[:3] @ [*worldOf(scan.reference, (2, 2, 1)), 1]
    roi.GetObjectToNodeMatrix().DeepCopy(turned.ravel().tolist())
    roi.SetAndObserveTransformNodeID(transformNode(aScene, moved).GetID())
    found = maskFromRoi(roi, scan).array
    for k, j, i in np.ndindex(*SHAPE):
        assert bool(found[k, j, i]) == bool(roi.IsPointInROIWorld(worldOf(scan.reference, (i, j, k))))


def test_anRoiWithoutSizeOrVoxelsIsRefused(aScene):
    scan = aScan(aScene)
    roi = aScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    with pytest.raises(BadRequest, match="the ROI 'box' has no size"):
        maskFromRoi(roi, scan)
    roi.SetSize(1, 1, 1)
    roi.SetCenter(900, 900, 900)
    with pytest.raises(BadRequest, match="the ROI 'box' covers no voxel of 'scan'"):
        maskFromRoi(roi, scan)
    with pytest.raises(BadRequest, match="no ROI is chosen"):
        maskFromRoi(None, scan)
