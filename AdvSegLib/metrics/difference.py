"""Where two label maps differ, and in which of three ways."""

from __future__ import annotations

import numpy as np

from AdvSegLib.volumes import LabelMap

DIFFERENCE = {1: "lost", 2: "gained", 3: "changed label"}
"""Values of ``difference.nii.gz``: foreground to background, background to foreground, one structure to another."""


def difference_map(before: LabelMap, after: LabelMap) -> LabelMap:
    """Return where two label maps differ, in the values of :data:`DIFFERENCE`."""
    a, b = before.array, after.array
    values = np.select([a == b, b == 0, a == 0], [0, 1, 2], default=3)
    return LabelMap(values.astype(np.int32), before.grid, DIFFERENCE)
