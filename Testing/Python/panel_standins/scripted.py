"""``slicer.ScriptedLoadableModule``: the base classes of a scripted module, as far as ours leans on them."""

from __future__ import annotations

import os
import unittest
from typing import Any

import slicer


class ScriptedLoadableModule:
    """A module, known by its parent."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """The widget of a module; ``parent`` is a qMRMLWidget with a layout and ``isEntered``."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent, self.layout = parent, parent.layout()

    def setup(self) -> None:
        """Nothing: the developer's buttons are left out."""

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """The logic of a module, with one parameter node a scene."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        scene = slicer.mrmlScene
        found = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if found is None:
            found = slicer.vtkMRMLScriptedModuleNode()
            found.SetSingletonTag(self.moduleName)
            found.SetName(self.moduleName)
            found = scene.AddNode(found)
        found.SetAttribute("ModuleName", self.moduleName)
        return found


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A self test."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*(args or ("runTest",)), **options)

    def delayDisplay(self, message: str, *_args: Any) -> None:
        """Nothing is displayed."""
