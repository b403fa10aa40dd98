"""What an attack is for: away from a label map, or towards one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme


@dataclass(frozen=True, eq=False)
class Goal:
    """A label map ``(N, *spatial)`` of label values, and whether to approach it or to leave it.

    ``structures`` are the label values that count; empty counts all. Where only some do, losses and overlaps see those
    structures against everything else (paper 003's attack on the heart alone, which leaves the others to their fate).
    """

    labels: Tensor
    sign: int
    """+1 climbs the loss against ``labels``, -1 descends it."""
    structures: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a direction that is none."""
        if self.sign not in (1, -1):
            raise BadRequest(f"a goal's sign is +1 (away) or -1 (towards), not {self.sign}")

    def __repr__(self) -> str:
        """Say what is wanted, not the voxels."""
        kind = "Targeted" if self.sign < 0 else "Untargeted"
        only = f", only {list(self.structures)}" if self.structures else ""
        return f"{kind}(labels {tuple(self.labels.shape)}, values {torch.unique(self.labels).tolist()}{only})"


def Untargeted(truth: Tensor, structures: tuple[int, ...] = ()) -> Goal:  # noqa: N802 - reads as the field writes it
    """Away from ``truth``: ground truth, or the clean prediction."""
    return Goal(truth, +1, structures)


def Targeted(target: Tensor, structures: tuple[int, ...] = ()) -> Goal:  # noqa: N802 - reads as the field writes it
    """Towards ``target``."""
    return Goal(target, -1, structures)


def constant_target(like: Tensor, label: int) -> Tensor:
    """Return the target of paper 001's ti-FGSM: every voxel ``label``; ``like`` is ``(N, *spatial)``."""
    return torch.full_like(like, label)


@dataclass(frozen=True)
class Part:
    """Some structures of a scheme against everything else, as a smaller scheme of their own.

    ``scheme`` is the smaller one, ``kept`` the places of its labels among the whole scheme's.
    """

    scheme: LabelScheme
    kept: tuple[int, ...]
    whole: bool

    @classmethod
    def of(cls, scheme: LabelScheme, structures: Sequence[int] = ()) -> Part:
        """Return the part of ``scheme`` with the label values ``structures``; the whole where none is named."""
        scheme.check(list(structures), "structures")
        if 0 in structures:
            raise BadRequest("structures are foreground labels; 0 is the background")
        kept = tuple(k for k, value in enumerate(scheme.values) if not structures or value in structures)
        if len(kept) == len(scheme.labels):
            return cls(scheme, kept, True)
        return cls(LabelScheme(scheme.activation, tuple(scheme.labels[k] for k in kept)), kept, False)

    def masks(self, masks: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the masks of this part's labels, given one a label of the whole scheme."""
        return tuple(masks[k] for k in self.kept)

    def logits(self, logits: Tensor) -> Tensor:
        """Return the part's logits; of a softmax, the other classes join the background with their probabilities."""
        if self.whole:
            return logits
        return self._select(logits, lambda rest: rest.logsumexp(1, keepdim=True))

    def target(self, target: Tensor) -> Tensor:
        """Return the part's targets, given the whole scheme's."""
        return target if self.whole else self._select(target, lambda rest: rest.sum(1, keepdim=True))

    def _select(self, planes: Tensor, join: Callable[[Tensor], Tensor]) -> Tensor:
        if self.scheme.activation != "softmax":
            return planes[:, list(self.kept)]
        rest = [0, *(k for k in range(1, planes.shape[1]) if k - 1 not in self.kept)]
        return torch.cat([join(planes[:, rest]), planes[:, [k + 1 for k in self.kept]]], 1)
