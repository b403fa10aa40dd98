"""Paper 000: its attack in all readings, against its libraries and by hand; its networks."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from AdvSegLib.attacks.wang2022 import Wang2022FGSM, swapped_loss
from AdvSegLib.budgets import Budget
from AdvSegLib.cases.abdomen_phantom import abdomen_phantom
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.networks.encoders import DECODERS, ENCODERS, Wang2022UNet
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.targets import Untargeted
from AdvSegLib.training.recipe import load_recipe

SCHEME = LabelScheme.sigmoid("large bowel", "small bowel", "stomach")


@pytest.fixture
def setting():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 3, padding=1)).double()
    segmenter = Segmenter(network, Spec(dims=2, channels=("a", "b", "c"), scheme=SCHEME))
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64) * 300 + 20
    truth = torch.randint(0, 4, (2, 12, 12))
    return segmenter, x, truth, Budget.of_range(x, 1.0)


def gradient(segmenter, x, truth, loss):
    leaf = x.clone().requires_grad_(True)
    mask = SCHEME.encode(truth, torch.float64)
    (found,) = torch.autograd.grad(loss(segmenter.logits(leaf), mask).sum(), leaf)
    return found


def by_monai(output, mask, *, swapped, name):
    import monai

    loss = nn.BCEWithLogitsLoss() if name == "bce" else monai.losses.DiceFocalLoss(sigmoid=True)
    pairs = zip(output, mask, strict=True)
    return torch.stack([loss(m[None], o[None]) if swapped else loss(o[None], m[None]) for o, m in pairs])


@pytest.mark.parametrize("name", ["bce", "dice-focal"])
def test_swapped_losses_are_those_of_the_notebooks_libraries(name):
    torch.manual_seed(0)
    output = (3 * torch.randn(2, 3, 8, 8, dtype=torch.float64)).requires_grad_(True)
    mask = (torch.rand(2, 3, 8, 8, dtype=torch.float64) > 0.6).double()
    ours, theirs = swapped_loss(name, output, mask), by_monai(output, mask, swapped=True, name=name)
    assert torch.allclose(ours, theirs.to(ours), rtol=1e-5)  # MONAI computes in float32
    a, b = (torch.autograd.grad(loss.sum(), output, retain_graph=True)[0] for loss in (ours, theirs))
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-7)


def test_published_bce_only_pushes_the_masks_own_logits_down():
    output = torch.randn(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(1, 3, 6, 6) > 0.5).double()
    (found,) = torch.autograd.grad(swapped_loss("bce", output, mask).sum(), output)
    assert torch.allclose(found, -mask / mask.numel())


@pytest.mark.parametrize("arguments", ["correct", "published-swapped"])
@pytest.mark.parametrize("name", ["bce", "dice-focal"])
def test_additive_is_a_step_along_the_sign(setting, name, arguments):
    segmenter, x, truth, budget = setting
    attack = Wang2022FGSM(strength=0.03, loss=name, arguments=arguments)
    found = attack(segmenter, x, Untargeted(truth), budget).adversarial
    along = gradient(
        segmenter, x, truth, lambda o, m: by_monai(o, m, swapped=arguments != "correct", name=name)
    ).sign()
    low, span = budget.low, budget.scale
    wanted = (x + 0.03 * span * along).clamp(low, low + span)
    same = ((found - wanted).abs() < 1e-6).double().mean()
    assert same > (0.999 if name == "bce" else 0.99)  # MONAI's Dice is in float32: a few tiny gradients turn over


def test_published_convention_is_the_notebooks_formula(setting):
    segmenter, x, truth, budget = setting
    attack = Wang2022FGSM(strength=0.05, convention="wang2022-published", arguments="published-swapped")
    found = attack(segmenter, x, Untargeted(truth), budget).adversarial
    along = gradient(segmenter, x, truth, lambda o, m: by_monai(o, m, swapped=True, name="bce")).sign()
    low, span = budget.low, budget.scale
    unit = (x - low) / span
    wanted = torch.clamp((1 - 0.05) * unit + 0.05 * along, 0, 1) * span + low
    assert torch.allclose(found, wanted, atol=1e-6)
    largest = float(((found - x).abs() / span).max())
    assert 0.05 < largest <= 0.1 + 1e-9  # beyond the eps ball: up to eps (1 + x)


def test_a_smaller_budget_clips_it(setting):
    segmenter, x, truth, _ = setting
    attack = Wang2022FGSM(strength=0.05, convention="wang2022-published")
    held = Budget.of_range(x, 0.05)
    found = attack(segmenter, x, Untargeted(truth), held).adversarial
    assert float(((found - x).abs() / held.scale).max()) <= 0.05 + 1e-12


@pytest.mark.parametrize("values", [{"strength": 2.0}, {"loss": "dice"}, {"convention": "x"}, {"arguments": "y"}])
def test_wrong_parameters_are_refused(values):
    with pytest.raises(BadRequest, match="wang2022"):
        Wang2022FGSM(**values)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_narrow_networks_map_pixels_to_logits(encoder, decoder):
    torch.manual_seed(0)
    network = Wang2022UNet(encoder, decoder, "narrow").eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        logits = network(x)
        moved = network(x + torch.nn.functional.pad(torch.ones(1, 3, 1, 1), (40, 55, 30, 33)))
    assert logits.shape == (1, 3, 64, 96)
    change = (moved - logits).abs().amax((0, 1))
    assert change[30, 40] > 0  # the pixel is seen where it is
    assert math.isfinite(float(change.max()))


def test_narrow_networks_grow_in_the_order_of_the_published_ones():
    def size(encoder: str, decoder: str = "unet") -> int:
        return sum(value.numel() for value in Wang2022UNet(encoder, decoder, "narrow").parameters())

    nested = size("efficientnet-b7", "unetplusplus")
    assert size("vgg13") < size("efficientnet-b7") < nested < size("resnext101_32x8d") < 2_000_000


def test_a_nested_decoder_uses_every_node():
    network = Wang2022UNet("efficientnet-b7", "unetplusplus", "narrow")
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(value.grad is not None for value in network.parameters())


@pytest.mark.parametrize("values", [{"encoder": "vgg16"}, {"decoder": "fpn"}, {"scale": "wide"}])
def test_unknown_parts_are_refused(values):
    with pytest.raises(BadRequest, match="unknown"):
        Wang2022UNet(**{"scale": "narrow", **values})


def test_published_networks_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)  # what import takes for absent
    with pytest.raises(BadRequest, match="advseglib\\[papers\\]"):
        Wang2022UNet("vgg13")


def test_a_torchvision_that_does_not_fit_is_named(monkeypatch):
    def fails(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("AdvSegLib.segmenters.networks.encoders.import_module", fails)
    with pytest.raises(BadRequest, match="torchvision built for your torch"):
        Wang2022UNet("vgg13")


PUBLISHED = {
    # Parameters of the classifiers (torchvision's, and the EfficientNet paper's network as commonly ported) without
    # their last layers, and of our whole networks as built by segmentation_models_pytorch 0.6.
    "abdomen-vgg-unet-published": (133_047_848 - 123_642_856, 18.4),
    "abdomen-resnext-unet-published": (88_791_336 - 2_049_000, 95.8),
    "abdomen-efficientnet-unet-published": (66_347_960 - 2_561_000, 67.1),
    "abdomen-efficientnet-unetplusplus-published": (66_347_960 - 2_561_000, 68.2),
}


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.usefixtures("published_encoders")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_the_authors(name):
    """Built without memory (the meta device): encoders as published, from the recipes that train them."""
    recipe = load_recipe(name)
    with torch.device("meta"):
        network = build_network(recipe.network, in_channels=3)
    encoder, whole = PUBLISHED[name]
    assert parameters(network.network.encoder) == encoder
    assert parameters(network) / 1e6 == pytest.approx(whole, abs=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("published_encoders")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_attacked_as_their_recipes_build_them(name):
    torch.manual_seed(0)
    recipe = load_recipe(name)
    image, truth = abdomen_phantom(5, 64)
    x = torch.from_numpy(image.array[1:2])[None]
    segmenter = Segmenter(settled(build_network(recipe.network), x), replace(recipe.spec, size=(64, 64)))
    budget = Budget.of_range(x, 1.0)
    labels = torch.from_numpy(truth.array).long()[None]
    found = Wang2022FGSM(strength=0.02)(segmenter, x, Untargeted(labels), budget).adversarial
    moved = (found - x).abs() / budget.scale
    assert segmenter.logits(x).shape == (1, 3, 64, 64)
    assert float(moved.max()) == pytest.approx(0.02, rel=1e-4)
    assert float((moved > 0.019).double().mean()) > 0.3  # the gradient reaches the pixels; air stays at its edge
    mask = recipe.spec.scheme.encode(labels, torch.float32)
    before, after = (nn.functional.binary_cross_entropy_with_logits(segmenter.logits(y), mask) for y in (x, found))
    assert float(after.detach()) > float(before.detach())


def settled(network: nn.Module, x: torch.Tensor) -> nn.Module:
    """Give a network of random weights an image's batch statistics, so that its features neither die nor burst."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.cat([x, x.flip(-1)]) / x.max())
    return network
