"""What an attack did to a segmentation, structure by structure, as a segmentation of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from AdvSegLib.labels import LabelScheme
from AdvSegRobustnessLib.SegmentBuilding import SegmentStyle, segmentationNode

CHANGE_TAG = "AdvSeg.Change"
"""``lost``, ``gained`` or ``changed``."""
STRUCTURE_TAG = "AdvSeg.Structure"
"""Label value of the structure that a change is about; not the tag of a label: a difference is no label map."""
COLORS = {"lost": (64, 160, 255), "gained": (255, 138, 30), "changed": (214, 110, 240)}
"""Those of the report: blue where a structure was lost, orange where one was gained, violet where it changed."""
WORDS = {"lost": "lost", "gained": "gained", "changed": "changed label"}
LIGHTER = 0.55
"""How far the first structure's colour is on its way to white, and the last one's to black, times one half."""


def addDifference(
    scene: Any, before: np.ndarray, after: np.ndarray, scheme: LabelScheme, referenceNode: Any, name: str
) -> Any:
    """Return a segmentation of where two label arrays ``(k, j, i)`` differ.

    Segments, where they have a voxel: ``heart lost`` (now background), ``heart gained`` (background before),
    ``heart changed label`` (now another structure). IDs are ``lost<value>``, ``gained<value>``, ``changed<value>``;
    where nothing changed there is none.
    """
    values, styles = differenceSegments(before, after, scheme)
    return segmentationNode(scene, values, styles, referenceNode, name)


def differenceSegments(
    before: np.ndarray, after: np.ndarray, scheme: LabelScheme
) -> tuple[np.ndarray, list[SegmentStyle]]:
    """Return one value a kind of change and structure, 0 where there is none, and the segments of those values."""
    old, new = before.reshape(-1), after.reshape(-1)
    changed = np.flatnonzero(old != new)
    old, new = old[changed], new[changed]
    masks = {
        (kind, value): mask for kind in COLORS for value in scheme.values if (mask := _is(kind, value, old, new)).any()
    }
    numbers, styles = np.zeros(changed.size, np.int32), []
    for number, ((kind, value), mask) in enumerate(masks.items(), start=1):
        numbers[mask] = number
        styles.append(_style(number, kind, value, scheme))
    values = np.zeros(before.size, np.int32)
    values[changed] = numbers
    return values.reshape(before.shape), styles


def _is(kind: str, value: int, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return where labels that differ do so in one way about one structure; each voxel is of one kind."""
    if kind == "lost":
        return (old == value) & (new == 0)
    if kind == "gained":
        return (old == 0) & (new == value)
    return (old == value) & (new != 0)


def _style(number: int, kind: str, value: int, scheme: LabelScheme) -> SegmentStyle:
    rank = scheme.values.index(value) / (len(scheme.values) - 1) if len(scheme.values) > 1 else 0.5
    name = f"{scheme.names[value]} {WORDS[kind]}"
    tags = {CHANGE_TAG: kind, STRUCTURE_TAG: str(value)}
    return SegmentStyle(number, f"{kind}{value}", name, _shade(COLORS[kind], rank), tags)


def _shade(color: tuple[int, int, int], rank: float) -> tuple[int, int, int]:
    """Return a colour, the lighter the lower ``rank`` (0-1) below the middle, the darker above: one a structure."""
    goal, share = (255, (0.5 - rank) * LIGHTER) if rank < 0.5 else (0, (rank - 0.5) * LIGHTER)
    red, green, blue = (round(channel + (goal - channel) * share) for channel in color)
    return red, green, blue
