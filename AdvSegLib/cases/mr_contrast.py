"""How an MR scanner shows a brain: intensities of each tissue in four contrasts, and what blurs and corrupts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AdvSegLib.cases.brain_anatomy import Anatomy
from AdvSegLib.cases.brain_tumour import Tumour
from AdvSegLib.cases.brain_variation import BrainVariation
from AdvSegLib.cases.smooth_noise import smooth_noise
from AdvSegLib.volumes import FloatArray, Grid

CHANNELS = ("t1", "t1gd", "t2", "flair")
TISSUES = ("csf", "grey", "white", "oedema", "enhancing", "solid", "cystic", "vessel")

# Relative to white matter = 1: the known order of the tissues, set so that z-scores are like those of BraTS scans.
INTENSITY = np.array(
    [
        # csf  grey  white oedema enhancing solid cystic vessel
        [0.28, 0.74, 1.00, 0.78, 0.72, 0.68, 0.50, 0.85],  # t1
        [0.40, 0.85, 1.00, 0.88, 1.50, 0.85, 0.58, 1.80],  # t1gd
        [2.50, 1.32, 1.00, 1.60, 1.60, 1.75, 2.30, 0.90],  # t2
        [0.25, 1.13, 1.00, 1.50, 1.50, 1.60, 0.95, 0.85],  # flair
    ],
    dtype=np.float32,
)
LESIONS = slice(3, 7)


def random_palette(rng: np.random.Generator, variation: BrainVariation) -> NDArray[np.float32]:
    """Draw each tissue's intensity in each channel ``(4, 8)``, relative to white matter."""
    jitter = np.full(INTENSITY.shape, variation.tissue_jitter)
    jitter[:, LESIONS] = variation.lesion_jitter
    jitter[:, TISSUES.index("white")] = 0
    values = INTENSITY * np.exp(jitter * rng.standard_normal(INTENSITY.shape).clip(-2.2, 2.2))
    # How strongly a tumour takes up contrast varies more than anything else.
    values[CHANNELS.index("t1gd"), TISSUES.index("enhancing")] = rng.uniform(*variation.uptake)
    palette: FloatArray = values.astype(np.float32)
    return palette


def render(
    rng: np.random.Generator,
    anatomy: Anatomy,
    tumour: Tumour,
    mask: NDArray[np.bool_],
    variation: BrainVariation,
) -> FloatArray:
    """Return raw intensities ``(4, *spatial)`` of t1, t1gd, t2 and flair: positive in ``mask``, zero outside."""
    palette = random_palette(rng, variation)
    fractions = _fractions(rng, anatomy, tumour, variation)
    caps = _caps(rng, anatomy, variation)
    shared_texture = _texture(rng, anatomy.grid)
    shared_bias = smooth_noise(rng, anatomy.grid, 70.0)
    lesion = tumour.necrosis + tumour.oedema + tumour.enhancing
    skull = 0.1 + 0.9 * np.clip((anatomy.depth - rng.uniform(*variation.skull_mm)) / 1.5 + 0.5, 0, 1)
    channels = []
    for channel, (values, stream) in enumerate(zip(palette, rng.spawn(len(CHANNELS)), strict=True)):
        signal: FloatArray = np.tensordot(values, fractions, axes=1)
        signal *= skull
        signal *= 1 + CAP_GAIN[channel] * caps
        texture = 0.6 * shared_texture + 0.8 * _texture(stream, anatomy.grid)
        signal *= 1 + stream.uniform(*variation.texture) * (1 + lesion) * texture
        bias: FloatArray = 0.6 * shared_bias + 0.8 * smooth_noise(stream, anatomy.grid, 70.0)
        bias *= stream.uniform(*variation.bias)
        signal = _scanned(stream, signal, bias, anatomy.grid, variation)
        channels.append(np.where(mask, signal, 0))
    return np.stack(channels).astype(np.float32)


CAP_GAIN = (-0.1, -0.06, 0.35, 0.55)
"""How far periventricular caps change the signal, by channel."""


def _fractions(rng: np.random.Generator, anatomy: Anatomy, tumour: Tumour, variation: BrainVariation) -> FloatArray:
    """Return how much of each voxel each tissue holds ``(8, *spatial)``, adding up to 1."""
    core = tumour.necrosis + tumour.enhancing
    healthy = 1 - np.clip(core + tumour.oedema, 0, 1)
    vessel = _vessels(rng, anatomy, variation) * (1 - core)
    # Necrosis liquefies in places; a low-grade core is solid or cystic.
    cystic = np.clip(rng.uniform(-0.3, 1.0) + 0.35 * smooth_noise(rng, anatomy.grid, 10.0), 0, 1)
    parts = [tissue * healthy * (1 - vessel) for tissue in (anatomy.csf, anatomy.grey, anatomy.white)]
    # Enhancement is patchy: some of the rim takes up little.
    patchy = np.clip(rng.uniform(-0.3, 0.5) + 0.4 * smooth_noise(rng, anatomy.grid, 6.0), 0, 0.8)
    solid = tumour.necrosis * (1 - cystic) + tumour.enhancing * patchy
    parts += [tumour.oedema * (1 - vessel), tumour.enhancing * (1 - patchy), solid]
    parts += [tumour.necrosis * cystic, vessel * np.minimum(healthy + tumour.oedema, 1)]
    return np.stack(parts).astype(np.float32)


def _vessels(rng: np.random.Generator, anatomy: Anatomy, variation: BrainVariation) -> FloatArray:
    """Return how much of each voxel is vessel, sinus, choroid plexus or enhancing meninges."""
    amount = np.zeros(anatomy.grid.shape, np.float32)
    if rng.random() < variation.vessel_probability:
        # Where two smooth fields vanish together runs a winding tube.
        tube = np.exp(
            -(smooth_noise(rng, anatomy.grid, 11.0) ** 2 + smooth_noise(rng, anatomy.grid, 11.0) ** 2) / 0.05
        )
        amount += rng.uniform(0.3, 1) * tube * (anatomy.csf + 0.2 * anatomy.grey) * (anatomy.depth < 16)
        plexus = np.exp(-(smooth_noise(rng, anatomy.grid, 9.0) ** 2) / 0.1) * (anatomy.ventricle < 1)
        amount += rng.uniform(0, 0.7) * plexus * anatomy.csf
        superior, posterior, left = anatomy.place
        sinus = np.exp(-((left / 3.5) ** 2)) * (anatomy.depth < 4.5) * ((posterior > 20) | (superior > 30))
        amount += rng.uniform(0.2, 1) * sinus * (superior > -20)
    if rng.random() < variation.meninges_probability:
        patches = np.clip(0.4 + smooth_noise(rng, anatomy.grid, 30.0), 0, 1)
        amount += rng.uniform(0.3, 0.8) * patches * (anatomy.depth < 2.5)
    return np.clip(amount, 0, 1)


def _caps(rng: np.random.Generator, anatomy: Anatomy, variation: BrainVariation) -> FloatArray | float:
    """Return how strongly the white matter around the ventricles is changed, 0 to 1 ``(*spatial)``."""
    if rng.random() >= variation.hyperintensity_probability:
        return 0.0
    reach = rng.uniform(1.5, 5.0) * np.clip(1 + 0.8 * smooth_noise(rng, anatomy.grid, 18.0), 0, None)
    caps: FloatArray = rng.uniform(0.3, 1.0) * anatomy.white * np.exp(-((anatomy.ventricle / (reach + 0.5)) ** 2))
    return caps


def _texture(rng: np.random.Generator, grid: Grid) -> FloatArray:
    """Return uneven tissue ``(*spatial)`` of variance about 1."""
    return 0.7 * smooth_noise(rng, grid, 12.0) + 0.7 * smooth_noise(rng, grid, 5.0)


def _scanned(
    rng: np.random.Generator, signal: FloatArray, log_bias: FloatArray, grid: Grid, variation: BrainVariation
) -> FloatArray:
    """Return what one scan makes of a channel's ideal signal (white matter = 1): raw, positive intensities."""
    signal = np.clip(signal, 0.01, None) ** rng.uniform(*variation.gamma)
    widths = np.full(3, rng.uniform(*variation.blur_mm))
    if rng.random() < variation.thick_slice_probability:
        # Most volumes are acquired axially.
        widths[rng.choice(3, p=(0.7, 0.15, 0.15))] = rng.uniform(*variation.thick_slice_mm)
    # A voxel blurs by its own width already; 2.355 turns full width at half maximum into a standard deviation.
    extra = np.sqrt(np.clip(widths**2 - np.square(grid.spacing), 0, None)) / 2.355
    signal = ndimage.gaussian_filter(signal, extra / np.array(grid.spacing), truncate=3.0)
    signal = signal * np.exp(log_bias)
    level, sigma = (np.exp(rng.uniform(*np.log(ends))) for ends in (variation.white_level, variation.noise))
    return rician(rng, signal, float(sigma)) * float(level)


def rician(rng: np.random.Generator, signal: FloatArray, sigma: float) -> FloatArray:
    """Return the magnitude of ``signal`` after noise of standard deviation ``sigma`` in both quadratures."""
    real, imaginary = sigma * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    magnitude: FloatArray = np.maximum(np.hypot(signal + real, imaginary), np.float32(1e-4))
    return magnitude
