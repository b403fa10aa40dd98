"""What the Extensions Index and its reviewers look at: metadata, icon, pictures, licence, size."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
# The index's own check reads the file with such a pattern: one quoted string between the brackets, on one line.
METADATA = dict(re.findall(r'^set\(EXTENSION_([A-Z]+) "([^"\n]+)"\)$', CMAKE, re.MULTILINE))
PICTURES = METADATA["SCREENSHOTURLS"].split()


@pytest.mark.parametrize("name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"])
def test_every_line_of_metadata_is_one_string_on_one_line(name: str) -> None:
    assert METADATA.get(name), f"EXTENSION_{name}"
    assert ";" not in METADATA[name]  # CMake would make a list of it


def test_the_project_bears_the_name_of_the_extension_and_of_its_module() -> None:
    assert re.findall(r"^project\((\w+)\)$", CMAKE, re.MULTILINE) == ["AdvSegRobustness"]
    assert (ROOT / "AdvSegRobustness/AdvSegRobustness.py").is_file()


def test_it_depends_on_pytorch() -> None:
    assert METADATA["DEPENDS"] == "PyTorch"


def test_the_description_says_what_it_is_for_in_two_sentences() -> None:
    assert METADATA["DESCRIPTION"].count(". ") <= 1
    assert "not for clinical use" in METADATA["DESCRIPTION"]


def test_all_addresses_belong_to_one_repository() -> None:
    _, owner, repository = METADATA["HOMEPAGE"].removeprefix("https://").split("/")
    assert repository == "SlicerAdvSegRobustness"
    raw = f"https://raw.githubusercontent.com/{owner}/{repository}/main/"
    assert [url for url in [METADATA["ICONURL"], *PICTURES] if not url.startswith(raw)] == []


@pytest.mark.parametrize("url", [METADATA["ICONURL"], *PICTURES])
def test_an_address_leads_to_a_picture_of_this_repository(url: str) -> None:
    with Image.open(ROOT / url.split("/main/")[1]) as picture:
        assert picture.format == "PNG"


def test_there_are_pictures() -> None:
    assert len(PICTURES) >= 2
    assert all("/Resources/Screenshots/" in url for url in PICTURES)


def test_the_entry_for_the_catalogue_says_the_same() -> None:
    entry = json.loads((ROOT / "Resources/ExtensionsIndex/AdvSegRobustness.json").read_text(encoding="utf-8"))
    assert set(entry) <= {
        "$schema", "build_dependencies", "build_subdirectory", "category", "enabled", "scm_revision", "scm_type",
        "scm_url", "tier",
    }  # fmt: skip
    assert (entry["scm_url"], entry["build_dependencies"]) == (METADATA["HOMEPAGE"], METADATA["DEPENDS"].split())
    assert (entry["category"], entry["tier"]) == ("Segmentation", 1)
    module = (ROOT / "AdvSegRobustness/AdvSegRobustness.py").read_text(encoding="utf-8")
    assert f'"{entry["category"]}"' in module  # where it is found in Slicer's menu too


def test_the_order_of_the_index_template_is_kept() -> None:
    order = [
        "find_package(Slicer REQUIRED)", "include(${Slicer_USE_FILE})", "add_subdirectory(AdvSegRobustness)",
        "## NEXT_MODULE", "include(${Slicer_EXTENSION_GENERATE_CONFIG})", "include(${Slicer_EXTENSION_CPACK})",
    ]  # fmt: skip
    places = [CMAKE.index(line) for line in order]
    assert places == sorted(places)


def test_the_least_cmake_is_one_that_distributions_have() -> None:
    assert "cmake_minimum_required(VERSION 3.20.6...3.28.0 FATAL_ERROR)" in CMAKE


def test_the_icon_is_a_drawing_of_128_by_128() -> None:
    with Image.open(ROOT / "AdvSegRobustness.png") as icon:
        pixels = np.asarray(icon.convert("RGBA"))
    assert pixels.shape == (128, 128, 4)
    assert pixels[0, 0, 3] == 0  # rounded corners
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 1000


def test_the_icon_is_what_its_script_draws(tmp_path: Path) -> None:
    drawn = tmp_path / "icon.png"
    subprocess.run([sys.executable, ROOT / "Resources/Icons/draw_icon.py", drawn], check=True)
    with Image.open(drawn) as new, Image.open(ROOT / "AdvSegRobustness.png") as kept:
        difference = np.asarray(new).astype(int) - np.asarray(kept).astype(int)
    assert np.abs(difference).mean() < 1  # other versions of the libraries round otherwise


def test_the_licence_is_where_the_index_looks_and_is_named_on_the_homepage() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache-2.0" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_is_committed_is_far_below_the_size_the_index_accepts() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 50e6  # the limit is 100 MB
