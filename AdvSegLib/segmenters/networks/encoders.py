"""Paper 000's networks: U-Net and U-Net++ on VGG, ResNeXt and EfficientNet encoders, as published or narrowed.

``scale="published"`` builds the authors' four networks (their code: VGG13, ResNeXt-101 32x8d, EfficientNet-B7; the
paper's text says VGG16) by segmentation_models_pytorch, an optional extra. ``scale="narrow"`` builds the same kinds of
stages with a few channels and blocks, for processors without a GPU: other networks, whose numbers are not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from AdvSegLib.errors import BadRequest

ENCODERS = ("vgg13", "resnext101_32x8d", "efficientnet-b7")
DECODERS = ("unet", "unetplusplus")
SCALES = ("published", "narrow")
NEEDS = "the published networks need segmentation_models_pytorch: pip install 'advseglib[papers]'"
MISFIT = "segmentation_models_pytorch cannot load torchvision; install the torchvision built for your torch"


class Wang2022UNet(nn.Module):
    """One of paper 000's networks; ``(N, in_channels, H, W)`` to logits ``(N, out_channels, H, W)``.

    H and W must be multiples of 32. Raises BadRequest for an unknown part, and where the published networks are asked
    for and their library is missing.
    """

    def __init__(
        self, encoder: str = "vgg13", decoder: str = "unet", scale: str = "published", in_channels: int = 3,
        out_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        for what, name, known in (("encoder", encoder, ENCODERS), ("decoder", decoder, DECODERS),
                                  ("scale", scale, SCALES)):  # fmt: skip
            if name not in known:
                raise BadRequest(f"unknown {what} '{name}'; known: {', '.join(known)}")
        if scale == "published":
            self.network = _published(encoder, decoder, in_channels, out_channels)
        else:
            self.network = NarrowUNet(_NARROW[encoder](in_channels), decoder == "unetplusplus", out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return cast(Tensor, self.network(x))


def _published(encoder: str, decoder: str, in_channels: int, out_channels: int) -> nn.Module:
    try:
        smp = import_module("segmentation_models_pytorch")
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch raises RuntimeError
        hint = MISFIT if isinstance(error, RuntimeError) else NEEDS
        raise BadRequest(f"{hint} ({' '.join(str(error).split())[:120]})") from error
    build = smp.Unet if decoder == "unet" else smp.UnetPlusPlus
    network: nn.Module = build(
        encoder_name=encoder, encoder_weights=None, in_channels=in_channels, classes=out_channels, activation=None
    )
    return network


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Encoder(nn.Module):
    """Stages, each at half the resolution of the one before; ``widths`` are their channels, finest first.

    ``first`` is the stride of the finest stage: 1 (VGG) or 2 (the others, after their stem).
    """

    def __init__(self, stages: Sequence[nn.Module], widths: Sequence[int], first: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.widths = tuple(widths)
        self.first = first

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps, finest first."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def _vgg(in_channels: int) -> Encoder:
    """VGG13 with an eighth of its channels: two convolutions a stage, max pooling between."""
    widths = (8, 16, 32, 64, 64)
    stages = [
        nn.Sequential(*([nn.MaxPool2d(2)] if level else []), _conv(inputs, outputs), _conv(outputs, outputs))
        for level, (inputs, outputs) in enumerate(zip((in_channels, *widths), widths, strict=False))
    ]
    return Encoder([*stages, nn.MaxPool2d(2)], (*widths, widths[-1]), 1)


class ResNeXtBlock(nn.Module):
    """1-kernel, grouped 3-kernel, 1-kernel, around a shortcut (Xie et al. 2017)."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 4) -> None:
        super().__init__()
        inner = outputs // 2
        self.residual = nn.Sequential(
            _conv(inputs, inner, 1),
            _conv(inner, inner, 3, stride, groups),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        return torch.relu(self.residual(x) + self.shortcut(x))


def _resnext(in_channels: int) -> Encoder:
    """ResNeXt-101 32x8d with few channels and blocks: the deepest stage but one keeps most of them."""
    widths, blocks = (16, 48, 96, 160, 256), (0, 1, 1, 3, 1)
    stages: list[nn.Module] = [_conv(in_channels, widths[0], 7, 2)]
    for level in range(1, 5):
        layers: list[nn.Module] = [nn.MaxPool2d(3, 2, 1)] if level == 1 else []
        for index in range(blocks[level]):
            inputs = widths[level - 1] if index == 0 else widths[level]
            stride = 2 if index == 0 and level > 1 else 1
            layers.append(ResNeXtBlock(inputs, widths[level], stride))
        stages.append(nn.Sequential(*layers))
    return Encoder(stages, widths, 2)


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze and excitation (Tan & Le 2019)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int = 4, kernel: int = 3) -> None:
        super().__init__()
        inner = inputs * expand
        self.lift = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.SiLU(inplace=True),
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner), nn.SiLU(inplace=True),
        )  # fmt: skip
        squeezed = max(1, inputs // 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inner, squeezed, 1), nn.SiLU(inplace=True),
            nn.Conv2d(squeezed, inner, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.lower = nn.Sequential(nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        lifted = self.lift(x)
        y: Tensor = self.lower(lifted * self.gate(lifted))
        return x + y if self.skips else y


def _efficientnet(in_channels: int) -> Encoder:
    """EfficientNet-B7 with few channels and blocks."""
    widths = (16, 24, 40, 80, 128)
    stages: list[nn.Module] = [nn.Sequential(_conv(in_channels, 16, 3, 2), MBConv(16, widths[0], 1, expand=1))]
    for level, (inputs, outputs) in enumerate(pairwise(widths)):
        kernel = 5 if level in (1, 3) else 3
        stages.append(nn.Sequential(MBConv(inputs, outputs, 2, kernel=kernel), MBConv(outputs, outputs, 1)))
    return Encoder(stages, widths, 2)


_NARROW = {"vgg13": _vgg, "resnext101_32x8d": _resnext, "efficientnet-b7": _efficientnet}


class Joined(nn.Module):
    """Upsample the coarser map, lay the finer ones beside it, convolve twice."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.rise = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.merge = nn.Sequential(_conv(coarse + fine, outputs), _conv(outputs, outputs))

    def forward(self, coarse: Tensor, fine: Sequence[Tensor]) -> Tensor:
        """Return ``(N, outputs, 2 H, 2 W)``."""
        return cast(Tensor, self.merge(torch.cat([self.rise(coarse), *fine], dim=1)))


class NarrowUNet(nn.Module):
    """A U-Net on an encoder, or a U-Net++ (Zhou et al. 2018), whose skips pass through nested nodes.

    Node (i, j) is at the resolution of stage i; it joins nodes (i, 0) to (i, j - 1) with node (i + 1, j - 1). A U-Net
    has those on its outer edge only, whose skips are the encoder's. No deep supervision, as in the paper.
    """

    def __init__(self, encoder: Encoder, nested: bool, out_channels: int) -> None:
        super().__init__()
        self.encoder, self.depth = encoder, len(encoder.widths) - 1
        self.nested = nested
        widths = encoder.widths
        held = [[width] for width in widths]
        self.nodes = nn.ModuleDict()
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                if not nested and i + j != self.depth:
                    continue
                fine = sum(held[i]) if nested else widths[i]
                self.nodes[f"{i}-{j}"] = Joined(held[i + 1][-1], fine, max(8, widths[i]))
                held[i].append(max(8, widths[i]))
        last = held[0][-1]
        self.last = nn.Sequential(nn.Upsample(scale_factor=2.0), _conv(last, last)) if encoder.first == 2 else None
        self.head = nn.Conv2d(last, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        maps = [[found] for found in self.encoder(x)]
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                key = f"{i}-{j}"
                if key in self.nodes:
                    fine = maps[i] if self.nested else maps[i][:1]
                    maps[i].append(self.nodes[key](maps[i + 1][-1], fine))
        y = maps[0][-1]
        return cast(Tensor, self.head(y if self.last is None else self.last(y)))
