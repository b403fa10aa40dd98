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


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BadRequest:
    """Return the error for a name that is not in a registry, with the nearest ones.

    >>> str(unknown_name("attack", "pdg", ["fgsm", "pgd"]))
    "unknown attack 'pdg'; did you mean 'pgd'? Known: fgsm, pgd"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return BadRequest(f"unknown {kind} '{name}'{hint} Known: {', '.join(names)}")
