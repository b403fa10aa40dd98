"""The picture of certificates in the documentation: two models, one unseen phantom, what each promises of it.

``python Testing/Python/certificate_pictures.py [FILE]``. The panels are those of the report that ``advseg certify``
writes, put side by side. No picture is ever made of a patient for that.
"""

from __future__ import annotations

import base64
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from AdvSegLib.audit.certificates import Certificate, Terms, certified_scores, certify
from AdvSegLib.audit.pages import ABSTAIN
from AdvSegLib.audit.writing import certificate_pictures
from AdvSegLib.segmenters.catalogue import load_model
from AdvSegLib.segmenters.smoothing import Smoothed
from AdvSegLib.training.pool import draw_phantom

PICTURE = Path(__file__).resolve().parents[2] / "Resources" / "Screenshots" / "certificate.png"
MODELS = ("chest", "chest-adversarial-0.05")
SEED = 940_003
"""Of phantoms that no shipped recipe trains or validates on."""
SIDE = 320
GAP = 6
LINE = 26
LARGEST = 250_000
"""Bytes of the picture in the repository."""
PAPER, INK, FAINT = (250, 249, 246), (25, 28, 36), (92, 98, 110)


@dataclass(frozen=True)
class Row:
    """One model's certificate of the phantom, in words and pictures."""

    words: str
    panels: list[Image.Image]
    found: Certificate


def row_of(name: str, *, size: int = 256, sigma: float = 0.05) -> Row:
    """Certify the phantom with a shipped model."""
    image, truth = draw_phantom("phantom-chest", SEED, size)
    terms = Terms(sigma)
    found = certify(Smoothed.of(load_model(name), sigma), image, terms)
    scores = certified_scores(found, truth)
    words = (
        f"{name}: {100 * found.hold.mean():.1f} % of voxels certified; mean Dice {scores['dice']['mean']:.2f}, "
        f"at least {scores['worst_dice']['mean']:.2f} within the radius"
    )
    _, *shown = certificate_pictures(image, found, truth)
    bare = certificate_pictures(image, found, None)[0]
    return Row(words, [decoded(item.uri) for item in (bare, shown[0], shown[-1])], found)


def decoded(uri: str) -> Image.Image:
    """Return the picture behind a ``data:`` address."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def arranged(rows: list[Row]) -> Image.Image:
    """Return the rows below each other, with their words above and the legend below."""
    titles = ("image", "smoothed model", "abstain map")
    width, height = 3 * SIDE + 4 * GAP, len(rows) * (SIDE + 2 * LINE) + LINE + 2 * GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw, top = ImageDraw.Draw(sheet), GAP
    for row in rows:
        draw.text((GAP + 2, top + 4), row.words, INK, ImageFont.load_default(15))
        for column, (title, panel) in enumerate(zip(titles, row.panels, strict=True)):
            left = GAP + column * (SIDE + GAP)
            draw.text((left + 2, top + LINE + 2), title, FAINT, ImageFont.load_default(13))
            sheet.paste(panel.resize((SIDE, SIDE), Image.Resampling.BOX), (left, top + 2 * LINE - GAP))
        top += SIDE + 2 * LINE
    legend(draw, rows[0].found, top)
    return sheet


def legend(draw: ImageDraw.ImageDraw, found: Certificate, top: int) -> None:
    """Say what the colours are, and how far the promise goes."""
    font, left = ImageFont.load_default(13), GAP + 2
    radius = f"abstains (radius 0; elsewhere {found.terms.radius:.4f} of the range)"
    for name, color in (*((item.name, item.color) for item in found.scheme.labels), (radius, ABSTAIN)):
        draw.rectangle((left, top + 5, left + 11, top + 16), fill=tuple(color))
        draw.text((left + 17, top + 2), name, INK, font)
        left += int(17 + draw.textlength(name, font) + 16)


def save(sheet: Image.Image, path: Path) -> None:
    """Write a picture; ValueError where it is too large for the repository."""
    made = io.BytesIO()
    sheet.save(made, "PNG", optimize=True)
    if made.tell() > LARGEST:
        raise ValueError(f"{path}: {made.tell()} bytes are more than {LARGEST}; draw it smaller")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.getvalue())


if __name__ == "__main__":
    save(arranged([row_of(name) for name in MODELS]), Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
