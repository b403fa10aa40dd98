"""Square (Andriushchenko et al. 2020): random squares, in 3-D cubes, kept where the loss improves. Queries only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Attack
from AdvSegLib.errors import BadRequest
from AdvSegLib.loss_names import LOSS_NAMES
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10000 queries: the share of voxels tried at once is halved after these."""


@dataclass(frozen=True)
class Square(Attack):
    """Begin at stripes of +-epsilon; try squares of +-epsilon, one sign a channel; keep what improves the loss.

    A square covers a share ``p`` of the image, which falls as the paper's schedule has it. In 3-D it is a cube, and
    stripes are rods along the first axis. The samples of a batch share squares and signs; each accepts its own.
    """

    name: ClassVar[str] = "square"
    summary: ClassVar[str] = "Square: random search with squares or cubes, by queries only, without gradients"
    source: ClassVar[str] = "Andriushchenko et al. 2020, algorithms 1 and 2"
    takes_gradient: ClassVar[bool] = False
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    """The norms whose ball it can search."""

    steps: int = parameter(1000, "number of squares tried, each one query", minimum=1)
    share: float = parameter(0.05, "share p of the voxels in the first squares", minimum=0.0, maximum=1.0)
    loss: str = parameter("margin", "loss whose value decides what is kept", choices=LOSS_NAMES)

    def start(self, walk: Walk) -> Tensor:
        """Return the stripes: one random sign for each channel and line along the first axis."""
        if walk.budget.norm not in self.norms:
            raise BadRequest("square works in linf only: its squares are corners of that ball")
        channels, _, *others = walk.clean.shape[1:]
        epsilon = walk.budget.epsilon * walk.budget.unit(walk.clean)
        return walk.clean + self._signs(walk, channels, 1, *others) * epsilon

    def merit(self, look: Look) -> Tensor:
        """Return the loss, upwards."""
        assert look.value is not None
        return look.sign * look.value

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the best image so far with one more square."""
        assert walk.best is not None
        shape = tuple(walk.clean.shape[2:])
        corner = walk.uniform(len(shape))[0].tolist()
        signs = self._signs(walk, walk.clean.shape[1], *[1] * len(shape))
        place = [slice(None), slice(None)]
        for u, n, side in zip(corner, shape, sides(self.share_at(look.step), shape), strict=True):
            first = int(u * (n - side + 1))
            place.append(slice(first, first + side))
        tried, square = walk.best.clone(), tuple(place)
        tried[square] = walk.clean[square] + signs * walk.budget.epsilon * walk.budget.unit(walk.clean)
        return tried

    def share_at(self, step: int) -> float:
        """Return the share of voxels tried at ``step``, by the paper's schedule scaled to the number of steps."""
        query = int(step / self.steps * 10000)
        return self.share * 0.5 ** sum(query > after for after in HALVED_AFTER)

    @staticmethod
    def _signs(walk: Walk, *shape: int) -> Tensor:
        return 2.0 * (walk.uniform(*shape) < 0.5) - 1.0


def sides(share: float, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sides of a square or cube with ``share`` of the voxels: at least one voxel, at most the axis.

    >>> sides(0.05, (100, 200))
    (32, 32)
    """
    side = round((share * math.prod(shape)) ** (1 / len(shape)))
    return tuple(min(max(side, 1), n) for n in shape)
