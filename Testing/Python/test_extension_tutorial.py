"""The tutorial speaks of the panel that there is: buttons, sections and pictures."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs/tutorials/slicer.md").read_text(encoding="utf-8")
NOT_IN_THE_PANEL = {
    "PyTorch", "AdvSegRobustness", "chest", "2 %", "40", "10th", "not for clinical use", "ADVERSARIAL", "pgd",
    "A structure as an upright heart symbol", "side by side", "Can you see it?", "What is the noise?",
    "How did it get there?", "What is lost?", "In 3-D",
}  # fmt: skip


def texts_of_the_panel() -> set[str]:
    tree = ET.parse(ROOT / "AdvSegRobustness/Resources/UI/AdvSegRobustness.ui")
    found = {(part.text or "").strip() for part in tree.iter("string")}
    return found | {text.rstrip(":") for text in found}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\*\*([^*]+)\*\*", TUTORIAL)) - NOT_IN_THE_PANEL))
def test_what_is_to_be_pressed_is_in_the_panel(name: str) -> None:
    assert name in texts_of_the_panel()


def test_goal_and_attack_are_offered_under_the_names_of_the_tutorial() -> None:
    from AdvSegRobustnessLib.Choices import goals

    from AdvSegLib.attacks import ATTACKS

    assert "A structure as an upright heart symbol" in {goal["summary"].rstrip(".") for goal in goals()}
    assert "pgd" in ATTACKS


def test_every_section_has_its_picture() -> None:
    pictures = sorted(path.name for path in (ROOT / "Resources/Screenshots").glob("panel-*.png"))
    assert [name.split("-")[1] for name in pictures] == list("123456")
    assert [name for name in [*pictures, "brain.png", "chest.png"] if name not in TUTORIAL] == []
