"""``slicer.app``: a layout manager with real slice logics and layout logic, and what else the panel asks of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtWidgets import QApplication


class Window:
    """A render window that has renderers, and no screen (a real one takes a second to make)."""

    def __init__(self) -> None:
        self._renderers = vtk.vtkRendererCollection()
        self._renderers.AddItem(vtk.vtkRenderer())

    def GetRenderers(self) -> Any:
        return self._renderers


class View(QObject):
    """A view with a real renderer, which never draws."""

    def __init__(self) -> None:
        super().__init__()
        self._window = Window()
        self.asked: list[str] = []

    def renderWindow(self) -> Any:
        return self._window

    def scheduleRender(self) -> None:
        self.asked.append("render")

    def forceRender(self) -> None:
        self.asked.append("force")

    def resetCamera(self) -> None:
        self.asked.append("camera")

    def resetFocalPoint(self) -> None:
        self.asked.append("focus")


class SliceWidget(QObject):
    """A slice view on a real slice logic."""

    def __init__(self, node: Any, application: Any) -> None:
        super().__init__()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application)
        self._logic.SetMRMLScene(node.GetScene())
        self._logic.SetSliceNode(node)
        self._view = View()
        self._controller = SliceController(self._logic)

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> Any:
        return self._view

    def sliceController(self) -> Any:
        return self._controller


class SliceController(QObject):
    """The bar of a slice view."""

    def __init__(self, logic: Any) -> None:
        super().__init__()
        self._logic = logic

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground(400, 400)


class ThreeDWidget(QObject):
    """A 3-D view."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._node, self._view = node, View()

    def mrmlViewNode(self) -> Any:
        return self._node

    def threeDView(self) -> Any:
        return self._view


class LayoutManager(QObject):
    """Makes views for the view nodes of the layout that is shown; the real layout logic makes those of its XML."""

    layoutChanged = Signal(int)

    def __init__(self, scene: Any, application: Any) -> None:
        super().__init__()
        self._scene, self._application = scene, application
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._slices: dict[str, SliceWidget] = {}
        self._threeD: dict[str, ThreeDWidget] = {}
        self._setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def close(self) -> None:
        """Let go of the scene, whose emptying the logics would else undo."""
        for widget in self._slices.values():
            widget.sliceLogic().SetMRMLScene(None)
        self._logic.SetMRMLScene(None)

    def layoutLogic(self) -> Any:
        return self._logic

    def setLayout(self, layout: int) -> None:
        self._setLayout(layout)

    def _setLayout(self, layout: int) -> None:
        node = self._logic.GetLayoutNode()
        assert node.IsLayoutDescription(layout), f"no layout {layout}"
        node.SetViewArrangement(layout)
        self.layoutChanged.emit(layout)

    def _nodes(self, kind: str) -> list[Any]:
        views = self._logic.GetViewNodes()
        found = [views.GetItemAsObject(index) for index in range(views.GetNumberOfItems())]
        return [node for node in found if node.IsA(kind)]

    def sliceViewNames(self) -> list[str]:
        return [node.GetLayoutName() for node in self._nodes("vtkMRMLSliceNode")]

    def sliceWidget(self, name: str) -> Any:
        node = self._scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if node is None:
            return None
        if name not in self._slices:
            self._slices[name] = SliceWidget(node, self._application)
        return self._slices[name]

    def threeDWidget(self, index: int) -> Any:
        node = self._nodes("vtkMRMLViewNode")[index]
        return self._threeD.setdefault(node.GetID(), ThreeDWidget(node))

    layout = Property(int, lambda self: self._logic.GetLayoutNode().GetViewArrangement(), _setLayout)
    threeDViewCount = Property(int, lambda self: len(self._nodes("vtkMRMLViewNode")))


class ModuleManager(QObject):
    """Tells of modules that end."""

    moduleAboutToBeUnloaded = Signal(str)


class Application(QObject):
    """The application; without a main window there is no layout manager."""

    startupCompleted = Signal()
    aboutToQuit = Signal()

    def __init__(self, layoutManager: Any) -> None:
        super().__init__()
        self._layoutManager, self._modules = layoutManager, ModuleManager()

    def layoutManager(self) -> Any:
        return self._layoutManager

    def moduleManager(self) -> Any:
        return self._modules

    def testingEnabled(self) -> bool:
        return True

    def processEvents(self) -> None:
        QApplication.processEvents()


class SampleDataLogic:
    """Keeps what is registered."""

    sources: list[dict[str, Any]] = []  # noqa: RUF012
    categories: dict[str, str] = {}  # noqa: RUF012

    @classmethod
    def registerCustomSampleDataCategory(cls, category: str, title: str) -> None:
        cls.categories[category] = title

    @classmethod
    def registerCustomSampleDataSource(cls, **source: Any) -> None:
        """Refuse what Slicer's refuses (None for a list)."""
        for name in ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums"):
            assert isinstance(source[name], list)
        cls.sources.append(source)


def sampleDataModule() -> Any:
    return SimpleNamespace(SampleDataLogic=SampleDataLogic)
