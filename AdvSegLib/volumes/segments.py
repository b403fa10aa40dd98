"""The header of 3D Slicer's ``.seg.nrrd``: which segments a file holds, under which values and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def segments_of(fields: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """Return ``(name, label value, layer)`` of each segment that a ``.seg.nrrd`` header lists.

    Slicer before 4.11 names neither value nor layer: there every segment is value 1 in a layer of its own.
    """
    segments = []
    index = 0
    while (prefix := f"Segment{index}_") + "ID" in fields or prefix + "LabelValue" in fields:
        name = fields.get(prefix + "Name", f"segment {index + 1}")
        old = prefix + "LabelValue" not in fields
        value, layer = fields.get(prefix + "LabelValue", "1"), fields.get(prefix + "Layer", str(index if old else 0))
        segments.append((name, int(value), int(layer)))
        index += 1
    return segments


def segment_fields(values: Sequence[int], names: Mapping[int, str]) -> dict[str, str]:
    """Return the header fields by which 3D Slicer knows segments."""
    fields = {"Segmentation_MasterRepresentation": "Binary labelmap"}
    for index, value in enumerate(values):
        prefix = f"Segment{index}_"
        fields |= {
            prefix + "ID": f"Segment_{value}",
            prefix + "Name": names.get(value, f"label {value}"),
            prefix + "LabelValue": str(value),
            prefix + "Layer": "0",
        }
    return fields
