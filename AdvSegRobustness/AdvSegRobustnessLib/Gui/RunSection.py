"""Section 5: start and stop, how far it is, what was said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest

from ..AttackRequest import AttackRequest
from ..Dependencies import ensureDependencies
from .ModelSection import PYTHON_KEY
from .Progress import clock, eventLine, progressLine
from .Requests import requestFrom
from .RunFolders import RunFolders
from .Section import Section
from .Wiring import Later, setReady, wire

PUMP_MS = 50
STEPS = 1000
"""Units of the progress bar."""


class RunSection(Section):
    """One thing is computed at a time; a timer reads what the worker says while something is."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.reason = ""
        """Why the attack cannot start now, "" where it can."""
        self.folders = RunFolders()
        self._task: Any = None
        self._doing = ""
        self._finish: Callable[[Any], object] | None = None
        self._ended: list[tuple[str, Callable[[Any], object] | None, Any]] = []
        self._later = Later(self._conclude)
        self._tip = self.ui.applyButton.toolTip
        self._timer = qt.QTimer()
        self._timer.setInterval(PUMP_MS)
        self._timer.timeout.connect(self._onTimer)
        wire(self.ui.applyButton, "clicked(bool)", lambda _on: self.apply())
        wire(self.ui.cancelButton, "clicked(bool)", lambda _on: self.cancel())

    # -- what can be done -----------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether something is computed, or waits for it."""
        return self._task is not None or bool(self._ended) or self.panel.logic.busy

    @property
    def busyReason(self) -> str:
        """Why nothing else can start now, "" where it can."""
        return (
            _("{doing} is under way: wait, or cancel it in section 5.").format(doing=self._doing) if self.busy else ""
        )

    def update(self) -> None:
        """Enable what can be done, with the reason as tooltip where it cannot."""
        self.ui.cancelButton.enabled = self.busy
        if self.panel.parameterNode is None:
            self.ui.applyButton.enabled = False
            return
        self.reason = self.panel.reasonAgainst(lambda: self.panel.logic.check(requestFrom(self.panel)))
        setReady(self.ui.applyButton, self.busyReason or self.reason, self._tip)

    def apply(self) -> None:
        """Attack."""
        self.panel.attempt(_("Attack"), self._attack)

    def _attack(self) -> None:
        request = requestFrom(self.panel)
        folder = self.folders.new()
        self.start(
            _("Attack"),
            lambda onEvent, onDone: self._begin(request, folder, onEvent, onDone),
            lambda result: self._attacked(result, folder),
        )

    def _begin(self, request: AttackRequest, folder: Path, onEvent: Any, onDone: Any) -> Any:
        return self.panel.logic.attack(request, folder=folder, wait=False, onEvent=onEvent, onDone=onDone)

    def _attacked(self, result: Any, folder: Path) -> None:
        self.folders.keep(result.runId, folder)
        self.say(_("Done on {device}: {name}").format(device=deviceOf(folder), name=result.name))
        self.panel.results.choose(result)

    def start(
        self, doing: str, begin: Callable[[Any, Any], Any], finish: Callable[[Any], object], *, needsTorch: bool = True
    ) -> None:
        """Start ``begin(onEvent, onDone)``, which returns a Task; ``finish(result)`` follows where it succeeds."""
        self.panel.attempt(doing, lambda: self._start(doing, begin, finish, needsTorch))
        self.panel.update()

    def _start(
        self, doing: str, begin: Callable[[Any, Any], Any], finish: Callable[[Any], object], needsTorch: bool
    ) -> None:
        if self.busy:
            raise BadRequest(self.busyReason)
        if needsTorch:
            python = str(self.panel.settings.value(PYTHON_KEY) or "")
            ensureDependencies(python, testing=slicer.app.testingEnabled())
        self.ui.progressBar.setRange(0, 0)
        self.say(_("{doing} starts").format(doing=doing))
        self._doing, self._finish = doing, finish
        try:
            self._task = begin(self._onEvent, self._onDone)
        except Exception:
            self._rest()
            raise
        self._timer.start()

    def forget(self) -> None:
        """Stop what is under way, and take no result: its scene is closed."""
        self.cancel()
        self._ended = [(doing, None, task) for doing, _finish, task in self._ended]

    def cancel(self) -> None:
        """Stop what is under way; it ends when the worker has stopped."""
        if self.busy:
            self.say(_("{doing}: cancelling").format(doing=self._doing))
            self.panel.logic.cancelAll()

    # -- while it is under way ------------------------------------------------------------------------------------

    def _onTimer(self) -> None:
        self.panel.logic.pump()
        if self._task is not None:
            self._show(self._task)
        elif not self.panel.logic.busy:
            self._timer.stop()

    def _onEvent(self, task: Any, event: dict[str, Any]) -> None:
        line = eventLine(event)
        if line:
            self._log(line)

    def _show(self, task: Any) -> None:
        if task.steps:
            self.ui.progressBar.setRange(0, STEPS)
            self.ui.progressBar.value = int(STEPS * task.fraction)
        self.ui.statusLabel.text = progressLine(self._doing, task, self.panel.parameterNode)
        remaining = "" if task.remaining is None else _(", about {time} left").format(time=clock(task.remaining))
        self.ui.timeLabel.text = _("{time} elapsed").format(time=clock(task.elapsed)) + remaining

    def _onDone(self, task: Any) -> None:
        """Note that it ended; what follows waits until the logic has returned, for it may open a window."""
        self._ended.append((self._doing, self._finish, task))
        self._rest()
        self._later()

    def _conclude(self) -> None:
        while self._ended:
            self._tell(*self._ended.pop(0))
        self.panel.update()

    def _tell(self, doing: str, finish: Callable[[Any], object] | None, task: Any) -> None:
        """Take the result, or say why there is none."""
        if task.state == "done":
            self.ui.progressBar.setRange(0, STEPS)
            self.ui.progressBar.value = STEPS
            self.say(_("{doing}: done in {time}").format(doing=doing, time=clock(task.elapsed)))
            for note in task.notes:
                self._log(note)
            if finish is not None and self.panel.parameterNode is not None:
                self.panel.attempt(doing, lambda: finish(task.result))
        elif task.state == "cancelled":
            self.say(_("{doing}: cancelled, the scene is as it was").format(doing=doing))
        else:
            self.panel.report(doing, task.error)

    def _rest(self) -> None:
        self._task = self._finish = None
        self.ui.progressBar.setRange(0, STEPS)
        self.ui.progressBar.value = 0
        self.ui.timeLabel.text = ""

    # -- what is said ---------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Show a line, and keep it in the log."""
        self.ui.statusLabel.text = text
        self._log(text)

    def _log(self, line: str) -> None:
        self.ui.logText.appendPlainText(line)

    def close(self) -> None:
        """Stop the timer; the logic ends the worker."""
        self._timer.stop()
        self._later.stop()
        self.folders.close()


def deviceOf(folder: Path) -> str:
    """Return the device that a run folder's provenance names, "an unknown device" where it names none."""
    try:
        return str(json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["device"])
    except (OSError, ValueError, KeyError):
        return _("an unknown device")
