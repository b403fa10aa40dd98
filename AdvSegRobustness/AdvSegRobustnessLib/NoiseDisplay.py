"""How a perturbation is shown: a symmetric diverging colour table, clear where nothing changed, and a legend."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import slicer

from AdvSegLib.errors import BadRequest
from AdvSegLib.reports.layers import NOISE_STOPS
from AdvSegRobustnessLib.Roles import CHANNEL_ATTRIBUTE, NOISE_ATTRIBUTE, ROLE_ATTRIBUTE
from AdvSegRobustnessLib.SceneChange import nodesWith, removeNodes

TABLE_ROLE = "noise-colors"
STEPS = 127
"""Colours on either side of zero."""


def noiseColorTable(scene: Any) -> Any:
    """Return the scene's diverging colour table: blue below zero, orange above, clear at zero; added on first use.

    Laid over an image it leaves unchanged voxels as they are. The colour says how large the noise is, not its opacity,
    of which Slicer's display keeps only all or nothing.
    """
    found = nodesWith(scene, ROLE_ATTRIBUTE, TABLE_ROLE)
    if found:
        return found[0]
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "AdvSeg noise")
    node.SetTypeToUser()
    node.SetNumberOfColors(2 * STEPS + 1)
    for index in range(2 * STEPS + 1):
        node.SetColor(index, f"{index - STEPS}", *noiseColor((index - STEPS) / STEPS))
    node.SetAttribute(ROLE_ATTRIBUTE, TABLE_ROLE)
    return node


def noiseColor(share: float) -> tuple[float, float, float, float]:
    """Return colour and opacity (0-1) of noise that is ``share`` of the largest, -1 to 1; those of the report.

    >>> noiseColor(0.0)[3], noiseColor(-1.0)[3]
    (0.0, 1.0)
    """
    places = np.linspace(-1, 1, len(NOISE_STOPS))
    red, green, blue = (float(np.interp(share, places, [stop[c] for stop in NOISE_STOPS])) / 255 for c in range(3))
    return red, green, blue, 0.0 if share == 0 else 1.0


def showAsNoise(volumeNode: Any, noise: np.ndarray) -> None:
    """Give a perturbation volume its display: window round zero up to its largest value, colours, legend."""
    volumeNode.SetAttribute(NOISE_ATTRIBUTE, repr(float(np.abs(noise).max()) if noise.size else 0.0))
    scene = volumeNode.GetScene()
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode", f"{volumeNode.GetName()} display")
    display.SetAndObserveColorNodeID(noiseColorTable(scene).GetID())
    display.AutoWindowLevelOff()
    display.SetInterpolate(False)  # a voxel's noise is its own
    volumeNode.SetAndObserveDisplayNodeID(display.GetID())
    _setWindow(volumeNode, 1.0)
    _addLegend(volumeNode)


def setMagnification(result: Any, factor: float) -> None:
    """Show the perturbations of a ResultNodes ``factor`` times as strong; display only, the voxels stay.

    The window of each channel is ``2 * largest noise / factor`` wide round zero. Raises BadRequest for a factor that
    is not a positive number.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise BadRequest(f"the magnification must be a positive number, not {factor}")
    for node in result.perturbation:
        _setWindow(node, factor)


def largestNoise(volumeNode: Any) -> float:
    """Return the largest absolute value of a perturbation volume, in source units."""
    return float(volumeNode.GetAttribute(NOISE_ATTRIBUTE) or 0.0)


def unitOf(volumeNode: Any) -> str:
    """Return what a volume's numbers are in, as short text: its units where it knows them, else ``source units``."""
    units = volumeNode.GetVoxelValueUnits()
    meaning = units.GetCodeMeaning() if units is not None else None
    short = units.GetCodeValue() if units is not None else None
    return short or meaning or "source units"


def removeUnusedTable(scene: Any) -> None:
    """Remove the colour table where no volume is shown with it any more."""
    for table in nodesWith(scene, ROLE_ATTRIBUTE, TABLE_ROLE):
        shown = slicer.vtkMRMLDisplayNode
        nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
        if not any(isinstance(node, shown) and node.GetColorNodeID() == table.GetID() for node in nodes):
            removeNodes(scene, [table])


def _setWindow(volumeNode: Any, factor: float) -> None:
    largest = largestNoise(volumeNode)
    width = 2 * largest / factor if largest > 0 else 1.0
    volumeNode.GetScalarVolumeDisplayNode().SetWindowLevel(width, 0.0)


def _addLegend(volumeNode: Any) -> None:
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volumeNode)
    if legend is None:
        return  # a scene without the Colors module: only the legend is missing
    channel = volumeNode.GetAttribute(CHANNEL_ATTRIBUTE) or ""
    legend.SetTitleText(f"noise {channel}\n({unitOf(volumeNode)})")
    legend.SetLabelFormat("%.3g")
    legend.SetNumberOfLabels(5)
    legend.SetUseColorNamesForLabels(False)
    legend.SetMaxNumberOfColors(2 * STEPS + 1)
