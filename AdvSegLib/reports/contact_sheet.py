"""A contact sheet: cases as rows, channels and truth as columns, to be looked at before anything is believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.cases.base import Case
from AdvSegLib.reports.planes import Plane, planes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = 2.0
"""Height of a picture in inches."""


def write_contact_sheet(path: Path, cases: Sequence[Case], *, per_row: int = 1) -> Path:
    """Draw each case's channels and truth, in the axial slice with most labelled voxels, and return the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(case, case.image(), case.truth() if case.read_truth else None) for case in cases]
    columns = max(len(image.names) for _, image, _ in shown) + 1
    rows = -(-len(shown) // per_row)
    figure = Figure(figsize=(CELL * columns * per_row, CELL * rows), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns * per_row, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
    for number, (case, image, truth) in enumerate(shown):
        row, first = axes[number // per_row], (number % per_row) * columns
        labels = np.zeros(image.grid.shape, np.int32) if truth is None else truth.array
        plane = planes(image.grid, _labelled(labels))[0]
        for index, name in enumerate(image.names):
            _draw(row[first + index], plane, image.array[index], title=name if number < per_row else "")
        _draw(row[first + columns - 1], plane, image.array[-1], title=case.identifier)
        _outline(row[first + columns - 1], plane, labels, case)
    figure.savefig(path, dpi=120)
    return path


def _labelled(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], ...]:
    """Count labelled voxels in every slice along each axis."""
    axes = range(labels.ndim)
    return tuple((labels > 0).sum(axis=tuple(other for other in axes if other != axis)) for axis in axes)


def _draw(axes: Axes, plane: Plane, array: NDArray[np.float32], title: str) -> None:
    low, high = np.percentile(array, [1, 99.5])
    face = plane.cut(array)
    axes.imshow(face, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=(0, plane.width, plane.height, 0))
    axes.set_title(title, color="white", fontsize=7, pad=2)


def _outline(axes: Axes, plane: Plane, labels: NDArray[np.int32], case: Case) -> None:
    face = plane.cut(labels)
    rows, columns = face.shape
    across = (np.arange(columns) + 0.5) * plane.width / columns
    down = (np.arange(rows) + 0.5) * plane.height / rows
    for value, color in case.scheme.colors.items():
        mask = (face == value).astype(float)
        if mask.any() and not mask.all():
            axes.contour(across, down, mask, [0.5], colors=[tuple(c / 255 for c in color)], linewidths=0.9)
