"""The model under attack: any network that returns logits, with its preparation inside, differentiable end to end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.checkpointing import checkpointed
from AdvSegLib.segmenters.preprocessing import (
    Axes,
    apply_intensity,
    crop_to,
    pad_to_multiple,
    resize,
    scale_and_shift,
)
from AdvSegLib.segmenters.spec import Blend, Precision, Spec, Statistics, Windows
from AdvSegLib.segmenters.stitching import in_groups, stitched
from AdvSegLib.volumes import Grid, Image, LabelMap

SLICE_VOXELS = 2**22
"""A 2-D network on a volume takes about this many pixels, slices together, in one forward."""


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A network and its spec, on a grid: ``logits(x)`` maps source intensities to logits on the same voxels.

    Everything between the image as read and the logits happens inside: axes, intensities, resampling, padding, slices.
    So a gradient with respect to ``x`` moves the image the reader sees. The network is put into eval mode.
    ``precision="bf16"`` runs the network in bfloat16; ``checkpointed`` trades time for memory in networks that are
    sequences: activations are computed again on the way back, to the same numbers.

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
    precision: Precision = "fp32"
    checkpointed: bool = False
    _seen: list[tuple[int, ...]] = field(default_factory=list, repr=False)

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
        return replace(bound, frozen=scale_and_shift(x, self.spec.intensity))

    def at(self, precision: Precision) -> Segmenter:
        """Return this segmenter with its network run in another precision; logits keep the input's type."""
        if precision not in ("fp32", "bf16"):
            raise BadRequest(f"unknown precision '{precision}'; known: fp32, bf16")
        return replace(self, precision=precision)

    def windowed(
        self, size: Sequence[int], *, overlap: float = 0.25, blend: Blend = "gaussian", mirror: Sequence[int] = (),
        batch: int = 1,
    ) -> Segmenter:  # fmt: skip
        """Return this segmenter passing over its grid in windows of ``size``; see :class:`Windows`.

        That is another model than one forward over the whole: its gradients and labels differ.
        """
        windows = Windows(tuple(size), overlap, blend, mirror=tuple(mirror), batch=batch)
        return replace(self, spec=replace(self.spec, windows=windows))

    @property
    def can_checkpoint(self) -> bool:
        """Whether the network is a sequence of layers, whose activations can be computed again."""
        return isinstance(self.network, nn.Sequential) and len(self.network) > 1

    @property
    def last_size(self) -> tuple[int, ...] | None:
        """Spatial size of what the network was last given whole."""
        return self._seen[-1] if self._seen else None

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
        oriented = axes.apply(apply_intensity(x, self.spec.intensity, self.frozen))  # in this order x is not copied
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
        """Run the network over its own grid; a 2-D network takes a volume's first axis as a batch of slices."""
        if self.network.training:
            self.network.eval()
        slices = seen.shape[2] if seen.ndim - 2 > self.spec.dims else 0
        if not slices:
            return self._pass(seen)
        stack = seen.transpose(1, 2).flatten(0, 1)
        count = max(1, SLICE_VOXELS // math.prod(stack.shape[2:]))
        logits = self._pass(stack) if count >= len(stack) else in_groups(stack, count, self._pass)
        return logits.reshape(-1, slices, *logits.shape[1:]).transpose(1, 2)

    def _pass(self, seen: Tensor) -> Tensor:
        """Pass over ``(N, C, *size)`` in windows where the spec has them, else in one forward."""
        return stitched(seen, self.spec.windows, self._forward) if self.spec.windows else self._forward(seen)

    def _forward(self, seen: Tensor) -> Tensor:
        """Run one forward of the network, padded to its multiple and cropped again."""
        self._seen[:] = [tuple(seen.shape[2:])]
        try:
            logits = self._network(pad_to_multiple(seen, self.spec.multiple))
        except (ValueError, RuntimeError) as error:
            if isinstance(error, torch.cuda.OutOfMemoryError) or "memory" in str(error) or "CUDA" in str(error):
                raise  # the machine's failure, not the request's
            size, reason = " x ".join(str(n) for n in seen.shape[2:]), " ".join(str(error).split())[:200]
            raise BadRequest(f"the network cannot take {size} voxels ({reason})") from error
        if logits.shape[1] != self.scheme.channels:
            raise BadRequest(
                f"the network gives {logits.shape[1]} channels, its scheme ({self.scheme.activation}, "
                f"{len(self.scheme.labels)} labels) needs {self.scheme.channels}"
            )
        return crop_to(logits, seen.shape[2:])

    def _network(self, x: Tensor) -> Tensor:
        """Run the network in the asked precision; logits come back in ``x``'s type."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.precision == "bf16" and x.device.type == "cuda":
                x = x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
            return _first(self._layers(x)).to(x.dtype)

    def _layers(self, x: Tensor) -> Any:
        if self.checkpointed and isinstance(self.network, nn.Sequential) and torch.is_grad_enabled():
            return checkpointed(self.network, x)
        return self.network(x)


def _first(output: Any) -> Tensor:
    """Take the full-resolution logits of networks that also return deep-supervision heads or named outputs."""
    if isinstance(output, dict):
        output = output["out"] if "out" in output else next(iter(output.values()))
    while isinstance(output, list | tuple):
        output = output[0]
    logits: Tensor = output
    return logits
