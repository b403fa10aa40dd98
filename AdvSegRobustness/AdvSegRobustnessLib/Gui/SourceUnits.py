"""A fraction of the range in the units of the scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def epsilonText(epsilon: float, channels: Sequence[str], volumes: Sequence[Any]) -> str:
    """Return ``epsilon`` (a fraction of each volume's range) in source units, channel by channel.

    Volumes that are not chosen, or hold no image, are left out. VTK keeps the ranges it has computed.
    """
    parts = []
    for channel, volume in zip(channels, volumes, strict=True):
        image = None if volume is None else volume.GetImageData()
        if image is None or image.GetNumberOfPoints() == 0:
            continue
        low, high = image.GetScalarRange()
        unit = volume.GetVoxelValueUnits().GetCodeValue() if volume.GetVoxelValueUnits() else ""
        parts.append(f"{channel} +/- {epsilon * (high - low):.4g} {unit}".strip())
    return ", ".join(parts)
