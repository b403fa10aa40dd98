"""The smallest change that turns nearly every voxel: ALMA-prox (Rony et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from AdvSegLib.attacks.base import Attack
from AdvSegLib.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from AdvSegLib.attacks.walking import Look, Walk

AVERAGE = 0.8
"""Share that moving averages of multipliers and squared gradients keep (alpha)."""
CHECK, IMPROVED, GROWTH = 10, 0.95, 2.0
"""Every so many steps (M), constraints not down to this share (tau) get a penalty so many times stiffer (gamma)."""
TOGETHER = 10.0
"""What the multipliers sum up to at first, against a norm that counts once."""
STIFFNESS = 0.01
"""Where the stiffness rho of every constraint's penalty begins."""
LEAST, MOST, PACE = 0.1, 1.0, 0.02
"""Bounds and pace of the constraints' scale w: smaller once the attack succeeds, larger while it does not."""
STIFFEST = 1e15
"""Beyond it a penalty's gradient would leave float32; reached after more than 500 steps without any progress."""
FLAT = 1e-8
"""Gradients below this count as this when the step is scaled by them."""


@dataclass(frozen=True)
class ALMAProx(Attack):
    """Minimise the budget's norm of the change, with one constraint for each decision: that it is turned.

    An augmented Lagrangian holds the constraints; every step goes down its gradient, scaled voxel by voxel by the
    gradient's running size, and then takes the norm's proximal step in that metric, within the valid range. The
    smallest change that turned ``success`` of the decisions is returned; where none did, the one that turned most.
    The paper minimises the largest change; with ``--norm l2`` the same steps minimise the Euclidean one.
    """

    name: ClassVar[str] = "alma-prox"
    summary: ClassVar[str] = "ALMA-prox: the smallest change that turns nearly all voxels, found without a budget"
    source: ClassVar[str] = "Rony et al. 2023 and its authors' code"
    default_epsilon: ClassVar[float] = 1.0

    steps: int = parameter(500, "number of steps", minimum=1)
    success: float = parameter(0.99, "share of the voxels that must be turned", minimum=0.0, maximum=1.0)
    rate: float = parameter(0.001, "first step of every voxel, in units of the budget", minimum=0.0)
    multiplier: float | None = parameter(
        None,
        "where the constraints' multipliers mu begin; default: 10 over their number, at most 1. The paper's 1 takes "
        "hundreds of steps to fall to where the norm counts beside the constraints of 10000 voxels and more",
        minimum=1e-12,
        maximum=1.0,
    )
    variant: str = parameter(
        "paper",
        "authors: the slope of the penalty as their code has it, not as its derivative is",
        choices=("paper", "authors"),
    )
    final_rate: float = parameter(0.1, "share of the rate that is left at the last step", minimum=0.001, maximum=1.0)

    def start(self, walk: Walk) -> Tensor:
        """Return the clean image, and remember which norm is minimised and the first multipliers."""
        import torch

        walk.memory["euclidean"] = torch.tensor(walk.budget.norm == "l2", device=walk.clean.device)
        decisions = walk.target[:, 0] if walk.part.scheme.activation == "softmax" else walk.target
        first = min(1.0, TOGETHER / decisions[0].numel()) if self.multiplier is None else self.multiplier
        walk.memory["mu"] = torch.full_like(decisions, first, dtype=torch.float64)
        return walk.clean

    def objective(self, look: Look) -> Tensor:
        """Return the penalty, downwards for a target and with its sign turned otherwise; note the new multipliers."""
        from AdvSegLib.attacks.decisions import constraints
        from AdvSegLib.attacks.proximal import penalty, penalty_slope
        from AdvSegLib.attacks.walking import per_sample

        assert look.logits is not None
        raw = constraints(look.logits, look.target, look.scheme, look.sign)
        new, kept = self._judged(look, raw.detach())
        look.notes.update(new)
        scaled = per_sample(new["scale"], raw) * raw
        fixed = scaled.detach().double()
        slope = penalty_slope(fixed, new["rho"], new["mu"], published=self.variant == "authors")
        value = penalty(fixed, new["rho"], new["mu"]) + slope * (scaled - fixed)  # that value, with that slope
        return -look.sign * (kept * value).flatten(1).sum(1)

    def merit(self, look: Look) -> Tensor:
        """Return a number above 0 that falls with the norm where enough is turned, else the share turned, minus 1."""
        change = ((look.x - look.clean) / look.unit).flatten(1)
        norm = change.square().sum(1).sqrt().where(look.memory["euclidean"], change.abs().amax(1))
        return (1 / (1 + norm.double())).where(look.notes["turned"] >= self.success, look.notes["turned"] - 1)

    def fell_short(self, walk: Walk) -> Tensor:
        """Return whose best image did not turn enough."""
        assert walk.merit is not None
        return walk.merit <= 0

    def advance(self, walk: Walk, look: Look) -> Tensor:
        """Return the image after a gradient step on the penalty and a proximal step on the norm."""
        import torch

        from AdvSegLib.attacks.proximal import proximal
        from AdvSegLib.attacks.walking import per_sample

        assert look.gradient is not None
        memory, budget = walk.memory, walk.budget
        memory.update(look.notes)
        slope = -look.sign * look.gradient * budget.unit(look.x)
        size = memory.get("size", torch.zeros_like(slope))
        memory["size"] = torch.hypot(AVERAGE**0.5 * size, (1 - AVERAGE) ** 0.5 * slope)
        metric = (memory["size"] / (1 - AVERAGE ** (look.step + 1)) ** 0.5).clamp_min(FLAT)
        rate = self._rate(memory["found"], look)
        change = (look.x - walk.clean) / look.unit - per_sample(rate, slope) * (slope / metric)
        low, high = ((bound - walk.clean) / look.unit for bound in walk.bounds)
        return walk.clean + proximal(budget.norm, change, metric, rate, low, high) * look.unit

    def _rate(self, found: Tensor, look: Look) -> Tensor:
        """Return each sample's step: constant until its first success or half-time, then falling hyperbolically."""
        if self.final_rate == 1:
            return found.new_full(found.shape, self.rate)
        bend = self.final_rate / (1 - self.final_rate) * (look.steps - found).clamp_min(1)
        return self.rate * bend / ((look.step - found).clamp_min(0) + bend)

    def _judged(self, look: Look, raw: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the walk's memory after this look, and which constraints count at this step."""
        import torch

        from AdvSegLib.attacks.walking import per_sample
        from AdvSegLib.losses.weighted import pending

        old, step = look.memory, look.step
        assert look.logits is not None
        turned = ~pending(look.logits, look.target, look.scheme, look.sign)
        share = turned.flatten(1).double().mean(1)
        reached = share >= self.success
        half = float(look.steps // 2)
        found = old.get("found", raw.new_full((len(raw),), half))
        found = found.where(~reached | (found < half) | (step >= half), step)
        scale = old.get("scale", raw.new_full((len(raw),), MOST))
        scale = torch.where(reached, scale / (1 + PACE), scale / (1 - PACE)).clamp(LEAST, MOST)
        scaled = per_sample(scale, raw) * raw
        kept = _smallest(scaled, int((1 - self.success) * raw[0].numel() * step / max(look.steps - 1, 1)))
        mu, rho = old["mu"], old.get("rho", torch.full_like(raw, STIFFNESS, dtype=torch.float64))
        lately = turned | old["lately"] if "lately" in old else turned
        earlier = old.get("earlier", scaled)
        if step and (step + 1) % CHECK == 0:
            better = lately | (scaled * kept <= IMPROVED * earlier)
            rho = torch.where(better, rho, GROWTH * rho).clamp_max(STIFFEST)
            earlier, lately = scaled, torch.zeros_like(lately)
        if step:
            mu = self._multipliers(scaled, kept, rho, mu)
        new = {"found": found, "scale": scale, "mu": mu, "rho": rho, "lately": lately, "earlier": earlier}
        return {**new, "turned": share}, kept

    def _multipliers(self, scaled: Tensor, kept: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
        """Return multipliers moved towards the penalty's slope, which is 0 where a constraint does not count."""
        from AdvSegLib.attacks.proximal import penalty_slope

        slope = penalty_slope(scaled.double(), rho, mu, published=self.variant == "authors")
        return (AVERAGE * mu + (1 - AVERAGE) * (kept * slope)).clamp(1e-12, 1)


def _smallest(values: Tensor, dropped: int) -> Tensor:
    """Return which values of each sample are not among its ``dropped`` largest: those are the hardest to turn."""
    import torch

    flat = values.flatten(1)
    if not dropped:
        return torch.ones_like(values, dtype=torch.bool)
    return (flat <= flat.kthvalue(flat.shape[1] - dropped, dim=1, keepdim=True).values).view_as(values)
