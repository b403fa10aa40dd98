"""The published, versioned schemas of every JSON this library reads and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from AdvSegLib.errors import BadRequest, unknown_name

NAMES = ("info", "iterations", "job", "metrics", "provenance", "segment", "worker_event", "worker_request")


def load_schema(name: str) -> dict[str, Any]:
    """Return a JSON schema (draft 2020-12) by name, one of :data:`NAMES`."""
    if name not in NAMES:
        raise unknown_name("schema", name, NAMES)
    schema: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return schema


def check_schema(name: str, data: Any, what: str) -> None:
    """Raise BadRequest, naming the first offending place, where ``data`` does not follow the schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(load_schema(name)).iter_errors(data))
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path) or "top level"
        raise BadRequest(f"{what}: {place}: {error.message}")
