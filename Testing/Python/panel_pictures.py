"""The panel's sections as pictures, in the middle of real work: for the README and the tutorial.

``python Testing/Python/panel_pictures.py [FOLDER]``. The .ui and the panel's code are the module's own; Qt is PySide6
and not the application's, so fonts and frames are not Slicer's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fixtures_scripts import LoadedModule, playApplication
from panel_standins.install import Desk, installed
from PIL import Image
from slicer_fixtures import HeadlessSlicer

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 470
SECTIONS = ("scan", "model", "goal", "attack", "run", "results")


class Hands:
    """Who works at the panel."""

    def __init__(self, loaded: LoadedModule, desk: Desk) -> None:
        self.ui, self.desk = loaded.self().ui, desk

    def click(self, name: str) -> None:
        button = getattr(self.ui, name)
        assert button.enabled, f"{name} is disabled: {button.toolTip}"
        button.click()
        self.desk.process()

    def choose(self, name: str, data: str) -> None:
        combo = getattr(self.ui, name)
        combo.setCurrentIndex(combo.findData(data))
        self.desk.process()

    def set(self, name: str, value: float) -> None:
        getattr(self.ui, name).value = value
        self.desk.process()

    def setNamed(self, name: str, value: int) -> None:
        """Set a spin box that was made for a parameter of the attack."""
        from PySide6.QtWidgets import QSpinBox

        found = self.ui.attackParametersHolder._object.findChild(QSpinBox, f"parameter_{name}")
        found.setValue(value)
        self.desk.process()

    def waitFor(self, condition: Callable[[], bool], seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.ui.statusLabel.text
            self.desk.process()
            time.sleep(0.02)
        assert not self.desk.errors, self.desk.errors

    def waitUntilIdle(self) -> None:
        self.waitFor(lambda: not self.ui.cancelButton.enabled)


def photograph(widget: Any, path: Path) -> None:
    """Save a section as it is shown in the panel, scaled to no more than it needs."""
    made = widget._object
    made.grab().save(str(path))
    with Image.open(path) as picture:
        picture.convert("RGB").save(path, optimize=True)


def work(hands: Hands, take: Callable[[str], None]) -> None:
    """Do what the tutorial does, and take a picture of each section when it is at its point."""
    hands.click("chestSampleButton")
    hands.waitUntilIdle()
    take("scan")
    take("model")
    hands.choose("goalComboBox", "heart-symbol")
    take("goal")
    hands.choose("attackComboBox", "pgd")
    hands.set("epsilonSlider", 2.0)
    hands.setNamed("steps", 40)
    hands.set("recordSpinBox", 10)
    take("attack")
    hands.click("applyButton")
    hands.waitFor(lambda: hands.ui.progressBar.value > 400 or not hands.ui.cancelButton.enabled)
    take("run")
    hands.waitUntilIdle()
    take("results")


def main(folder: Path) -> None:
    """Draw the six sections into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        slicerAlone = HeadlessSlicer(Path(name))
        with installed(slicerAlone) as desk:
            loaded = playApplication(slicerAlone, desk, setattr)
            hands = Hands(loaded, desk)
            host = loaded.widgetRepresentation()._object
            host.show()

            def take(section: str) -> None:
                for _round in range(3):  # layouts settle in a few rounds
                    host.resize(WIDTH, max(host.sizeHint().height(), host.heightForWidth(WIDTH)))
                    desk.process()
                button = getattr(hands.ui, f"{section}CollapsibleButton")
                photograph(button, folder / f"panel-{SECTIONS.index(section) + 1}-{section}.png")

            try:
                work(hands, take)
            finally:
                loaded.close()
        slicerAlone.close()


if __name__ == "__main__":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("ADVSEG_PYTHON", sys.executable)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots")
