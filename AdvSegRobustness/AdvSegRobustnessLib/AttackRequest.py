"""What a person asks for: an attack on nodes of the scene, before any file is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from AdvSegLib.errors import BadRequest, unknown_name

UNTARGETED = "untargeted"
WHOLE, SEGMENT, ROI = "whole", "segment", "roi"


@dataclass(frozen=True)
class AttackRequest:
    """An attack on the volumes of a scan.

    ``model`` is a shipped name or a bundle's folder; ``volumes`` has one node a channel, in the model's order.
    ``goal`` is ``untargeted`` or the name of a target map with ``goalParameters``; ``drawn`` and ``other-case`` take
    the segmentation (or label-map) node ``target``. ``truth`` is such a node too; ``relabel`` maps its values to the
    model's. ``keep``: what structures beside the target's keep, ``truth``, ``prediction`` or ``nothing``.

    ``epsilon`` is a fraction of each channel's range (``linf``), by default the attack's own. ``region`` is ``whole``,
    ``segment`` (``regionSegment``, an ID or a name, of the segmentation ``regionNode``), ``roi`` (a Markups ROI,
    ``regionNode``), or a kind of the library's registry with ``regionParameters``. ``surrogate``: the model the attack
    is crafted on. ``record`` keeps every so-many-th step's image (0: none). ``name`` is how the results are called.
    """

    model: str
    volumes: tuple[Any, ...]
    truth: Any = None
    goal: str = UNTARGETED
    goalParameters: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None
    keep: str | None = None
    attack: str = "pgd"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None
    norm: str = "linf"
    region: str = WHOLE
    regionParameters: Mapping[str, Any] = field(default_factory=dict)
    regionNode: Any = None
    regionSegment: str = ""
    surrogate: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    record: int = 0
    name: str | None = None
    relabel: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def fromFields(cls, given: Mapping[str, Any], base: AttackRequest | None = None) -> AttackRequest:
        """Return a request of these fields, the others as in ``base``; BadRequest for a field there is not."""
        known = [item.name for item in fields(cls)]
        given = {name: _plain(value) for name, value in given.items()}
        for name in given:
            if name not in known:
                raise unknown_name("field of an attack", name, known)
        if base is not None:
            return replace(base, **given)
        missing = [name for name in ("model", "volumes") if name not in given]
        if missing:
            raise BadRequest(f"an attack needs {' and '.join(missing)}")
        return cls(**given)

    def title(self) -> str:
        """Return how the attack is called where it has no name."""
        if self.name:
            return self.name
        first = next((node for node in self.volumes if node is not None), None)
        return " ".join([self.attack, *([] if first is None else ["on", first.GetName()])])


def _plain(value: Any) -> Any:
    """Return NumPy's numbers, which loops over arrays give, as Python's; in a dict, too."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value
