"""What CMake installs is listed by name: nothing is missing, nothing surplus; and the tool that writes it is right."""

from __future__ import annotations

from pathlib import Path

import list_files
import pytest
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.lists(st.from_regex(r"[a-z_]{1,8}(/[a-z_]{1,8})?\.(py|json)", fullmatch=True), max_size=6)
EMPTY = "set(FILES\n  # begin list scripts\n  # end list scripts\n  )\n"


def test_every_file_is_listed_and_every_entry_is_there() -> None:
    assert list(list_files.complaints()) == [], "python Testing/Python/list_files.py mends it"


@given(first=NAMES, second=NAMES)
def test_a_list_reads_back_as_written_without_a_trace_of_the_one_before(first: list[str], second: list[str]) -> None:
    once = list_files.rewritten(EMPTY, {"scripts": second})
    twice = list_files.rewritten(list_files.rewritten(EMPTY, {"scripts": first}), {"scripts": second})
    assert once == twice
    assert list_files.listed(once, "scripts") == second
    assert list_files.rewritten(once, {"scripts": []}) == EMPTY


def test_a_cmake_file_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="begin list scripts"):
        list_files.rewritten("set(FILES one.py)\n", {"scripts": ["one.py"]})


def test_what_tools_leave_behind_is_not_source(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.json", "b/__pycache__/a.pyc", ".hidden/x.py", "old.pyc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list_files.files(tmp_path) == ["a.py", "b/c.json"]


def test_the_check_finds_a_missing_and_a_surplus_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cmake = tmp_path / "CMakeLists.txt"
    cmake.write_text(list_files.rewritten(EMPTY, {"scripts": ["gone.py", "kept.py"]}))
    monkeypatch.setattr(list_files, "ROOT", tmp_path)
    monkeypatch.setattr(list_files, "expected", lambda: {cmake: {"scripts": ["kept.py", "new.py"]}})
    assert [line.split(" scripts: ")[1] for line in list_files.complaints()] == [
        "new.py is not listed", "gone.py does not exist"
    ]  # fmt: skip
    assert list_files.main(["--check"]) == 1
    assert list_files.main([]) == 0
    assert list_files.main(["--check"]) == 0


def test_a_python_file_in_the_module_folder_would_be_taken_for_a_module() -> None:
    assert [path.name for path in list_files.MODULE.glob("*.py")] == ["AdvSegRobustness.py"]
