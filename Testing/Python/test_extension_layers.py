"""The arrows inside the extension: what may import what, and what is never imported when a module is loaded."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "AdvSegRobustness" / "AdvSegRobustness.py"
ROOM = MODULE.parent / "AdvSegRobustnessLib"
SCENE_SIDE = sorted(path for path in ROOM.rglob("*.py") if "Gui" not in path.parts)
EVERYTHING = sorted([MODULE, *ROOM.rglob("*.py")])
HEAVY = {"torch", "monai", "safetensors", "jsonschema", "yaml", "matplotlib", "skimage", "tqdm", "jinja2", "PIL"}
# Slicer's own Python brings these, so a file that Slicer loads at its start may import them at once.
SHIPPED_WITH_SLICER = {"slicer", "vtk", "qt", "ctk", "SimpleITK", "numpy", "scipy", "AdvSegLib", "AdvSegRobustnessLib"}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def names_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module


def imported(path: Path) -> set[str]:
    """Dotted names of every import in a file, at any depth."""
    return {name for node in ast.walk(tree_of(path)) for name in names_in(node)}


def imported_when_loaded(path: Path) -> set[str]:
    """Dotted names of the imports that run when the file is loaded: outside functions, and not only for types."""

    def visit(node: ast.AST) -> Iterator[str]:
        yield from names_in(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        only_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in node.orelse if only_types else ast.iter_child_nodes(node):
            yield from visit(child)

    return set(visit(tree_of(path)))


def attributes_of_slicer(path: Path) -> set[str]:
    """Return what a file takes from slicer: ``app``, ``util.loadVolume``, …"""
    chains = {ast.unparse(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
    froms = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0
        for alias in node.names
    }
    return {name.removeprefix("slicer.") for name in chains | froms if name.startswith("slicer.")}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SCENE_SIDE, ids=name_of)
def test_the_scene_side_knows_no_window(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & {"qt", "ctk", "PySide6", "PythonQt"}
    assert not {name for name in imported(path) if ".Gui" in name}
    used = attributes_of_slicer(path)
    assert not {name for name in used if name.split(".")[0] in {"app", "mrmlScene"}}
    assert not {name for name in used if name.startswith(("util.load", "util.save", "util.mainWindow"))}


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_nothing_that_computes_is_imported_in_slicers_process(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & HEAVY


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_nothing_third_party_is_imported_when_a_module_is_loaded(path: Path) -> None:
    ours = set(sys.stdlib_module_names) | SHIPPED_WITH_SLICER
    assert {name.split(".")[0] for name in imported_when_loaded(path)} <= ours


def test_the_reader_of_imports_sees_what_runs_and_only_that(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import a.b\nfrom c import d\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import e\n"
        "else:\n    import f\ntry:\n    import g\nexcept ImportError:\n    import h\n"
        "class K:\n    import i\n    def m(self):\n        import j\n"
    )
    assert imported_when_loaded(path) == {"a.b", "c", "typing", "f", "g", "h", "i"}
    assert {"e", "j"} <= imported(path)


def test_the_reader_of_attributes_sees_slicer_however_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import slicer\nfrom slicer.util import loadVolume\nslicer.app.processEvents()\n")
    assert {"app.processEvents", "app", "util.loadVolume"} <= attributes_of_slicer(path)
