"""Noise regions: where an attack may change the image. Light: needs no torch, SimpleITK or scipy until it is drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from AdvSegLib.errors import BadRequest
from AdvSegLib.parameters import Parameters, make, parameter
from AdvSegLib.target_maps.structures import BoolArray, OfStructure, find_structure
from AdvSegLib.volumes import FloatArray, Grid, Image, LabelMap, read_labels
from AdvSegLib.volumes.itk import load_itk

if TYPE_CHECKING:
    from AdvSegLib.segmenters.segmenter import Segmenter

CONSTANT_BORDER = 0.9
"""A channel whose border voxels are equal to this share has a background of that value (skull-stripped MR)."""


@dataclass(frozen=True)
class NoiseRegion(Parameters, ABC):
    """Parameters of a region; :meth:`mask` says where noise is allowed."""

    source: ClassVar[str]

    def mask(self, segmenter: Segmenter, image: Image, base: LabelMap) -> BoolArray:
        """Return where noise is allowed, ``(*spatial)`` of the image, the same for all channels.

        ``base`` is the truth or the clean prediction, on the image's grid. Raises BadRequest where nothing is allowed.
        """
        if not base.grid.matches(image.grid):
            raise BadRequest("the label map lies on another grid than the image; resample it with LabelMap.onto")
        allowed = self.allowed(segmenter, image, base)
        if not allowed.any():
            raise BadRequest(f"region {self.name}: no voxel of the image is in it, so no noise could go anywhere")
        return allowed

    @abstractmethod
    def allowed(self, segmenter: Segmenter, image: Image, base: LabelMap) -> BoolArray:
        """Return the mask, which may be empty."""


@dataclass(frozen=True)
class MaskFile(NoiseRegion):
    """The labelled voxels of a file, resampled onto the image with nearest neighbour."""

    name: ClassVar[str] = "mask"
    summary: ClassVar[str] = "A mask from a file"
    source: ClassVar[str] = "own"

    file: str = parameter("", "label map; noise is allowed where it is not 0")
    label: int | None = parameter(None, "only where the file has this value", minimum=1)

    def __post_init__(self) -> None:
        """Refuse to go without a file."""
        super().__post_init__()
        if not self.file:
            raise BadRequest(f"{self.name}: give a label map file")

    def allowed(self, segmenter: Segmenter, image: Image, base: LabelMap) -> BoolArray:
        """Read the file onto the image's grid."""
        labels = read_labels(self.file, image.grid)
        if self.label is not None and self.label not in labels.values:
            raise BadRequest(f"{self.file}: no voxel of label {self.label} on the image; it has {labels.values}")
        return np.asarray(labels.array != 0 if self.label is None else labels.array == self.label)


@dataclass(frozen=True)
class InStructure(OfStructure, NoiseRegion):
    """The structure itself, and what lies within a margin of it."""

    name: ClassVar[str] = "structure"
    summary: ClassVar[str] = "A structure, with a margin"
    source: ClassVar[str] = "own"

    margin_mm: float = parameter(
        0.0, "how far from its voxels' centres noise is allowed too, in mm", minimum=0.0, maximum=1e6
    )

    def allowed(self, segmenter: Segmenter, image: Image, base: LabelMap) -> BoolArray:
        """Grow the structure by the margin, measured in mm."""
        inside = _inside(self, segmenter, base)
        if self.margin_mm == 0:
            return inside
        from scipy import ndimage

        box = _box(inside, base.grid, self.margin_mm)
        grown = np.zeros_like(inside)
        distance = ndimage.distance_transform_edt(~inside[box], sampling=base.grid.spacing)
        grown[box] = distance <= self.margin_mm * (1 + 1e-9)
        return grown


@dataclass(frozen=True)
class Box(OfStructure, NoiseRegion):
    """The structure's bounding box along the array's axes; paper 003 finds that noise in it does not suffice."""

    name: ClassVar[str] = "box"
    summary: ClassVar[str] = "A structure's bounding box, with a margin"
    source: ClassVar[str] = "Bortsova et al. 2020, Figure 2 (Heart BBox)"

    margin_mm: float = parameter(0.0, "how far the box is extended on every side, in mm", minimum=0.0, maximum=1e6)

    def allowed(self, segmenter: Segmenter, image: Image, base: LabelMap) -> BoolArray:
        """Fill the box."""
        inside = _inside(self, segmenter, base)
        filled = np.zeros_like(inside)
        filled[_box(inside, base.grid, self.margin_mm)] = True
        return filled


@dataclass(frozen=True)
class ReceptiveField(OfStructure, NoiseRegion):
    """All voxels that can influence the network's logits inside the structure, by its architecture, not its weights.

    A gradient of NaN is sent back from the structure's logits through the whole segmenter, resampling and padding
    included: NaN times any weight is NaN, so it arrives at every voxel that is wired to the structure and at no other.
    Rectifiers and clamps let it pass and max-pools pass it to their whole window. Networks that normalise over the
    image (instance, group norm) or attend to all of it have the whole image for a field; in a 2-D network on a volume
    it is the structure's slices. What is left aside: intensity statistics recomputed from the image, through which
    every voxel moves every other a little. A TorchScript network cannot be looked into: the whole image is returned.
    It costs about one step of an attack.
    """

    name: ClassVar[str] = "receptive-field"
    summary: ClassVar[str] = "All voxels that the network looks at to segment a structure"
    source: ClassVar[str] = "Bortsova et al. 2020, Figure 2 (Receptive Field)"

    def allowed(self, segmenter: Segmenter, image: Image, base: LabelMap) -> BoolArray:
        """Send NaN back from the structure."""
        from AdvSegLib.segmenters.receptive_field import receptive_field

        return receptive_field(segmenter, image, _inside(self, segmenter, base))


@dataclass(frozen=True)
class Body(NoiseRegion):
    """The patient, without the air around, and without the skull where it was stripped.

    Where nine tenths of a channel's border voxels have one value, exactly, its foreground is everything else. Where
    they have not, it is what Li's minimum cross-entropy threshold calls bright (Otsu's loses grey matter in MR); on a
    film, where air is darker than lungs, the dark part is parted once more and its brighter half counts. Channels are
    united; the largest piece is kept; holes in it are filled, in volumes axial slice by axial slice, so that lungs and
    bowels count. Meant for images with air around the patient and bone or fat bright: not for crops inside the body.
    """

    name: ClassVar[str] = "body"
    summary: ClassVar[str] = "The patient, without the air around"
    source: ClassVar[str] = "Li and Tam 1998 (threshold)"

    def allowed(self, segmenter: Segmenter, image: Image, base: LabelMap) -> BoolArray:
        """Threshold each channel, unite, keep the largest piece, fill."""
        return body_mask(image)


REGIONS: dict[str, type[NoiseRegion]] = {
    region.name: region for region in (Body, InStructure, Box, ReceptiveField, MaskFile)
}


def make_region(name: str, /, **parameters: Any) -> NoiseRegion:
    """Return the region called ``name``; BadRequest for an unknown name, parameter or value.

    >>> make_region("structure", structure="heart", margin_mm=10)
    InStructure(structure='heart', margin_mm=10)
    """
    return make("region", REGIONS, name, parameters)


def describe_regions() -> list[dict[str, Any]]:
    """Return every region as JSON data: name, summary, source, parameters."""
    return [
        {"name": kind.name, "summary": kind.summary, "source": kind.source, "parameters": kind.parameters()}
        for kind in REGIONS.values()
    ]


def body_mask(image: Image) -> BoolArray:
    """Return the patient's voxels in an image; see :class:`Body`."""
    from scipy import ndimage

    bright: BoolArray = np.any([_foreground(channel) for channel in image.array], axis=0)
    pieces, count = ndimage.label(bright)
    if count == 0:
        return bright
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    plane = ndimage.generate_binary_structure(image.grid.rank, 1)
    if image.grid.rank == 3:
        across = image.grid.closest_axes[2]
        plane = plane & (np.arange(3) == 1).reshape([3 if axis == across else 1 for axis in range(3)])
    filled: BoolArray = ndimage.binary_fill_holes(largest, plane)
    return filled


def _foreground(channel: FloatArray) -> BoolArray:
    """Return where one channel ``(*spatial)`` differs from its constant background, or is bright."""
    edges = [channel.take(end, axis).ravel() for axis in range(channel.ndim) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(edges), return_counts=True)
    if counts.max() >= CONSTANT_BORDER * counts.sum():
        return np.asarray(channel != values[counts.argmax()])
    cut = _li(channel)
    return np.asarray(channel > (cut if channel.squeeze().ndim == 3 else _li(channel[channel <= cut])))


def _li(intensities: FloatArray) -> float:
    """Return the minimum cross-entropy threshold of intensities of any shape."""
    itk = load_itk()
    threshold = itk.LiThresholdImageFilter()
    threshold.Execute(itk.GetImageFromArray(intensities.reshape(1, -1)))
    return float(threshold.GetThreshold())


def _inside(region: OfStructure, segmenter: Segmenter, base: LabelMap) -> BoolArray:
    """Return the voxels of a region's structure."""
    found = find_structure(region.structure, segmenter.scheme)
    return found.inside(base, f"there is no {region.name} region of it")


def _box(inside: BoolArray, grid: Grid, margin: float) -> tuple[slice, ...]:
    """Return the bounding box of a mask, extended to the voxels whose centres lie within the margin in mm."""
    index = np.argwhere(inside)
    extra = np.floor(margin / np.asarray(grid.spacing) * (1 + 1e-9) + 1e-9).astype(int)
    low = np.maximum(index.min(axis=0) - extra, 0)
    high = np.minimum(index.max(axis=0) + 1 + extra, grid.shape)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))
