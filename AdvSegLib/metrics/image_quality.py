"""How visible a change is: PSNR, SSIM, RMSE, L2 and L-inf of an image against its clean one, channel by channel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import Image

SSIM_WINDOW = 7
"""Side of scikit-image's default SSIM window, in voxels."""


def image_quality(clean: Image, changed: Image) -> dict[str, Any]:
    """Return quality of the worst channel, and of every channel under ``channels``.

    ``psnr`` (dB) and ``ssim`` take the clean channel's range (max - min) as data range; ``rmse``, ``l2`` and ``linf``
    are in source units, ``linf_percent`` and ``l2_of_range`` relative to that range. At the top level stand the lowest
    PSNR and SSIM and the largest of the others. ``psnr`` is None where nothing changed (it is infinite), and so is
    what a constant channel has no range for.
    """
    if clean.array.shape != changed.array.shape:
        raise BadRequest(f"images of shapes {clean.array.shape} and {changed.array.shape} cannot be compared")
    channels = {
        name: _channel(clean.array[index], changed.array[index], float(clean.ranges[index]))
        for index, name in enumerate(clean.names)
    }
    worst: dict[str, Any] = {}
    for key in ("psnr", "ssim", "rmse", "l2", "l2_of_range", "linf", "linf_percent"):
        present = [value for scores in channels.values() if (value := scores[key]) is not None]
        lowest = key in ("psnr", "ssim")
        worst[key] = (min(present) if lowest else max(present)) if present else None
    return {**worst, "channels": channels}


def _channel(clean: NDArray[np.float32], changed: NDArray[np.float32], span: float) -> dict[str, float | None]:
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

    a, b = clean.astype(np.float64), changed.astype(np.float64)
    l2, linf = float(np.linalg.norm(b - a)), float(np.abs(b - a).max())
    rmse = math.sqrt(mean_squared_error(a, b))
    return {
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=span)) if rmse > 0 and span > 0 else None,
        "ssim": _ssim(clean, changed, span),
        "rmse": rmse,
        "l2": l2,
        "l2_of_range": l2 / span if span > 0 else None,
        "linf": linf,
        "linf_percent": 100 * linf / span if span > 0 else None,
    }


def _ssim(clean: NDArray[np.float32], changed: NDArray[np.float32], span: float) -> float | None:
    """Return scikit-image's SSIM; single slices as pictures, None where the image is smaller than any window."""
    from skimage.metrics import structural_similarity

    a, b = clean.squeeze(), changed.squeeze()
    side = min(SSIM_WINDOW, *a.shape) if a.ndim else 0
    side -= 1 - side % 2
    if span <= 0 or side < 3:
        return None
    return float(structural_similarity(a.astype(np.float64), b.astype(np.float64), win_size=side, data_range=span))
