"""CMake, from its wheel or the machine, on the extension and the stand-in for a Slicer build tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STANDINS = Path(__file__).resolve().parent / "cmake_standins"
SCRIPTED = Path("lib/Slicer-5.13/qt-scripted-modules")
# No language is compiled here: what CMake would ask a compiler is answered, and none needs to be there.
NO_COMPILER = [
    f"-DCMAKE_{language}_{answer}"
    for language in ("C", "CXX")
    for answer in (f"COMPILER={sys.executable}", "COMPILER_FORCED=ON", "COMPILER_ID=None", "COMPILER_ID_RUN=ON")
]


def tool(name: str) -> str:
    """Return a program that a wheel put beside this Python, or that the machine has; skip where there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: pip install {name}")
    return found


@dataclass(frozen=True)
class Build:
    """A configured build tree."""

    folder: Path
    result: subprocess.CompletedProcess[str]

    def make(self, *arguments: str) -> None:
        """Run ``cmake`` on the tree: ``--build``, ``--install``."""
        subprocess.run([tool("cmake"), *arguments], check=True, capture_output=True, text=True, cwd=self.folder)

    @property
    def said(self) -> str:
        """What was printed, on one line, as CMake breaks its messages where it likes."""
        return " ".join((self.result.stdout + self.result.stderr).split())


def configure(source: Path, folder: Path, *options: str) -> Build:
    """Configure an extension with the stand-in for Slicer; the build says how it went."""
    ninja = f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"
    command = [tool("cmake"), "-G", "Ninja", ninja, "-S", str(source), "-B", str(folder)]
    command += [f"-DSlicer_DIR={STANDINS}", *NO_COMPILER, *options]
    return Build(folder, subprocess.run(command, capture_output=True, text=True, check=False))


def installed_tree(source: Path, folder: Path) -> tuple[Build, Path]:
    """Configure, build and install an extension; return the build and the folder Slicer would load modules from."""
    build = configure(source, folder / "build", f"-DCMAKE_INSTALL_PREFIX={folder / 'installed'}")
    assert build.result.returncode == 0, build.said
    build.make("--build", ".")
    build.make("--install", ".")
    return build, folder / "installed" / SCRIPTED
