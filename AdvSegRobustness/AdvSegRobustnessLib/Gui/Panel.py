"""The panel: sections in the order of the work, one parameter node, one logic, one timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.segmenters.spec import Spec

from .AttackSection import AttackSection
from .Bindings import connectPanel
from .CompareSection import CompareSection
from .ExportSection import ExportSection
from .GoalSection import GoalSection
from .ModelSection import ModelSection
from .ResultsSection import ResultsSection
from .RunSection import RunSection
from .ScanSection import ScanSection
from .Wiring import Later


class Panel:
    """What the sections share; each is told to :meth:`update` when parameters or the scene have changed.

    ``ui`` has the widgets of the .ui by name, ``logic`` is a RobustnessLogic, ``settings`` are QSettings.
    """

    def __init__(self, ui: Any, logic: Any, scene: Any, settings: Any) -> None:
        self.ui, self.logic, self.scene, self.settings = ui, logic, scene, settings
        self.parameterNode: Any = None
        self._guiTag: int | None = None
        self._observerTag: int | None = None
        self._updating = False
        self.run = RunSection(self)
        self.model = ModelSection(self)
        self.scan = ScanSection(self)
        self.goal = GoalSection(self)
        self.attack = AttackSection(self)
        self.results = ResultsSection(self)
        self.compare = CompareSection(self)
        self.export = ExportSection(self)
        self.sections = (
            self.model, self.goal, self.attack, self.run, self.scan, self.results, self.compare, self.export,
        )  # fmt: skip
        self.later = Later(self.update)
        self.update()

    @property
    def spec(self) -> Spec | None:
        """What the chosen model sees and says; None where it cannot be read."""
        return None if self.parameterNode is None else self.model.spec

    @property
    def volumes(self) -> tuple[Any, ...]:
        """The chosen volumes, one a channel of the model; a channel without one is None."""
        return self.scan.volumes

    # -- parameter node -------------------------------------------------------------------------------------------

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the widgets to a parameter node, or to none (while a scene closes)."""
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self._guiTag)
            self.parameterNode.RemoveObserver(self._observerTag)
        self.parameterNode = parameterNode
        if parameterNode is not None:
            forms = {"goalParameters": self.goal.form, "attackParameters": self.attack.form}
            forms["regionParameters"] = self.attack.region.form
            self._guiTag = connectPanel(parameterNode, self.ui, forms)
            self._observerTag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)
        self.update()

    def _onModified(self, caller: Any, event: str) -> None:
        self.update()

    def update(self) -> None:
        """Bring every section in line with parameters and scene; what it changes itself does not call again."""
        if self._updating:
            return
        self._updating = True
        try:
            for section in self.sections:
                section.update()
        finally:
            self._updating = False

    # -- life -----------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """The module is shown: what flickered goes on."""
        self.update()
        if self.parameterNode is not None:
            self.results.layouts.resumeFlicker(self.parameterNode.flickerSeconds)

    def leave(self) -> None:
        """Another module is shown: no effect stays active, nothing flickers."""
        self.goal.editor.rest()
        self.results.layouts.stopFlicker()

    def onNodesChanged(self) -> None:
        """Nodes came or went: update when all have."""
        self.results.stale = True
        self.later()

    def onSceneStartClose(self) -> None:
        """The scene is about to be emptied: what runs for it is cancelled."""
        self.results.layouts.forget()
        self.goal.editor.close()
        self.run.forget()
        self.setParameterNode(None)

    def close(self) -> None:
        """Let go of everything."""
        self.later.stop()
        self.setParameterNode(None)
        for section in self.sections:
            section.close()

    # -- what sections ask for ------------------------------------------------------------------------------------

    def attempt(self, doing: str, work: Callable[[], object]) -> bool:
        """Do what a click asked for; say in one line what was wrong with it, and tell whether it went well."""
        try:
            work()
        except (AdvSegError, OSError) as error:
            self.report(doing, error)
            return False
        return True

    def report(self, doing: str, error: Exception) -> None:
        """Say what went wrong, in a window and in the panel."""
        message = f"{doing}: {error}"
        self.run.say(message)
        slicer.util.errorDisplay(str(error), windowTitle=doing)

    def reasonAgainst(self, check: Callable[[], object]) -> str:
        """Return why something cannot be done now, "" where it can."""
        if self.parameterNode is None:
            return ""
        try:
            check()
        except BadRequest as error:
            return str(error)
        return ""
