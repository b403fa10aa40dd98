"""Points drawn from the ball around the clean image."""

from __future__ import annotations

import torch
from torch import Tensor

from AdvSegLib.attacks.walking import Walk, per_sample


def random_point(walk: Walk) -> Tensor:
    """Draw a point of the ball, ``(N, C, *spatial)``: uniform in the cube (``linf``) or in the ball (``l2``).

    The samples of a batch share the draw, each scaled to its own budget: none depends on its neighbours.
    """
    clean, budget = walk.clean, walk.budget
    shape = tuple(clean.shape[1:])
    if budget.norm == "linf":
        return clean + (2 * walk.uniform(*shape) - 1) * budget.epsilon * budget.unit(clean)
    normal = torch.empty_like(clean[:1]).normal_(generator=walk.generator)
    length: Tensor = torch.linalg.vector_norm(normal.flatten(1), dim=1)
    factor = budget.epsilon * walk.uniform().view(1) ** (1 / clean[0].numel()) / length
    return clean + normal * per_sample(factor, normal) * budget.unit(clean)
