"""Draw AdvSegRobustness.png: a scan, clean to the left, with noise to the right, and the outline that the noise moves.

``python Resources/Icons/draw_icon.py [PATH]``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

SIZE, FINE = 128, 8  # drawn FINE times larger, then shrunk
CANVAS = SIZE * FINE
LESION, ELSEWHERE = (66, 80), (86, 58)  # where it is, and where the network sees it under noise
GREEN, RED, WHITE = (62, 224, 150), (255, 74, 84), (255, 255, 255)


def ellipse(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Return the squared distance to a centre in units of the radii: 1 on the ellipse."""
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2


def scan() -> tuple[np.ndarray, np.ndarray]:
    """Return a head in slices of grey, values 0 to 1, and where the brain is."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / FINE
    head = ellipse(x, y, (64, 64), (51, 59))
    brain = ellipse(x, y, (64, 64), (44, 52)) < 1
    image = np.where(head < 1, 0.10, 0.0) + np.where((head < 1) & (head > 0.86), 0.55, 0)
    angle, depth = np.arctan2(y - 64, x - 64), np.sqrt(ellipse(x, y, (64, 64), (44, 52)))
    edge = 0.80 + 0.09 * np.cos(13 * angle) + 0.04 * np.cos(29 * angle)  # of the white matter
    image += brain * np.where(depth < edge, 0.52, 0.36)
    image[brain & (np.abs(x - 64) < 0.9) & (np.abs(y - 64) > 14)] -= 0.2
    for side in (-1, 1):
        image[ellipse(x + side * (y - 46) * 0.28, y, (64 + side * 9, 46), (4.5, 14)) < 1] = 0.16
    image[ellipse(x, y, LESION, (18, 15)) < 1] += 0.30
    return gaussian_filter(np.clip(image, 0, 1), FINE * 0.7), brain


def coloured(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Return the scan in RGB with blue and red noise right of the middle."""
    grains = np.random.default_rng(5).choice([-1.0, -0.4, 0.0, 0.4, 1.0], (SIZE // 2, SIZE // 2))
    noise = np.kron(grains, np.ones((2 * FINE, 2 * FINE)))
    noise *= brain * (np.arange(CANVAS) > CANVAS // 2)
    rgb = np.repeat(image[..., None], 3, axis=2)
    tint = np.where(noise[..., None] > 0, np.array([1.0, 0.25, 0.2]), np.array([0.2, 0.45, 1.0]))
    weight = 0.62 * np.abs(noise)[..., None]
    return rgb * (1 - weight) + tint * weight


def outline(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radii: tuple[float, float], colour, width) -> None:
    """Draw a wavy closed line round a centre."""
    angle = np.linspace(0, 2 * np.pi, 400)
    wave = 1 + 0.07 * np.sin(3 * angle + centre[0])
    points = np.stack(
        [centre[0] + radii[0] * wave * np.cos(angle), centre[1] + radii[1] * wave * np.sin(angle)], axis=1
    )
    draw.line([tuple(point) for point in points * FINE], fill=colour, width=int(width * FINE), joint="curve")


def icon() -> Image.Image:
    """Return the icon, 128 x 128, with rounded transparent corners."""
    image, brain = scan()
    ground = np.array([16, 22, 34]) / 255
    rgb = np.clip(coloured(image, brain) + (image < 0.05)[..., None] * ground, 0, 1)
    picture = Image.fromarray((rgb * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    draw.line([(CANVAS // 2, 5 * FINE), (CANVAS // 2, CANVAS - 5 * FINE)], fill=WHITE, width=FINE)
    outline(draw, LESION, (19, 16), GREEN, 3.4)
    outline(draw, ELSEWHERE, (17, 19), RED, 3.8)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).rounded_rectangle([0, 0, CANVAS - 1, CANVAS - 1], radius=20 * FINE, fill=255)
    picture.putalpha(mask)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    default = Path(__file__).resolve().parents[2] / "AdvSegRobustness.png"
    icon().save(sys.argv[1] if len(sys.argv) > 1 else default, optimize=True)
