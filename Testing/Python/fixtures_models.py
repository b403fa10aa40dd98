"""Small trained-free models as bundles, for tests of everything above the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.bundle import save_bundle
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.spec import Intensity, Spec

CARD = {"title": "tiny", "description": "random weights", "text": "# tiny\n"}


def a_bundle(folder: Path, *, dims: int = 3, channels: int = 1, spec: dict[str, Any] | None = None) -> Path:
    """Write a bundle of a small random U-Net with two structures whose prediction is not empty."""
    torch.manual_seed(7)
    definition = {
        "_target_": "monai.networks.nets.UNet", "spatial_dims": dims, "in_channels": channels, "out_channels": 3,
        "channels": [4, 8], "strides": [2], "norm": "instance",
    }  # fmt: skip
    names = ("image",) if channels == 1 else tuple(f"c{k}" for k in range(channels))
    options: dict[str, Any] = {"intensity": Intensity("zscore", foreground=False), "multiple": 2, **(spec or {})}
    save_bundle(
        folder,
        build_network(definition),
        definition,
        Spec(dims, names, LabelScheme.softmax("a", "b"), **options),
        CARD,
    )
    return folder
