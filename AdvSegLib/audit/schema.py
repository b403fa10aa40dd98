"""The schemas of what this room writes: ``audit.json``, ``family.json``, ``certificate.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from AdvSegLib.errors import AdvSegError, unknown_name

NAMES = ("audit", "family", "certificate")


def load_audit_schema(name: str) -> dict[str, Any]:
    """Return a JSON schema (draft 2020-12) by name, one of :data:`NAMES`."""
    if name not in NAMES:
        raise unknown_name("audit schema", name, NAMES)
    text = (Path(__file__).parent / f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def check_written(name: str, data: Any) -> None:
    """Raise AdvSegError, naming the first offending place, where what is about to be written breaks its schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(load_audit_schema(name)).iter_errors(data))
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path) or "top level"
        raise AdvSegError(f"{name}.json would not follow its schema: {place}: {error.message[:200]}")
