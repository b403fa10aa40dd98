"""The panel in the application's window: every button clicked by its name, in the order of the work.

ADVSEG_PICTURES may name a folder: pictures of the window are left there, to be looked at.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import numpy as np
import slicer
from AdvSegRobustnessLib.ResultNodes import findRuns
from in_slicer import SlicerTestCase, runTests, waitFor

LAYOUT_BUTTONS = ("sideBySideButton", "flickerButton", "threeDButton", "plotsButton")


class PanelTest(SlicerTestCase):
    def setUp(self):
        super().setUp()
        slicer.util.selectModule("AdvSegRobustness")
        slicer.app.processEvents()

    def tearDown(self):
        if self.widget("cancelButton").enabled:
            self.widget("cancelButton").click()
            self.waitUntilIdle()

    # -- hands ----------------------------------------------------------------------------------------------------

    def widget(self, name):
        return getattr(slicer.util.getModuleWidget("AdvSegRobustness").ui, name)

    def click(self, name):
        button = self.widget(name)
        self.assertTrue(button.enabled, f"{name} is disabled: {button.toolTip}")
        button.click()
        slicer.app.processEvents()

    def choose(self, name, data):
        """Choose an item of a combo box by its data."""
        combo = self.widget(name)
        index = combo.findData(data)
        self.assertGreaterEqual(index, 0, f"{name} has no {data}")
        combo.setCurrentIndex(index)
        slicer.app.processEvents()

    def setValue(self, name, value):
        self.widget(name).value = value
        slicer.app.processEvents()

    def waitUntilIdle(self):
        waitFor(lambda: not self.widget("cancelButton").enabled, "the end of what is computed", 600)

    def picture(self, name):
        folder = os.environ.get("ADVSEG_PICTURES")
        if folder:
            slicer.app.processEvents()
            slicer.util.forceRenderAllViews()
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            slicer.util.mainWindow().grab().save(str(pathlib.Path(folder) / f"{name}.png"))

    # -- ways of work ---------------------------------------------------------------------------------------------

    def sampleChest(self):
        self.click("chestSampleButton")
        self.waitUntilIdle()
        self.assertIsNotNone(self.widget("channelSelector1").currentNode(), self.widget("statusLabel").text)

    def quickAttack(self, epsilonPercent=3.0):
        self.sampleChest()
        self.choose("deviceComboBox", "cpu")
        self.choose("attackComboBox", "fgsm")
        self.setValue("epsilonSlider", epsilonPercent)

    def attackOnce(self):
        before = len(findRuns(slicer.mrmlScene))
        self.quickAttack()
        self.click("applyButton")
        self.waitUntilIdle()
        runs = findRuns(slicer.mrmlScene)
        self.assertEqual(len(runs), before + 1, self.widget("statusLabel").text)
        return runs[-1]

    # -- tests ----------------------------------------------------------------------------------------------------

    def test_without_a_scan_nothing_can_start_and_the_tooltip_says_why(self):
        for name in ("applyButton", "segmentButton", "sweepButton"):
            self.assertFalse(self.widget(name).enabled, name)
            self.assertTrue(self.widget(name).toolTip, name)

    def test_the_sample_brain_fills_four_channels(self):
        self.click("brainSampleButton")
        self.waitUntilIdle()
        for number in range(1, 5):
            self.assertIsNotNone(self.widget(f"channelSelector{number}").currentNode())
        self.assertIsNotNone(self.widget("truthSelector").currentNode())
        self.picture("sample-brain")

    def test_segment(self):
        self.sampleChest()
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
        self.click("segmentButton")
        self.waitUntilIdle()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), before + 1)
        self.picture("segmented")

    def test_a_target_is_drawn_in_the_panel(self):
        self.sampleChest()
        self.click("drawTargetButton")
        self.waitUntilIdle()
        self.assertTrue(self.widget("editorFrame").visible, self.widget("statusLabel").text)
        target = self.widget("targetSelector").currentNode()
        self.assertIsNotNone(target)
        heart = target.GetSegmentation().GetSegmentIdBySegmentName("heart")
        volume = self.widget("channelSelector1").currentNode()
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(target, heart, volume).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(np.roll(mask, 20, axis=-1), target, heart, volume)
        self.picture("drawing")
        self.click("closeEditorButton")
        self.assertFalse(self.widget("editorFrame").visible)
        self.choose("attackComboBox", "fgsm")
        self.click("applyButton")
        self.waitUntilIdle()
        (run,) = findRuns(slicer.mrmlScene)
        self.assertIsNotNone(run.target)

    def test_an_attack_is_shown_in_every_layout(self):
        run = self.attackOnce()
        self.assertTrue(self.widget("sideBySideButton").checked, "a new result is shown side by side")
        self.picture("sideBySideButton")
        for name in (*LAYOUT_BUTTONS[1:], LAYOUT_BUTTONS[0]):
            self.click(name)
            self.assertTrue(self.widget(name).checked, name)
            self.picture(name)
        self.click("restoreLayoutButton")
        self.assertFalse(any(self.widget(name).checked for name in LAYOUT_BUTTONS))
        self.assertGreater(self.widget("metricsTable").mrmlTableNode().GetNumberOfRows(), 0)
        self.assertTrue(self.widget("differenceLegend").text)
        noise = run.perturbation[0].GetDisplayNode()
        window = noise.GetWindow()
        self.setValue("magnificationSlider", 2 * self.widget("magnificationSlider").value)
        self.assertAlmostEqual(noise.GetWindow() * 2, window, delta=1e-3 * window)

    def test_window_and_level_stay_equal(self):
        run = self.attackOnce()
        clean, noisy = (node.GetDisplayNode() for node in (run.scanNodes[0], run.adversarial[0]))
        for changed, other in ((clean, noisy), (noisy, clean)):
            changed.SetAutoWindowLevel(False)
            changed.SetWindowLevel(123.0 + changed.GetWindow(), 17.0)
            slicer.app.processEvents()
            self.assertAlmostEqual(other.GetWindow(), changed.GetWindow(), places=4)
            self.assertAlmostEqual(other.GetLevel(), 17.0, places=4)

    def test_recorded_iterations_are_scrubbed(self):
        self.quickAttack()
        self.choose("attackComboBox", "i-fgsm")
        self.setValue("recordSpinBox", 1)
        self.click("applyButton")
        self.waitUntilIdle()
        (run,) = findRuns(slicer.mrmlScene)
        slider = self.widget("iterationSlider")
        self.assertIsNotNone(run.browser)
        for value in (0, slider.maximum):
            self.setValue("iterationSlider", value)
            self.assertEqual(run.browser.GetSelectedItemNumber(), int(value))

    def test_a_sweep_makes_a_table_and_a_plot(self):
        self.quickAttack()
        self.widget("sweepEdit").text = "1, 4"
        slicer.app.processEvents()
        self.click("sweepButton")
        self.waitUntilIdle()
        self.assertEqual(self.widget("comparisonComboBox").count, 1)
        self.picture("sweep")

    def test_export_and_remove(self):
        self.attackOnce()
        self.widget("exportFolderEdit").currentPath = str(self.folder)
        slicer.app.processEvents()
        self.click("exportTablesButton")
        self.click("exportRunButton")
        self.assertTrue(list(self.folder.glob("*.csv")))
        self.assertTrue(list(self.folder.rglob("metrics.json")))
        scan = self.widget("channelSelector1").currentNode()
        self.click("removeRunButton")
        self.assertEqual(findRuns(slicer.mrmlScene), [])
        self.assertIsNotNone(scan.GetImageData())

    def longAttack(self):
        self.quickAttack()
        self.choose("attackComboBox", "pgd")
        slicer.util.findChild(self.widget("attackParametersHolder"), "parameter_steps").value = 5000
        slicer.app.processEvents()
        self.click("applyButton")
        waitFor(lambda: self.widget("progressBar").maximum > 0, "the first step", 300)

    def test_cancel_leaves_the_scene(self):
        self.longAttack()
        self.picture("running")
        self.click("cancelButton")
        self.waitUntilIdle()
        self.assertEqual(findRuns(slicer.mrmlScene), [])

    def test_the_scene_is_closed_while_an_attack_runs(self):
        self.longAttack()
        slicer.mrmlScene.Clear(0)
        self.waitUntilIdle()
        self.assertEqual(findRuns(slicer.mrmlScene), [])
        self.assertFalse(self.widget("applyButton").enabled)

    def test_a_bundle_brings_result_and_parameters_back(self):
        run = self.attackOnce()
        bundle = str(self.folder / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(bundle, {}))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(bundle, {})
        slicer.app.processEvents()
        (again,) = findRuns(slicer.mrmlScene)
        self.assertEqual(again.runId, run.runId)
        self.assertEqual(self.widget("runComboBox").count, 1)
        self.assertAlmostEqual(self.widget("epsilonSlider").value, 3.0)
        if not self.widget("sideBySideButton").checked:
            self.click("sideBySideButton")
        self.assertTrue(self.widget("sideBySideButton").checked)
        self.picture("loaded")

    def test_the_module_is_left_reentered_and_reloaded(self):
        self.attackOnce()
        slicer.util.selectModule("Data")
        slicer.util.selectModule("AdvSegRobustness")
        slicer.util.getModuleWidget("AdvSegRobustness").onReload()
        slicer.app.processEvents()
        self.assertEqual(self.widget("runComboBox").count, 1)
        self.assertTrue(self.widget("applyButton").enabled, self.widget("applyButton").toolTip)


runTests(__file__, PanelTest)
