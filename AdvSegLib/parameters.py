"""Things made from named parameters: attacks, target maps, regions. One declaration feeds every interface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from AdvSegLib.errors import BadRequest, unknown_name


def parameter(default: Any, doc: str, **limits: Any) -> Any:
    """Declare a parameter; ``doc`` and ``limits`` (``minimum``, ``maximum``, ``choices``) feed every interface."""
    return field(default=default, metadata={"doc": doc, **limits})


@dataclass(frozen=True)
class Parameters:
    """A frozen dataclass with a name, whose fields are declared by :func:`parameter` and held to their limits."""

    name: ClassVar[str]
    summary: ClassVar[str]
    shared: ClassVar[tuple[str, ...]] = ()
    """Parameters that every thing of the kind has: listed last."""

    def __post_init__(self) -> None:
        """Hold every parameter to its declared type and limits."""
        for item in fields(self):
            _check(self.name, item, getattr(self, item.name))

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Return the names of the parameters."""
        return tuple(item.name for item in fields(cls))

    @classmethod
    def parameters(cls) -> list[dict[str, Any]]:
        """Return each parameter as JSON data: name, type, default, doc, and its limits; shared ones last."""
        return [
            {"name": item.name, "type": _type_name(item), "default": item.default, **item.metadata}
            for item in sorted(fields(cls), key=lambda item: item.name in cls.shared)
            if item.default is not MISSING
        ]


Made = TypeVar("Made", bound=Parameters)


def make(kind: str, registry: Mapping[str, type[Made]], name: str, values: Mapping[str, Any]) -> Made:
    """Return ``registry[name](**values)``; BadRequest for an unknown name, parameter or value."""
    if name not in registry:
        raise unknown_name(kind, name, registry)
    made = registry[name]
    known = made.parameter_names()
    for given in values:
        if given not in known:
            raise unknown_name(f"parameter of {name}", given, known)
    return made(**values)


def _type_name(item: Field[Any]) -> str:
    text = str(item.type)
    return next((name for name in ("bool", "int", "float") if text.startswith(name)), "str")


def _check(attack: str, item: Field[Any], value: Any) -> None:
    """Raise BadRequest where ``value`` has the wrong type or leaves the limits in the field's metadata."""
    limits = item.metadata
    optional = "None" in str(item.type)
    if value is None and optional:
        return
    kinds: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
    kind = _type_name(item)
    if not isinstance(value, kinds[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise BadRequest(f"{attack}: {item.name} must be {kind}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest(f"{attack}: {item.name} must be a finite number, not {value}")
    if "choices" in limits and value not in limits["choices"]:
        raise BadRequest(f"{attack}: {item.name} must be one of {', '.join(limits['choices'])}, not {value!r}")
    low, high = limits.get("minimum"), limits.get("maximum")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        wanted = " and ".join(f"{sign} {bound}" for sign, bound in ((">=", low), ("<=", high)) if bound is not None)
        raise BadRequest(f"{attack}: {item.name} must be {wanted}, not {value}")
