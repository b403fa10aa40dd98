"""What is odd about where the chosen volumes lie: said before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest

from ..NodeGeometry import worldGrid


def geometryNotes(channels: Sequence[str], volumes: Sequence[Any]) -> list[str]:
    """Return a line for each volume that lies where it cannot be used as it is; looks at matrices, not at voxels."""
    notes, first = [], None
    for channel, volume in zip(channels, volumes, strict=True):
        if volume is None or volume.GetImageData() is None:
            continue
        try:
            grid = worldGrid(volume)
        except BadRequest as error:
            notes.append(str(error))
            continue
        if first is None:
            first = (channel, grid)
        elif not grid.matches(first[1]):
            notes.append(
                _("{name} lies on another grid than {first}: it will be resampled onto it.").format(
                    name=channel, first=first[0]
                )
            )
    return notes
