"""The network, its optimiser and its defense: what one iteration does to the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from AdvSegLib.defenses.plan import Distillation
from AdvSegLib.defenses.strategies import Batch, Pass, build_strategy
from AdvSegLib.defenses.teacher import start_from
from AdvSegLib.errors import AdvSegError, BadRequest, unknown_name
from AdvSegLib.losses import Loss, cross_entropy, dice_ce, dice_focal, focal, soft_dice, soft_iou
from AdvSegLib.segmenters.bundle import weights_hash
from AdvSegLib.segmenters.catalogue import load_model
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.preprocessing import apply_intensity
from AdvSegLib.training.processes import World
from AdvSegLib.training.recipe import Optimisation, Recipe

TRAINING_LOSSES: dict[str, Loss] = {
    "dice": soft_dice,
    "iou": soft_iou,
    "ce": cross_entropy,
    "focal": focal,
    "dice+ce": dice_ce,
    "dice+focal": dice_focal,
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adadelta": torch.optim.Adadelta,
}
LAYERS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
STEEPEST = 12.0
"""Gradients longer than this are shortened to it, as nnU-Net does."""


class Learner:
    """A training's state that learns: ``learn(batch)`` is one iteration."""

    def __init__(self, recipe: Recipe, world: World) -> None:
        plan = recipe.optimisation
        self.recipe, self.world = recipe, world
        self.loss_of: Loss = _choose("training loss", plan.loss, TRAINING_LOSSES)
        build = _choose("optimizer", plan.optimizer, OPTIMIZERS)
        if plan.fp16 and not world.device.startswith("cuda"):
            raise BadRequest("fp16 trains on CUDA only; on this device take bf16")
        self.network = world.synchronised(seeded_network(recipe)).to(world.device)
        self.strategy = build_strategy(
            recipe.defense, self.network, recipe.spec, training_loss=plan.loss, seed=recipe.seed,
            device=world.device, bf16=plan.bf16 or plan.fp16,
        )  # fmt: skip
        self.models = _models(recipe)
        self.module = world.wrapped(self.network)
        groups = _parameter_groups(self.network, plan, _output_scale(recipe))
        self.optimizer = build(groups, lr=plan.learning_rate, weight_decay=plan.weight_decay)
        self.schedule = _schedule(self.optimizer, plan)
        self.scaler = torch.amp.GradScaler("cuda", enabled=plan.fp16)

    def learn(self, batch: Batch) -> float:
        """Take one iteration's steps; return the mean loss of its passes over this process's samples."""
        seed = np.random.SeedSequence((self.recipe.seed, batch.iteration, self.world.rank))
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))  # for networks with dropout
        losses = []
        self.optimizer.zero_grad(set_to_none=True)
        for part in self.strategy.passes(batch):
            losses.append(self._pass(part, batch))
        self.schedule.step()
        return float(np.mean(losses))

    def state(self) -> dict[str, Any]:
        """Return all that the next iteration depends on, beside the recipe and the iteration's number."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""
        for name in ("network", "optimizer", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state[name])

    def _pass(self, part: Pass, batch: Batch) -> float:
        """Go forward and backward once, and step where the pass says so."""
        self.network.train()
        with self._waiting(part):
            loss = self._loss(part)
            if not bool(loss.isfinite()):
                raise AdvSegError(
                    f"training loss is not finite at iteration {batch.iteration + 1}; lower the learning rate"
                )
            torch.autograd.backward(self.scaler.scale(loss))
        if part.moves:
            self.scaler.unscale_(self.optimizer)
            length = nn.utils.clip_grad_norm_(self.network.parameters(), STEEPEST)
            if not self.scaler.is_enabled() and not bool(length.isfinite()):  # a scaler leaves such a step out
                raise AdvSegError(
                    f"training gradient is not finite at iteration {batch.iteration + 1}; lower the learning rate"
                )
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _loss(self, part: Pass) -> Tensor:
        plan, spec = self.recipe.optimisation, self.recipe.spec
        kind = torch.float16 if plan.fp16 else torch.bfloat16
        with torch.autocast(torch.device(self.world.device).type, kind, enabled=plan.bf16 or plan.fp16):
            logits = self.module(apply_intensity(part.x, spec.intensity))
        logits = logits if logits.dtype == torch.float64 else logits.float()
        logits = logits if part.temperature == 1 else logits / part.temperature
        losses = self.loss_of(logits, part.target, spec.scheme)
        # processes' gradients are averaged: with uneven shares, a mean of means would not be the global mean
        loss = losses.mean() if self.world.size == 1 else losses.sum() * (self.world.size / plan.batch)
        return loss if part.weight == 1 else loss * part.weight

    def _waiting(self, part: Pass) -> AbstractContextManager[None]:
        """Keep gradients to this process while more are to be summed to them."""
        if part.moves or self.world.size == 1:
            return nullcontext()
        waiting: AbstractContextManager[None] = self.module.no_sync()  # type: ignore[operator]
        return waiting


def seeded_network(recipe: Recipe) -> nn.Module:
    """Return the recipe's network at its start: drawn from the seed, or the model it starts from."""
    torch.manual_seed(recipe.seed)
    network = build_network(recipe.network)
    if recipe.optimisation.start_from is not None:
        start_from(network, recipe.optimisation.start_from)
    if _output_scale(recipe) != 1:
        for weight in last_layer(network).parameters():
            weight.data *= _output_scale(recipe)
    return network


def check_finite(network: nn.Module) -> None:
    """Raise AdvSegError where a network holds a number that is none: it would segment nothing, and look finished."""
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise AdvSegError(f"{name} of the trained network is not finite; lower the learning rate")


def last_layer(network: nn.Module) -> nn.Module:
    """Return the last convolution or linear layer that a network declares: the one that gives its logits."""
    layers = [module for module in network.modules() if isinstance(module, LAYERS)]
    if not layers:
        raise BadRequest("scaled_output: the network has no convolution that gives its logits")
    return layers[-1]


def _output_scale(recipe: Recipe) -> float:
    """Return how many times larger than drawn the last layer starts and learns."""
    defense = recipe.defense
    return defense.temperature if isinstance(defense, Distillation) and defense.scaled_output else 1.0


def _parameter_groups(network: nn.Module, plan: Optimisation, scale: float) -> list[dict[str, Any]]:
    """Return the optimiser's groups: where the output is scaled, its layer takes steps as many times larger.

    Adam's steps do not depend on a gradient's size, which a temperature divides by T; what is learned is then, step
    by step, T times what training without temperature would learn (``eps``, a floor of gradients, shrinks with them).
    """
    if scale == 1:
        return [{"params": list(network.parameters())}]
    own = list(last_layer(network).parameters())
    names = {id(weight) for weight in own}
    rest = [weight for weight in network.parameters() if id(weight) not in names]
    scaled: dict[str, Any] = {"params": own, "lr": plan.learning_rate * scale}
    if plan.optimizer in ("adam", "adamw"):
        scaled["eps"] = 1e-8 / scale
    return [{"params": rest}, scaled]


def _models(recipe: Recipe) -> dict[str, str]:
    """Return the hash of each model a training starts or learns from: part of what the training is."""
    named = {"start_from": recipe.optimisation.start_from}
    if isinstance(recipe.defense, Distillation):
        named["teacher"] = recipe.defense.teacher
    return {role: weights_hash(load_model(name).network) for role, name in named.items() if name is not None}


def _schedule(optimizer: torch.optim.Optimizer, plan: Optimisation) -> torch.optim.lr_scheduler.LRScheduler:
    if plan.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[group["lr"] for group in optimizer.param_groups], total_steps=plan.iterations,
        pct_start=min(0.99, max(0.1, 1.5 / plan.iterations)),  # torch divides by zero where the rise is one step
        cycle_momentum="betas" in optimizer.defaults,
    )  # fmt: skip


def _choose(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    if name not in options:
        raise unknown_name(kind, name, options)
    return options[name]
