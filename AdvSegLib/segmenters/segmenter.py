"""The model under attack: any network that returns logits, with its preparation inside, differentiable end to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.preprocessing import (
    Axes,
    apply_intensity,
    crop_to,
    pad_to_multiple,
    resize,
    scale_and_shift,
)
from AdvSegLib.segmenters.spec import Spec, Statistics
from AdvSegLib.volumes import Grid, Image, LabelMap


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A network and its spec, on a grid: ``logits(x)`` maps source intensities to logits on the same voxels.

    Everything between the image as read and the logits happens inside: axes, intensities, resampling, padding, slices.
    So a gradient with respect to ``x`` moves the image the reader sees. The network is put into eval mode.

    >>> from AdvSegLib.labels import LabelScheme
    >>> network = nn.Conv3d(1, 3, 3, padding=1)
    >>> segmenter = Segmenter(network, Spec.plain(LabelScheme.softmax("white matter", "grey matter")))
    >>> segmenter.predict(torch.zeros(1, 1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    network: nn.Module
    spec: Spec
    grid: Grid | None = None
    frozen: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        """Switch off dropout and running statistics: an attack needs a deterministic function."""
        self.network.eval()

    @property
    def scheme(self) -> LabelScheme:
        """What the output channels mean."""
        return self.spec.scheme

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))

    def to(self, device: str | torch.device) -> Segmenter:
        """Move the network (in place, as torch does) and return the segmenter there."""
        frozen = self.frozen and (self.frozen[0].to(device), self.frozen[1].to(device))
        return replace(self, network=self.network.to(device), frozen=frozen or None)

    def on(self, image: Image, statistics: Statistics = "recomputed") -> Segmenter:
        """Return this segmenter on ``image``'s grid, where its resampling and axes are defined.

        ``statistics="frozen"`` keeps the intensity mapping of this (clean) image for whatever is segmented later;
        ``"recomputed"`` computes it from each input, as an unmodified pipeline does.
        """
        self.check(image)
        bound = replace(self, grid=image.grid, frozen=None)
        if statistics == "recomputed":
            return bound
        if statistics != "frozen":
            raise BadRequest(f"unknown statistics '{statistics}'; known: recomputed, frozen")
        x = self.tensor(image)
        return replace(bound, frozen=scale_and_shift(bound.axes.apply(x), self.spec.intensity))

    def check(self, image: Image) -> None:
        """Raise BadRequest where the image has other channels or axes than the network."""
        if len(image.names) != len(self.spec.channels):
            raise BadRequest(
                f"the model takes {len(self.spec.channels)} channels ({', '.join(self.spec.channels)}), "
                f"the image has {len(image.names)} ({', '.join(image.names)})"
            )
        if image.grid.rank < self.spec.dims:
            raise BadRequest(f"the model is 3-D, the image is 2-D with shape {image.grid.shape}")

    def tensor(self, image: Image) -> Tensor:
        """Return an image's intensities as ``(1, C, *spatial)`` on the network's device, in its float type."""
        dtype = next((p.dtype for p in self.network.parameters()), torch.float32)
        return torch.from_numpy(image.array).to(self.device, dtype)[None]

    @property
    def axes(self) -> Axes:
        """How stored axes reach the network's orientation."""
        if self.grid is None:
            rank = 3 if self.spec.orientation else self.spec.dims
            return Axes(tuple(range(rank)), ())
        return Axes.between(self.grid, self.spec.orientation)

    def network_size(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of the network's grid, along oriented axes, for an image of ``stored`` spatial size."""
        axes = self.axes if len(self.axes.order) == len(stored) else Axes(tuple(range(len(stored))), ())
        size = tuple(int(n) for n in axes.take(stored))
        sliced = len(size) - self.spec.dims
        if self.spec.size:
            return (*size[:sliced], *self.spec.size)
        if self.spec.spacing and self.grid is not None:
            steps = axes.take(self.grid.spacing)[sliced:]
            fine = [
                max(1, round(n * have / want))
                for n, have, want in zip(size[sliced:], steps, self.spec.spacing, strict=True)
            ]
            return (*size[:sliced], *fine)
        return size

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K, *spatial)`` for source intensities ``(N, C, *spatial)``, differentiably."""
        if x.ndim not in (4, 5) or x.shape[1] != len(self.spec.channels) or x.ndim - 2 < self.spec.dims:
            raise BadRequest(
                f"expected (N, {len(self.spec.channels)}, *{self.spec.dims}-D spatial), got {tuple(x.shape)}"
            )
        axes = self.axes if len(self.axes.order) == x.ndim - 2 else Axes(tuple(range(x.ndim - 2)), ())
        oriented = apply_intensity(axes.apply(x), self.spec.intensity, self.frozen)
        seen = resize(oriented, self.network_size(tuple(x.shape[2:])))
        return axes.undo(resize(self._run(seen), oriented.shape[2:]))

    def predict(self, x: Tensor) -> Tensor:
        """Return label values ``(N, *spatial)`` int64, without a graph."""
        with torch.no_grad():
            return self.scheme.decode(self.logits(x))

    def segment(self, image: Image) -> LabelMap:
        """Segment an image as the unmodified pipeline does, with statistics recomputed from it."""
        bound = self.on(image)
        labels = bound.predict(self.tensor(image))[0].cpu().numpy()
        return LabelMap(labels, image.grid, self.scheme.names)

    def _run(self, seen: Tensor) -> Tensor:
        """Run the network on its own grid; a 2-D network takes a volume's first axis as a batch of slices."""
        if self.network.training:
            self.network.eval()
        slices = seen.shape[2] if seen.ndim - 2 > self.spec.dims else 0
        if slices:
            seen = seen.transpose(1, 2).flatten(0, 1)
        padded = pad_to_multiple(seen, self.spec.multiple)
        try:
            logits = _first(self.network(padded))
        except (ValueError, RuntimeError) as error:
            if "memory" in str(error) or "CUDA" in str(error):
                raise  # the machine's failure, not the request's
            size, reason = " x ".join(str(n) for n in seen.shape[2:]), " ".join(str(error).split())[:200]
            raise BadRequest(f"the network cannot take {size} voxels ({reason})") from error
        if logits.shape[1] != self.scheme.channels:
            raise BadRequest(
                f"the network gives {logits.shape[1]} channels, its scheme ({self.scheme.activation}, "
                f"{len(self.scheme.labels)} labels) needs {self.scheme.channels}"
            )
        logits = crop_to(logits, seen.shape[2:])
        return logits.reshape(-1, slices, *logits.shape[1:]).transpose(1, 2) if slices else logits


def _first(output: Any) -> Tensor:
    """Take the full-resolution logits of networks that also return deep-supervision heads or named outputs."""
    if isinstance(output, dict):
        output = output["out"] if "out" in output else next(iter(output.values()))
    while isinstance(output, list | tuple):
        output = output[0]
    logits: Tensor = output
    return logits
