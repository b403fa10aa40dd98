"""What can go wrong, in three kinds that callers can tell apart."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AdvSegError(Exception):
    """Any failure this library reports on purpose; the message is one clear line (exit code 1)."""


class BadRequest(AdvSegError, ValueError):
    """The caller's input cannot be used as it is: a file, a value, a name (exit code 2)."""


class Cancelled(AdvSegError):
    """The caller asked to stop; nothing was written (exit code 130)."""


def explain(error: Exception) -> str:
    """Turn allocation failures into advice, and anything unforeseen into a line that can be reported."""
    text = str(error)
    if isinstance(error, MemoryError) or any(
        part in text for part in ("out of memory", "not enough memory", "can't allocate memory")
    ):
        return "out of memory; try --resolution network, a smaller image, or another --device"
    return f"unexpected {type(error).__name__}: {text[:300]} (ADVSEG_DEBUG=1 shows where)"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BadRequest:
    """Return the error for a name that is not in a registry, with the nearest ones.

    >>> str(unknown_name("attack", "pdg", ["fgsm", "pgd"]))
    "unknown attack 'pdg'; did you mean 'pgd'? Known: fgsm, pgd"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return BadRequest(f"unknown {kind} '{name}'{hint} Known: {', '.join(names)}")
