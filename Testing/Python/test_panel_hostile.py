"""What a hostile hand does to the panel: nodes deleted, workers killed, scenes closed at the wrong moment."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import slicer
from fixtures_panel import OpenPanel
from fixtures_scene import snapshot
from panel_standins import pythonqt
from panel_standins.install import Desk, moduleNamed
from slicer_fixtures import HeadlessSlicer

from AdvSegLib.errors import AdvSegError

pytest_plugins = ("slicer_fixtures", "fixtures_scene", "fixtures_panel")

LAYOUTS = ("sideBySideButton", "flickerButton", "threeDButton", "plotsButton")
LATER_MODULES = (
    "vtkMRMLSegmentationNode", "vtkMRMLSegmentationDisplayNode", "vtkMRMLMarkupsROINode", "vtkMRMLSequenceNode",
    "vtkMRMLSequenceBrowserNode", "vtkSlicerColorLogic", "vtkMRMLSubjectHierarchyNode", "vtkSegmentation",
    "qMRMLSegmentEditorWidget",
)  # fmt: skip
"""Classes of modules whose names come after ours: Slicer instantiates modules in alphabetical order."""


def test_the_module_is_instantiated_before_the_modules_it_leans_on(aDesk: Desk, monkeypatch: Any) -> None:
    for name in LATER_MODULES:
        monkeypatch.delattr(slicer, name, raising=False)
    module = moduleNamed("AdvSegRobustness")
    parent = SimpleNamespace()
    module.AdvSegRobustness(parent)
    assert {"Markups", "Segmentations"} <= set(parent.dependencies)


def test_the_end_of_the_application_takes_the_marks_of_a_reloaded_library_away(aPanel: OpenPanel) -> None:
    aPanel.module.AdvSegRobustness(SimpleNamespace())
    aPanel.widget.cleanup()
    aPanel.module.dropMarks()
    aPanel.module.forgetLibrary()
    marks = moduleNamed("AdvSegRobustnessLib.Gui.Marks")
    marks.keepMarks(aPanel.desk.scene)
    aPanel.desk.application.aboutToQuit.emit()
    assert marks._shared is None


def test_layouts_are_known_before_the_panel_is_opened(aDesk: Desk) -> None:
    module = moduleNamed("AdvSegRobustness")
    module.onStartupCompleted()
    node = aDesk.layoutManager.layoutLogic().GetLayoutNode()
    assert all(node.IsLayoutDescription(number) for number in (18401, 18402, 18403, 18404))
    module.dropMarks()


# -- what is seen where -----------------------------------------------------------------------------------------------


def visible(panel: OpenPanel) -> dict[str, bool]:
    """Return whether each segmentation is visible, by name."""
    scene, kind = panel.desk.scene, "vtkMRMLSegmentationNode"
    nodes = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
    return {node.GetName(): bool(node.GetDisplayNode().GetVisibility()) for node in nodes}


def test_each_view_shows_its_segmentation_and_leaving_brings_everything_back(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    truth = aPanel.parameters.truth
    aPanel.click("applyButton")
    result = aPanel.result
    for name in ("sideBySideButton", "flickerButton"):
        aPanel.click(name) if not getattr(aPanel.ui, name).checked else None
        assert result.clean.GetDisplayNode().GetVisibility()
        assert not truth.GetDisplayNode().GetVisibility(), "it would lie over every view"
    aPanel.click("sideBySideButton")
    assert result.difference.GetDisplayNode().GetVisibility(), "else the view of the difference is empty"
    aPanel.click("threeDButton")
    assert result.clean.GetDisplayNode().GetVisibility()
    aPanel.click("restoreLayoutButton")
    assert truth.GetDisplayNode().GetVisibility()
    assert not result.clean.GetDisplayNode().GetVisibility(), "as the result came"


def test_a_scene_saved_side_by_side_is_shown_so_again_and_frees_its_segmentations(
    aSlicer: HeadlessSlicer, aResult: OpenPanel, tmp_path: Any
) -> None:
    assert aResult.ui.sideBySideButton.checked
    path = aSlicer.save(tmp_path / "scene.mrb")
    aResult.desk.scene.Clear(0)
    aResult.settle()
    assert not aResult.ui.sideBySideButton.checked
    assert aResult.desk.layoutManager.layout == 3, "our views would be empty"
    aSlicer.load(path)
    aResult.settle()
    assert aResult.ui.sideBySideButton.checked == (aResult.panel.results.layouts.current == "sideBySide")
    if aResult.ui.sideBySideButton.checked:
        aResult.click("restoreLayoutButton")
    for node in (aResult.result.clean, aResult.result.attacked, aResult.result.difference):
        assert node.GetDisplayNode().GetNumberOfViewNodeIDs() == 0


def test_a_new_sample_is_not_shown_as_adversarial(aResult: OpenPanel) -> None:
    assert aResult.ui.sideBySideButton.checked
    aResult.drawSample()
    assert not aResult.ui.sideBySideButton.checked


def test_a_view_that_slicer_makes_anew_is_marked_anew(aResult: OpenPanel) -> None:
    aResult.settle()
    aResult.desk.layoutManager._slices.pop("AdvAdversarial")
    made = aResult.desk.layoutManager.sliceWidget("AdvAdversarial")
    made.mrmlSliceNode().Modified()
    aResult.settle()
    props = made.sliceView().renderWindow().GetRenderers().GetFirstRenderer().GetViewProps()
    texts = [props.GetItemAsObject(index) for index in range(props.GetNumberOfItems())]
    assert any(actor.IsA("vtkTextActor") and "ADVERSARIAL" in actor.GetInput() for actor in texts)


def test_new_views_are_fitted_again_when_they_have_their_size(aResult: OpenPanel) -> None:
    node = aResult.desk.layoutManager.sliceWidget("AdvClean").mrmlSliceNode()
    aResult.settle(lambda: not aResult.panel.results.layouts._look)
    fitted = node.GetFieldOfView()
    aResult.click("flickerButton")
    aResult.click("sideBySideButton")
    node.SetFieldOfView(3.0, 3.0, 1.0)  # as a view that was fitted while it was tiny
    aResult.settle(lambda: not aResult.panel.results.layouts._look)
    assert node.GetFieldOfView() == pytest.approx(fitted)


def test_flicker_goes_on_when_the_module_is_opened_again(aResult: OpenPanel) -> None:
    aResult.click("flickerButton")
    aResult.widget.exit()
    assert not aResult.panel.results.layouts.flicker.running
    aResult.widget.enter()
    assert aResult.panel.results.layouts.flicker.running


# -- nodes that go ----------------------------------------------------------------------------------------------------

ROLES = ("adversarial", "perturbation", "clean", "attacked", "difference", "metrics", "history", "charts", "browser",
         "scanNodes", "recorded")  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_any_node_of_a_result_may_be_deleted(aBrainPanel: OpenPanel, role: str) -> None:
    aBrainPanel.drawSample()
    aBrainPanel.click("applyButton")
    result = aBrainPanel.result
    found = getattr(result, role, None)
    nodes = found if isinstance(found, list | tuple) else [found]
    for node in [node for node in nodes if node is not None]:
        aBrainPanel.desk.scene.RemoveNode(node)
    aBrainPanel.settle()
    for name in LAYOUTS:
        button = getattr(aBrainPanel.ui, name)
        if button.enabled:
            button.click()
            aBrainPanel.settle()
    slider = aBrainPanel.ui.iterationSlider
    slider.value = slider.maximum
    aBrainPanel.ui.magnificationSlider.value = 3.0
    if aBrainPanel.ui.removeRunButton.enabled:
        aBrainPanel.click("removeRunButton")
    assert aBrainPanel.desk.errors == []


def test_the_scan_is_deleted_while_it_is_attacked(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.worker.holds = True
    aPanel.ui.applyButton.click()
    aPanel.settle(lambda: "step" in aPanel.ui.statusLabel.text)
    aPanel.desk.scene.RemoveNode(aPanel.parameters.channel1)
    aPanel.settle(lambda: True)
    aPanel.worker._finish(next(item for item in aPanel.worker.sent if item["do"] == "run"))
    aPanel.settle()
    assert len(aPanel.desk.errors) <= 1
    assert not aPanel.ui.applyButton.enabled


# -- workers and inputs -----------------------------------------------------------------------------------------------


def test_a_killed_worker_is_said_once_with_its_last_words_and_the_next_run_works(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    before = snapshot(aPanel.desk.scene)
    aPanel.worker.dies = True
    aPanel.ui.applyButton.click()
    aPanel.settle()
    assert len(aPanel.desk.errors) == 1
    assert "out of memory" in aPanel.desk.errors[0] + aPanel.ui.logText.plainText
    assert snapshot(aPanel.desk.scene) == before
    aPanel.worker.dies = False
    aPanel.click("applyButton")
    assert aPanel.result is not None


def broken(panel: OpenPanel, what: str) -> None:
    """Spoil what the panel attacks."""
    volume, scene = panel.parameters.channel1, panel.desk.scene
    if what == "no image":
        volume.SetAndObserveImageData(None)
    elif what == "not a number":
        slicer.util.arrayFromVolume(volume)[...] = float("nan")
    elif what == "bent":
        node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
        volume.SetAndObserveTransformNodeID(node.GetID())
    elif what in ("empty target", "other names"):
        target = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "target")
        target.CreateDefaultDisplayNodes()
        if what == "other names":
            target.GetSegmentation().AddEmptySegment("liver", "liver")
        panel.parameters.goal, panel.parameters.target = "drawn", target
    panel.settle()


@pytest.mark.parametrize("what", ["no image", "not a number", "bent", "empty target", "other names"])
def test_bad_input_is_refused_in_one_line_and_leaves_the_scene(aPanel: OpenPanel, what: str) -> None:
    aPanel.drawSample()
    broken(aPanel, what)
    before = snapshot(aPanel.desk.scene)
    if aPanel.ui.applyButton.enabled:
        aPanel.click("applyButton")
        assert len(aPanel.desk.errors) == 1
        said = aPanel.desk.errors[0]
    else:
        said = aPanel.ui.applyButton.toolTip
    assert said
    assert "\n" not in said
    assert snapshot(aPanel.desk.scene) == before
    assert not aPanel.panel.run.busy


def test_going_through_everything_back_and_forth_keeps_what_was_set(aPanel: OpenPanel) -> None:
    aPanel.drawSample()
    aPanel.panel.attack.form.fields["steps"].set(7)
    for _round in range(2):
        for model in ("brain", "nothing of the kind", "chest"):
            aPanel.parameters.model = model
            for goal in ("moved", "drawn", "untargeted"):
                aPanel.parameters.goal = goal
            for attack in ("asma", "fgsm", "pgd"):
                aPanel.parameters.attack = attack
            aPanel.settle()
    assert aPanel.panel.attack.form.values == {"steps": 7}
    assert aPanel.ui.applyButton.enabled, aPanel.ui.applyButton.toolTip
    aPanel.parameters.channel1.SetName("renamed by hand")
    aPanel.click("applyButton")
    assert aPanel.result is not None


# -- the Sample Data module -------------------------------------------------------------------------------------------


def test_a_sample_that_cannot_be_drawn_is_said_and_nothing_is_left(aDesk: Desk, monkeypatch: Any) -> None:
    module = moduleNamed("AdvSegRobustness")
    closed: list[bool] = []

    def phantom(self: Any, kind: str) -> Any:
        raise AdvSegError("no Python that computes")

    monkeypatch.setattr(module.AdvSegRobustnessLogic, "phantom", phantom)
    monkeypatch.setattr(module.AdvSegRobustnessLogic, "close", lambda self: closed.append(True))
    module.drawSample("brain")
    assert aDesk.errors == ["no Python that computes"]
    assert closed == [True]


def test_samples_are_offered_by_a_slicer_that_knows_no_titles_of_categories(aDesk: Desk, monkeypatch: Any) -> None:
    from panel_standins.application import SampleDataLogic

    monkeypatch.delattr(SampleDataLogic, "registerCustomSampleDataCategory")
    moduleNamed("AdvSegRobustness").registerSampleData()
    assert len(SampleDataLogic.sources) == 2
    assert not pythonqt.FAILURES
    assert "SampleData" in sys.modules
