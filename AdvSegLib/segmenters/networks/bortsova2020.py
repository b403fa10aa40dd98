"""The network of paper 003 (Bortsova et al. 2020, section 2.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_single(inputs, outputs), *_single(outputs, outputs))


def _single(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _halve(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 2, stride=2, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


class Bortsova2020UNet(nn.Module):
    """The original U-Net with a quarter of its features, strided convolutions for pooling, batch norm after each.

    Its 3-kernels reach 184 pixels beyond the pooling blocks (92 a side), the 572 - 388 of the original U-Net and the
    184 of the paper. Sizes must be multiples of 16.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 6, base: int = 16) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(_double(i, o) for i, o in zip([in_channels, *widths], widths, strict=False))
        self.halve = nn.ModuleList(_halve(width) for width in widths[:-1])
        self.rise = nn.ModuleList(nn.ConvTranspose2d(widths[k + 1], widths[k], 2, stride=2) for k in (3, 2, 1, 0))
        self.decoder = nn.ModuleList(_double(2 * widths[k], widths[k]) for k in (3, 2, 1, 0))
        self.head = nn.Conv2d(base, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, out_channels, H, W)`` for ``(N, in_channels, H, W)``."""
        skips = []
        for level, halve in zip(self.encoder, [*self.halve, nn.Identity()], strict=True):
            x = level(x)
            skips.append(x)
            x = halve(x)
        skips.pop()
        for rise, level in zip(self.rise, self.decoder, strict=True):
            x = level(torch.cat([skips.pop(), rise(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits
