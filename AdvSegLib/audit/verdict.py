"""Whether a defense defends or only hides its gradients. Light: numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from AdvSegLib.audit.checks import Check, Scores, average
from AdvSegLib.audit.suite import SEEING

GAP = 0.10
"""Mean Dice by which attacks on the model's own softmax must overstate it for the defense to count as masked."""
SHARE = 0.15
"""And the share of all the harm that is seen through which they must miss."""
KEPT = 0.5
"""The share of the headline that a defense may lose to attacks that see through, and still defend."""
EVIDENCE = ("zero_gradients", "scale", "black_box", "noise")
"""Checks whose failure says that the gradient, not the model, is what holds."""
GROUNDS = ("unbounded", "white_box", "something_to_lose", "repeatable")
"""Checks without which nothing can be concluded."""


@dataclass(frozen=True)
class Verdict:
    """``masked`` where the defense only hides gradients, with ``reasons``; ``conclusive`` unless too little was seen.

    ``headline`` is the mean Dice left by the worst plain attack of each case, ``seen_through`` by the worst that needs
    no gradient of its softmax, ``worst`` by the worst of all.
    """

    masked: bool
    conclusive: bool
    reasons: tuple[str, ...]
    headline: float
    seen_through: float
    worst: float

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON data."""
        return {**asdict(self), "reasons": list(self.reasons)}


def decide(scores: Scores, checks: Sequence[Check], failed: Sequence[str] = ()) -> Verdict:
    """Return the verdict on scores and checks; ``failed`` names the attacks that could not be run.

    Masked needs all three: a headline that attacks which see through undercut by :data:`GAP` and :data:`SHARE`; proof
    in the gradient, in the scale of the logits, or in attacks without a gradient being the stronger ones; and at most
    :data:`KEPT` of the headline left, since a defense that keeps more does not *only* hide its gradients. That a
    headline overstates is told either way.
    """
    headline, worst = scores.headline, scores.floor
    seen = average(scores.worst(scores.keys(SEEING)))
    evidence = [check.said for check in checks if check.name in EVIDENCE and check.passed is False]
    harm = average(scores.clean) - seen
    overstated = headline - seen >= max(GAP, SHARE * harm)
    masked = overstated and bool(evidence) and seen <= KEPT * headline
    doubts = [f"{check.title}: {check.said}" for check in checks if check.name in GROUNDS and check.passed is False]
    doubts += [f"{key} could not be run" for key in failed]
    reasons = []
    if overstated:
        reasons.append(
            f"attacks on its own softmax leave mean Dice {headline:.3f}, attacks that see through leave {seen:.3f}"
        )
        reasons += evidence
    return Verdict(masked, not doubts, tuple(reasons + doubts), headline, seen, worst)
