"""The arrows of the design, and lightness: what may import what, and what stays unloaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "AdvSegLib"
MODULES = sorted(LIBRARY.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of every import in a file, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_library_never_imports_slicer_or_qt(path: Path) -> None:
    assert not imported(path) & {"slicer", "vtk", "qt", "ctk", "PySide6", "vtkmodules", "Testing", "nilearn"}


LIGHT = (
    "attacks", "labels", "volumes", "cases.registry", "segmenters.catalogue", "training.recipe", "jobs", "target_maps",
    "regions", "loading", "worker", "audit.command", "audit.suite", "audit.checks", "audit.verdict",
    "training.command", "benchmark.command", "reproduce.command", "arguments", "command_options",
)  # fmt: skip


@pytest.mark.parametrize("module", ["AdvSegLib", *(f"AdvSegLib.{name}" for name in LIGHT)])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'monai', 'SimpleITK', 'scipy', 'skimage', 'matplotlib', 'nilearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_describing_everything_needs_no_torch() -> None:
    code = (
        "import sys\nfrom AdvSegLib.command_line import build_parser, describe\nbuild_parser(); describe()\n"
        "assert not {'torch', 'monai', 'SimpleITK'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_film_is_drawn_with_what_slicer_brings() -> None:
    code = (
        "import sys, tempfile\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'monai', 'tqdm', 'jsonschema', 'jinja2', 'matplotlib',\n"
        "                                      'yaml', 'skimage', 'safetensors', 'PIL', 'nibabel', 'nilearn'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from AdvSegLib.__main__ import main\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    assert main(['cases', 'phantom-chest', '--count', '1', '--size', '32', '--out', folder]) == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
