"""The typed parameter node of the panel.

To be imported when it is first needed, never at file scope: Slicer loads modules in the order of their names, and this
one comes before Markups and Segmentations, whose node classes are named below.
"""

from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class AdvSegRobustnessParameterNode:
    """What the panel shows; each parameter is mirrored by the widget of the .ui that names it.

    The ...Parameters are JSON: the values, by kind, of the generated widgets that differ from their defaults.
    """

    channel1: slicer.vtkMRMLScalarVolumeNode
    channel2: slicer.vtkMRMLScalarVolumeNode
    channel3: slicer.vtkMRMLScalarVolumeNode
    channel4: slicer.vtkMRMLScalarVolumeNode
    channel5: slicer.vtkMRMLScalarVolumeNode
    channel6: slicer.vtkMRMLScalarVolumeNode
    channel7: slicer.vtkMRMLScalarVolumeNode
    channel8: slicer.vtkMRMLScalarVolumeNode

    model: str = "brain"
    device: str = "auto"

    goal: str = "untargeted"
    goalParameters: str = "{}"
    target: slicer.vtkMRMLSegmentationNode
    truth: slicer.vtkMRMLSegmentationNode
    keep: str = ""

    attack: str = "pgd"
    norm: str = "linf"
    epsilonPercent: Annotated[float, WithinRange(0, 100)] = 5.0
    radius: Annotated[float, WithinRange(0, 1000000)] = 10.0
    attackParameters: str = "{}"
    region: str = "whole"
    regionRoi: slicer.vtkMRMLMarkupsROINode
    regionSegmentation: slicer.vtkMRMLSegmentationNode
    regionSegment: str = ""
    regionParameters: str = "{}"
    recordEvery: Annotated[int, WithinRange(0, 1000)] = 0
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    precision: str = "fp32"
    surrogate: str = ""

    runName: str = ""
    run: str = ""
    shownChannel: str = ""
    flickerSeconds: Annotated[float, WithinRange(0.1, 5)] = 0.5
    magnification: Annotated[float, WithinRange(1, 50)] = 1.0
    compareModels: list[str]
    sweepPercents: str = "0.5, 1, 2, 5"
    comparison: str = ""
