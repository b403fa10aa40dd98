"""Volume nodes to images: exact places and numbers, one clear message for what cannot be a scan."""

# ruff: noqa: E402 - what needs Slicer is imported after the skip

from __future__ import annotations

import numpy as np
import pytest
from fixtures_scene import gridOf, indexToRas, rigid, transformNode, volumeNode, voxelsOf, worldOf
from hypothesis import HealthCheck, given, settings

pytest.importorskip("slicer")
pytest_plugins = ("slicer_fixtures", "fixtures_scene")

from AdvSegRobustnessLib.ScanNodes import scanFromNodes, volumeFromArray

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import MARK, read_image

pytestmark = pytest.mark.usefixtures("aSlicer")
MANY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.float32).reshape(SHAPE)


@MANY
@given(matrix=indexToRas(), outer=rigid(), inner=rigid())
def test_everyVoxelIsWhereSlicerHasItUnderNestedTransforms(aScene, matrix, outer, inner):
    node = volumeNode(aScene, VOXELS, matrix)
    parent = transformNode(aScene, outer)
    node.SetAndObserveTransformNodeID(transformNode(aScene, inner, parent).GetID())
    image = scanFromNodes([node], ["t1"]).image
    assert np.array_equal(image.array[0], VOXELS)
    for k, j, i in np.ndindex(*SHAPE):
        ours = image.grid.affine @ (k, j, i, 1)
        assert ours[:3] * (-1, -1, 1) == pytest.approx(worldOf(node, (i, j, k)), abs=1e-6)


@MANY
@given(matrix=indexToRas())
def test_imageAndBackIsTheSameVolume(aScene, matrix):
    node = volumeNode(aScene, VOXELS, matrix)
    transform = transformNode(aScene, np.diag([-1.0, 1.0, 1.0, 1.0]))  # left-handed to right-handed
    node.SetAndObserveTransformNodeID(transform.GetID())
    image = scanFromNodes([node], ["t1"]).image
    again = volumeFromArray(aScene, image.array[0], node, "again")
    assert np.array_equal(voxelsOf(again), VOXELS)
    assert again.GetTransformNodeID() == node.GetTransformNodeID()
    for ijk in ((0, 0, 0), (4, 3, 2), (1, 2, 0)):
        assert worldOf(again, ijk) == pytest.approx(worldOf(node, ijk), abs=1e-9)


@MANY
@given(matrix=indexToRas())
def test_throughAFileItIsStillTheSameGrid(aScene, tmp_path_factory, matrix):
    image = scanFromNodes([volumeNode(aScene, VOXELS, matrix)], ["t1"]).image
    read = read_image(image.write(tmp_path_factory.mktemp("file") / "x.nii.gz"))
    assert read.grid.matches(image.grid)
    assert np.array_equal(read.array, image.array)


def test_gridIsTheLibrarysOwn(aScene):
    matrix = np.array([[0, -2, 0, 5], [1, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1.0]])
    assert scanFromNodes([volumeNode(aScene, VOXELS, matrix)], ["t1"]).image.grid.matches(gridOf(SHAPE, matrix))


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_numbersOfEveryTypeAreKept(aScene, kind):
    node = volumeNode(aScene, VOXELS.astype(kind), np.eye(4))
    scan = scanFromNodes([node], ["t1"])
    assert scan.image.array.dtype == np.float32
    assert np.array_equal(scan.image.array[0], VOXELS)
    assert scan.notes == ()


def test_whatFloat32CannotHoldIsSaid(aScene):
    node = volumeNode(aScene, VOXELS.astype(np.int32) + 2**25 + 1, np.eye(4), "counts")
    assert scanFromNodes([node], ["t1"]).notes == ("'counts' was rounded to float32",)


def test_otherChannelsAreResampledOntoTheFirstAndSaidSo(aScene):
    first = volumeNode(aScene, VOXELS, np.eye(4), "one")
    fine = volumeNode(aScene, np.full((6, 8, 10), 7.0, np.float32), np.diag([0.5, 0.5, 0.5, 1]), "two")
    scan = scanFromNodes([first, fine], ["t1", "t2"])
    assert scan.image.array.shape == (2, *SHAPE)
    assert scan.image.array[1] == pytest.approx(7.0)
    assert scan.notes == ("'two' (t2) was resampled onto the grid of 'one'",)
    assert scan.reference is first


def test_aTransformOnOneChannelMovesIt(aScene):
    first, second = (volumeNode(aScene, VOXELS, np.eye(4), name) for name in ("one", "two"))
    shift = np.eye(4)
    shift[0, 3] = 1.0
    second.SetAndObserveTransformNodeID(transformNode(aScene, shift).GetID())
    scan = scanFromNodes([first, second], ["t1", "t2"])
    assert np.array_equal(scan.image.array[1][:, :, 1:], VOXELS[:, :, :-1])
    assert len(scan.notes) == 1


@pytest.mark.parametrize("matrix", [np.diag([0.2, 0.3, 4.0, 1]), np.diag([-0.2, -0.3, 1.0, 1])])
def test_oneSliceIsAFilmForATwoDimensionalModel(aScene, matrix):
    node = volumeNode(aScene, VOXELS[:1], matrix)
    film = scanFromNodes([node], ["film"], dims=2)
    assert film.image.array.shape == (1, 4, 5)
    assert film.image.grid.spacing == pytest.approx((0.3, 0.2))
    assert film.notes == ()
    assert scanFromNodes([node], ["film"], dims=3).image.grid.rank == 3
    lifted = film.image.grid.lifted()
    assert (lifted.affine @ (0, 3, 4, 1))[:2] * -1 == pytest.approx(worldOf(node, (4, 3, 0))[:2])


def test_aFilmThatIsNotAxialKeepsItsSizeAndSaysSo(aScene):
    coronal = np.array([[2, 0, 0, 0], [0, 0, 5, 0], [0, 3, 0, 0], [0, 0, 0, 1.0]])
    film = scanFromNodes([volumeNode(aScene, VOXELS[:1], coronal)], ["film"], dims=2)
    assert film.image.grid.spacing == pytest.approx((3, 2))
    assert "not axial" in film.notes[0]


@pytest.mark.parametrize("shape", [(5, 1, 6), (5, 6, 1)])
def test_aFilmOfAnotherAxisIsRefusedWhereTheModelReadsPictures(aScene, shape):
    node = volumeNode(aScene, np.zeros(shape, np.float32), np.eye(4))
    with pytest.raises(BadRequest, match="its slices are lines"):
        scanFromNodes([node], ("t1",), 2)
    assert scanFromNodes([node], ("t1",), 3).image.grid.shape == shape


def test_anAdversarialScanStaysMarked(aScene):
    node = volumeNode(aScene, VOXELS, np.eye(4), "bad")
    node.SetAttribute("AdvSeg.Mark", MARK)
    scan = scanFromNodes([node], ["t1"])
    assert scan.image.mark == MARK
    assert "'bad' is itself an adversarial image" in scan.notes


def test_oneVolumeForTwoChannelsIsSaid(aScene):
    node = volumeNode(aScene, VOXELS, np.eye(4), "same")
    assert scanFromNodes([node, node], ["t1", "t2"]).notes == ("channels t1, t2 are all the volume 'same'",)


def refused(nodes, names=("t1",)):
    with pytest.raises(BadRequest) as caught:
        scanFromNodes(nodes, names)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_wrongNumberMissingAndRemovedVolumesAreRefused(aScene):
    node = volumeNode(aScene, VOXELS, np.eye(4))
    assert "takes 2 volumes (t1, t2), 1 are chosen" in refused([node], ("t1", "t2"))
    assert "no volume is chosen for channel 't1'" in refused([None])
    aScene.RemoveNode(node)
    assert "no longer in the scene" in refused([node])
    assert "channel 't1': give a volume node, not 'scan'" in refused(["scan"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e35])
def test_voxelsThatAreNoNumbersAreCounted(aScene, bad):
    voxels = VOXELS.copy()
    voxels[1, 2, 3] = bad
    assert "has 1 NaN, infinite or enormous voxels" in refused([volumeNode(aScene, voxels, np.eye(4))])


def test_otherKindsOfNodesAreRefused(aScene):
    empty = aScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert "'empty' (channel t1) holds no voxels" in refused([empty])
    labels = aScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert "is a label map" in refused([labels])
    assert "not a scalar volume" in refused([aScene.AddNewNodeByClass("vtkMRMLModelNode", "model")])
    picture = volumeNode(aScene, VOXELS, np.eye(4), "colour")
    import vtk

    three = vtk.vtkImageData()
    three.SetDimensions(5, 4, 3)
    three.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    picture.SetAndObserveImageData(three)
    assert "'colour' (channel t1) has 3 components a voxel" in refused([picture])


def test_nonLinearTransformIsRefusedWithAdvice(aScene):
    import vtk

    node = volumeNode(aScene, VOXELS, np.eye(4), "bent")
    warp = aScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point[0] + point[1] ** 2 / 9, *point[1:])
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    warp.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(warp.GetID())
    assert "'bent' is under the non-linear transform 'warp': harden it first" in refused([node])


def test_shearedAndCollapsedAxesAreRefused(aScene):
    node = volumeNode(aScene, VOXELS, np.eye(4), "sheared")
    shear = np.eye(4)
    shear[0, 1] = 0.2
    node.SetAndObserveTransformNodeID(transformNode(aScene, shear).GetID())
    assert "'sheared' has axes that are not perpendicular" in refused([node])
    flat = volumeNode(aScene, VOXELS, np.eye(4), "flat")
    flat.SetAndObserveTransformNodeID(transformNode(aScene, np.diag([1.0, 1.0, 0.0, 1.0])).GetID())
    assert "'flat': affine is not invertible" in refused([flat])


def test_channelsThatLieApartAreRefused(aScene):
    far = np.eye(4)
    far[:3, 3] = 1000
    nodes = [volumeNode(aScene, VOXELS, np.eye(4), "near"), volumeNode(aScene, VOXELS, far, "far")]
    assert "'far': does not overlap" in refused(nodes, ("t1", "t2"))


@pytest.mark.parametrize("kind", ["bool", "float16", "int64", "uint8", "float32"])
def test_arraysOfOtherTypesBecomeVolumes(aScene, kind):
    reference = volumeNode(aScene, VOXELS, np.eye(4))
    array = (np.arange(60).reshape(SHAPE) % 2).astype(kind)
    assert np.array_equal(voxelsOf(volumeFromArray(aScene, array, reference, "x")), array)


def test_aVolumeOutlivesItsArrayAndItsPythonWrapper(aScene):
    import gc

    shape = (64, 64, 64)  # large enough that its memory is given back at once when nobody holds it
    reference = volumeNode(aScene, np.zeros(shape, np.float32), np.eye(4))
    identity = volumeFromArray(aScene, np.full(shape, 7, np.float32), reference, "x").GetID()
    gc.collect()
    junk = [np.full(shape, n, np.float32) for n in range(20)]
    assert (voxelsOf(aScene.GetNodeByID(identity)) == 7).all()
    del junk


def test_aScanThatLostItsVoxelsGetsNoneBack(aScene):
    node = volumeNode(aScene, VOXELS, np.eye(4))
    node.SetAndObserveImageData(None)
    before = aScene.GetNumberOfNodes()
    with pytest.raises(BadRequest, match="'scan' holds no voxels"):
        volumeFromArray(aScene, VOXELS, node, "result")
    assert aScene.GetNumberOfNodes() == before


def test_arraysOfAnotherShapeLeaveTheSceneAsItWas(aScene):
    reference = volumeNode(aScene, VOXELS, np.eye(4))
    count = aScene.GetNumberOfNodes()
    for wrong in (VOXELS[1:], VOXELS.transpose(2, 1, 0), VOXELS.astype(complex)):
        with pytest.raises(BadRequest):
            volumeFromArray(aScene, wrong, reference, "x")
    assert aScene.GetNumberOfNodes() == count
