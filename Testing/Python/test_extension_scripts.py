"""The scripts for a real Slicer, run on slicer-core and the panel's stand-ins: that they ask for what there is.

All that need no attack are run, and one of each of the others; ADVSEG_ALL_SCRIPTS=1 runs them all (some minutes).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer")

import fixtures_scripts
from panel_standins.install import installed
from slicer_fixtures import HeadlessSlicer

SCRIPTS = Path(__file__).resolve().parents[1] / "Slicer"
ALL = bool(os.environ.get("ADVSEG_ALL_SCRIPTS"))


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Slicer as far as the scripts know it, with or without a window."""
    monkeypatch.setenv("ADVSEG_PYTHON", sys.executable)
    headless = HeadlessSlicer(tmp_path)
    with installed(headless, mainWindow=request.param) as desk:
        loaded = fixtures_scripts.playApplication(headless, desk, monkeypatch.setattr)
        yield desk
        loaded.close()
    headless.close()


@pytest.mark.parametrize(
    ("script", "only", "application"),
    [
        ("test_module.py", "", False),
        ("test_scene.py", "", False),
        ("test_attack.py", "test_an_attack_gives_marked_nodes", False),
        ("test_window_panel.py", "test_without_a_scan", True),
        ("test_window_panel.py", "test_an_attack_is_shown_in_every_layout", True),
    ],
    indirect=["application"],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_script_runs_to_its_end(
    script: str, only: str, application: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADVSEG_ONLY", "" if ALL else only)
    fixtures_scripts.runScript(SCRIPTS / script)
    assert application.errors == []
    assert f"{Path(script).stem}: " in capsys.readouterr().out


@pytest.mark.parametrize("application", [False], indirect=True, ids=[""])
def test_a_test_that_fails_in_a_script_raises(
    application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "test_failing.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\nfrom in_slicer import SlicerTestCase, runTests\n"
        "class T(SlicerTestCase):\n    def test_it(self):\n        self.fail()\nrunTests(__file__, T)\n"
    )
    monkeypatch.delenv("ADVSEG_ONLY", raising=False)
    with pytest.raises(AssertionError, match="1 failures"):
        fixtures_scripts.runScript(script)
