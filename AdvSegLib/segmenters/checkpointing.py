"""Sequences of layers whose activations are computed again on the way back, halves within halves."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LEAF = 2
"""Layers whose activations are held together: a convolution and what follows it."""


def checkpointed(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Return ``layers(x)``, holding about ``log2(len(layers))`` activations for the way back instead of all of them.

    The first half of a sequence is run without a trace and, on the way back, run again in the same manner. Numbers are
    those of the plain forward and backward.
    """
    if len(layers) <= LEAF:
        out: Tensor = layers(x)
        return out
    half = max(LEAF, len(layers) // 2 // LEAF * LEAF)
    parts = list(layers.children())
    first, rest = nn.Sequential(*parts[:half]), nn.Sequential(*parts[half:])
    middle = checkpoint(checkpointed, first, x, use_reentrant=False, preserve_rng_state=False)
    return checkpointed(rest, middle)
