"""Write the lists of files in the CMakeLists: what is not listed is not installed, silently.

``python Testing/Python/list_files.py`` rewrites what lies between ``# begin list NAME`` and ``# end list NAME``;
with ``--check`` it only says what is wrong, and exits with 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "AdvSegLib"
MODULE = ROOT / "AdvSegRobustness"
SELF_RUNNING = ROOT / "Testing" / "Slicer"


def files(folder: Path, wanted: Callable[[Path], bool] = lambda path: True) -> list[str]:
    """Return the files below a folder that belong to the source, relative to it, sorted."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if wanted(path) and not _passing(path))


def _passing(path: Path) -> bool:
    """What tools leave behind is not source."""
    return "__pycache__" in path.parts or any(part.startswith(".") for part in path.parts) or path.suffix == ".pyc"


def _is_script(path: Path) -> bool:
    return path.suffix == ".py"


def _is_resource(path: Path) -> bool:
    return path.suffix != ".py" and path.name != "CMakeLists.txt"


def _has_no_window(path: Path) -> bool:
    return path.match("test_*.py") and not path.match("test_window_*.py")


def expected() -> dict[Path, dict[str, list[str]]]:
    """Return what each list of each CMakeLists should hold."""
    return {
        LIBRARY / "CMakeLists.txt": {
            "scripts": files(LIBRARY, _is_script),
            "resources": files(LIBRARY, _is_resource),
            "models": files(ROOT / "Resources" / "Models"),
        },
        MODULE / "CMakeLists.txt": {
            "scripts": files(MODULE, _is_script),
            "resources": files(MODULE, _is_resource),
        },
        SELF_RUNNING / "CMakeLists.txt": {
            "without a window": files(SELF_RUNNING, _has_no_window),
            "with a window": files(SELF_RUNNING, lambda path: path.match("test_window_*.py")),
        },
    }


def rewritten(text: str, lists: dict[str, list[str]]) -> str:
    """Return a CMakeLists with its lists as they should be; ValueError where a list has no markers."""
    for name, entries in lists.items():
        block = re.compile(rf"^( *)# begin list {name}\n.*?^ *# end list {name}$", re.DOTALL | re.MULTILINE)
        found = block.search(text)
        if found is None:
            raise ValueError(f"no '# begin list {name}' ... '# end list {name}'")
        lines = [f"# begin list {name}", *entries, f"# end list {name}"]
        text = text[: found.start()] + "\n".join(found[1] + line for line in lines) + text[found.end() :]
    return text


def listed(text: str, name: str) -> list[str]:
    """Return the entries of one list of a CMakeLists."""
    block = re.search(rf"# begin list {name}\n(.*?)^ *# end list {name}$", text, re.DOTALL | re.MULTILINE)
    if block is None:
        raise ValueError(f"no '# begin list {name}' ... '# end list {name}'")
    return block[1].split()


def complaints() -> Iterator[str]:
    """Yield one line for every file that is missing from a list, or in it and not there."""
    for path, lists in expected().items():
        text = path.read_text(encoding="utf-8")
        for name, entries in lists.items():
            there = listed(text, name)
            where = f"{path.relative_to(ROOT).as_posix()}, list {name}"
            yield from (f"{where}: {entry} is not listed" for entry in entries if entry not in there)
            yield from (f"{where}: {entry} does not exist" for entry in there if entry not in entries)
            if len(set(there)) != len(there):
                yield f"{where}: an entry is there twice"


def main(arguments: list[str]) -> int:
    """Rewrite the lists, or with ``--check`` only look at them."""
    if arguments == ["--check"]:
        found = list(complaints())
        print(
            "\n".join([*found, "python Testing/Python/list_files.py mends it"] if found else ["all files are listed"])
        )
        return 1 if found else 0
    for path, lists in expected().items():
        old = path.read_text(encoding="utf-8")
        new = rewritten(old, lists)
        if new != old:
            path.write_text(new, encoding="utf-8", newline="\n")
            print(f"{path.relative_to(ROOT).as_posix()} rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
