"""What a defense shows the network in one iteration, pass by pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from AdvSegLib.defenses.inner_attack import InnerAttack, build_inner_attack, on_grid
from AdvSegLib.defenses.plan import AdversarialTraining, Defense, Distillation, UniformNoise
from AdvSegLib.defenses.teacher import load_teacher
from AdvSegLib.errors import AdvSegError
from AdvSegLib.segmenters.preprocessing import apply_intensity
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Precision, Spec

NOISE_STREAM = 0x6E6F6973
"""Sets the noise's draws apart from those of crops and augmentation."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Training samples: ``x`` ``(N, C, *spatial)``, ``labels`` ``(N, *spatial)``, ``target`` ``(N, K, *spatial)``.

    ``numbers`` are the samples' places in the whole training, of which all their random draws are a function.
    ``progress`` is the share of the training that lies behind. ``soft`` ``(N, K, *spatial)`` are a teacher's cached
    probabilities, moved as ``x`` was.
    """

    x: Tensor
    labels: Tensor
    target: Tensor
    numbers: tuple[int, ...]
    iteration: int = 0
    progress: float = 0.0
    soft: Tensor | None = None

    def to(self, device: str) -> Batch:
        """Return the batch on a device."""
        x, labels, target = (t.to(device) for t in (self.x, self.labels, self.target))
        return replace(
            self, x=x, labels=labels, target=target, soft=None if self.soft is None else self.soft.to(device)
        )


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward and backward: the loss of ``logits(x) / temperature`` against ``target``, times ``weight``.

    ``moves``: the weights take a step after it; else its gradient waits to be summed with the next pass's.
    """

    x: Tensor
    target: Tensor
    weight: float = 1.0
    temperature: float = 1.0
    moves: bool = True


class Strategy(Protocol):
    """A defense at work. Passes are drawn one by one: the network may have moved between them."""

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Yield what the network learns from ``batch``."""


class Plain:
    """The batch as it is."""

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Yield the clean batch."""
        yield Pass(batch.x, batch.target)


@dataclass(frozen=True, eq=False)
class Distilling:
    """The teacher's soft labels, learned at temperature T (paper 001, eq. 4 and 7).

    They are those of the batch as augmented, or with ``cached`` those that the batch brings.
    """

    teacher: Segmenter
    label_temperature: float
    temperature: float
    bf16: bool = False
    cached: bool = False

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Yield the batch with the teacher's probabilities in place of the truth."""
        soft = batch.soft if self.cached else self.soft_labels(batch.x)
        if soft is None:
            raise AdvSegError("distillation with cached labels was given a batch without them")
        yield Pass(batch.x, soft, temperature=self.temperature)

    @torch.no_grad()
    def soft_labels(self, x: Tensor) -> Tensor:
        """Return the teacher's probabilities ``(N, K, *spatial)`` at its temperature, in float32 at least."""
        network = self.teacher.network.eval()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            logits = network(apply_intensity(x, self.teacher.spec.intensity))
        return self.teacher.scheme.probabilities(logits.to(x.dtype) / self.label_temperature)

    @torch.no_grad()
    def whole_labels(self, x: Tensor) -> Tensor:
        """Return the teacher's probabilities ``(N, K, *spatial)`` for whole samples, on the grid they are on.

        As its Segmenter segments: padded to its multiple, in its windows where it has them.
        """
        teacher = replace(self.teacher, spec=on_grid(self.teacher.spec), grid=None)
        logits = teacher.at("bf16" if self.bf16 else "fp32").logits(x)
        return self.teacher.scheme.probabilities(logits / self.label_temperature)


@dataclass(frozen=True, eq=False)
class Noisy:
    """The batch with uniform noise, and the clean one."""

    plan: UniformNoise
    seed: int

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Yield the noisy batch, then the clean one."""
        yield from _pair(batch, self.noisy(batch), self.plan.beta, self.plan.update)

    def noisy(self, batch: Batch) -> Tensor:
        """Return ``x`` with noise uniform within epsilon of each sample's and channel's range."""
        noise = np.empty(tuple(batch.x.shape), np.float32)
        for place, number in enumerate(batch.numbers):
            rng = np.random.default_rng((self.seed, NOISE_STREAM, number))
            noise[place] = rng.uniform(-1, 1, noise.shape[1:])
        return batch.x + torch.from_numpy(noise).to(batch.x) * self.plan.epsilon * _width(batch.x)


@dataclass(frozen=True, eq=False)
class Adversarial:
    """The batch under attack, and the clean one (paper 001, eq. 9)."""

    plan: AdversarialTraining
    attack: InnerAttack
    seed: int

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Yield the adversarial batch, made on the network as it now stands, then the clean one."""
        if self.plan.beta < 1:
            perturbed = self.attack(batch.x, batch.labels, self.epsilon(batch.progress), (self.seed, batch.iteration))
        else:
            perturbed = batch.x
        yield from _pair(batch, perturbed, self.plan.beta, self.plan.update)

    def epsilon(self, progress: float) -> float:
        """Return the radius once ``progress`` of the training is done."""
        return self.plan.epsilon * (1.0 if progress >= self.plan.ramp else progress / self.plan.ramp)


def build_strategy(
    plan: Defense, network: nn.Module, spec: Spec, *, training_loss: str, seed: int, device: str = "cpu",
    bf16: bool = False,
) -> Strategy:  # fmt: skip
    """Return the strategy of a plan for ``network``; BadRequest where its teacher or inner attack does not fit."""
    if isinstance(plan, Distillation):
        teacher, cached = load_teacher(plan, spec, device), plan.labels == "cached"
        divided = plan.label_temperature or teacher.trained_at
        return Distilling(teacher.segmenter, divided, plan.temperature, bf16, cached)
    if isinstance(plan, UniformNoise):
        return Noisy(plan, seed)
    if isinstance(plan, AdversarialTraining):
        precision: Precision = "bf16" if bf16 else "fp32"
        return Adversarial(plan, build_inner_attack(plan, network, spec, training_loss, precision), seed)
    return Plain()


def _pair(batch: Batch, perturbed: Tensor, beta: float, update: str) -> Iterator[Pass]:
    """Yield the perturbed batch, then the clean one, weighted ``1 - beta`` to ``beta``; a weight of 0 is left out.

    Two steps a batch weigh twice that, so that at ``beta = 0.5`` each is a step as plain training takes it.
    """
    if beta in (0, 1):
        yield Pass(batch.x if beta else perturbed, batch.target)
        return
    alone = update == "alternating"
    yield Pass(perturbed, batch.target, (1 - beta) * (2 if alone else 1), moves=alone)
    yield Pass(batch.x, batch.target, beta * (2 if alone else 1))


def _width(x: Tensor) -> Tensor:
    """Return each sample's and channel's range, ``(N, C, 1, …)``."""
    flat = x.flatten(2)
    return (flat.amax(2) - flat.amin(2)).view(*x.shape[:2], *[1] * (x.ndim - 2))
