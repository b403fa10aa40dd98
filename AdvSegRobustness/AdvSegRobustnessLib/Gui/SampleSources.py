"""The phantoms in Slicer's Sample Data module."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

CATEGORY = "AdvSegRobustness"
ICONS = Path(__file__).resolve().parents[2] / "Resources" / "Icons"


def registerSamples(draw: Callable[[str], Any]) -> None:
    """Offer a brain and a chest that ``draw(kind)`` draws when their button is pressed; nothing is downloaded."""
    import SampleData

    titles = {"brain": _("Synthetic brain with tumour"), "chest": _("Synthetic chest film")}
    if hasattr(SampleData.SampleDataLogic, "registerCustomSampleDataCategory"):  # newer than the oldest Slicer
        SampleData.SampleDataLogic.registerCustomSampleDataCategory(
            CATEGORY, title=_("Adversarial Segmentation Robustness")
        )
    for kind, title in titles.items():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=title,
            uris=[],
            fileNames=[],
            nodeNames=[],
            loadFiles=[],
            loadFileTypes=[],
            checksums=[],
            thumbnailFileName=os.fspath(ICONS / f"Sample{kind.capitalize()}.png"),
            customDownloader=lambda source, kind=kind: draw(kind),
        )
