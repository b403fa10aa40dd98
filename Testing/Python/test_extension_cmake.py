"""The extension configures, builds and installs into a tree that works by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from fixtures_cmake import ROOT, SCRIPTED, Build, configure, installed_tree, tool
from list_files import rewritten

MODULE = Path("AdvSegRobustness")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Path]:
    return installed_tree(ROOT, tmp_path_factory.mktemp("extension"))


@pytest.fixture(scope="module")
def tree(installation: tuple[Build, Path]) -> Path:
    return installation[1]


def alone(tree: Path, cwd: Path, *command: str) -> str:
    """Run Python with nothing of ours on its path but the installed tree."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADVSEG_")}
    environment["PYTHONPATH"] = str(tree)
    result = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def relative(folder: Path, pattern: str = "*") -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if "__pycache__" not in path.parts}


def test_the_top_of_the_tree_holds_the_module_and_nothing_else_that_python_could_import(tree: Path) -> None:
    assert {path.name for path in tree.iterdir()} == {
        "AdvSegLib", "AdvSegRobustness.py", "AdvSegRobustnessLib", "Resources"
    }  # fmt: skip


@pytest.mark.parametrize("package", ["AdvSegLib", "AdvSegRobustness/AdvSegRobustnessLib"])
def test_every_python_file_is_installed(tree: Path, package: str) -> None:
    assert relative(tree / Path(package).name, "*.py") == relative(ROOT / package, "*.py")


def test_everything_the_library_reads_is_installed(tree: Path) -> None:
    schemas, recipes = relative(tree / "AdvSegLib/schemas", "*.json"), relative(tree / "AdvSegLib/training", "*.yaml")
    assert {"job.json", "worker_event.json"} <= schemas
    assert {"recipes/brain.yaml", "recipes/chest.yaml"} <= recipes
    assert {"run_report.html", "run_report.css"} <= relative(tree / "AdvSegLib/reports")
    assert relative(tree / "AdvSegLib/Models") == relative(ROOT / "Resources/Models")


def test_the_panel_and_its_icons_are_installed(tree: Path) -> None:
    assert relative(tree / "Resources") == relative(ROOT / MODULE / "Resources")
    assert {"UI/AdvSegRobustness.ui", "Icons/AdvSegRobustness.png"} <= relative(tree / "Resources")


def test_a_changed_source_is_installed_anew(tmp_path: Path) -> None:
    source = small_extension(tmp_path / "source")
    build, _ = installed_tree(source, tmp_path)
    (source / "AdvSegLib/one.py").write_text("changed = True\n")
    (source / "Resources/Models/m/weights").write_text("new")
    build.make("--build", ".")
    build.make("--install", ".", "--prefix", str(tmp_path / "again"))
    tree = tmp_path / "again" / SCRIPTED
    assert (tree / "AdvSegLib/one.py").read_text() == "changed = True\n"
    assert (tree / "AdvSegLib/Models/m/weights").read_text() == "new"


def test_the_installed_library_finds_its_own_models(tree: Path, tmp_path: Path) -> None:
    code = (
        "import json, AdvSegLib\nfrom AdvSegLib.segmenters.catalogue import shipped_models\n"
        "print(json.dumps([AdvSegLib.__file__, *(str(info.folder) for info in shipped_models().values())]))"
    )
    shipped = [path.name for path in (ROOT / "Resources/Models").iterdir() if path.is_dir()]
    library, *models = json.loads(alone(tree, tmp_path, "-c", code))
    assert Path(library) == tree / "AdvSegLib/__init__.py"
    assert {Path(folder) for folder in models} == {tree / "AdvSegLib/Models" / name for name in shipped}


def test_the_installed_library_segments_a_phantom(tree: Path, tmp_path: Path) -> None:
    """What the child process of the module does, by the files of the installation alone."""
    alone(tree, tmp_path, "-m", "AdvSegLib", "cases", "phantom-chest", "--count", "1", "--out", "phantoms")
    (image,) = (path for path in (tmp_path / "phantoms").rglob("*.nii.gz") if "label" not in path.name)
    alone(tree, tmp_path, "-m", "AdvSegLib", "segment", "--model", "chest", "--image", str(image), "--out", "labels")
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "labels/labels.nii.gz")))
    assert len(set(labels.ravel().tolist())) > 3


def test_a_listed_file_that_is_missing_stops_the_configure(tmp_path: Path) -> None:
    source = small_extension(tmp_path / "source")
    (source / "AdvSegLib/one.py").unlink()
    build = configure(source, tmp_path / "build")
    assert build.result.returncode != 0
    assert "one.py" in build.said


def test_ctest_knows_every_script_for_a_real_slicer(installation: tuple[Build, Path]) -> None:
    listed = subprocess.run(
        [tool("ctest"), "-N"], cwd=installation[0].folder, capture_output=True, text=True, check=True
    )
    names = {line.split(": ")[1] for line in listed.stdout.splitlines() if "Test #" in line}
    scripts = {f"py_{path.stem}" for path in (ROOT / "Testing/Slicer").glob("test_*.py")}
    assert names == {"py_nomainwindow_qSlicerAdvSegRobustnessModuleGenericTest", "py_AdvSegRobustness", *scripts}


def small_extension(folder: Path) -> Path:
    """Return an extension of a few files with our own CMakeLists, for what would harm the real one."""
    for name, text in {
        "CMakeLists.txt": (ROOT / "CMakeLists.txt").read_text(),
        "README.md": "", "LICENSE": "",
        "AdvSegLib/one.py": "", "AdvSegLib/one.json": "{}", "Resources/Models/m/weights": "old",
        "AdvSegRobustness/AdvSegRobustness.py": "",
        "Testing/CMakeLists.txt": "",
    }.items():  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lists = {
        "AdvSegLib": {"scripts": ["one.py"], "resources": ["one.json"], "models": ["m/weights"]},
        "AdvSegRobustness": {"scripts": ["AdvSegRobustness.py"], "resources": []},
    }
    for name, entries in lists.items():
        text = (ROOT / name / "CMakeLists.txt").read_text()
        (folder / name / "CMakeLists.txt").write_text(rewritten(text, entries))
    return folder
