"""Slicer's Segment Editor inside the panel, for drawing a target."""

from __future__ import annotations

from typing import Any

import slicer

from .Wiring import wire

EFFECTS = ("Paint", "Draw", "Erase", "Scissors", "Islands", "Smoothing", "Margin", "Threshold", "Level tracing")
EDITOR_TAG = "AdvSegRobustnessEditor"


class TargetEditor:
    """Made when it is first opened; hidden, and without an active effect, when it is not needed."""

    def __init__(self, frame: Any, closeButton: Any) -> None:
        self._frame = frame
        self._editor: Any = None
        self._segmentation: Any = None
        wire(closeButton, "clicked(bool)", lambda _on: self.close())
        frame.setVisible(False)

    def open(self, scene: Any, segmentation: Any, volume: Any) -> None:
        """Show the editor on a segmentation, over a volume, ready to paint the first segment."""
        editor = self._make(scene)
        editor.setMRMLSegmentEditorNode(self._parameters(scene))
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)
        self._segmentation = segmentation
        segments = segmentation.GetSegmentation()
        if segments.GetNumberOfSegments():
            editor.setCurrentSegmentID(segments.GetNthSegmentID(0))
        self._frame.setVisible(True)

    def update(self, segmentation: Any) -> None:
        """Close it where its segmentation is no longer the target."""
        if self._segmentation is not None and segmentation is not self._segmentation:
            self.close()

    def rest(self) -> None:
        """Leave the active effect, which would else go on in other modules."""
        if self._editor is not None:
            self._editor.setActiveEffect(None)

    def close(self) -> None:
        """Leave the effect and hide the editor; what was drawn stays."""
        self._frame.setVisible(False)
        self.rest()
        if self._editor is not None:
            self._editor.setSegmentationNode(None)
        self._segmentation = None

    def dispose(self) -> None:
        """Let go of the scene: a widget that outlives it crashes Slicer at exit."""
        self.close()
        if self._editor is not None:
            self._editor.setMRMLScene(None)
            self._editor = None

    @property
    def isOpen(self) -> bool:
        """Whether a target is being drawn."""
        return self._segmentation is not None

    def _make(self, scene: Any) -> Any:
        if self._editor is None:
            editor = slicer.qMRMLSegmentEditorWidget()
            editor.objectName = "targetSegmentEditor"
            editor.setMRMLScene(scene)
            editor.maximumNumberOfUndoStates = 5
            editor.setEffectNameOrder(list(EFFECTS))
            editor.unorderedEffectsVisible = False
            editor.segmentationNodeSelectorVisible = False
            editor.sourceVolumeNodeSelectorVisible = False
            editor.setSwitchToSegmentationsButtonVisible(False)
            self._frame.layout().insertWidget(0, editor)
            self._editor = editor
        return self._editor

    @staticmethod
    def _parameters(scene: Any) -> Any:
        found = scene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if found is not None:
            return found
        node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR_TAG)
        return scene.AddNode(node)
