"""MI-FGSM (Dong et al. 2018), and what other attacks can take of it: momentum and diverse inputs (Xie et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Attack
from AdvSegLib.errors import BadRequest
from AdvSegLib.loss_names import LOSS_NAMES
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk
    from AdvSegLib.budgets import Budget
    from AdvSegLib.segmenters.segmenter import Segmenter


@dataclass(frozen=True)
class DiverseInputs(Attack):
    """An attack whose gradients may be taken at randomly shrunk and shifted images (DI-FGSM, Xie et al. 2019).

    Classification lets the transformed image keep its label; here the logits are brought back to the image's own
    voxels, so that loss and target still meet. The paper enlarges 299 to at most 330 pixels and pads to 330; a
    segmenter may know one size only, so this shrinks and pads back to the size it had, with the lowest valid value.
    """

    diversity: float = parameter(
        0.0,
        "share of steps whose gradient is taken at a randomly shrunk and shifted image, for transfer; those steps' "
        "loss and overlaps are the transformed image's",
        minimum=0.0,
        maximum=1.0,
    )
    diversity_scale: float = parameter(
        0.9, "smallest size of the shrunk image, as a share of each axis", minimum=0.05, maximum=1.0
    )

    def __post_init__(self) -> None:
        """Refuse to stop by predictions that are not those of the image itself."""
        super().__post_init__()
        if self.diversity and self.stop_at is not None:
            raise BadRequest(
                f"{self.name}: stop_at needs the plain image's prediction; give it or diversity, not both"
            )

    def logits(self, segmenter: Segmenter, x: Tensor, walk: Walk) -> Tensor:
        """Return the logits of ``x``; where a gradient is asked for, now and then through a smaller image."""
        if not self.diversity or not x.requires_grad:
            return super().logits(segmenter, x, walk)
        from AdvSegLib.attacks.diversity import draw, seen_smaller

        chosen, small = draw(walk, tuple(x.shape[2:]), self.diversity_scale)
        if chosen >= self.diversity:
            return super().logits(segmenter, x, walk)
        return seen_smaller(segmenter.logits, x, small, walk.budget.low)


def accumulated(walk: Walk, look: Look, decay: float) -> Tensor:
    """Return ``g <- decay g + grad / |grad|_1`` (Dong et al. 2018, eq. 6), remembered in ``walk.memory``.

    The L1 norm is the mean over voxels, of the gradient per unit of the budget: as all steps of a walk share the voxel
    count, the direction is that of the sum's. A gradient of 0 adds nothing.
    """
    assert look.gradient is not None
    size = (look.gradient * walk.budget.unit(look.x)).flatten(1).abs().mean(1).view(-1, *[1] * (look.x.ndim - 1))
    velocity = look.gradient / size.where(size > 0, 1)
    if "velocity" in walk.memory:
        velocity = decay * walk.memory["velocity"] + velocity
    walk.memory["velocity"] = velocity
    return velocity


@dataclass(frozen=True)
class MomentumFGSM(DiverseInputs):
    """``x <- x + alpha sign(g)`` with ``g`` the decaying sum of normalised gradients and ``alpha N = epsilon``."""

    name: ClassVar[str] = "mi-fgsm"
    summary: ClassVar[str] = "Momentum iterative FGSM: steps along accumulated gradients, made to transfer"
    source: ClassVar[str] = "Dong et al. 2018, algorithm 1; diversity: Xie et al. 2019"

    steps: int = parameter(10, "number of steps N; each is epsilon / N", minimum=1)
    decay: float = parameter(1.0, "share of the accumulated gradient that each step keeps; 0 is i-fgsm", minimum=0.0)
    loss: str = parameter("ce", "loss whose gradient is followed", choices=LOSS_NAMES)

    def stride(self, budget: Budget) -> float:
        """Return alpha = epsilon / N."""
        return budget.epsilon / self.steps

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return a stride along the accumulated gradient."""
        look.gradient = accumulated(walk, look, self.decay)
        return super().advance(walk, look)
