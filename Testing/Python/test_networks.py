"""The networks of the papers have the numbers the papers state; configurations are data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.networks import DEFAULTS, build_network
from AdvSegLib.segmenters.networks.bortsova2020 import Bortsova2020UNet
from AdvSegLib.segmenters.networks.liu2021 import ConvBlock, Liu2021UNet


@pytest.mark.parametrize("dims", [2, 3])
def test_liu2021_counts(dims: int) -> None:
    network = Liu2021UNet(4, 4, dims)
    blocks = [m for m in network.modules() if isinstance(m, ConvBlock)]
    assert len(blocks) == 28
    assert sum(isinstance(m, ConvBlock) for m in network.encoder.modules()) == 15
    assert all(
        [type(p).__name__ for p in block] == [f"Conv{dims}d", f"InstanceNorm{dims}d", "LeakyReLU"] for block in blocks
    )
    dropouts = [m for m in network.modules() if isinstance(m, nn.Dropout2d | nn.Dropout3d)]
    assert [d.p for d in dropouts] == [0.3] * 5
    convolution = nn.Conv3d if dims == 3 else nn.Conv2d
    strides = [m.stride[0] for m in network.modules() if isinstance(m, convolution)]
    assert strides.count(2) == 4
    assert [head.out_channels for head in network.heads] == [4, 4, 4]
    assert [head.kernel_size[0] for head in network.heads] == [1, 1, 1]
    ones = [b for b in blocks if b[0].kernel_size[0] == 1]
    assert len(ones) == 5


@pytest.mark.parametrize("dims", [2, 3])
def test_liu2021_runs_and_every_weight_learns(dims: int) -> None:
    network = Liu2021UNet(4, 3, dims, base=4)
    x = torch.rand(1, 4, *[32] * dims)
    out = network(x)
    assert out.shape == (1, 3, *[32] * dims)
    out.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def receptive_interval(network: nn.Module, rows: slice, size: int = 512) -> tuple[int, int]:
    """First and last input row that output ``rows`` depend on, by gradient."""
    x = torch.rand(1, 1, size, 256, requires_grad=True)
    out: Tensor = network(x)
    (gradient,) = torch.autograd.grad(out[0, 0, rows, 128].sum(), x)
    touched = gradient[0, 0].abs().sum(1).nonzero().flatten()
    return int(touched.min()), int(touched.max())


def test_bortsova2020_reaches_184_pixels_beyond_its_output() -> None:
    """572 - 388 of the original U-Net: outputs aligned as its valid convolutions leave them lose 184 pixels."""
    torch.manual_seed(0)
    network = Bortsova2020UNet().eval()
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    # valid convolutions put their pooling pairs on even places when the input starts at 2 modulo 16
    start = 82
    for length in (4, 20):
        first, last = receptive_interval(network, slice(start + 92, start + 92 + length))
        assert (first, last) == (start, start + 184 + length - 1)


def test_bortsova2020_is_a_quarter_unet_with_strided_convolutions_and_batch_norm() -> None:
    network = Bortsova2020UNet()
    assert [level[0].out_channels for level in network.encoder] == [16, 32, 64, 128, 256]
    assert not any(isinstance(m, nn.MaxPool2d) for m in network.modules())
    assert sum(isinstance(m, nn.Conv2d) and m.stride == (2, 2) for m in network.modules()) == 4
    convolutions = sum(isinstance(m, nn.Conv2d) for m in network.modules()) - 1  # the head has none
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == convolutions
    assert network(torch.rand(2, 1, 32, 48)).shape == (2, 6, 32, 48)


@pytest.mark.parametrize("name", list(DEFAULTS))
def test_short_names_build(name: str) -> None:
    network = build_network(name).eval()
    config = DEFAULTS[name]
    dims = config.get("spatial_dims", config.get("dims", 2))
    assert network(torch.rand(1, config["in_channels"], *[32] * dims)).shape[1] == config["out_channels"]


@pytest.mark.parametrize(("config", "message"), [
    ({"_target_": "os.system", "command": "true"}, "allow-list"),
    ({"_target_": "subprocess.UNet"}, "allow-list"),
    ({"_target_": "monai.networks.nets.UNet", "spatial_dims": "$__import__('os').getpid()"}, "expression"),
    ({"_target_": "UNet", "act": ["relu", {"inplace": "@flag"}]}, "expression"),
    ({"_target_": "monai.networks.nets.UNet", "spatial_dims": 3}, "refuses its arguments"),
    ("unet4d", "did you mean 'unet3d'"),
    ({}, "allow-list"),
])  # fmt: skip
def test_hostile_configurations_are_refused(config: object, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        build_network(config)  # type: ignore[arg-type]
