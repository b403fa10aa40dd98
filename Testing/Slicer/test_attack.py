"""Segment and attack through AdvSegRobustnessLogic: a child process, result nodes, a bundle, and what goes wrong.

The child process needs a Python with torch and monai: Slicer's own, or the one that ADVSEG_PYTHON names.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import numpy as np
import slicer
from AdvSegRobustnessLib.ResultNodes import findRuns, removeRun
from in_slicer import SlicerTestCase, processAlive, runTests, waitFor

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.segmenters.catalogue import model_folder
from AdvSegRobustness import AdvSegRobustnessLogic

MARK = "ADVERSARIAL - NOT FOR CLINICAL USE"


class AttackTest(SlicerTestCase):
    @classmethod
    def setUpClass(cls):
        slicer.mrmlScene.Clear(0)
        cls.logic = AdvSegRobustnessLogic()

    @classmethod
    def tearDownClass(cls):
        cls.logic.close()

    def setUp(self):
        super().setUp()
        *self.volumes, self.truth = self.logic.phantom("chest", seed=7)

    def fields(self, **more):
        return {
            "model": "chest", "volumes": tuple(self.volumes), "truth": self.truth, "attack": "pgd",
            "parameters": {"steps": 3}, "epsilon": 0.03, "device": "cpu", **more,
        }  # fmt: skip

    def start(self, logic):
        """Return a task of many steps that has begun to walk, and the events so far."""
        events = []
        fields = self.fields(parameters={"steps": 5000})
        task = logic.attack(wait=False, onEvent=lambda _, event: events.append(event), **fields)

        def walks():
            logic.robustness.pump()
            return task.ended or any(event["event"] == "step" for event in events)

        waitFor(walks, "the first step")
        self.assertIsNone(task.error)
        return task, events

    def end(self, logic, task):
        def ended():
            logic.robustness.pump()
            return task.ended

        waitFor(ended, f"the end of {task.name}")

    def freshLogic(self):
        """Return a logic whose worker is its own, and says hello."""
        logic = AdvSegRobustnessLogic()
        self.addCleanup(logic.close)
        return logic

    def isInside(self, node, folderItem):
        """Tell whether a node hangs in a folder of the subject hierarchy, at any depth."""
        item = self.hierarchy.GetItemByDataNode(node)
        while item and item != folderItem:
            item = self.hierarchy.GetItemParent(item)
        return bool(item)

    def test_segment_gives_the_models_structures_on_the_scan(self):
        segmentation = self.logic.segment("chest", self.volumes, device="cpu")
        names = {segmentation.GetSegmentation().GetNthSegment(index).GetName()
                 for index in range(segmentation.GetSegmentation().GetNumberOfSegments())}  # fmt: skip
        spec = self.logic.robustness.modelSpec("chest")
        self.assertEqual(names, {label.name for label in spec.scheme.labels})
        heart = segmentation.GetSegmentation().GetSegmentIdBySegmentName("heart")
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, heart, self.volumes[0])
        self.assertGreater(int(mask.sum()), 100)

    def test_an_attack_gives_marked_nodes_in_a_folder_that_says_so(self):
        result = self.logic.attack(record=1, **self.fields())
        folder = self.hierarchy.GetItemName(result.folderItem)
        self.assertTrue(folder.startswith("ADVERSARIAL"), folder)
        for node in [*result.adversarial, *result.perturbation]:
            self.assertEqual(node.GetAttribute("AdvSeg.Mark"), MARK)
        clean, noisy, noise = (
            slicer.util.arrayFromVolume(node).astype(np.float64)
            for node in (self.volumes[0], result.adversarial[0], result.perturbation[0])
        )
        np.testing.assert_allclose(noisy - clean, noise, atol=1e-3 * np.ptp(clean))
        self.assertGreater(np.abs(noise).max(), 0)
        self.assertLessEqual(np.abs(noise).max(), 0.03 * np.ptp(clean) * (1 + 1e-6))
        display, other = self.volumes[0].GetDisplayNode(), result.adversarial[0].GetDisplayNode()
        self.assertEqual((display.GetWindow(), display.GetLevel()), (other.GetWindow(), other.GetLevel()))
        for node in (result.clean, result.attacked, result.difference, result.metrics, result.history):
            self.assertIsNotNone(node)
            self.assertTrue(self.isInside(node, result.folderItem), node.GetName())
        self.assertGreater(result.history.GetNumberOfRows(), 1)
        self.assertIsNotNone(result.browser)
        self.assertGreaterEqual(result.browser.GetNumberOfItems(), 3)

    def test_a_bundle_brings_a_run_back(self):
        before = self.logic.attack(**self.fields())
        noise = slicer.util.arrayFromVolume(before.perturbation[0]).copy()
        bundle = str(self.folder / "run.mrb")
        self.assertTrue(slicer.util.saveScene(bundle, {}))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(bundle, {})
        (after,) = findRuns(slicer.mrmlScene)
        self.assertEqual((after.runId, after.name), (before.runId, before.name))
        np.testing.assert_allclose(slicer.util.arrayFromVolume(after.perturbation[0]), noise, rtol=1e-6)
        self.assertEqual(after.adversarial[0].GetAttribute("AdvSeg.Mark"), MARK)
        self.assertTrue(self.hierarchy.GetItemName(after.folderItem).startswith("ADVERSARIAL"))

    def test_removing_a_run_leaves_the_scan(self):
        before = self.census()
        result = self.logic.attack(**self.fields())
        self.assertGreater(len(self.census()), len(before))
        removeRun(slicer.mrmlScene, result)
        self.assertEqual(findRuns(slicer.mrmlScene), [])
        self.assertLessEqual(before, self.census())
        self.assertIsNotNone(self.volumes[0].GetImageData())

    def test_a_target_drawn_by_hand(self):
        from AdvSegRobustnessLib.LabelNodes import drawableTarget

        prediction = self.logic.segment("chest", self.volumes, device="cpu")
        target = drawableTarget(slicer.mrmlScene, prediction, "target")
        segmentId = target.GetSegmentation().GetSegmentIdBySegmentName("heart")
        heart = slicer.util.arrayFromSegmentBinaryLabelmap(target, segmentId, self.volumes[0]).astype(np.uint8)
        heart[..., : heart.shape[-1] // 2] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(heart, target, segmentId, self.volumes[0])
        result = self.logic.attack(**self.fields(goal="drawn", target=target))
        self.assertIsNotNone(result.target)

    def test_bad_requests_say_why_and_leave_the_scene(self):
        before = self.census()
        for wrong in ({"model": "liver"}, {"volumes": ()}, {"attack": "magic"}, {"epsilon": -1.0}):
            with self.subTest(**wrong), self.assertRaises(BadRequest) as caught:
                self.logic.attack(**self.fields(**wrong))
            self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(self.census(), before)
        self.assertFalse(self.logic.robustness.busy)

    def test_cancel_leaves_the_scene(self):
        before = self.census()
        task, _ = self.start(self.logic)
        task.cancel()
        self.end(self.logic, task)
        self.assertEqual(task.state, "cancelled")
        self.assertEqual(self.census(), before)

    def test_closing_the_scene_cancels_and_adds_nothing(self):
        task, _ = self.start(self.logic)
        slicer.mrmlScene.Clear(0)
        after = self.census()
        self.end(self.logic, task)
        self.assertEqual(task.state, "cancelled")
        self.assertEqual(self.census(), after)

    def test_a_killed_worker_is_told_and_the_next_attack_starts_another(self):
        before = self.census()
        logic = self.freshLogic()
        task, events = self.start(logic)
        kill(pidOf(events))
        self.end(logic, task)
        self.assertEqual(task.state, "failed")
        self.assertIsInstance(task.error, AdvSegError)
        self.assertEqual(self.census(), before)
        self.assertIsNotNone(logic.attack(**self.fields()).attacked)

    def test_close_ends_the_child_process(self):
        logic = self.freshLogic()
        task, events = self.start(logic)
        logic.close()
        self.assertEqual(task.state, "cancelled")
        waitFor(lambda: not processAlive(pidOf(events)), "the end of the child process", 30)

    def test_a_model_that_fails_leaves_the_others(self):
        broken = shutil.copytree(model_folder("chest"), self.folder / "broken")
        for file in (broken / "models").iterdir():
            file.write_bytes(file.read_bytes()[:1000])
        fields = self.fields(attack="fgsm", parameters={})
        fields.pop("model")
        comparison = self.logic.compare([str(broken), "chest"], keepRuns=False, **fields)
        self.assertEqual(comparison.table.GetNumberOfRows(), 1)
        self.assertEqual(list(comparison.failures), [str(broken)])

    def test_a_sweep_gives_a_table_and_a_chart(self):
        comparison = self.logic.sweep([0.005, 0.02], **self.fields())
        self.assertEqual(comparison.table.GetNumberOfRows(), 2)
        self.assertGreaterEqual(len(comparison.charts), 1)


def pidOf(events):
    """Return the child process's ID, which it says in its first words."""
    return next(event["pid"] for event in events if event["event"] == "hello")


def kill(pid):
    """End a process as an operating system short of memory would."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/PID", str(pid)], check=True, capture_output=True)
    else:
        os.kill(pid, signal.SIGKILL)


runTests(__file__, AttackTest)
