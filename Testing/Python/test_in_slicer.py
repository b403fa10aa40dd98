"""The scripts of Testing/Slicer in a real Slicer, where SLICER_EXECUTABLE names one.

ADVSEG_PYTHON may name the Python (with torch) of the child processes; SLICER_ARGUMENTS is added to every start, e.g.
``--ignore-slicerrc``. With the window: a display is needed (``xvfb-run``).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "Testing" / "Slicer"
SCRIPTS = sorted(FOLDER.glob("test_*.py"))
PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
GENERIC = "import slicer; assert slicer.modules.advsegrobustness.widgetRepresentation(); print('1 tests passed')"
SELF_TEST = "import slicer.testing; slicer.testing.runUnitTest([], 'AdvSegRobustness'); print('tests passed')"


@pytest.fixture(scope="session")
def slicer_executable() -> str:
    executable = os.environ.get("SLICER_EXECUTABLE")
    if not executable:
        pytest.skip("SLICER_EXECUTABLE is not set: name a Slicer 5.12 or newer to run this in it")
    return executable


def run_in_slicer(executable: str, *arguments: str, window: bool) -> str:
    """Start Slicer as ctest does, wait for its end, and return what it printed."""
    command = [executable, "--no-splash", "--testing", *shlex.split(os.environ.get("SLICER_ARGUMENTS", ""))]
    command += [] if window else ["--no-main-window"]
    command += ["--disable-cli-modules", "--additional-module-paths", str(ROOT / "AdvSegRobustness"), *arguments]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    # a script that is not found leaves Slicer with 0 too
    assert "tests passed" in done.stdout, done.stdout[-8000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_passes_in_a_real_slicer(script: Path, slicer_executable: str) -> None:
    run_in_slicer(slicer_executable, "--python-script", str(script), window=script.name.startswith("test_window_"))


@pytest.mark.slow
@pytest.mark.parametrize("window", [False, True], ids=["without window", "with window"])
@pytest.mark.parametrize("code", [GENERIC, SELF_TEST], ids=["generic", "self test"])
def test_module_passes_in_a_real_slicer(code: str, window: bool, slicer_executable: str) -> None:
    run_in_slicer(slicer_executable, "--python-code", code, window=window)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "code"), [("chest", 0), ("no-such-model", 2)])
def test_batch_script_ends_a_real_slicer_with_its_exit_code(
    model: str, code: int, slicer_executable: str, tmp_path: Path
) -> None:
    cases = ["cases", "phantom-chest", "--count", "2", "--out", str(tmp_path / "scans")]
    subprocess.run([sys.executable, "-m", "AdvSegLib", *cases], check=True, cwd=ROOT, capture_output=True)
    arguments = [str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--model", model, "--attack", "fgsm"]
    command = [
        slicer_executable,
        "--no-splash",
        "--no-main-window",
        *shlex.split(os.environ.get("SLICER_ARGUMENTS", "")),
    ]
    command += ["--python-script", str(FOLDER / "batch_attack.py"), *arguments]
    done = subprocess.run(command, **PIPES, timeout=1800, check=False)
    assert done.returncode == code, done.stdout[-8000:]
    assert (tmp_path / "out" / "summary.csv").is_file() == (code == 0)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_in_its_last_line_that_it_came_to_its_end(script: Path) -> None:
    assert "\nrunTests(__file__, " in script.read_text(encoding="utf-8")


@pytest.mark.parametrize(("code", "words"), [(0, "nothing"), (1, "3 tests passed")])
def test_a_slicer_that_ran_nothing_or_failed_is_a_failure(code: int, words: str, tmp_path: Path) -> None:
    pretender = tmp_path / "Slicer"
    pretender.write_text(f"#!/bin/sh\necho {words}\nexit {code}\n")
    pretender.chmod(0o755)
    with pytest.raises(AssertionError, match=words):
        run_in_slicer(str(pretender), "--python-script", "x.py", window=False)


def test_slicer_is_started_as_ctest_does(tmp_path: Path) -> None:
    pretender = tmp_path / "Slicer"
    pretender.write_text('#!/bin/sh\necho "$@" tests passed\n')
    pretender.chmod(0o755)
    said = run_in_slicer(str(pretender), "--python-script", "x.py", window=False)
    assert said.split()[:3] == ["--no-splash", "--testing", "--no-main-window"]
    assert f"--additional-module-paths {ROOT / 'AdvSegRobustness'} --python-script x.py" in said
    assert "--no-main-window" not in run_in_slicer(str(pretender), window=True)
