"""Numbers and names as the report prints them; what is absent is a dash, never a zero."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

DASH = "\u2013"
MINUS = "\u2212"
TIMES = "\u00d7"
SPACE = "\u202f"
"""Narrow no-break space: between a number and its unit, and between thousands."""
ATTACK_TITLES = {"mi-fgsm": "MI-FGSM", "segpgd": "SegPGD", "cospgd": "CosPGD", "square": "Square Attack"}


def number(value: Any) -> float | None:
    """Return a finite or infinite float; None for None, NaN, empty text and anything that is no number.

    >>> number("0.5"), number(""), number(float("nan"))
    (0.5, None, None)
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(found) else found


def fixed(value: Any, digits: int = 3) -> str:
    """Return a number with so many decimals.

    >>> fixed(0.12345), fixed(None), fixed(-1.5, 1), fixed(float("inf"))
    ('0.123', '–', '−1.5', '∞')
    """
    found = number(value)
    if found is None:
        return DASH
    if math.isinf(found):
        return "∞" if found > 0 else MINUS + "∞"
    text = f"{found:,.{digits}f}".replace(",", SPACE)
    return text.lstrip("-") if not float(f"{found:.{digits}f}") else text.replace("-", MINUS)


def short(value: Any, digits: int = 4, *, trim: bool = True) -> str:
    """Return a number with so many significant digits, trailing zeros cut off where ``trim``.

    >>> short(51.2), short(0.000123), short(1234.5), short(2.5, trim=False)
    ('51.2', '0.000123', '1\\u202f234', '2.500')
    """
    found = number(value)
    if found is None or math.isinf(found) or found == 0:
        return fixed(found, 0)
    if abs(found) < 1e-4 or abs(found) >= 1e9:
        mantissa, _, exponent = f"{found:.{digits - 1}e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')} {TIMES} 10^{int(exponent)}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(found))))
    text = fixed(found, decimals)
    return text.rstrip("0").rstrip(".") if trim and "." in text else text


def percent(value: Any, digits: int = 3) -> str:
    """Return a number that already counts percents, with its sign ``%``.

    >>> percent(5.0), percent(None)
    ('5\u202f%', '–')
    """
    return DASH if number(value) is None else f"{short(value, digits)}{SPACE}%"


def decibel(value: Any) -> str:
    """Return a PSNR in dB."""
    return DASH if number(value) is None else f"{fixed(value, 1)}{SPACE}dB"


def relative_change(before: Any, after: Any) -> str:
    """Return by how much a volume changed.

    >>> relative_change(2.0, 1.0), relative_change(0, 3.0), relative_change(0, 0)
    ('−50\u202f%', 'new', '–')
    """
    a, b = number(before), number(after)
    if a is None or b is None or (a == 0 and b == 0):
        return DASH
    if a == 0:
        return "new"
    if b == 0:
        return "gone"
    change = 100 * (b - a) / a
    digits = 1 if 0.05 <= abs(change) < 9.95 else 0
    return f"{'+' if change >= 0.05 else ''}{fixed(change, digits)}{SPACE}%"


def file_name(path: Any) -> str:
    """Return the last part of a path of any system: reports tell nothing of the machine's folders.

    >>> file_name("/home/someone/scan.nii.gz"), file_name("C:\\\\scans\\\\a.nrrd"), file_name("brain-3d")
    ('scan.nii.gz', 'a.nrrd', 'brain-3d')
    """
    parts = [part for part in re.split(r"[/\\]", str(path)) if part]
    return parts[-1] if parts else str(path)


def attack_title(name: str) -> str:
    """Return an attack's name as papers write it.

    >>> attack_title("pgd"), attack_title("ti-fgsm")
    ('PGD', 'ti-FGSM')
    """
    *prefix, last = name.split("-")
    return ATTACK_TITLES.get(name, "-".join([*prefix, last.upper()]))


def moment(text: Any) -> str:
    """Return an ISO time as people write it; anything else as it is.

    >>> moment("2026-01-02T03:04:05+00:00")
    '2 January 2026, 03:04 UTC'
    """
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    zone = time.tzname() or ""
    return f"{time.day} {time:%B %Y, %H:%M} {zone}".strip()
