"""A label's code as one of Slicer's terminology entries, by which DICOM SEG names a segment."""

from __future__ import annotations

from AdvSegLib.labels import Label

CONTEXT = "Segmentation category and type - DICOM master list"
ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"
NOTHING = "^^"
TISSUE = "SCT^85756007^Tissue"
STRUCTURE = "SCT^123037004^Anatomical Structure"
ALTERED = "SCT^49755003^Morphologically Altered Structure"
SIDES = {"left": "SCT^7771000^Left", "right": "SCT^24028007^Right"}

ALTERED_CODES = (
    "4147007", "27925004", "367643001", "75753009", "55584005", "79654002", "50960005", "23583003", "44132006",
    "6574001", "86049000", "14799000", "108369006",
)  # fmt: skip
"""SNOMED CT codes that Slicer's DICOM master list files under altered structures: mass, oedema, necrosis, neoplasm."""
SIDED = {
    "44029006": ("SCT^39607008^Lung", "left"),
    "3341006": ("SCT^39607008^Lung", "right"),
}
"""Codes of one side's organ that the master list writes as organ and modifier."""


def terminologyEntry(label: Label) -> str:
    """Return the terminology entry of a label: context, category, type, modifier, and no anatomic region.

    A code is ``scheme^value^meaning``; a label without one, or with one of another form, becomes a tissue. A side in
    the label's name ("left clavicle") becomes the modifier.

    >>> terminologyEntry(Label(1, "heart", code="SCT^80891009^Heart")).split("~")[1:4]
    ['SCT^123037004^Anatomical Structure', 'SCT^80891009^Heart', '^^']
    """
    parts = label.code.split("^")
    if len(parts) != 3 or not all(parts) or "~" in label.code:
        category, kind, side = TISSUE, TISSUE, ""
    else:
        kind, side = SIDED.get(parts[1], (label.code, ""))
        category = ALTERED if parts[1] in ALTERED_CODES else TISSUE if kind == TISSUE else STRUCTURE
        if not side and category == STRUCTURE:
            side = next((word for word in label.name.lower().split() if word in SIDES), "")
    return "~".join((CONTEXT, category, kind, SIDES.get(side, NOTHING), ANATOMIC_CONTEXT, NOTHING, NOTHING))
