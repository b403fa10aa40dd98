"""The panel from opening to closing: each button, each rule of enabling, and what happens when the scene goes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from fixtures_panel import OpenPanel
from fixtures_scene import FinishedRun, snapshot
from panel_standins import pythonqt
from panel_standins.host import ModuleHost
from panel_standins.install import Desk, installed, moduleNamed
from slicer_fixtures import HeadlessSlicer

pytest_plugins = ("slicer_fixtures", "fixtures_scene", "fixtures_panel")

ACTIONS = ("applyButton", "segmentButton", "compareButton", "sweepButton", "drawTargetButton")


def test_an_empty_scene_offers_samples_and_says_what_is_missing(aPanel: OpenPanel) -> None:
    assert aPanel.ui.brainSampleButton.enabled
    for name in ("applyButton", "segmentButton", "drawTargetButton"):
        button = getattr(aPanel.ui, name)
        assert not button.enabled
        assert "t1, t1gd, t2, flair" in button.toolTip
    assert not aPanel.ui.cancelButton.enabled
    assert "no result" in aPanel.ui.sideBySideButton.toolTip.lower()


def test_channels_are_those_of_the_model(aPanel: OpenPanel) -> None:
    def shown() -> list[str]:
        return [label.text for label in (getattr(aPanel.ui, f"channelLabel{i}") for i in range(1, 9))
                if not label._object.isHidden()]  # fmt: skip

    assert shown() == ["t1:", "t1gd:", "t2:", "flair:"]
    aPanel.parameters.model = "chest"
    assert shown() == ["film:"]
    assert not aPanel.ui.channelSelector1._object.isHidden()
    assert aPanel.ui.channelSelector2._object.isHidden()


def test_a_sample_is_chosen_and_shown(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    assert aPanel.parameters.model == "chest"
    assert aPanel.ui.channelSelector1.currentNode() is aPanel.parameters.channel1
    assert aPanel.parameters.truth is not None
    assert aPanel.desk.shown[-1]["background"] is aPanel.parameters.channel1
    assert aPanel.ui.applyButton.enabled
    assert "+/-" in aPanel.ui.epsilonUnitsLabel.text


def test_segment_makes_a_segmentation(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    before = aPanel.desk.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    aPanel.click("segmentButton")
    assert aPanel.desk.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before + 1
    assert "done" in aPanel.ui.statusLabel.text


def test_apply_attacks_as_the_widgets_say(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.parameters.attack = "pgd"
    aPanel.ui.epsilonSlider.value = 2.0
    aPanel.panel.attack.form.fields["steps"].set(7)
    aPanel.ui.recordSpinBox.value = 3
    aPanel.ui.seedSpinBox.value = 11
    aPanel.ui.runNameEdit.text = "mine"
    aPanel.click("applyButton")
    job = next(request["job"] for request in aPanel.worker.sent if request["do"] == "run")
    assert (job["model"], job["attack"], job["epsilon"], job["seed"]) == ("chest", "pgd", 0.02, 11)
    assert job["parameters"] == {"steps": 7}
    assert job["record"] == 3
    assert aPanel.result.name == "mine"
    assert "cpu" in aPanel.ui.logText.plainText
    assert aPanel.ui.progressBar.value == aPanel.ui.progressBar.maximum


def test_an_l2_radius_is_a_budget_and_none_leaves_an_attack_that_bounds_itself_to_it(aPanel: OpenPanel) -> None:
    from AdvSegRobustnessLib.Gui.Requests import requestFrom

    aPanel.drawSample()
    aPanel.parameters.norm = "l2"
    aPanel.ui.radiusSpinBox.value = 2.5
    assert requestFrom(aPanel.panel).epsilon == 2.5
    aPanel.ui.radiusSpinBox.value = 0.0
    assert requestFrom(aPanel.panel).epsilon == 0.0, "pgd does not bound itself"
    aPanel.parameters.attack = "dag"
    assert requestFrom(aPanel.panel).epsilon is None


def test_progress_shows_step_loss_and_dice(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.worker.holds = True
    aPanel.ui.applyButton.click()
    aPanel.settle(lambda: "step" in aPanel.ui.statusLabel.text)
    assert "step 2 of 4" in aPanel.ui.statusLabel.text
    assert "loss 0.5" in aPanel.ui.statusLabel.text
    assert "Dice 0.875" in aPanel.ui.statusLabel.text
    assert 0 < aPanel.ui.progressBar.value < aPanel.ui.progressBar.maximum
    assert "elapsed" in aPanel.ui.timeLabel.text
    for name in (*ACTIONS, "chestSampleButton"):
        assert not getattr(aPanel.ui, name).enabled, name
        assert "under way" in getattr(aPanel.ui, name).toolTip


def test_cancel_leaves_the_scene_as_it_was(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.worker.holds = True
    before = snapshot(aPanel.desk.scene)
    aPanel.ui.applyButton.click()
    aPanel.settle(lambda: "step" in aPanel.ui.statusLabel.text)
    aPanel.click("cancelButton")
    assert "cancelled" in aPanel.ui.statusLabel.text
    assert snapshot(aPanel.desk.scene) == before
    assert aPanel.ui.applyButton.enabled
    assert not aPanel.ui.cancelButton.enabled


def test_a_failure_is_said_once_and_leaves_the_scene_as_it_was(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    before = snapshot(aPanel.desk.scene)
    aPanel.worker.fails = "out of memory; try a smaller image"
    aPanel.click("applyButton")
    assert aPanel.desk.errors == ["out of memory; try a smaller image"]
    assert "out of memory" in aPanel.ui.statusLabel.text
    assert snapshot(aPanel.desk.scene) == before


def test_closing_the_scene_cancels_and_begins_anew(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.worker.holds = True
    aPanel.ui.applyButton.click()
    aPanel.settle(lambda: "step" in aPanel.ui.statusLabel.text)
    aPanel.desk.scene.Clear(0)
    aPanel.settle()
    assert "cancelled" in aPanel.ui.logText.plainText
    assert aPanel.desk.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert aPanel.parameters is not None, "the module is open, so it begins anew"
    assert not aPanel.ui.applyButton.enabled
    aPanel.worker.holds = False
    aPanel.drawSample()
    aPanel.click("applyButton")
    assert aPanel.result is not None


def test_closing_the_scene_while_another_module_is_open_and_entering_again(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.widget.exit()
    aPanel.host.isEntered = False
    aPanel.desk.scene.Clear(0)
    aPanel.settle()
    assert aPanel.parameters is None
    aPanel.host.isEntered = True
    aPanel.widget.enter()
    assert aPanel.parameters is not None
    aPanel.drawSample()
    assert aPanel.ui.applyButton.enabled


def test_a_loaded_scene_shows_its_result(aSlicer: HeadlessSlicer, aResult: OpenPanel, tmp_path: Any) -> None:
    path = aSlicer.save(tmp_path / "scene.mrb")
    name = aResult.result.name
    aResult.desk.scene.Clear(0)
    aResult.settle()
    assert aResult.result is None
    aSlicer.load(path)
    aResult.settle()
    assert aResult.result.name == name
    assert aResult.ui.sideBySideButton.enabled
    aResult.ui.exportFolderEdit.currentPath = str(tmp_path)
    assert aResult.ui.exportTablesButton.enabled
    assert aResult.ui.exportRunButton.enabled, "the run was computed in this session"
    aResult.panel.run.folders.drop(aResult.result.runId)
    aResult.panel.update()
    assert "another session" in aResult.ui.exportRunButton.toolTip


# -- the target -------------------------------------------------------------------------------------------------------


def test_draw_target_segments_first_and_opens_the_editor(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    assert aPanel.ui.editorFrame._object.isHidden()
    aPanel.click("drawTargetButton")
    editor = aPanel.panel.goal.editor
    assert editor.isOpen
    assert not aPanel.ui.editorFrame._object.isHidden()
    assert aPanel.parameters.goal == "drawn"
    segmentation = aPanel.parameters.target.GetSegmentation()
    names = [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]
    assert names == [label.name for label in aPanel.run.spec.scheme.labels]
    assert editor._editor.segmentationNode() is aPanel.parameters.target
    assert editor._editor.sourceVolumeNode() is aPanel.parameters.channel1
    sent = [request["do"] for request in aPanel.worker.sent]
    aPanel.click("drawTargetButton")
    assert [request["do"] for request in aPanel.worker.sent] == sent, "the prediction at hand is taken"
    aPanel.click("closeEditorButton")
    assert not editor.isOpen


def test_leaving_the_module_leaves_the_effect(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.click("drawTargetButton")
    inner = aPanel.panel.goal.editor._editor
    inner.setActiveEffectByName("Paint")
    aPanel.widget.exit()
    assert inner.activeEffect() is None


def test_removing_the_target_closes_the_editor(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.click("drawTargetButton")
    aPanel.desk.scene.RemoveNode(aPanel.parameters.target)
    aPanel.settle()
    assert not aPanel.panel.goal.editor.isOpen
    assert "target" in aPanel.ui.applyButton.toolTip


def test_a_goal_shows_only_what_it_has(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    assert aPanel.ui.targetSelector._object.isHidden()
    assert aPanel.ui.keepComboBox._object.isHidden()
    aPanel.parameters.goal = "moved"
    assert next(iter(aPanel.panel.goal.form.fields)) == "structure"
    assert not aPanel.ui.keepComboBox._object.isHidden()
    assert aPanel.ui.targetSelector._object.isHidden()
    aPanel.parameters.goal = "drawn"
    assert not aPanel.ui.targetSelector._object.isHidden()
    assert "target" in aPanel.ui.applyButton.toolTip
    assert not aPanel.ui.applyButton.enabled


# -- where noise may go -----------------------------------------------------------------------------------------------


def test_regions_ask_for_their_node(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.parameters.region = "segment"
    assert not aPanel.ui.regionSegmentationSelector._object.isHidden()
    assert not aPanel.ui.applyButton.enabled
    aPanel.parameters.regionSegmentation = aPanel.parameters.truth
    assert aPanel.parameters.regionSegment == "label1"
    assert aPanel.ui.regionSegmentComboBox.currentText == "heart"
    assert aPanel.ui.applyButton.enabled, aPanel.ui.applyButton.toolTip
    aPanel.parameters.region = "roi"
    assert "ROI" in aPanel.ui.applyButton.toolTip
    assert aPanel.ui.regionSegmentationSelector._object.isHidden()
    aPanel.parameters.region = "structure"
    assert aPanel.panel.attack.region.form.fields["structure"].get() == "heart"


# -- models -----------------------------------------------------------------------------------------------------------


def test_a_models_folder_joins_the_list_and_is_remembered(aPanel: OpenPanel) -> None:
    from AdvSegLib.segmenters.catalogue import model_folder

    folder = str(model_folder("chest"))
    aPanel.ui.modelFolderEdit.currentPath = folder
    assert aPanel.parameters.model == folder
    assert aPanel.ui.modelComboBox.currentText == folder
    assert "chest" in aPanel.ui.modelCardBrowser.plainText.lower()
    again = aPanel.module.Panel.__module__
    assert again
    assert folder in str(aPanel.panel.settings.value("AdvSegRobustness/RecentModels"))


def test_a_folder_that_is_no_model_is_refused_in_place(aPanel: OpenPanel, tmp_path: Any) -> None:
    aPanel.ui.modelFolderEdit.currentPath = str(tmp_path)
    assert str(tmp_path) in aPanel.ui.modelCardBrowser.plainText
    assert aPanel.parameters.model == "brain"
    assert aPanel.desk.errors == [], "no dialog while somebody types"


def test_an_unknown_model_of_a_scene_is_said(aPanel: OpenPanel) -> None:
    aPanel.parameters.model = "gone"
    assert "gone" in aPanel.ui.modelCardBrowser.plainText
    assert "gone" in aPanel.ui.applyButton.toolTip
    assert not aPanel.ui.applyButton.enabled


def test_the_interpreter_is_kept_in_the_settings(aPanel: OpenPanel) -> None:
    aPanel.ui.interpreterEdit.currentPath = "/somewhere/python"
    settings = aPanel.module.ApplicationSettings()
    assert settings.get("python") == "/somewhere/python"
    assert settings.get("temporary") is None


# -- geometry ---------------------------------------------------------------------------------------------------------


def test_odd_geometry_is_said_before_anything_runs(aBrainPanel: OpenPanel) -> None:
    aBrainPanel.drawSample()
    assert aBrainPanel.ui.scanNotesLabel.text == ""
    aBrainPanel.parameters.channel2.SetSpacing(3, 3, 3)
    aBrainPanel.panel.update()
    assert "t1gd lies on another grid than t1" in aBrainPanel.ui.scanNotesLabel.text
    aBrainPanel.parameters.channel3 = aBrainPanel.parameters.channel4
    assert "two channels" in aBrainPanel.ui.scanNotesLabel.text


# -- starting and ending ----------------------------------------------------------------------------------------------


def test_it_builds_without_a_main_window(aSlicer: HeadlessSlicer, aFilmRun: FinishedRun, monkeypatch: Any) -> None:
    monkeypatch.setenv("ADVSEG_PYTHON", sys.executable)
    with installed(aSlicer, mainWindow=False) as desk:
        opened = OpenPanel(desk, aFilmRun)
        opened.drawSample()
        opened.click("applyButton")
        assert opened.result is not None
        assert not opened.ui.sideBySideButton.enabled
        assert "main window" in opened.ui.sideBySideButton.toolTip
        opened.close()
    assert not pythonqt.FAILURES


def test_reload_brings_a_new_library_and_no_second_mark(aPanel: OpenPanel, monkeypatch: Any) -> None:
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "reloadScriptedModule", asked.append)
    old = sys.modules["AdvSegRobustnessLib.Gui.Panel"]
    aPanel.widget.onReload()
    assert asked == ["AdvSegRobustness"]
    assert "AdvSegRobustnessLib.Gui.Panel" not in sys.modules
    aPanel.widget.cleanup()
    del sys.modules["AdvSegRobustness"]
    again = moduleNamed("AdvSegRobustness")
    assert sys.modules["AdvSegRobustnessLib.Gui.Panel"] is not old
    widget = again.AdvSegRobustnessWidget(ModuleHost.make())
    widget.setup()
    widget.enter()
    assert widget.panel.parameterNode is not None
    widget.cleanup()
    again.dropMarks()


def test_cleanup_ends_the_worker_and_may_be_called_twice(aResult: OpenPanel) -> None:
    folder = aResult.panel.run.folders.find(aResult.result.runId)
    assert folder.is_dir()
    aResult.widget.cleanup()
    assert not aResult.worker.running
    assert not folder.exists()
    aResult.widget.cleanup()


def test_samples_are_offered_in_the_sample_data_module(aPanel: OpenPanel) -> None:
    from panel_standins.application import SampleDataLogic

    aPanel.module.registerSampleData()
    assert len(SampleDataLogic.sources) == 2
    for source in SampleDataLogic.sources:
        assert source["thumbnailFileName"].endswith(".png")
        with open(source["thumbnailFileName"], "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ["brain", "chest"])
def test_a_sample_source_draws_its_case(aPanel: OpenPanel, monkeypatch: Any, name: str) -> None:
    from panel_standins.application import SampleDataLogic

    drawn: list[str] = []
    monkeypatch.setattr(
        aPanel.module.AdvSegRobustnessLogic, "phantom", lambda self, kind: drawn.append(kind) or ["film", "truth"]
    )
    aPanel.module.registerSampleData()
    next(s for s in SampleDataLogic.sources if name in s["sampleName"].lower())["customDownloader"](None)
    assert drawn == [name]
    assert aPanel.desk.shown[-1]["background"] == "film"


def test_startup_offers_samples_and_keeps_marks(aDesk: Desk) -> None:
    from types import SimpleNamespace

    module = moduleNamed("AdvSegRobustness")
    parent = SimpleNamespace()
    module.AdvSegRobustness(parent)
    assert parent.categories == ["Segmentation"]
    assert parent.title
    assert "clinical" in parent.helpText
    aDesk.application.startupCompleted.emit()
    assert not pythonqt.FAILURES
    marks = sys.modules["AdvSegRobustnessLib.Gui.Marks"]
    assert marks._shared is not None
    module.dropMarks()
