"""The arrangements of views that show a result, as Slicer's layout descriptions."""

from __future__ import annotations

from collections.abc import Sequence

VIEW_GROUP = "1840"
"""Our slice views are linked with each other, and with no others."""
SLICES = {
    "AdvClean": ("C", "#4DBBD5"),
    "AdvAdversarial": ("A", "#E64B35"),
    "AdvNoise": ("N", "#9161F2"),
    "AdvDifference": ("D", "#F0C419"),
    "AdvFlicker": ("F", "#E64B35"),
}
"""Slice views by singleton tag: letter and colour of the bar."""


def _slice(tag: str) -> str:
    letter, color = SLICES[tag]
    return _view("vtkMRMLSliceNode", tag, orientation="Axial", viewlabel=letter, viewcolor=color, viewgroup=VIEW_GROUP)


def _view(kind: str, tag: str, **properties: str) -> str:
    inner = "".join(
        f'<property name="{name}" action="default">{value}</property>' for name, value in properties.items()
    )
    return f'<view class="{kind}" singletontag="{tag}">{inner}</view>'


def _box(kind: str, items: Sequence[str]) -> str:
    return f'<layout type="{kind}" split="true">' + "".join(f"<item>{item}</item>" for item in items) + "</layout>"


def _threeD(tag: str, letter: str) -> str:
    return _view("vtkMRMLViewNode", tag, viewlabel=letter, viewgroup=VIEW_GROUP)


SIDE_BY_SIDE = _box(
    "vertical",
    [
        _box("horizontal", [_slice("AdvClean"), _slice("AdvAdversarial")]),
        _box("horizontal", [_slice("AdvNoise"), _slice("AdvDifference")]),
    ],
)
FLICKER = _box("vertical", [_slice("AdvFlicker")])
THREE_D = _box("horizontal", [_threeD("AdvClean3D", "C"), _threeD("AdvAttacked3D", "A")])
PLOTS = _box(
    "vertical",
    [
        _box(
            "horizontal",
            [
                _view("vtkMRMLPlotViewNode", "AdvPlot1", viewlabel="P1"),
                _view("vtkMRMLPlotViewNode", "AdvPlot2", viewlabel="P2"),
            ],
        ),
        _view("vtkMRMLTableViewNode", "AdvTable", viewlabel="T"),
    ],
)
LAYOUTS = {
    "sideBySide": (18401, SIDE_BY_SIDE),
    "flicker": (18402, FLICKER),
    "threeD": (18403, THREE_D),
    "plots": (18404, PLOTS),
}
"""Layouts by name: Slicer's ID of it, and its description."""
