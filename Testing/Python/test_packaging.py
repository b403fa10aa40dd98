"""What is installed is complete: every package is listed, and the shipped models come along."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_package_is_listed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^packages = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    listed = set(re.findall(r'"([^"]+)"', block[1]))
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "AdvSegLib").rglob("__init__.py")}
    assert listed == found | {"AdvSegLib.Models"}
