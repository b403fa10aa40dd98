"""The slice pictures of a report: which slices, which columns, and what is laid over what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.metrics.difference import DIFFERENCE
from AdvSegLib.reports.content import RunContent
from AdvSegLib.reports.formats import MINUS, TIMES, percent, short
from AdvSegLib.reports.layers import Colour, intensity_layer, label_layer, noise_layer
from AdvSegLib.reports.planes import Plane, planes
from AdvSegLib.volumes import MARK, Image, LabelMap

DIFFERENCE_COLOURS: dict[int, Colour] = {1: (64, 160, 255), 2: (255, 138, 30), 3: (214, 110, 240)}
"""Lost, gained, changed label."""
RGB_NAMES = (("red", "green", "blue"), ("r", "g", "b"))
SAMPLE = 2_000_000
"""Voxels that percentiles look at, at most."""


@dataclass(frozen=True)
class Layer:
    """A picture of the page; ``uri`` is empty where an earlier picture of the same ``key`` is shown again."""

    key: str
    uri: str
    kind: str


@dataclass(frozen=True)
class Picture:
    """One cell: layers on top of each other, with what stands below."""

    kind: str
    title: str
    layers: tuple[Layer, ...]
    plane: Plane
    marked: bool = False
    note: str = ""
    scale: tuple[str, ...] = ()
    """Labels of the noise scale: lowest, highest."""


@dataclass(frozen=True)
class Row:
    """The pictures of one slice, or of one channel."""

    title: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(eq=False)
class Gallery:
    """All pictures of a run; no layer is stored twice. ``limit`` is the most pixels a side."""

    content: RunContent
    limit: int
    stored: set[str] = field(default_factory=set)

    @cached_property
    def planes(self) -> list[Plane]:
        """The slices shown, the main one first."""
        return planes(self.content.clean.grid, tuple(_scores(self.content)))

    @cached_property
    def windows(self) -> list[tuple[float, float]]:
        """Lowest and highest intensity shown of each channel, the same for clean and adversarial."""
        return [window(channel) for channel in self.content.clean.array]

    @cached_property
    def colour_window(self) -> tuple[float, float]:
        """The one window of red, green and blue together: bytes as they are."""
        array = self.content.clean.array
        return (0.0, 255.0) if array.min() >= 0 and 1 < array.max() <= 255 else window(array)

    @property
    def colour(self) -> bool:
        """Whether the three channels are red, green and blue."""
        return tuple(name.lower() for name in self.content.clean.names) in RGB_NAMES

    @cached_property
    def channel(self) -> int:
        """The channel of the main rows: where labelled structures stand out most; of colours, the most changed."""
        if self.colour:
            return self.largest.index(max(self.largest))
        return most_telling(self.content)

    @cached_property
    def largest(self) -> list[float]:
        """Largest noise of each channel in source units, over the whole image."""
        pairs = zip(self.content.adversarial.array, self.content.clean.array, strict=True)
        return [float(np.abs(after - before).max()) for after, before in pairs]

    def rows(self) -> list[Row]:
        """Return one row a slice: clean, adversarial, noise, segmentations, difference, truth, target."""
        return [Row(_plane_title(p), _plane_note(p), _in_rows(list(self._main(p)))) for p in self.planes]

    def channels(self) -> list[Row]:
        """Return one row a channel on the main slice; empty where the main rows already show the only one."""
        names = self.content.clean.names
        if len(names) == 1:
            return []
        return [Row(name, self._window_note(index), tuple(self._channel(index))) for index, name in enumerate(names)]

    def _main(self, plane: Plane) -> Iterator[Picture]:
        content = self.content
        shown = "in colour" if self.colour else self._name(self.channel)
        clean = self._intensities(content.clean, plane, self._bands)
        yield Picture("clean", "Clean", (clean,), plane, note=shown)
        adversarial = self._intensities(content.adversarial, plane, self._bands)
        yield Picture(
            "adversarial", "Adversarial", (adversarial,), plane, True, ", ".join(filter(None, (shown, "same window")))
        )
        yield self._noise(self.channel, plane)
        again, after = (Layer(layer.key, "", layer.kind) for layer in (clean, adversarial))
        wanted: list[tuple[str, str, LabelMap | None, Layer]] = [
            ("segmented", "Clean segmentation", content.clean_labels, again),
            ("attacked", "Adversarial segmentation", content.adversarial_labels, after),
            ("difference", "Difference", content.difference, again),
            ("truth", "Truth", content.truth, again),
            ("target", "Target of the attack", content.target, again),
        ]
        for kind, title, labels, under in wanted:
            if labels is not None:
                over = self._labels(kind, labels, plane)
                yield Picture(kind, title, (under, over), plane, kind == "attacked", _found(labels, plane))

    def _channel(self, index: int) -> Iterator[Picture]:
        plane = self.planes[0]
        for image, title, marked in (
            (self.content.clean, "Clean", False),
            (self.content.adversarial, "Adversarial", True),
        ):
            yield Picture(title.lower(), title, (self._intensities(image, plane, [index]),), plane, marked)
        yield self._noise(index, plane)

    @property
    def _bands(self) -> list[int]:
        return [0, 1, 2] if self.colour else [self.channel]

    def _intensities(self, image: Image, plane: Plane, bands: list[int]) -> Layer:
        mark = MARK if image is self.content.adversarial else ""
        key = f"{plane.name}-{'adversarial' if mark else 'clean'}-{'-'.join(map(str, bands))}"
        faces = [plane.cut(image.array[band]) for band in bands]
        windows = [self.colour_window] * 3 if len(bands) == 3 else [self.windows[band] for band in bands]
        return self._store(key, "grey", lambda: intensity_layer(faces, windows, self.limit, mark))

    def _labels(self, kind: str, labels: LabelMap, plane: Plane) -> Layer:
        colours = DIFFERENCE_COLOURS if kind == "difference" else self.content.scheme.colors
        face, size = plane.cut(labels.array), (plane.height, plane.width)
        return self._store(f"{plane.name}-{kind}", "labels", lambda: label_layer(face, colours, size, self.limit))

    def _noise(self, index: int, plane: Plane) -> Picture:
        clean, largest = self.content.clean, self.largest[index]
        face = plane.cut(self.content.adversarial.array[index]) - plane.cut(clean.array[index])
        layer = self._store(f"{plane.name}-noise-{index}", "noise", lambda: noise_layer(face, largest, self.limit))
        span, name = float(clean.ranges[index]), self._name(index)
        if largest == 0:
            return Picture("noise", "Noise", (layer,), plane, note=f"{name} unchanged".strip())
        factor = f"Noise {TIMES} {short(span / largest, 3)}" if span > 0 else "Noise"
        ends = tuple(
            f"{sign}{short(largest)}" + (f" ({sign}{percent(100 * largest / span)})" if span > 0 else "")
            for sign in (MINUS, "+")
        )
        return Picture("noise", factor, (layer,), plane, note=name, scale=ends)

    def _name(self, index: int) -> str:
        """Return a channel's name, nothing where it is the only one."""
        return self.content.clean.names[index] if len(self.content.clean.names) > 1 else ""

    def _store(self, key: str, kind: str, make: Callable[[], str]) -> Layer:
        if key in self.stored:
            return Layer(key, "", kind)
        self.stored.add(key)
        return Layer(key, make(), kind)

    def _window_note(self, index: int) -> str:
        clean = self.content.clean
        shown = f"{_span(*self.windows[index])} shown"
        return f"{shown}, of {_span(clean.lows[index], clean.highs[index])}"

    def window_note(self) -> str:
        """Say what the grey scale, or the colours, of the main rows span."""
        return f"{_span(*self.colour_window)} shown" if self.colour else self._window_note(self.channel)

    def channel_note(self) -> str:
        """Say which of several channels the main rows show, and why."""
        if self.colour:
            return "Shown in colour; the noise is that of the most changed channel."
        told = _structures(self.content) is not None
        why = ", where the labelled structures stand out most" if told else ""
        return f"Shown is channel {self.content.clean.names[self.channel]}{why}."

    @property
    def reduced(self) -> int:
        """Every how many pixels are joined to keep the page small; 1 where all are shown."""
        faces = [plane.cut(self.content.difference.array).shape for plane in self.planes]
        return max(math.ceil(int(side) / self.limit) for face in faces for side in face)


def window(channel: NDArray[Any]) -> tuple[float, float]:
    """Return the 1st and 99.5th percentile, or the whole range where those are one; never an empty window.

    >>> window(np.zeros((4, 4)))
    (0.0, 1.0)
    """
    flat = channel.reshape(-1)
    low, high = np.percentile(flat[:: max(1, flat.size // SAMPLE)], (1, 99.5))
    if high <= low:
        low, high = flat.min(), flat.max()
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _span(low: float, high: float) -> str:
    return f"{short(low)} to {short(high)}"


def most_telling(content: RunContent) -> int:
    """Return the channel where the labelled structures differ most from the rest, in its standard deviations."""
    labels = _structures(content)
    if labels is None or len(content.clean.names) == 1:
        return 0
    inside = (labels != 0).reshape(-1)
    step = max(1, inside.size // SAMPLE)
    inside = inside[::step]
    if inside.all() or not inside.any():
        return 0
    contrasts = []
    for channel in content.clean.array:
        values = channel.reshape(-1)[::step]
        tissue = values > np.percentile(values, 1) if (values > values.min()).mean() < 0.7 else np.ones_like(inside)
        rest = values[tissue & ~inside]
        spread = float(rest.std()) if rest.size else 0.0
        contrasts.append(abs(float(values[inside].mean() - rest.mean())) / spread if spread > 0 else 0.0)
    return contrasts.index(max(contrasts))


def _structures(content: RunContent) -> NDArray[Any] | None:
    """Return the truth, or else the clean prediction; None where nothing is labelled."""
    maps = (content.truth, content.clean_labels)
    return next((m.array for m in maps if m is not None and m.array.any()), None)


def _scores(content: RunContent) -> Iterator[NDArray[Any]]:
    """Yield, for each array axis, how telling each slice is.

    What was there (truth, else the clean prediction) and what changed count alike, each relative to its fullest
    slice: an attack that floods the volume must not take the reader away from the structure it began with.
    """
    grid = content.clean.grid
    there = (content.truth or content.clean_labels).array != 0
    differs = content.difference.array != 0
    for axis in range(grid.rank):
        others = tuple(a for a in range(grid.rank) if a != axis)
        counts = [np.count_nonzero(mask, axis=others) for mask in (there, differs)]
        yield sum(count / max(int(count.max()), 1) for count in counts)


def _in_rows(pictures: list[Picture]) -> tuple[Picture, ...]:
    """Order pictures so that each segmentation stands below its image: three columns of six, four of more."""
    if len(pictures) <= 6:
        return tuple(pictures)
    clean, adversarial, noise, segmented, attacked, difference, *aims = pictures
    return (clean, adversarial, noise, difference, segmented, attacked, *aims)


def _plane_title(plane: Plane) -> str:
    return plane.name.capitalize() if plane.name != "image" else "Image"


def _plane_note(plane: Plane) -> str:
    if not plane.letters:
        return "as stored"
    tilt = f" · array axes tilted {plane.tilt:.0f}° from the body's" if plane.tilt >= 3 else ""
    return f"slice {plane.index + 1} of {plane.count} · centre at {plane.place}{tilt}"


def _found(labels: LabelMap, plane: Plane) -> str:
    return "" if plane.cut(labels.array).any() else "nothing on this slice"


def legend(content: RunContent, shown: list[Plane]) -> list[Mapping[str, Any]]:
    """Return name, colour and value of each label, and of any value on the slices that the scheme does not know."""
    known = [{"name": item.name, "colour": item.color, "value": item.value} for item in content.scheme.labels]
    maps = [
        m for m in (content.clean_labels, content.adversarial_labels, content.truth, content.target) if m is not None
    ]
    seen = {int(value) for m in maps for plane in shown for value in np.unique(plane.cut(m.array))}
    strange = sorted(seen - {0, *content.scheme.values})
    return [*known, *({"name": "not in the scheme", "colour": (160, 160, 160), "value": value} for value in strange)]


def difference_legend() -> list[Mapping[str, Any]]:
    """Return name and colour of each kind of difference."""
    return [{"name": DIFFERENCE[value], "colour": colour} for value, colour in DIFFERENCE_COLOURS.items()]
