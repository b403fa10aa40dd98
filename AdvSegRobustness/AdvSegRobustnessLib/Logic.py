"""The one door to everything the module does: models, attacks, and tasks on nodes. For panel, console and batch."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import slicer

from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.spec import Spec
from AdvSegRobustnessLib import Choices
from AdvSegRobustnessLib.AttackRequest import AttackRequest
from AdvSegRobustnessLib.ChildProcess import ChildProcess
from AdvSegRobustnessLib.Interpreter import childEnvironment, findInterpreter, ownEnvironment, workerCommand
from AdvSegRobustnessLib.Phantoms import addPhantom, phantomCommand
from AdvSegRobustnessLib.Plans import Comparison, Planner
from AdvSegRobustnessLib.RequestChecks import checkRequest
from AdvSegRobustnessLib.SideTasks import SideTasks
from AdvSegRobustnessLib.TaskQueue import TaskQueue
from AdvSegRobustnessLib.Tasks import OnDone, OnEvent, Task
from AdvSegRobustnessLib.Worker import Worker
from AdvSegRobustnessLib.WorkerProcess import WorkerProcess

__all__ = ["Comparison", "RobustnessLogic"]

IDLE_SECONDS = 0.02
"""How long a call that waits sleeps between two looks at the worker."""


class RobustnessLogic:
    """Attacks on the nodes of a scene, computed by a child process.

    ``settings`` is read anew each time it matters: ``python`` (the interpreter, where ``ADVSEG_PYTHON`` is not set),
    ``temporary`` (the folder for temporary folders; default: the system's). ``environment`` returns the variables of
    the child process (in Slicer: ``slicer.util.startupEnvironment``; default: this process's own). ``idle`` is called
    all the time while a call waits (in Slicer: ``slicer.app.processEvents``). ``startWorker(logFolder)`` makes the
    worker, where it is not to be the usual one.
    """

    def __init__(
        self,
        scene: Any,
        *,
        startWorker: Callable[[Path], Worker] | None = None,
        settings: Mapping[str, Any] | None = None,
        environment: Callable[[], Mapping[str, str]] | None = None,
        idle: Callable[[], object] | None = None,
    ) -> None:
        self.scene = scene
        self._settings: Mapping[str, Any] = {} if settings is None else settings
        self._environment = environment or ownEnvironment
        self._idle = idle
        self._startWorker = startWorker
        self._queue = TaskQueue(startWorker or self._newWorker, self._temporaryFolder)
        self._side = SideTasks()
        self._planner = Planner(scene, self._temporaryFolder)
        self._observer = scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, _cancelling(weakref.ref(self)))

    # -- what there is (light: no torch, no process) --------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """Return the models: ``ModelInfo.describe()`` with ``folder`` and ``card`` (Markdown, "" where none)."""
        return Choices.models()

    def attacks(self) -> list[dict[str, Any]]:
        """Return the attacks: name, summary, source, aim, default_epsilon, parameters (of the library's registry)."""
        return Choices.attacks()

    def goals(self) -> list[dict[str, Any]]:
        """Return ``untargeted`` and every target map: name, summary, source, parameters, ``node``.

        ``node`` tells that the goal takes a segmentation node (``target=``) in place of a file: ``drawn``,
        ``other-case``. Their ``file`` is not among the parameters.
        """
        return Choices.goals()

    def regions(self) -> list[dict[str, Any]]:
        """Return ``whole``, ``segment``, ``roi`` and the registry's kinds: name, summary, source, parameters, node.

        ``node`` is "" or the class of ``regionNode`` ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode").
        """
        return Choices.regions()

    def modelSpec(self, model: str) -> Spec:
        """Return what a model (shipped name or folder) sees and says; BadRequest for an unknown one."""
        return Choices.modelSpec(model)

    def check(self, request: AttackRequest | None = None, **fields: Any) -> None:
        """Raise BadRequest with the first reason why an attack could not start.

        Cheap: looks at names, numbers and which nodes are given, not at voxels. For the tooltip of a disabled button.
        """
        checkRequest(_asked(request, fields))

    def interpreter(self) -> Path:
        """Return the Python that computes; BadRequest where there is none."""
        return findInterpreter(str(self._settings.get("python") or ""))

    # -- what can be done -----------------------------------------------------------------------------------------

    def segment(
        self,
        model: str,
        volumes: Sequence[Any],
        *,
        truth: Any = None,
        device: str = "auto",
        name: str | None = None,
        wait: bool = True,
        onEvent: OnEvent | None = None,
        onDone: OnDone | None = None,
    ) -> Any:
        """Segment a scan; return the segmentation node, or the Task where not to ``wait``."""
        self._checkReady()
        return self._begin(self._planner.segment(model, volumes, truth, device, name, onEvent, onDone), wait)

    def attack(
        self,
        request: AttackRequest | None = None,
        *,
        folder: str | Path | None = None,
        wait: bool = True,
        onEvent: OnEvent | None = None,
        onDone: OnDone | None = None,
        **fields: Any,
    ) -> Any:
        """Attack a model on a scan; return the ResultNodes, or the Task where not to ``wait``.

        Give an :class:`AttackRequest`, or its ``fields``. The run folder is kept at ``folder`` (new or empty) where
        one is given, else it is temporary. Whatever is wrong with the request raises BadRequest here.
        """
        self._checkReady()
        return self._begin(self._planner.attack(_asked(request, fields), folder, onEvent, onDone), wait)

    def compare(
        self,
        models: Sequence[str],
        *,
        folder: str | Path | None = None,
        keepRuns: bool = True,
        wait: bool = True,
        onEvent: OnEvent | None = None,
        onDone: OnDone | None = None,
        **fields: Any,
    ) -> Any:
        """Attack several models in the same way; return a Comparison, or the Task where not to ``wait``.

        ``fields`` are an AttackRequest's without ``model``. Run folders are kept below ``folder`` where one is given.
        With ``keepRuns=False`` only table and charts become nodes. A run that fails does not stop the others: the
        comparison then has ``failures``. Where every run fails, the last one's error is raised.
        """
        self._checkReady()
        if isinstance(models, str) or not isinstance(models, Iterable):
            raise BadRequest(f"models: give a list of models, not {models!r}")
        requests = [(str(model), _asked(None, {**fields, "model": model})) for model in models]
        return self._begin(self._planner.compare("model", requests, folder, keepRuns, onEvent, onDone), wait)

    def sweep(
        self,
        epsilons: Sequence[float],
        *,
        folder: str | Path | None = None,
        keepRuns: bool = False,
        wait: bool = True,
        onEvent: OnEvent | None = None,
        onDone: OnDone | None = None,
        **fields: Any,
    ) -> Any:
        """Attack with several budgets; return a Comparison (table, chart of Dice against epsilon), or the Task.

        ``fields`` are an AttackRequest's without ``epsilon``; ``folder`` and ``keepRuns`` as in :meth:`compare`.
        """
        self._checkReady()
        if isinstance(epsilons, str) or not isinstance(epsilons, Iterable):
            raise BadRequest(f"epsilons: give a list of budgets, not {epsilons!r}")
        requests = [(_budget(epsilon), _asked(None, {**fields, "epsilon": epsilon})) for epsilon in epsilons]
        return self._begin(self._planner.compare("epsilon", requests, folder, keepRuns, onEvent, onDone), wait)

    def phantom(
        self,
        kind: str = "brain",
        *,
        seed: int = 0,
        size: int | None = None,
        wait: bool = True,
        onDone: OnDone | None = None,
    ) -> Any:
        """Draw a synthetic ``brain`` or ``chest`` case on the spot; return its nodes, or the Task.

        The nodes are the volumes in the shipped model's order of channels, then the true segmentation.
        """
        python = self.interpreter()
        folder = self._temporaryFolder()
        out = Path(folder.name, "phantom")
        task = Task("phantom", f"phantom {kind}", [], lambda folders: addPhantom(self.scene, folders[0], kind),
                    folder=folder, onDone=onDone)  # fmt: skip
        logs = self._temporaryFolder()
        child = ChildProcess(phantomCommand(python, kind, seed, size, out), self._variables(python), Path(logs.name))
        task.owner = self
        self._side.add(task, child, out, logs)
        return task.wait() if wait else task

    # -- while it is under way ------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a task waits or runs."""
        return bool(self.tasks)

    @property
    def tasks(self) -> list[Task]:
        """The tasks that have not ended, the running one first."""
        return [*self._queue.tasks, *self._side.tasks]

    @property
    def log(self) -> list[str]:
        """The last lines the worker has logged."""
        return self._queue.log()

    def pump(self) -> None:
        """Read what the worker says, make nodes of what is complete, call callbacks. Never waits; for a timer."""
        self._side.pump()
        self._queue.pump()

    def wait(self, task: Task, timeout: float | None = None) -> None:
        """Pump until a task has ended; TimeoutError where it has not by then. Ctrl-C cancels it."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not task.ended:
                self.pump()
                if self._idle is not None:
                    self._idle()
                if deadline is not None and time.monotonic() >= deadline and not task.ended:
                    raise TimeoutError(f"{task.name}: not done in {timeout:g} s")
                if not task.ended:
                    time.sleep(IDLE_SECONDS)
        except KeyboardInterrupt:
            task.cancel()
            raise

    def cancel(self, task: Task) -> None:
        """Cancel a task."""
        self._queue.cancel(task)
        self._side.cancel(task)

    def cancelAll(self) -> None:
        """Cancel every task."""
        self._queue.cancelAll()
        self._side.cancelAll()

    def close(self) -> None:
        """Cancel everything, end the worker and whatever it started, remove temporary folders and observers."""
        if self._observer is not None:
            self.scene.RemoveObserver(self._observer)
            self._observer = None
        self._queue.close()
        self._side.close()

    def _begin(self, task: Task, wait: bool) -> Any:
        task.owner = self
        self._queue.add(task)
        return task.wait() if wait else task

    def _checkReady(self) -> None:
        """Refuse before anything is written, where there is nobody to compute."""
        if self._startWorker is None and not self._queue.running:
            self.interpreter()

    def _newWorker(self, logFolder: Path) -> Worker:
        python = self.interpreter()
        return WorkerProcess(workerCommand(python), self._variables(python), logFolder)

    def _variables(self, python: Path) -> dict[str, str]:
        return childEnvironment(python, self._environment())

    def _temporaryFolder(self) -> TemporaryDirectory[str]:
        place = self._settings.get("temporary") or None
        try:
            return TemporaryDirectory(prefix="AdvSeg-", dir=place, ignore_cleanup_errors=True)
        except OSError as error:
            raise BadRequest(f"{place or 'temporary folder'}: cannot write there ({error.strerror})") from error


def _cancelling(reference: Callable[[], RobustnessLogic | None]) -> Callable[..., None]:
    """Return an observer that cancels everything, and does not keep the logic alive.

    An observer that held it would make a circle of scene and logic, and Python's collector crashes in one: the scene
    tells of its end when parts of the observer are gone already.
    """

    def cancelAll(*_: Any) -> None:
        logic = reference()
        if logic is not None:
            logic.cancelAll()

    return cancelAll


def _asked(request: AttackRequest | None, fields: Mapping[str, Any]) -> AttackRequest:
    """Return a request given whole or by its fields; BadRequest for a field it does not have."""
    if request is not None and not fields:
        return request
    return AttackRequest.fromFields(fields, request)


def _budget(epsilon: Any) -> str:
    """Return how a run of a sweep is called."""
    epsilon = epsilon.item() if isinstance(epsilon, np.generic) else epsilon
    return f"{epsilon:g}" if isinstance(epsilon, int | float) else repr(epsilon)
