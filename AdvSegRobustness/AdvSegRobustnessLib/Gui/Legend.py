"""The colours of the difference, as text: a line that says what they mean, and every shade in the tooltip."""

from __future__ import annotations

import html
from typing import Any

import vtk

from ..DifferenceNodes import CHANGE_TAG, COLORS, WORDS


def legendText(segmentation: Any) -> str:
    """Return the kinds of change that a difference has, each once, as rich text; "" for None."""
    kinds = [_tagOf(segment, CHANGE_TAG) for segment in _segments(segmentation)]
    parts = [f"{_square(COLORS[kind])}&nbsp;{WORDS[kind].replace(' ', '&nbsp;')}" for kind in COLORS if kind in kinds]
    return " &nbsp; ".join(parts)


def legendTip(segmentation: Any) -> str:
    """Return every segment with its own shade, one a line, as rich text; "" for None."""
    rows = []
    for segment in _segments(segmentation):
        color = tuple(round(255 * part) for part in segment.GetColor())
        rows.append(f"{_square(color)}&nbsp;{html.escape(segment.GetName()).replace(' ', '&nbsp;')}")
    return "<br/>".join(rows)


def _segments(segmentation: Any) -> list[Any]:
    segments = None if segmentation is None else segmentation.GetSegmentation()
    return [] if segments is None else [segments.GetSegment(name) for name in segments.GetSegmentIDs()]


def _tagOf(segment: Any, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _square(color: Any) -> str:
    red, green, blue = color
    return f'<span style="color:#{red:02x}{green:02x}{blue:02x}">&#9632;</span>'
