"""A run's folder: staged out of sight, then put in place whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from AdvSegLib.errors import AdvSegError, BadRequest


@contextmanager
def staged_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a hidden folder beside ``out`` to write into; on success it becomes ``out``, on any failure it is removed.

    Where ``out`` cannot be replaced (a mount point, the working directory, below a parent that is not writable), the
    hidden folder lies inside it and its files are moved up at the end.

    Raises BadRequest where ``out`` already holds something, AdvSegError where it cannot be written.
    """
    if "\0" in os.fspath(out):
        raise BadRequest(f"not a place to write: {os.fspath(out)!r}")
    out = Path(out).resolve()
    _refuse_occupied(out)
    place = out if _must_keep(out) else out.parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=place))
    except OSError as error:
        raise AdvSegError(f"{out}: cannot write there ({error.strerror})") from error
    try:
        stage.chmod(0o755)
        yield stage
        _place(stage, out)
    except OSError as error:
        raise AdvSegError(f"{out}: cannot write ({error.strerror or error})") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _must_keep(out: Path) -> bool:
    """Tell whether an existing folder must stay the one it is."""
    return out.is_dir() and (
        out.is_mount() or out == Path.cwd().resolve() or not os.access(out.parent, os.W_OK | os.X_OK)
    )


def _refuse_occupied(out: Path, besides: Path | None = None) -> None:
    if out.is_dir():
        if any(item != besides for item in out.iterdir()):
            raise BadRequest(f"{out}: folder is not empty; name a new one")
    elif out.exists() or out.is_symlink():
        raise BadRequest(f"{out}: exists and is not a folder; name a new one")


def _place(stage: Path, out: Path) -> None:
    """Flush every file to disk and rename the whole folder over ``out``, which is absent or empty."""
    for file in stage.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    _refuse_occupied(out, besides=stage)
    if stage.parent != out:
        os.replace(stage, out)
        return
    for item in list(stage.iterdir()):
        os.replace(item, out / item.name)
    stage.rmdir()
