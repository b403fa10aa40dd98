"""The colours of the difference, as text."""

from __future__ import annotations

import html
from typing import Any


def legendText(segmentation: Any) -> str:
    """Return the segments of a segmentation node with their colours, as rich text; "" for None."""
    if segmentation is None:
        return ""
    segments = segmentation.GetSegmentation()
    parts = []
    for segmentId in segments.GetSegmentIDs():
        segment = segments.GetSegment(segmentId)
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        square = f'<span style="color:#{red:02x}{green:02x}{blue:02x}">&#9632;</span>'
        parts.append(f"{square}&nbsp;{html.escape(segment.GetName()).replace(' ', '&nbsp;')}")
    return "  ".join(parts)
