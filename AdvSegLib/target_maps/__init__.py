"""Target maps by name: what an attack should make the network draw. Light: needs no torch, SimpleITK or scipy."""

from __future__ import annotations

from typing import Any

from AdvSegLib.parameters import make
from AdvSegLib.target_maps.base import TargetMap
from AdvSegLib.target_maps.from_files import Drawn, OtherCase
from AdvSegLib.target_maps.heart import HeartSymbol
from AdvSegLib.target_maps.simple import Constant, Erased
from AdvSegLib.target_maps.structures import Structure, find_structure
from AdvSegLib.target_maps.warped import Moved, Resized

TARGET_MAPS: dict[str, type[TargetMap]] = {
    target.name: target for target in (Constant, HeartSymbol, Resized, Moved, Erased, Drawn, OtherCase)
}

__all__ = [
    "TARGET_MAPS",
    "Constant",
    "Drawn",
    "Erased",
    "HeartSymbol",
    "Moved",
    "OtherCase",
    "Resized",
    "Structure",
    "TargetMap",
    "describe_target_maps",
    "find_structure",
    "make_target_map",
]


def make_target_map(name: str, /, **parameters: Any) -> TargetMap:
    """Return the target map called ``name``; BadRequest for an unknown name, parameter or value.

    >>> make_target_map("resized", structure="heart", factor=1.4)
    Resized(structure='heart', factor=1.4)
    """
    return make("target map", TARGET_MAPS, name, parameters)


def describe_target_maps() -> list[dict[str, Any]]:
    """Return every target map as JSON data: name, summary, source, parameters."""
    return [
        {"name": kind.name, "summary": kind.summary, "source": kind.source, "parameters": kind.parameters()}
        for kind in TARGET_MAPS.values()
    ]
