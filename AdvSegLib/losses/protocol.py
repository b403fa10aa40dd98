"""The one form all losses have."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from AdvSegLib.labels import LabelScheme


class Loss(Protocol):
    """Lower for better agreement of ``logits`` with ``target``, one value a sample.

    ``logits`` and ``target`` are ``(N, K, *spatial)``, 2-D or 3-D, the result is ``(N,)``. ``target`` comes from
    :meth:`LabelScheme.encode`, or holds soft labels. ``sign`` is what the walk does with the value: +1 climbs it, away
    from ``target``, -1 descends it, towards ``target``. Losses that count only the voxels still to be turned need it;
    the others ignore it.
    """

    def __call__(self, logits: Tensor, target: Tensor, scheme: LabelScheme, *, sign: int = 1) -> Tensor:
        """Return the loss of each sample, ``(N,)``."""
