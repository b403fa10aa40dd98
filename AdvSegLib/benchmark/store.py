"""The store of a sweep: a folder with a plan and a file for every unit that was computed or failed. Light.

``plan.json``; ``records/ab/<key>.jsonl``, written once and never changed; ``failures/ab/<key>.json``, replaced with
every attempt; ``partial/``, files being written. See docs/decisions/0013-a-sweep-is-a-folder.md for why it is so.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from AdvSegLib.benchmark.canonical import canonical
from AdvSegLib.benchmark.plan import Plan
from AdvSegLib.benchmark.records import REMEDY, Damaged, Record, decode
from AdvSegLib.errors import AdvSegError, BadRequest

FAILURE_SCHEMA = "advseg.failure/1"
STALE_SECONDS = 24 * 3600
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Store:
    """A folder, on any file system that renames atomically; several drivers may use it at once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._made: set[Path] = set()

    def plan(self) -> Plan:
        """Return the plan; BadRequest where there is none, AdvSegError where it was tampered with."""
        path = self.folder / "plan.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadRequest(f"{self.folder}: no plan there; 'advseg benchmark plan' makes one") from error
        except (OSError, ValueError, RecursionError) as error:
            raise AdvSegError(f"{path}: not readable as a plan ({error}); plan again") from error
        return Plan.from_dict(data, str(path))

    def keep_plan(self, plan: Plan, *, update: bool = False) -> None:
        """Write the plan. Another one that is there is replaced on ``update`` only, and kept under another name."""
        path = self.folder / "plan.json"
        if not path.exists():
            if self.folder.is_dir() and any(entry.name != "partial" for entry in self.folder.iterdir()):
                raise BadRequest(f"{self.folder}: is not empty and holds no plan; name a new folder")
        elif not update:
            old = self.plan()
            if old.sha256 == plan.sha256:
                return
            raise BadRequest(f"{self.folder}: holds another plan, '{old.name}'; --update replaces it and keeps the "
                             "results that both share")  # fmt: skip
        else:
            self._write(self.folder / f"plan-{time.time_ns()}.json", path.read_bytes())
        text = json.dumps(plan.to_dict(), indent=1, allow_nan=False) + "\n"
        self._write(path, text.encode())

    def has(self, key: str) -> bool:
        """Tell whether a unit has a record, without reading it."""
        return self._path("records", key).exists()

    def keys(self, kind: str = "records") -> set[bytes]:
        """Return the keys of all ``records`` or ``failures``, as 32 bytes each: a listing, no file is read."""
        found = set()
        for folder in sorted((self.folder / kind).glob("??")):
            for entry in os.scandir(folder):
                with suppress(ValueError):
                    found.add(bytes.fromhex(entry.name.partition(".")[0]))
        return found

    def read(self, key: str) -> Record | None:
        """Return a unit's record, None where it has none; Damaged where the file is not what was written."""
        path = self._path("records", key)
        data = _bytes(path)
        return None if data is None else decode(data, key, str(path))

    def commit(self, record: Record) -> bool:
        """Write a record, whole and once; False where the unit has one already, which stays.

        Raises AdvSegError where the store cannot be written; nothing of the record is left then.
        """
        written = self._write(self._path("records", record.key), record.encode(), once=True)
        with suppress(FileNotFoundError, PermissionError):  # a record outranks what failed before it
            self._path("failures", record.key).unlink()
        return written

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return what is known of a unit's failed attempts: ``attempts``, ``final``, ``error``; None for none."""
        path = self._path("failures", key)
        data = _bytes(path)
        if data is None:
            return None
        try:
            found = json.loads(data)
            if found["schema"] == FAILURE_SCHEMA and found["key"] == key and found["attempts"] >= 0:
                return {**found, "final": bool(found["final"]), "error": str(found["error"])}
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{path}: not a whole record of a failure; {REMEDY}") from error
        raise Damaged(f"{path}: not the record of this unit's failure; {REMEDY}")

    def fail(self, key: str, names: Mapping[str, Any], attempts: int, final: bool, error: str, run: Any) -> None:
        """Write that a unit failed ``attempts`` times, the last time with ``error``; ``final``: not tried again."""
        data = {"schema": FAILURE_SCHEMA, "key": key, "names": dict(names), "attempts": attempts, "final": final,
                "error": error, "run": run}  # fmt: skip
        self._write(self._path("failures", key), canonical(data) + b"\n")

    def forgive(self, key: str) -> None:
        """Forget that a unit failed, so that it is tried again."""
        with suppress(FileNotFoundError):
            self._path("failures", key).unlink()

    def prepare(self) -> None:
        """Find out that the store can be written, and remove what drivers that were killed left half-written.

        Raises AdvSegError where it cannot.
        """
        probe = self.folder / "partial" / f"probe-{secrets.token_hex(8)}"
        self._write(probe, b"")
        probe.unlink(missing_ok=True)
        for path in self._stale():
            path.unlink(missing_ok=True)

    def _stale(self) -> Iterator[Path]:
        for path in (self.folder / "partial").iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    yield path

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / kind / key[:2] / f"{key}.{'jsonl' if kind == 'records' else 'json'}"

    def _write(self, path: Path, data: bytes, *, once: bool = False) -> bool:
        """Put ``data`` at ``path`` whole; with ``once`` only where nothing is. Tell whether it was put there."""
        partial = self.folder / "partial" / f"{path.stem}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            for folder in (partial.parent, path.parent):
                if folder not in self._made:
                    folder.mkdir(parents=True, exist_ok=True)
                    self._made.add(folder)
            try:
                with open(partial, "xb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())  # else a power cut may leave a name without content
                if once:
                    return _link(partial, path)
                os.replace(partial, path)
                return True
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise AdvSegError(f"{path}: cannot write ({error.strerror or error}); what is committed stays, "
                              "run again to go on") from error  # fmt: skip


def _link(partial: Path, path: Path) -> bool:
    """Give a whole file its name unless that is taken, in one step that no two processes both succeed in."""
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if path.exists():  # without hard links: two drivers at this very moment would both write the same content
            return False
        os.replace(partial, path)
    return True


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AdvSegError(f"{path}: cannot be read ({error.strerror or error})") from error
