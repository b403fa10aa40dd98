"""The lines of the scripting how-to that are meant to be pasted: each call and each option is there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from logic_standins import ROOT

pytest.importorskip("slicer")

from AdvSegRobustnessLib.AttackRequest import AttackRequest
from AdvSegRobustnessLib.Logic import RobustnessLogic

TEXT = (ROOT / "docs" / "how-to" / "slicer-scripting.md").read_text(encoding="utf-8")
FIELDS = {item.name for item in dataclasses.fields(AttackRequest)}
FACADE = {"segment", "attack", "compare", "sweep", "phantom", "close", "robustness"}
"""What the module's own logic passes on, and the way to everything else."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def calls() -> list[ast.Call]:
    """Return every call of a method of ``logic`` in the Python blocks."""
    nodes = (node for block in blocks("python") for node in ast.walk(ast.parse(block)))
    return [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logic.")]


@pytest.mark.parametrize("call", calls(), ids=ast.unparse)
def test_calls_of_the_logic_are_as_it_takes_them(call: ast.Call) -> None:
    *_, owner, name = ast.unparse(call.func).split(".")
    assert owner == "robustness" or name in FACADE
    taken = inspect.signature(getattr(RobustnessLogic, name)).parameters
    fields = FIELDS if any(item.kind is item.VAR_KEYWORD for item in taken.values()) else set[str]()
    assert {keyword.arg for keyword in call.keywords} <= set(taken) | fields


def test_there_are_calls_of_each_kind() -> None:
    assert {ast.unparse(call.func) for call in calls()} >= {
        f"logic.{name}" for name in FACADE - {"robustness", "close"}
    }


def test_what_is_imported_is_there() -> None:
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("AdvSegRobustnessLib"):
                module: Any = __import__(str(node.module), fromlist=["anything"])
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_batch_scripts_have_the_options() -> None:
    text = " ".join(blocks("bash")).replace("\\\n", " ")
    commands = [command for command in text.split("Slicer --no-splash") if "batch_" in command]
    assert len(commands) == 3
    for command in commands:
        script, *arguments = shlex.split(command.split("--python-script")[1])
        answer = subprocess.run([sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True)
        options = {item for item in arguments if item.startswith("--")}
        assert options <= set(re.findall(r"--[a-z]+", answer.stdout)), answer.stdout


def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let phantoms be small and walks short, whatever the text asks for: it is the lines that are tried."""
    from AdvSegRobustnessLib.AttackRequest import AttackRequest as Request
    from AdvSegRobustnessLib.Logic import RobustnessLogic as Logic

    drawn, fromFields = Logic.phantom, Request.fromFields.__func__
    monkeypatch.setattr(Logic, "phantom", lambda self, kind, **options: drawn(self, kind, **{**options, "size": 64}))

    def quick(cls: Any, given: Any, base: Any = None) -> Any:
        return fromFields(cls, {**given, "parameters": {**given.get("parameters", {}), "steps": 2}}, base)

    monkeypatch.setattr(Request, "fromFields", classmethod(quick))


def test_the_lines_can_be_pasted_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fixtures_scripts
    import slicer
    from panel_standins.install import installed
    from slicer_fixtures import HeadlessSlicer

    monkeypatch.setenv("ADVSEG_PYTHON", sys.executable)
    bundle = shutil.copytree(ROOT / "Resources" / "Models" / "chest", tmp_path / "my defended bundle")
    headless = HeadlessSlicer(tmp_path / "slicer")
    console: dict[str, Any] = {}
    with installed(headless, mainWindow=False) as desk:
        loaded = fixtures_scripts.playApplication(headless, desk, monkeypatch.setattr)
        shortened(monkeypatch)
        for block in blocks("python"):
            text = block.replace("/path/to/my defended bundle", str(bundle))
            exec(compile(text, "slicer-scripting.md", "exec"), console)
        console["task"].wait()
        console["timer"].stop()
        assert console["task"].state == "done"
        from AdvSegRobustnessLib.ResultNodes import findRuns

        assert len(findRuns(slicer.mrmlScene)) == 11
        assert console["sweep"].table.GetNumberOfRows() == 5
        assert console["comparison"].failures == {}
        console["logic"].close()
        loaded.close()
        assert desk.errors == []
    headless.close()
    printed = capsys.readouterr().out
    assert "1 of 2, Dice" in printed, "onEvent was called"
    assert "\ndone " in printed, "onDone was called"
