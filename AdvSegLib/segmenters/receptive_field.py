"""Which voxels a network looks at, by its architecture: where a gradient of NaN arrives."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from AdvSegLib.segmenters.ensemble import Ensemble
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.smoothing import Smoothed
from AdvSegLib.segmenters.spec import Intensity
from AdvSegLib.volumes import Image

PASSED = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "threshold", "threshold_", "hardswish", "hardsigmoid",
          "clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_"}  # fmt: skip
"""Functions whose gradient is 0 for some weights and inputs; here they let everything pass."""


def receptive_field(segmenter: Segmenter, image: Image, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of ``image`` wired to the logits where ``inside``; see AdvSegLib.regions.ReceptiveField."""
    if isinstance(segmenter, Ensemble):
        fields = [receptive_field(member, image, inside) for member in segmenter.members]
        union: NDArray[np.bool_] = np.logical_or.reduce(fields)
        return union
    if isinstance(segmenter, Smoothed) and segmenter.base is not None:
        return receptive_field(segmenter.base, image, inside)
    if any(isinstance(module, torch.jit.ScriptModule) for module in segmenter.network.modules()):
        return np.ones_like(inside)
    bound = segmenter.on(image)
    # CUDA's float32 convolutions may be Winograd's or Fourier's, which spread NaN over their tiles; its float64 ones
    # and the CPU's are direct sums
    device = bound.device if bound.device.type == "cuda" else torch.device("cpu")
    exact = (device, torch.float64 if device.type == "cuda" else torch.float32)
    spec = replace(bound.spec, intensity=Intensity("none"))
    opened = replace(bound, network=_wide_open(bound.network).to(*exact), spec=spec, frozen=None, precision="fp32")
    x = torch.randn(1, *image.array.shape, generator=torch.Generator().manual_seed(0))
    x = x.to(*exact).requires_grad_()
    logits = opened.logits(x)
    seed = torch.zeros_like(logits)
    seed[:, :, torch.from_numpy(inside).to(logits.device)] = torch.nan
    (gradient,) = torch.autograd.grad(logits, x, seed)
    field: NDArray[np.bool_] = gradient.isnan().any(1)[0].cpu().numpy()
    return field


def _wide_open(network: nn.Module) -> nn.Module:
    """Return a copy of a network in which every path conducts, whatever its weights and input.

    Rectifiers become identities and max-pools averages over the same windows, wherever in the code they are called.
    """

    class Mode(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name, kwargs = getattr(function, "__name__", ""), kwargs or {}
            if name in PASSED:
                return args[0]
            if name.startswith(("max_pool", "adaptive_max_pool")):
                average, found = _averaged(name, *args, **kwargs), function(*args, **kwargs)
                return (average, *found[1:]) if isinstance(found, tuple) else average
            return function(*args, **kwargs)

    class Opened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network).requires_grad_(False)

        def forward(self, x: Tensor) -> Any:
            with Mode():  # here and not around: windows are run again on the way back, in threads of their own
                return self.network(x)

    return Opened()


def _averaged(name: str, x: Tensor, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
              ceil_mode: bool = False, **_: Any) -> Tensor:  # fmt: skip
    """Return the average pool of a max-pool's arguments; dilated windows are filled."""
    rank = name[name.index("pool") + 4 :][:2]
    if name.startswith("adaptive"):
        return cast("Tensor", getattr(functional, f"adaptive_avg_pool{rank}")(x, size))
    axes = int(rank[0])
    kernel = [
        int(d) * (int(k) - 1) + 1 for k, d in zip(*(np.broadcast_to(v, axes) for v in (size, dilation)), strict=True)
    ]
    stride = list(np.broadcast_to(size if stride is None else stride, axes).tolist())
    pool = getattr(functional, f"avg_pool{rank}")
    return cast("Tensor", pool(x, kernel, stride, padding, ceil_mode))
