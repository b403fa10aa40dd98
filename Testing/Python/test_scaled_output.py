"""Distillation with a scaled output learns, step by step, T times what training without temperature learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from AdvSegLib.defenses.plan import Distillation
from AdvSegLib.defenses.strategies import Batch, Pass
from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.preprocessing import apply_intensity
from AdvSegLib.training.learner import Learner, last_layer
from AdvSegLib.training.processes import World
from AdvSegLib.training.recipe import Recipe, load_recipe

NETWORK = {
    "_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 6,
    "channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "batch",
}  # fmt: skip
"""Its logits come from its last layer alone."""


class AtTemperature:
    """Shows the batch's own labels at a temperature."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Yield the batch."""
        yield Pass(batch.x, batch.target, temperature=self.temperature)


def a_recipe(temperature: float, optimizer: str, **network: Any) -> Recipe:
    recipe = load_recipe("chest")
    plan = replace(recipe.optimisation, iterations=40, batch=2, bf16=False, optimizer=optimizer)
    defense = Distillation(temperature=temperature, teacher="chest", scaled_output=True)
    return replace(recipe, network={**NETWORK, **network}, optimisation=plan, defense=defense)


def logits_after(temperature: float, optimizer: str, steps: int = 6) -> Tensor:
    """Train in float64 for a few steps at a temperature; return the logits of a batch it has not seen."""
    recipe = a_recipe(temperature, optimizer)
    learner = Learner(recipe, World())
    learner.network.double()
    learner.strategy = AtTemperature(temperature)
    rng = torch.Generator().manual_seed(0)
    for number in range(steps):
        x = torch.rand((2, 1, 16, 16), generator=rng, dtype=torch.float64) * 255
        labels = torch.randint(0, 6, (2, 16, 16), generator=rng)
        target = recipe.spec.scheme.encode(labels, torch.float64)
        learner.learn(Batch(x, labels, target, (2 * number, 2 * number + 1), number, number / steps))
    unseen = torch.rand((1, 1, 16, 16), generator=rng, dtype=torch.float64) * 255
    with torch.no_grad():
        logits: Tensor = learner.network.eval()(apply_intensity(unseen, recipe.spec.intensity))
    return logits


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("temperature", [20.0, 5000.0])
def test_a_scaled_output_learns_t_times_the_plain_one(temperature: float, optimizer: str) -> None:
    plain = logits_after(1.0, optimizer)
    scaled = logits_after(temperature, optimizer) / temperature
    torch.testing.assert_close(scaled, plain, rtol=0, atol=3e-7)  # weights are drawn, and scaled, in float32
    assert float(plain.abs().max()) > 0.01


def test_the_last_layer_is_the_one_that_gives_logits() -> None:
    network = Learner(a_recipe(20.0, "adam"), World()).network
    seen: list[nn.Module] = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, _, out: seen.append(module) if out.shape[1] == 6 else None)
    network(torch.zeros(2, 1, 16, 16))
    assert last_layer(network) is seen[-1]


def test_a_network_without_layers_has_no_output_to_scale() -> None:
    with pytest.raises(BadRequest, match="no convolution"):
        last_layer(nn.Sequential(nn.BatchNorm2d(3)))
