"""Results in the panel: views and their marks, noise, iterations, tables, comparisons, files."""

from __future__ import annotations

import csv
import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vtk
from fixtures_panel import OpenPanel
from fixtures_scene import snapshot, voxelsOf

pytest_plugins = ("slicer_fixtures", "fixtures_scene", "fixtures_panel")

FOUR = {"AdvClean", "AdvAdversarial", "AdvNoise", "AdvDifference"}


def background(panel: OpenPanel, view: str) -> Any:
    composite = panel.desk.layoutManager.sliceWidget(view).mrmlSliceCompositeNode()
    return panel.desk.scene.GetNodeByID(composite.GetBackgroundVolumeID() or "")


def foreground(panel: OpenPanel, view: str) -> Any:
    composite = panel.desk.layoutManager.sliceWidget(view).mrmlSliceCompositeNode()
    return panel.desk.scene.GetNodeByID(composite.GetForegroundVolumeID() or "")


def viewsOf(segmentation: Any) -> list[str]:
    scene = segmentation.GetScene()
    ids = segmentation.GetDisplayNode().GetViewNodeIDs() or ()
    return [node.GetSingletonTag() for node in map(scene.GetNodeByID, ids) if node is not None]


def marks() -> Any:
    return sys.modules["AdvSegRobustnessLib.Gui.Marks"]._shared


@pytest.fixture
def aBrainResult(aBrainPanel: OpenPanel) -> OpenPanel:
    aBrainPanel.drawSample()
    aBrainPanel.click("applyButton")
    return aBrainPanel


# -- views ------------------------------------------------------------------------------------------------------------


def test_a_new_result_is_shown_side_by_side(aResult: OpenPanel) -> None:
    result = aResult.result
    assert set(aResult.desk.layoutManager.sliceViewNames()) == FOUR
    assert aResult.ui.sideBySideButton.checked
    assert background(aResult, "AdvClean") is aResult.parameters.channel1
    assert background(aResult, "AdvAdversarial") is result.adversarial[0]
    assert background(aResult, "AdvNoise") is aResult.parameters.channel1
    assert foreground(aResult, "AdvNoise") is result.perturbation[0]
    assert foreground(aResult, "AdvClean") is None
    assert [viewsOf(node) for node in (result.clean, result.attacked, result.difference)] == [
        ["AdvClean"], ["AdvAdversarial"], ["AdvDifference"]]  # fmt: skip
    for view in FOUR:
        composite = aResult.desk.layoutManager.sliceWidget(view).mrmlSliceCompositeNode()
        assert composite.GetLinkedControl()
        assert composite.GetHotLinkedControl()


def test_clean_and_adversarial_share_their_window(aResult: OpenPanel) -> None:
    aResult.parameters.channel1.GetDisplayNode().SetWindowLevel(77, 33)
    shown = aResult.result.adversarial[0].GetDisplayNode()
    assert (shown.GetWindow(), shown.GetLevel()) == (77, 33)


def test_views_are_marked_when_and_only_when_they_show_an_adversarial_image(aResult: OpenPanel) -> None:
    aResult.settle()
    assert marks().marked == {"AdvAdversarial", "AdvNoise"}
    view = aResult.desk.layoutManager.sliceWidget("AdvAdversarial").sliceView()
    renderer = view.renderWindow().GetRenderers().GetFirstRenderer()
    texts = [renderer.GetViewProps().GetItemAsObject(i) for i in range(renderer.GetViewProps().GetNumberOfItems())]
    assert [actor.GetInput() for actor in texts if actor.IsA("vtkTextActor")] == ["ADVERSARIAL\nnot for clinical use"]

    aResult.click("restoreLayoutButton")
    red = aResult.desk.layoutManager.sliceWidget("Red").mrmlSliceCompositeNode()
    red.SetBackgroundVolumeID(aResult.result.adversarial[0].GetID())
    aResult.settle()
    assert "Red" in marks().marked, "Slicer's own views too"
    red.SetBackgroundVolumeID(aResult.parameters.channel1.GetID())
    aResult.settle()
    assert "Red" not in marks().marked
    red.SetForegroundVolumeID(aResult.result.perturbation[0].GetID())
    red.SetForegroundOpacity(0.0)
    aResult.settle()
    assert "Red" not in marks().marked
    red.SetForegroundOpacity(0.5)
    aResult.settle()
    assert "Red" in marks().marked
    red.SetForegroundVolumeID(None)
    aResult.click("removeRunButton")
    aResult.settle()
    assert marks().marked == set()
    assert renderer.GetViewProps().GetNumberOfItems() == len(texts) - 1


def test_marks_let_go_of_removed_volumes(aResult: OpenPanel) -> None:
    node = aResult.result.adversarial[0]
    gone: list[str] = []
    node.AddObserver(vtk.vtkCommand.DeleteEvent, lambda caller, event: gone.append(event))
    aResult.settle()
    assert node in marks().watched
    del node
    aResult.click("removeRunButton")
    aResult.settle()
    gc.collect()
    assert gone, "somebody still holds its voxels"


def test_a_surface_of_the_attacked_segmentation_marks_its_3d_view(aResult: OpenPanel) -> None:
    aResult.click("threeDButton")
    aResult.settle()
    ids = {node.GetSingletonTag(): node.GetID() for node in
           (aResult.desk.layoutManager.threeDWidget(i).mrmlViewNode() for i in range(2))}  # fmt: skip
    assert ids["AdvAttacked3D"] in marks().marked
    assert ids["AdvClean3D"] not in marks().marked
    assert viewsOf(aResult.result.clean) == ["AdvClean3D"]
    assert viewsOf(aResult.result.attacked) == ["AdvAttacked3D"]


def test_flicker_shows_both_in_turn_and_stops_with_the_module(aResult: OpenPanel) -> None:
    aResult.ui.flickerSlider.value = 0.1
    aResult.click("flickerButton")
    flicker = aResult.panel.results.layouts.flicker
    assert flicker.running
    result, clean = aResult.result, aResult.parameters.channel1
    for volume, shown, hidden in (
        (result.adversarial[0], result.attacked, result.clean),
        (clean, result.clean, result.attacked),
    ):
        aResult.settle(lambda volume=volume: background(aResult, "AdvFlicker") is volume)
        assert viewsOf(shown) == ["AdvFlicker"]
        assert "AdvFlicker" not in viewsOf(hidden)
    aResult.widget.exit()
    assert not flicker.running


def test_flicker_survives_the_removal_of_its_volume(aResult: OpenPanel) -> None:
    aResult.ui.flickerSlider.value = 0.1
    aResult.click("flickerButton")
    aResult.desk.scene.RemoveNode(aResult.result.adversarial[0])
    aResult.settle(lambda: not aResult.panel.results.layouts.flicker.running)


def test_restoring_shows_the_layout_and_the_segmentations_as_before(aPanel: OpenPanel) -> None:
    before = aPanel.desk.layoutManager._logic.GetLayoutNode().GetViewArrangement()
    aPanel.drawSample()
    aPanel.click("applyButton")
    for name in ("flickerButton", "threeDButton", "plotsButton", "sideBySideButton"):
        aPanel.click(name)
        assert getattr(aPanel.ui, name).checked
    aPanel.click("restoreLayoutButton")
    assert aPanel.desk.layoutManager._logic.GetLayoutNode().GetViewArrangement() == before
    assert not aPanel.ui.sideBySideButton.checked
    assert not aPanel.ui.restoreLayoutButton.enabled
    for node in (aPanel.result.clean, aPanel.result.attacked, aPanel.result.difference):
        assert node.GetDisplayNode().GetNumberOfViewNodeIDs() == 0


def test_choosing_another_layout_in_slicer_unpresses_ours(aResult: OpenPanel) -> None:
    aResult.desk.layoutManager.setLayout(2)
    assert not aResult.ui.sideBySideButton.checked
    assert aResult.result.clean.GetDisplayNode().GetNumberOfViewNodeIDs() == 0


def test_plots_show_charts_and_table(aResult: OpenPanel) -> None:
    aResult.click("plotsButton")
    scene = aResult.desk.scene
    assert scene.GetSingletonNode("AdvPlot1", "vtkMRMLPlotViewNode").GetPlotChartNode() in aResult.result.charts
    assert scene.GetSingletonNode("AdvTable", "vtkMRMLTableViewNode").GetTableNode() is aResult.result.history


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_magnification_changes_the_window_and_no_voxel(aResult: OpenPanel) -> None:
    noise = aResult.result.perturbation[0]
    before, window = voxelsOf(noise).copy(), noise.GetDisplayNode().GetWindow()
    aResult.ui.magnificationSlider.value = 10.0
    assert noise.GetDisplayNode().GetWindow() == pytest.approx(window / 10)
    np.testing.assert_array_equal(voxelsOf(noise), before)


def test_table_and_legend_are_of_the_result(aResult: OpenPanel) -> None:
    assert aResult.ui.metricsTable.mrmlTableNode() is aResult.result.metrics
    legend, tip = aResult.ui.differenceLegend.text, aResult.ui.differenceLegend.toolTip
    segmentation = aResult.result.difference.GetSegmentation()
    kinds = {name.rstrip("0123456789") for name in segmentation.GetSegmentIDs()}
    assert legend.count("&#9632;") == len(kinds) > 0, "one line: the hues only"
    assert all(kind in legend for kind in kinds)
    assert tip.count("&#9632;") == segmentation.GetNumberOfSegments()
    first = segmentation.GetNthSegment(0)
    assert first.GetName().replace(" ", "&nbsp;") in tip
    assert "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in first.GetColor())) in tip


def test_iterations_are_scrubbed(aBrainResult: OpenPanel) -> None:
    slider, browser = aBrainResult.ui.iterationSlider, aBrainResult.result.browser
    assert slider.maximum == browser.GetNumberOfItems() - 1 == 2
    assert not slider._object.isHidden()
    slider.value = 1
    assert browser.GetSelectedItemNumber() == 1
    assert aBrainResult.ui.iterationLabel.text == "Iteration 2:", "recorded at step 2"
    shown = background(aBrainResult, "AdvAdversarial")
    assert shown not in aBrainResult.result.adversarial
    clean, final = voxelsOf(aBrainResult.parameters.channel1), voxelsOf(aBrainResult.result.adversarial[0])
    np.testing.assert_allclose(voxelsOf(shown), (clean + final) / 2, atol=1e-3 * np.ptp(clean))


def test_no_iterations_no_slider(aResult: OpenPanel) -> None:
    assert aResult.ui.iterationSlider._object.isHidden()


def test_another_channel_is_shown(aBrainResult: OpenPanel) -> None:
    assert aBrainResult.ui.shownChannelComboBox.count == 4
    aBrainResult.ui.shownChannelComboBox.currentIndex = 3
    assert aBrainResult.parameters.shownChannel == "flair"
    assert background(aBrainResult, "AdvClean") is aBrainResult.parameters.channel4
    assert foreground(aBrainResult, "AdvNoise") is aBrainResult.result.perturbation[3]


def test_two_results_are_told_apart_and_one_is_removed(aResult: OpenPanel) -> None:
    first = aResult.result
    before = snapshot(aResult.desk.scene)
    aResult.click("applyButton")
    second = aResult.result
    assert second.runId != first.runId
    assert aResult.ui.runComboBox.count == 2
    aResult.ui.runComboBox.currentIndex = 0
    assert aResult.result.runId == first.runId
    assert background(aResult, "AdvAdversarial") is aResult.result.adversarial[0]
    aResult.ui.runComboBox.currentIndex = 1
    aResult.click("removeRunButton")
    assert aResult.result.runId == first.runId
    assert snapshot(aResult.desk.scene)[0] == before[0]


# -- comparisons ------------------------------------------------------------------------------------------------------


def test_a_sweep_gives_table_and_plots(aResult: OpenPanel) -> None:
    aResult.ui.sweepEdit.text = "1, nonsense"
    assert not aResult.ui.sweepButton.enabled
    assert "nonsense" in aResult.ui.sweepButton.toolTip
    aResult.ui.sweepEdit.text = "1; 2 %, 4"
    aResult.click("sweepButton")
    jobs = [request["job"] for request in aResult.worker.sent if request["do"] == "run"][1:]
    assert [job["epsilon"] for job in jobs] == [0.01, 0.02, 0.04]
    scene = aResult.desk.scene
    table = scene.GetSingletonNode("AdvTable", "vtkMRMLTableViewNode").GetTableNode()
    assert table.GetNumberOfRows() == 3
    assert table.GetID() == aResult.parameters.comparison
    assert scene.GetSingletonNode("AdvPlot1", "vtkMRMLPlotViewNode").GetPlotChartNode() is not None
    assert aResult.ui.plotsButton.checked


def test_models_are_compared_under_one_attack(aResult: OpenPanel, tmp_path: Path) -> None:
    import shutil

    from AdvSegLib.segmenters.catalogue import model_folder

    twin = tmp_path / "twin"
    shutil.copytree(model_folder("chest"), twin)
    aResult.panel.model.addFolder(str(twin))
    aResult.parameters.model = "chest"
    assert not aResult.ui.compareButton.enabled
    assert "two models" in aResult.ui.compareButton.toolTip
    aResult.parameters.compareModels = ["chest", str(twin)]
    ticks = aResult.ui.compareModelsList
    items = [ticks.item(row) for row in range(ticks.count)]
    assert [item.data(0x100) for item in items if item.checkState().value] == ["chest", str(twin)]
    assert "brain" not in [item.data(0x100) for item in items], "it takes another kind of scan"
    aResult.click("compareButton")
    jobs = [request["job"] for request in aResult.worker.sent if request["do"] == "run"][1:]
    assert [Path(job["model"]).name for job in jobs] == ["chest", "twin"]
    assert aResult.ui.comparisonComboBox.count == 1
    assert aResult.ui.runComboBox.count == 3, "the runs of a comparison are results too"


# -- files ------------------------------------------------------------------------------------------------------------


def test_run_folder_and_tables_are_exported(aResult: OpenPanel, tmp_path: Path) -> None:
    assert "folder" in aResult.ui.exportRunButton.toolTip
    aResult.ui.exportFolderEdit.currentPath = str(tmp_path / "absent")
    aResult.click("exportRunButton")
    assert "no such folder" in aResult.desk.errors.pop()
    assert not any(tmp_path.iterdir())
    aResult.ui.exportFolderEdit.currentPath = str(tmp_path)
    aResult.click("exportRunButton")
    aResult.click("exportRunButton")
    aResult.click("exportTablesButton")
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == [aResult.result.name, f"{aResult.result.name} (2)"]
    for name in folders:
        assert (tmp_path / name / "metrics.json").read_bytes() == (aResult.run.folder / "metrics.json").read_bytes()
    with (tmp_path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][0] == "structure"
    assert len(rows) == aResult.result.metrics.GetNumberOfRows() + 1
    assert (tmp_path / "history.csv").is_file()
    assert aResult.desk.errors == []
