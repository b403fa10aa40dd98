"""Networks by name. A configuration is data: its target is looked up here and never evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from AdvSegLib.errors import BadRequest, unknown_name

if TYPE_CHECKING:
    from torch import nn

_OURS = "AdvSegLib.segmenters.networks"
_MONAI = "monai.networks.nets"
ALLOWED: dict[str, str] = {
    "Liu2021UNet": f"{_OURS}.liu2021",
    "Bortsova2020UNet": f"{_OURS}.bortsova2020",
    "Wang2022UNet": f"{_OURS}.encoders",
    **dict.fromkeys(
        ("UNet", "BasicUNet", "BasicUNetPlusPlus", "AttentionUnet", "DynUNet", "SegResNet", "VNet", "HighResNet",
         "UNETR", "SwinUNETR", "FlexibleUNet"), _MONAI),
}  # fmt: skip
"""Class name to the module it may be taken from."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "unet3d": {
        "_target_": f"{_MONAI}.UNet", "spatial_dims": 3, "in_channels": 4, "out_channels": 4,
        "channels": [16, 32, 64, 128], "strides": [2, 2, 2], "num_res_units": 2, "norm": "instance",
    },
    "unet2d": {
        "_target_": f"{_MONAI}.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 6,
        "channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "num_res_units": 2, "norm": "batch",
    },
    "liu2021-3d": {"_target_": f"{_OURS}.Liu2021UNet", "in_channels": 4, "out_channels": 4, "dims": 3},
    "liu2021-2d": {"_target_": f"{_OURS}.Liu2021UNet", "in_channels": 4, "out_channels": 4, "dims": 2},
    "bortsova2020": {"_target_": f"{_OURS}.Bortsova2020UNet", "in_channels": 1, "out_channels": 6},
}  # fmt: skip
"""Configurations by short name: the small default U-Nets and the networks of the papers."""


def build_network(config: str | Mapping[str, Any], **changes: Any) -> nn.Module:
    """Build a network from a short name or a MONAI-style ``{"_target_": …, …}`` of plain values.

    Raises BadRequest for a target that is not allowed, for ``$`` expressions and ``@`` references anywhere in it, and
    for arguments the class refuses.
    """
    if isinstance(config, str):
        if config not in DEFAULTS:
            raise unknown_name("network", config, DEFAULTS)
        config = DEFAULTS[config]
    if not isinstance(config, Mapping):
        raise BadRequest(f"a network is a mapping with a _target_, not {type(config).__name__}")
    arguments = {**config, **changes}
    _refuse_expressions(arguments, "network")
    target = str(arguments.pop("_target_", ""))
    module, _, name = target.rpartition(".")
    if name not in ALLOWED or module not in ("", ALLOWED[name], _OURS):
        raise BadRequest(f"network '{target}' is not on the allow-list: {', '.join(sorted(ALLOWED))}")
    build = getattr(import_module(ALLOWED[name]), name)
    try:
        network: nn.Module = build(**{key: value for key, value in arguments.items() if not key.startswith("_")})
    except Exception as error:  # hostile arguments fail in every way there is, deep inside torch
        reason = " ".join(str(error).split())[:200]
        raise BadRequest(f"network {name} refuses its arguments: {reason or type(error).__name__}") from error
    return network


def __getattr__(name: str) -> Any:
    """Load a network class of the papers on first use, so that its short MONAI target resolves."""
    if ALLOWED.get(name, "").startswith(_OURS):
        return getattr(import_module(ALLOWED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _refuse_expressions(value: Any, where: str) -> None:
    """Raise BadRequest where plain data holds what MONAI would evaluate or resolve."""
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        raise BadRequest(f"{where} holds the expression {value!r}; only plain values are read")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_expressions(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_expressions(item, where)
