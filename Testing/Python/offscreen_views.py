"""Slice views without a window: Slicer's own displayable managers and slice logic, drawn offscreen into an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)


class OffscreenSliceView:
    """A slice view of a scene, as large as asked for.

    What a slice widget of the application does is done here: the slice logic blends the volumes, an actor shows the
    blend, the displayable managers draw segmentations, models and legends on it.
    """

    def __init__(self, scene: Any, applicationLogic: Any, name: str, size: tuple[int, int] = (400, 400)) -> None:
        """Add a view of that name (a slice node's singleton tag) to the scene."""
        self.renderer, self.window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(8)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._managers = self._displayableManagers(applicationLogic)
        self._showBlend()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(name)
        self._managers.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*size)

    def _displayableManagers(self, applicationLogic: Any) -> Any:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(applicationLogic)  # the factory outlives scenes
        for name in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        interactor = vtk.vtkRenderWindowInteractor()
        interactor.SetRenderWindow(self.window)
        interactor.Initialize()
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        group.Initialize(factory, self.renderer)
        return group

    def _showBlend(self) -> None:
        """The blend has window and level applied already: 8 bit in, 8 bit out."""
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._picture = vtk.vtkActor2D()
        self._picture.SetMapper(self._mapper)
        self._picture.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self._picture)

    @property
    def composite(self) -> Any:
        """The node that says which volumes are shown, and how they are blended."""
        return self.logic.GetSliceCompositeNode()

    def show(self, background: Any, foreground: Any = None, opacity: float = 1.0) -> None:
        """Show a volume, another over it."""
        self.composite.SetBackgroundVolumeID(background.GetID())
        self.composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
        self.composite.SetForegroundOpacity(opacity)
        self.logic.UpdatePipeline()

    def showLegendOf(self, volume: Any) -> None:
        """Show the colour legend of the foreground volume here, and in no other view.

        The legends' manager makes an actor for a legend that was there before the view only when a layer changes by
        interaction, which the flags say.
        """
        (legend,) = (
            volume.GetNthDisplayNode(index)
            for index in range(volume.GetNumberOfDisplayNodes())
            if volume.GetNthDisplayNode(index).IsA("vtkMRMLColorLegendDisplayNode")
        )
        self.composite.SetForegroundVolumeID(None)
        self.composite.SetInteractionFlags(slicer.vtkMRMLSliceCompositeNode.ForegroundVolumeFlag)
        self.composite.SetForegroundVolumeID(volume.GetID())
        self.composite.SetInteractionFlags(0)
        legend.SetViewNodeIDs([self.node.GetID()])
        legend.Modified()

    def look(self, orientation: str, point: tuple[float, float, float], zoom: float = 1.0) -> None:
        """Look at the plane through a RAS point, from so near that the background fills the view at zoom 1."""
        self.node.SetOrientation(orientation)
        self.logic.FitSliceToBackground()
        width, height, depth = self.node.GetFieldOfView()
        self.node.SetFieldOfView(width / zoom, height / zoom, depth)
        self.node.JumpSliceByCentering(*point)
        self.logic.UpdatePipeline()

    def pixels(self) -> np.ndarray:
        """Return the picture, ``(height, width, 3)`` uint8, top row first."""
        connection = self.logic.GetImageDataConnection()
        self._picture.SetVisibility(connection is not None)
        self._mapper.SetInputConnection(connection)
        self.window.Render()
        reader = vtk.vtkWindowToImageFilter()
        reader.SetInput(self.window)
        reader.ReadFrontBufferOff()
        reader.Update()
        image = reader.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()
