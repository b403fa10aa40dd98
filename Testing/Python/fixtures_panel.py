"""The panel, opened on stand-ins for Qt and a real scene, with a worker that is played."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_scene import FinishedRun
from panel_standins import pythonqt
from panel_standins.host import ModuleHost
from panel_standins.install import Desk, installed, moduleNamed
from panel_standins.played import PlayedWorker, playedLogic
from slicer_fixtures import HeadlessSlicer

EXTENSION = Path(__file__).resolve().parents[2] / "AdvSegRobustness"


class OpenPanel:
    """The module's widget as somebody has it before them."""

    def __init__(self, desk: Desk, run: FinishedRun) -> None:
        self.desk, self.run = desk, run
        self.module = moduleNamed("AdvSegRobustness")
        self.worker = PlayedWorker(run.folder)
        self.module.RobustnessLogic = lambda scene, **options: playedLogic(scene, run, self.worker)
        self.host = ModuleHost.make()
        self.widget = self.module.AdvSegRobustnessWidget(self.host)
        self.widget.setup()
        self.widget.enter()
        self.settle()

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def parameters(self) -> Any:
        return self.panel.parameterNode

    @property
    def result(self) -> Any:
        return self.panel.results.result

    def settle(self, until: Callable[[], bool] | None = None) -> None:
        """Let the application run until nothing is under way; whatever was raised in a slot is raised here."""
        end = time.monotonic() + 60
        done = until or (lambda: not self.panel.run.busy)
        for _ in range(3):
            self.desk.process()
        while not done():
            assert time.monotonic() < end, f"still under way: {self.ui.statusLabel.text}"
            self.desk.process()
            time.sleep(0.005)
        for _ in range(3):
            self.desk.process()
        self.check()

    def check(self) -> None:
        if pythonqt.FAILURES:
            raise pythonqt.FAILURES.pop()

    def click(self, name: str) -> None:
        """Click a button that can be clicked, and wait for what follows."""
        button = getattr(self.ui, name)
        assert button.enabled, f"{name} is disabled: {button.toolTip}"
        button.click()
        self.settle()

    def drawSample(self) -> None:
        """Have the scan of the finished run in the scene, and chosen."""
        self.click("chestSampleButton" if self.run.spec.dims == 2 else "brainSampleButton")

    def close(self) -> None:
        self.widget.exit()
        self.widget.cleanup()
        self.module.dropMarks()
        self.host.setMRMLScene(None)


@pytest.fixture
def aDesk(aSlicer: HeadlessSlicer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return an application with views and no window."""
    monkeypatch.setenv("ADVSEG_PYTHON", sys.executable)
    with installed(aSlicer) as desk:
        yield desk
    assert not pythonqt.FAILURES, pythonqt.FAILURES


@pytest.fixture
def aPanel(aDesk: Desk, aFilmRun: FinishedRun) -> Iterator[OpenPanel]:
    """Return the open panel; its worker answers with the run of a chest film."""
    opened = OpenPanel(aDesk, aFilmRun)
    yield opened
    opened.close()


@pytest.fixture
def aBrainPanel(aDesk: Desk, aBrainRun: FinishedRun) -> Iterator[OpenPanel]:
    """Return the open panel; its worker answers with the recorded run of a brain."""
    opened = OpenPanel(aDesk, aBrainRun)
    yield opened
    opened.close()


@pytest.fixture
def aResult(aPanel: OpenPanel) -> OpenPanel:
    """Return the panel after an attack on a film."""
    aPanel.drawSample()
    aPanel.click("applyButton")
    return aPanel
