"""The documentation is true: links lead somewhere, snippets run, lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from AdvSegLib.attacks import ATTACKS
from AdvSegLib.cases.registry import SOURCES
from AdvSegLib.command_line import COMMANDS
from AdvSegLib.losses import LOSSES
from AdvSegLib.volumes import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (page.parent / link).exists(), link


def python_blocks(page: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))


@pytest.mark.parametrize("name", ["README.md", "docs/how-to/your-own-model.md", "docs/how-to/targeted.md"])
def test_python_snippets_run_as_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).gamma(2.0, 50.0, (1, 12, 12, 12)).astype(np.float32)
    Image.from_array(pixels).write("t1.nii.gz")
    torch.manual_seed(0)
    exec(python_blocks(ROOT / name), {"network": nn.Conv3d(1, 3, 3, padding=1)})
    assert any(tmp_path.glob("adversarial.nii.gz")) or (tmp_path / "meshnet-run" / "report.html").is_file()


def test_every_attack_loss_source_and_command_is_documented() -> None:
    attacks = (ROOT / "docs/reference/attacks.md").read_text(encoding="utf-8")
    assert [name for name in (*ATTACKS, *LOSSES) if f"`{name}`" not in attacks] == []
    cases = (ROOT / "docs/how-to/cases.md").read_text(encoding="utf-8")
    assert [source.name for source in SOURCES if f"`{source.name}`" not in cases] == []
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`{name}`" not in changes] == []
