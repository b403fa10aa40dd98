"""N4 bias field correction (Tustison et al. 2010), as paper 001 prepares its scans."""

from __future__ import annotations

import numpy as np

from AdvSegLib.volumes import Image

SHRINK = 4
"""The field is smooth: it is fitted on every fourth voxel of an axis."""
SMALLEST = 8
"""No axis is thinned below this many voxels."""


def n4(image: Image) -> Image:
    """Return ``image`` with each channel divided by its bias field, fitted inside Otsu's mask.

    Intensities are shifted to at least 1 for the fit, whose logarithm needs them positive, and shifted back. Constant
    channels, which have no field, stay as they are. Attacks see the corrected image: N4 is no part of the network.
    """
    return image.with_array(np.stack([_corrected(plane) for plane in image.array]))


def _corrected(
    plane: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    import SimpleITK as sitk

    low, high = float(plane.min()), float(plane.max())
    if not high > low:
        return plane
    whole = sitk.GetImageFromArray((plane - low) / (high - low) * 1000 + 1)
    factors = [max(1, min(SHRINK, n // SMALLEST)) for n in whole.GetSize()]
    small = sitk.Shrink(whole, factors)
    mask = sitk.Shrink(sitk.OtsuThreshold(whole, 0, 1, 200), factors)
    fit = sitk.N4BiasFieldCorrectionImageFilter()
    fit.SetMaximumNumberOfIterations([30, 30, 20])
    fit.Execute(small, mask)
    field = np.exp(sitk.GetArrayFromImage(fit.GetLogBiasFieldAsImage(whole)))
    flat = sitk.GetArrayFromImage(whole) / field
    return np.asarray((flat - 1) / 1000 * (high - low) + low, np.float32)
