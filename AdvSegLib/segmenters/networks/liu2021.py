"""The 3D-UNet and 2D-UNet of paper 001 (Liu et al. 2021, Fig. 1 and "Materials and Methods")."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

DROPOUT = 0.3


def _conv(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv3d if dims == 3 else nn.Conv2d


class ConvBlock(nn.Sequential):
    """Convolution, instance norm, leaky ReLU: the unit the paper counts 28 of.

    Padding keeps the size, or halves it at stride 2. (As printed, one column left and two right cannot halve an even
    size: ``n/2 + 1`` voxels would remain.)
    """

    def __init__(self, dims: int, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        norm = nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d
        super().__init__(
            _conv(dims)(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            norm(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        )


class EncoderLevel(nn.Module):
    """Three blocks, the first with the stride, dropout between the other two, and a residual link around those."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.enter = ConvBlock(dims, inputs, outputs, stride=stride)
        self.before = ConvBlock(dims, outputs, outputs)
        self.dropout = nn.Dropout3d(DROPOUT) if dims == 3 else nn.Dropout2d(DROPOUT)
        self.after = ConvBlock(dims, outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, *spatial)`` to ``(N, outputs, *spatial / stride)``."""
        x = self.enter(x)
        return cast(Tensor, x + self.after(self.dropout(self.before(x))))


class DecoderLevel(nn.Module):
    """Upsample and convolve, concatenate the skip, then a 3-kernel and a 1-kernel block."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.rise = nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), ConvBlock(dims, inputs, outputs))
        self.merge = ConvBlock(dims, 2 * outputs, 2 * outputs)
        self.reduce = ConvBlock(dims, 2 * outputs, outputs, kernel=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return ``(N, outputs, *skip spatial)``."""
        from torch import cat

        return cast(Tensor, self.reduce(self.merge(cat([self.rise(x), skip], dim=1))))


class Liu2021UNet(nn.Module):
    """U-Net with 28 convolution blocks: 15 in the encoder, 13 after it, and three 1-kernel residual-link heads.

    The 13 are our reading of a figure that the text counts only in part: a 1-kernel block at the bottom, then four
    levels of one block after upsampling and two after concatenation. The heads have one kernel a label; they sit on
    the three finest levels and are summed from coarse to fine. Sizes must be multiples of 16.
    """

    def __init__(self, in_channels: int = 4, out_channels: int = 4, dims: int = 3, base: int = 16) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            EncoderLevel(dims, inputs, outputs, 1 if level == 0 else 2)
            for level, (inputs, outputs) in enumerate(zip([in_channels, *widths], widths, strict=False))
        )
        self.bottom = ConvBlock(dims, widths[-1], widths[-1], kernel=1)
        self.decoder = nn.ModuleList(DecoderLevel(dims, widths[k + 1], widths[k]) for k in (3, 2, 1, 0))
        self.heads = nn.ModuleList(_conv(dims)(widths[k], out_channels, 1) for k in (2, 1, 0))
        self.rise = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, out_channels, *spatial)`` for ``(N, in_channels, *spatial)``."""
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        x = self.decoder[0](self.bottom(skips.pop()), skips.pop())
        logits: Tensor | None = None
        for level, head in zip(list(self.decoder)[1:], self.heads, strict=True):
            x = level(x, skips.pop())
            logits = head(x) if logits is None else self.rise(logits) + head(x)
        return cast(Tensor, logits)
