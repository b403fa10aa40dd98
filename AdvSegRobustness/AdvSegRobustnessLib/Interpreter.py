"""Which Python computes, and how the worker is started with it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import AdvSegLib
from AdvSegLib.errors import BadRequest

VARIABLE = "ADVSEG_PYTHON"
"""The environment variable that names the interpreter, before the module's setting does."""
PYTHONS_OWN = ("PYTHONHOME", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__")
"""What says where a Python has its parts."""
SEARCHED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", *(["PATH"] if os.name == "nt" else []))
"""Where libraries are looked for; Slicer puts its own folders in front. PATH elsewhere finds programs only, and may
well need ``/usr/bin`` where that is Slicer's home."""
HOW_TO_CHANGE = f"name another Python by {VARIABLE} or in the module's settings"


def chosenInterpreter(setting: str = "", environ: Mapping[str, str] = os.environ) -> str:
    """Return the interpreter somebody asked for, as it was written: by ``ADVSEG_PYTHON``, else by the setting."""
    return environ.get(VARIABLE, "").strip() or setting.strip()


def findInterpreter(setting: str = "", environ: Mapping[str, str] = os.environ) -> Path:
    """Return the Python that computes: ``ADVSEG_PYTHON``, the module's setting, PythonSlicer, or this process's own.

    What was asked for by name is taken or refused (BadRequest), never replaced by another one.
    """
    wanted = chosenInterpreter(setting, environ)
    if wanted:
        return _named(wanted, VARIABLE if environ.get(VARIABLE, "").strip() else "the module's setting")
    for candidate in _candidates():
        if candidate is not None and _isPython(candidate):
            return candidate
    raise BadRequest(f"no Python found to compute with (neither PythonSlicer nor {sys.prefix}'s); {HOW_TO_CHANGE}")


def workerCommand(python: Path) -> list[str]:
    """Return the command line of a worker that stops working when this process goes away."""
    return [str(python), "-m", "AdvSegLib", "worker", "--on-eof", "cancel"]


def libraryRoot() -> Path:
    """Return the folder in which AdvSegLib lies."""
    return Path(AdvSegLib.__file__).resolve().parents[1]


def ownEnvironment() -> dict[str, str]:
    """Return this process's environment variables."""
    return dict(os.environ)


def childEnvironment(python: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a child process: it finds this AdvSegLib, and speaks UTF-8.

    What was set for AdvSegLib since this process began counts too (``ADVSEG_MODELS``). Another Python than this
    process's own gets none of the variables by which that finds its packages, nor Slicer's own libraries, which would
    be loaded in place of its.
    """
    ours = {name: value for name, value in os.environ.items() if name.startswith("ADVSEG_")}
    environment = {**environ, **ours}
    inherited = environment.pop("PYTHONPATH", "")
    if not _isOwn(python):
        inherited = ""
        environment = _withoutSlicers(environment)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(libraryRoot()), inherited)))
    return {**environment, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


def _withoutSlicers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what Slicer has set for its own Python, and without its folders."""
    home = environment.get("SLICER_HOME") or os.environ.get("SLICER_HOME", "")
    left = {name: value for name, value in environment.items() if name not in PYTHONS_OWN}
    for name in SEARCHED if home else ():
        places = left.pop(name, "").split(os.pathsep)
        if kept := [place for place in places if place and not Path(place).is_relative_to(home)]:
            left[name] = os.pathsep.join(kept)
    return left


def _candidates() -> list[Path | None]:
    beside = shutil.which("PythonSlicer")
    names = ("python.exe", "Scripts/python.exe") if os.name == "nt" else ("bin/python3", "bin/python")
    own = [Path(sys.prefix, name) for name in names]
    return [Path(beside) if beside else None, Path(sys.executable) if sys.executable else None, *own]


def _isPython(path: Path) -> bool:
    """Tell whether a file can be a Python; Slicer itself may call itself ``sys.executable``, and is none."""
    return "python" in path.name.lower() and path.is_file() and os.access(path, os.X_OK)


def _isOwn(python: Path) -> bool:
    """Tell whether an interpreter is of the installation this process runs in."""
    return python.name.lower().startswith("pythonslicer") or any(
        candidate is not None and candidate.absolute() == python.absolute() for candidate in _candidates()
    )


def _named(wanted: str, source: str) -> Path:
    found = shutil.which(os.path.expanduser(wanted))
    if found is None:
        raise BadRequest(f"{source}: no program '{wanted}'; {HOW_TO_CHANGE}, e.g. /path/to/venv/bin/python")
    return Path(found).absolute()
