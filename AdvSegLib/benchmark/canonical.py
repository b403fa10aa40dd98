"""One spelling of JSON data, so that equal data has equal bytes and equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from AdvSegLib.errors import AdvSegError


def canonical(data: Any) -> bytes:
    """Return JSON data as bytes: sorted keys, no spaces, ASCII; AdvSegError for what JSON cannot hold (NaN too).

    >>> canonical({"b": 1.0, "a": None})
    b'{"a":null,"b":1.0}'
    """
    try:
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AdvSegError(f"not JSON data: {error}") from error
    return text.encode("ascii")


def digest(data: Any) -> str:
    """Return the SHA-256 of JSON data in its canonical spelling."""
    return hashlib.sha256(canonical(data)).hexdigest()
