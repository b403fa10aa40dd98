"""A segmenter that votes under Gaussian noise (randomized smoothing; Cohen et al. 2019, Fischer et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.ensemble import combined
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Statistics
from AdvSegLib.volumes import Image

DRAWS = 8


@dataclass(frozen=True, eq=False)
class Smoothed(Segmenter):
    """A model seen through Gaussian noise of standard deviation ``sigma``, a fraction of each channel's range.

    ``logits(x)`` are those of the mean probabilities over ``draws`` noises that a seed fixes: deterministic,
    differentiable, so that an attack sees through the smoothing (Salman et al. 2019). Certificates count hard votes
    instead: :func:`AdvSegLib.audit.certificates.certify`. ``scale`` fixes the range in source units a channel; without
    one it is taken from each input, as an unmodified pipeline would. Make one by :meth:`of`.
    """

    base: Segmenter | None = None
    sigma: float = 0.0
    draws: int = DRAWS
    seed: int = 0
    scale: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls,
        base: Segmenter,
        sigma: float,
        *,
        draws: int = DRAWS,
        seed: int = 0,
        scale: tuple[float, ...] | None = None,
    ) -> Smoothed:
        """Return ``base`` smoothed; BadRequest for noise that is none, or ranges that do not fit its channels."""
        if not 0 < sigma < float("inf"):
            raise BadRequest(f"smoothing needs a finite sigma above 0, not {sigma}")
        if draws < 1:
            raise BadRequest(f"smoothing needs at least one draw, not {draws}")
        channels = base.spec.channels
        if scale is not None and (len(scale) != len(channels) or not all(0 < s < float("inf") for s in scale)):
            raise BadRequest(f"smoothing needs a positive range for each of {', '.join(channels)}, not {scale}")
        spec = replace(base.spec, intensity=Intensity("none"), windows=None)
        return cls(base.network, spec, base.grid, base=base, sigma=sigma, draws=draws, seed=seed, scale=scale)

    def to(self, device: str | torch.device) -> Smoothed:
        """Move the model (in place, as torch does) and return the segmenter there."""
        return replace(self, base=self._base.to(device))

    def on(self, image: Image, statistics: Statistics = "recomputed") -> Smoothed:
        """Return this segmenter on ``image``'s grid; ``frozen`` statistics freeze the noise's range too."""
        self.check(image)
        frozen = statistics == "frozen" and self.scale is None
        scale = tuple(float(span) for span in image.ranges) if frozen else self.scale
        return replace(self, grid=image.grid, base=self._base.on(image, statistics), scale=scale)

    @property
    def _base(self) -> Segmenter:
        assert self.base is not None
        return self.base

    @property
    def can_checkpoint(self) -> bool:
        """True: draws can be run again one at a time on the way back, so that one's activations are held."""
        return True

    @property
    def last_size(self) -> tuple[int, ...] | None:
        """Spatial size of what the network was last given whole."""
        return self._base.last_size

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K, *spatial)`` of the mean probabilities over the draws, differentiably."""
        model, noises = self._ready(), self.noises(x, self.draws, self.seed)
        if self.checkpointed and torch.is_grad_enabled():
            seen = [
                checkpoint(model.logits, x + noise, use_reentrant=False, preserve_rng_state=False) for noise in noises
            ]
        else:
            seen = [model.logits(x + noise) for noise in noises]
        return combined(seen, self.scheme, "probabilities")

    def noises(self, x: Tensor, count: int, seed: int) -> Iterator[Tensor]:
        """Yield ``count`` noises ``(N, C, *spatial)`` in source units, the same for every sample but for its range."""
        generator = torch.Generator(device=x.device).manual_seed(seed)
        size = self.sigma * self.ranges(x)
        for _ in range(count):
            draw = torch.empty_like(x[:1], requires_grad=False).normal_(generator=generator)
            yield draw * size

    def ranges(self, x: Tensor) -> Tensor:
        """Return each channel's range in source units, ``(N or 1, C, 1, …)``: fixed, or that of ``x``."""
        shape = (-1, x.shape[1], *([1] * (x.ndim - 2)))
        if self.scale is not None:
            return x.new_tensor(self.scale).view(shape)
        flat = x.flatten(2)
        return (flat.amax(2) - flat.amin(2)).view(shape)

    def votes(self, x: Tensor, count: int, seed: int) -> NDArray[np.int64]:
        """Return how many of ``count`` noisy predictions of one image say background, then each label.

        ``x`` is ``(1, C, *spatial)``; the result ``(1 + labels, *spatial)`` sums to ``count``.
        """
        values = (0, *self.scheme.values)
        found = np.zeros((len(values), *x.shape[2:]), np.int64)
        for labels in self.predictions(x, count, seed):
            for place, value in enumerate(values):
                found[place] += labels == value
        return found

    def predictions(self, x: Tensor, count: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Yield the label map ``(*spatial)`` of one image ``(1, C, *spatial)`` under each of ``count`` noises."""
        model = self._ready()
        with torch.no_grad():
            for noise in self.noises(x, count, seed):
                yield model.predict(x + noise)[0].cpu().numpy()

    def _ready(self) -> Segmenter:
        """Return the model as this segmenter is asked to run it."""
        model = self._base if self._base.precision == self.precision else self._base.at(self.precision)
        if self.spec.windows is None:
            return model
        return replace(model, spec=replace(model.spec, windows=self.spec.windows))
