"""Volumes, label maps and segmentations to the library and back: oblique grids, transforms, through a .mrb."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import numpy as np
import slicer
import vtk
from AdvSegRobustnessLib.LabelNodes import drawableTarget, labelMapFromNode, segmentationFromLabelMap
from AdvSegRobustnessLib.ScanNodes import scanFromNodes, volumeFromArray
from in_slicer import SlicerTestCase, runTests

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import LabelMap

SHAPE = (9, 13, 17)  # k, j, i
SCHEME = LabelScheme.softmax("core", "rim")


def obliqueVolume(name="scan"):
    """Return a left-handed, oblique, anisotropic volume of noise."""
    transform = vtk.vtkTransform()
    transform.Translate(11, -7, 23)
    transform.RotateWXYZ(33, 0.3, -0.5, 0.8)
    transform.Scale(0.9, -1.3, 2.1)
    array = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    node = slicer.util.addVolumeFromArray(array, transform.GetMatrix(), name, "vtkMRMLScalarVolumeNode")
    node.CreateDefaultDisplayNodes()
    return node


def worldOf(node):
    """Return the IJK-to-world matrix of a volume, its linear parent transform included."""
    ijkToRas, toWorld = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijkToRas)
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(toWorld)
    return slicer.util.arrayFromVTKMatrix(toWorld) @ slicer.util.arrayFromVTKMatrix(ijkToRas)


def blocks():
    """Return label values of ``(k, j, i)``: a block of each structure."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 3:8, 4:11] = 1
    labels[5:8, 6:11, 2:9] = 2
    return labels


class SceneTest(SlicerTestCase):
    def scan(self, node):
        return scanFromNodes([node], ["t1"])

    def prediction(self, node):
        scan = self.scan(node)
        labels = LabelMap(blocks(), scan.image.grid)
        return labels, segmentationFromLabelMap(slicer.mrmlScene, labels, SCHEME, "prediction", node)

    def test_intensities_and_geometry_survive(self):
        node = obliqueVolume()
        copy = volumeFromArray(slicer.mrmlScene, slicer.util.arrayFromVolume(node), node, "copy")
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(copy), slicer.util.arrayFromVolume(node))
        np.testing.assert_allclose(worldOf(copy), worldOf(node), atol=1e-6)

    def test_a_linear_transform_moves_the_scan_and_what_is_made_of_it(self):
        node = obliqueVolume()
        still = np.asarray(self.scan(node).image.grid.affine)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 40.0)
        transform.SetMatrixTransformToParent(matrix)
        node.SetAndObserveTransformNodeID(transform.GetID())
        moved = np.asarray(self.scan(node).image.grid.affine)
        np.testing.assert_allclose(moved[0, 3] - still[0, 3], -40.0, atol=1e-6)  # LPS: right is negative
        copy = volumeFromArray(slicer.mrmlScene, slicer.util.arrayFromVolume(node), node, "copy")
        np.testing.assert_allclose(worldOf(copy), worldOf(node), atol=1e-6)

    def test_a_label_map_becomes_segments_and_comes_back(self):
        node = obliqueVolume()
        labels, segmentation = self.prediction(node)
        ids = [segmentation.GetSegmentation().GetNthSegmentID(index) for index in range(2)]
        self.assertEqual(ids, ["label1", "label2"])
        self.assertEqual([segmentation.GetSegmentation().GetSegment(i).GetName() for i in ids], ["core", "rim"])
        core = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "label1", node)
        np.testing.assert_array_equal(core, blocks() == 1)
        again, _ = labelMapFromNode(segmentation, self.scan(node), SCHEME)
        np.testing.assert_array_equal(again.array, labels.array)

    def test_a_target_to_draw_on_keeps_segments_and_reference(self):
        node = obliqueVolume()
        _, segmentation = self.prediction(node)
        target = drawableTarget(slicer.mrmlScene, segmentation, "target")
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:3, 1:3, 1:3] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, target, "label1", node)
        drawn, _ = labelMapFromNode(target, self.scan(node), SCHEME)
        kept, _ = labelMapFromNode(segmentation, self.scan(node), SCHEME)
        self.assertEqual(int((drawn.array == 1).sum()), 8)
        self.assertEqual(int((kept.array == 1).sum()), int((blocks() == 1).sum()))

    def test_a_segmentation_that_does_not_match_is_refused_with_both_sides_named(self):
        node = obliqueVolume()
        stranger = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "stranger")
        stranger.SetReferenceImageGeometryParameterFromVolumeNode(node)
        stranger.GetSegmentation().AddEmptySegment("x", "liver")
        slicer.util.updateSegmentBinaryLabelmapFromArray((blocks() > 0).astype(np.uint8), stranger, "x", node)
        with self.assertRaises(BadRequest) as caught:
            labelMapFromNode(stranger, self.scan(node), SCHEME)
        self.assertIn("liver", str(caught.exception))
        self.assertIn("core", str(caught.exception))

    def test_it_survives_a_bundle(self):
        """Where a voxel lies is kept; in what order voxels are stored is not: readers mirror left-handed volumes."""
        node = obliqueVolume()
        labels, _ = self.prediction(node)
        before = slicer.util.arrayFromVolume(node).copy()
        bundle = str(self.folder / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(bundle, {}))
        world = worldOf(node)
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(bundle, {})
        segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        places = movedVoxels(world, worldOf(volume))
        np.testing.assert_allclose(slicer.util.arrayFromVolume(volume)[places], before, atol=1e-6)
        again, _ = labelMapFromNode(segmentation, self.scan(volume), SCHEME)
        np.testing.assert_array_equal(again.array[places], labels.array)


def movedVoxels(before, after):
    """Return the index, in an array of geometry ``after``, of each voxel ``(k, j, i)`` of geometry ``before``."""
    k, j, i = np.indices(SHAPE)
    ijk = np.stack([i, j, k, np.ones(SHAPE)]).reshape(4, -1)
    moved = np.linalg.solve(after, before @ ijk)[:3]
    rounded = np.rint(moved).astype(int)
    np.testing.assert_allclose(moved, rounded, atol=1e-3)
    return tuple(rounded[axis].reshape(SHAPE) for axis in (2, 1, 0))


runTests(__file__, SceneTest)
