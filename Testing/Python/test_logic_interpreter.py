"""Which Python computes, what it is given, and what is installed into Slicer's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from logic_standins import ROOT

pytest.importorskip("slicer")

from AdvSegRobustnessLib import Interpreter as module
from AdvSegRobustnessLib.Dependencies import KEPT, REQUIREMENTS, TORCH, ensureDependencies, missingPackages
from AdvSegRobustnessLib.Interpreter import childEnvironment, findInterpreter, libraryRoot, workerCommand

from AdvSegLib.errors import AdvSegError, BadRequest

HEAVY = "torch", "monai", "qt", "ctk", "PySide6", "jsonschema", "matplotlib"


def an_executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_variable_goes_before_the_setting(tmp_path: Path) -> None:
    one, other = an_executable(tmp_path / "a b" / "python3"), an_executable(tmp_path / "é" / "python3")
    assert findInterpreter(str(other), {"ADVSEG_PYTHON": str(one)}) == one
    assert findInterpreter(str(other), {}) == other
    assert findInterpreter(f"  {other} ", {"ADVSEG_PYTHON": " "}) == other


def test_a_link_of_a_virtual_environment_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert findInterpreter(str(link), {}) == link


@pytest.mark.parametrize("source", ["ADVSEG_PYTHON", "the module's setting"])
def test_what_was_asked_for_is_never_replaced_by_another(tmp_path: Path, source: str) -> None:
    absent = str(tmp_path / "absent")
    variable, setting = (absent, "") if source == "ADVSEG_PYTHON" else ("", absent)
    with pytest.raises(BadRequest, match=re.escape(f"{source}: no program '{absent}'")):
        findInterpreter(setting, {"ADVSEG_PYTHON": variable})


def test_slicers_python_then_this_process_then_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slicers = an_executable(tmp_path / "bin" / "PythonSlicer")
    monkeypatch.setenv("PATH", str(slicers.parent))
    assert findInterpreter("", {}) == slicers
    monkeypatch.setenv("PATH", str(tmp_path))
    assert findInterpreter("", {}) == Path(sys.executable)
    monkeypatch.setattr(module.sys, "executable", "")
    assert findInterpreter("", {}) == Path(sys.prefix, "bin", "python3")
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path / "nothing"))
    with pytest.raises(BadRequest, match="ADVSEG_PYTHON"):
        findInterpreter("", {})


def test_slicer_itself_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module.sys, "executable", str(an_executable(tmp_path / "SlicerApp-real")))
    assert findInterpreter("", {}) == Path(sys.prefix, "bin", "python3")


def test_another_python_gets_none_of_this_ones_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"PYTHONHOME": "/slicer", "PYTHONPATH": "/slicer/lib", "PATH": "/bin"}
    monkeypatch.setenv("ADVSEG_MODELS", "/my models")
    other = childEnvironment(tmp_path / "python", given)
    assert other["PYTHONPATH"] == str(libraryRoot())
    assert "PYTHONHOME" not in other
    assert other["PATH"] == "/bin"
    assert other["ADVSEG_MODELS"] == "/my models"
    own = childEnvironment(Path(sys.executable), given)
    assert own["PYTHONPATH"].split(os.pathsep) == [str(libraryRoot()), "/slicer/lib"]
    assert own["PYTHONHOME"] == "/slicer"


def test_another_python_does_not_load_slicers_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Slicer's environment is passed on as it is; through the module it is the one Slicer was started in."""
    home = tmp_path / "Slicer"
    monkeypatch.setenv("SLICER_HOME", str(home))
    given = {
        "LD_LIBRARY_PATH": os.pathsep.join([f"{home}/lib/Slicer-5.13", "/usr/local/cuda/lib64", f"{home}/lib/Python"]),
        "DYLD_LIBRARY_PATH": f"{home}/lib", "PATH": os.pathsep.join([f"{home}/bin", f"{home}-tools/bin", "/bin"]),
        "PYTHONEXECUTABLE": f"{home}/bin/PythonSlicer",
    }  # fmt: skip
    other = childEnvironment(tmp_path / "python", given)
    assert other["LD_LIBRARY_PATH"] == "/usr/local/cuda/lib64"
    assert other["PATH"] == given["PATH"], "programs are found by it, no libraries"
    assert "DYLD_LIBRARY_PATH" not in other
    assert "PYTHONEXECUTABLE" not in other
    own = childEnvironment(Path(sys.executable), given)
    assert own["LD_LIBRARY_PATH"] == given["LD_LIBRARY_PATH"]


def test_the_worker_stops_when_slicer_goes_away() -> None:
    assert workerCommand(Path("python"))[1:] == ["-m", "AdvSegLib", "worker", "--on-eof", "cancel"]


def test_importing_the_module_s_library_is_light(tmp_path: Path) -> None:
    """Neither torch nor Qt, nor anything pip would have to install first; and AdvSegLib is found beside the module."""
    code = (
        "import importlib, pathlib, sys, AdvSegRobustnessLib\n"
        "for file in sorted(pathlib.Path(AdvSegRobustnessLib.__file__).parent.glob('*.py')):\n"
        "    importlib.import_module('AdvSegRobustnessLib.' + file.stem)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "AdvSegRobustness")}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


class Packaging:
    """Stands in for slicer.packaging: what is there, and what was asked of pip."""

    def __init__(self, *missing: str, error: Exception | None = None) -> None:
        self.missing, self.error = missing, error
        self.ensured: list[tuple[list[str], dict[str, Any]]] = []

    def pip_check(self, requirement: str) -> bool:
        return not any(requirement.startswith(name) for name in self.missing)

    def pip_ensure(self, requirements: list[str], **options: Any) -> None:
        self.ensured.append((requirements, options))
        if self.error is not None:
            raise self.error


class TorchLogic:
    """Stands in for the PyTorch extension."""

    def __init__(self, answer: Any = "torch") -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def installTorch(self, **options: Any) -> Any:
        self.asked.append(options)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_nothing_is_installed_where_another_python_computes() -> None:
    packaging = Packaging("torch", "monai")
    ensureDependencies("/my/python", {}, packaging=packaging, torchLogic=TorchLogic())
    ensureDependencies("", {"ADVSEG_PYTHON": "/my/python"}, packaging=packaging, torchLogic=TorchLogic())
    assert packaging.ensured == []


def test_nothing_is_asked_where_nothing_is_missing() -> None:
    packaging, logic = Packaging(), TorchLogic()
    ensureDependencies("", {}, packaging=packaging, torchLogic=logic)
    assert packaging.ensured == logic.asked == []


def test_torch_comes_by_its_extension_and_pip_never_touches_it() -> None:
    packaging, logic = Packaging("torch", "monai"), TorchLogic()
    ensureDependencies("", {}, packaging=packaging, torchLogic=logic)
    assert logic.asked == [{"askConfirmation": True, "torchVersionRequirement": TORCH}]
    ((requirements, options),) = packaging.ensured
    assert not any(item.startswith(KEPT) for item in requirements)
    assert options == {"skip_packages": list(KEPT), "requester": "AdvSegRobustness"}
    packaging, logic = Packaging("monai"), TorchLogic()
    ensureDependencies("", {}, packaging=packaging, torchLogic=logic)
    assert logic.asked == []
    assert len(packaging.ensured) == 1


def test_testing_installs_nothing_and_says_what_is_missing() -> None:
    packaging, logic = Packaging("monai"), TorchLogic()
    with pytest.raises(BadRequest, match=r"monai>=1\.4 missing.*ADVSEG_PYTHON"):
        ensureDependencies("", {}, testing=True, packaging=packaging, torchLogic=logic)
    assert packaging.ensured == logic.asked == []


@pytest.mark.parametrize(
    ("packaging", "logic", "kind", "words"),
    [
        (Packaging("torch"), TorchLogic(None), BadRequest, "PyTorch is not installed"),
        (Packaging("torch"), TorchLogic(RuntimeError("no wheel")), AdvSegError, "no wheel"),
        (Packaging("monai", error=RuntimeError("User declined")), TorchLogic(), BadRequest, "User declined"),
        (Packaging("monai", error=subprocess.CalledProcessError(1, "pip")), TorchLogic(), AdvSegError, "exit code 1"),
    ],
)
def test_a_no_and_a_failure_say_what_to_do(
    packaging: Packaging, logic: TorchLogic, kind: type[AdvSegError], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised:
        ensureDependencies("", {}, packaging=packaging, torchLogic=logic)
    assert "ADVSEG_PYTHON" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_the_extension_or_a_new_slicer_the_message_says_so() -> None:
    with pytest.raises(BadRequest, match="PyTorch extension is missing"):
        ensureDependencies("", {}, packaging=Packaging("torch"))
    with pytest.raises(BadRequest, match=r"5\.12"):
        missingPackages("", {})


def test_the_requirements_are_those_of_the_library() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("]", text.index("dependencies = ["))]
    declared = re.findall(r'"([^"]+)"', block)
    assert sorted(REQUIREMENTS) == sorted(item for item in declared if not item.startswith(KEPT))
    assert f"torch{TORCH}" in declared
