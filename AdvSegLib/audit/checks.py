"""What must be true of attacks on a model before its numbers mean anything. Light: numbers only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from AdvSegLib.audit.suite import BLACK_BOX, OWN_SOFTMAX, Trial

TOLERANCE = 0.02
"""Mean Dice that a stronger attack may be weaker by before it counts."""
SCALE_GAIN = 0.10
"""Mean Dice that an attack may gain by another scale of the logits before the scale counts as what defends."""
DEAD_GRADIENT = 0.05
"""Share of exactly zero gradient from which the gradient counts as hidden."""
NOTHING_LEFT = 0.05
"""Mean Dice below which an unbounded attack counts as having destroyed everything."""
LEAK = 0.002
"""Mean Dice by which FGSM examples must be scored above clean ones to count as a leak of labels."""
WORTH = 0.2
"""Mean Dice on clean images from which there is something to lose: twice what a verdict must be able to see."""
REPEATS = 0.001
"""Share of labelled voxels that may differ between two looks at one image (a GPU's sums come in any order)."""
HARMLESS = 0.05
"""Mean Dice that the worst attack must cost at least for the budget to say anything."""


@dataclass(frozen=True)
class Scores:
    """Mean Dice of each case, clean and after each trial that ran."""

    clean: Sequence[float]
    trials: Mapping[str, Sequence[float]]
    roles: Mapping[str, str]

    @classmethod
    def of(cls, clean: Sequence[float], suite: Sequence[Trial], found: Mapping[str, Sequence[float]]) -> Scores:
        """Return the scores of the trials that ran, with the role of each."""
        return cls(clean, found, {trial.key: trial.role for trial in suite if trial.key in found})

    def keys(self, roles: Iterable[str]) -> list[str]:
        """Return the trials of these roles."""
        wanted = tuple(roles)
        return [key for key, role in self.roles.items() if role in wanted]

    def mean(self, key: str) -> float:
        """Return a trial's mean over cases."""
        return average(self.trials[key])

    def worst(self, keys: Iterable[str]) -> list[float]:
        """Return the lowest Dice of each case over some trials and the clean image: an attacker may leave it alone."""
        return [min(values) for values in zip(self.clean, *(self.trials[key] for key in keys), strict=True)]

    def strongest(self, roles: Iterable[str]) -> tuple[str, float] | None:
        """Return the trial of these roles that leaves the least, and what it leaves."""
        found = [(self.mean(key), key) for key in self.keys(roles)]
        if not found:
            return None
        left, key = min(found)
        return key, left

    @property
    def bounded(self) -> list[str]:
        """Every trial within the budget."""
        return [key for key, role in self.roles.items() if role != "unbounded"]

    @property
    def headline(self) -> float:
        """Mean over cases of the worst case on the model's own softmax: what a paper would report."""
        return average(self.worst(self.keys(OWN_SOFTMAX)))

    @property
    def floor(self) -> float:
        """Mean over cases of the worst case over everything within the budget."""
        return average(self.worst(self.bounded))


@dataclass(frozen=True)
class Check:
    """One check: whether it passed, None where it could not be made, and the numbers in words."""

    name: str
    title: str
    passed: bool | None
    said: str

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON data."""
        return asdict(self)


def run_checks(scores: Scores, gradients: Sequence[Mapping[str, float]], changed: Sequence[float] = ()) -> list[Check]:
    """Return every check of an audit, in the order a reader wants them.

    ``changed`` is, for each case, the share of its labelled voxels that differ when it is segmented twice.
    """
    return [
        zero_gradients(gradients), scale(scores), black_box(scores), noise(scores), iterative(scores),
        more_steps(scores), unbounded(scores), white_box(scores), label_leak(scores), something_to_lose(scores),
        repeatable(changed),
    ]  # fmt: skip


def zero_gradients(gradients: Sequence[Mapping[str, float]]) -> Check:
    """Is the gradient of the model's own softmax alive?"""
    own, scaled = (average([facts[name] for facts in gradients]) for name in ("zero_share", "zero_share_scaled"))
    said = (
        f"{100 * own:.1f} % of the input gradient is exactly zero on its own softmax, {100 * scaled:.1f} % on scaled"
    )
    return Check("zero_gradients", "the gradient is alive", own < DEAD_GRADIENT, f"{said} logits")


def scale(scores: Scores) -> Check:
    """Does PGD do no better, though given fewer steps, once the logits are divided by something?"""
    title = "the scale of the logits defends nothing"
    rivals = [key for key in scores.roles if key.startswith("pgd-dice-T") or key == "pgd-dice-scaled"]
    if "pgd-dice" not in scores.trials or not rivals:
        return Check("scale", title, None, "not run")
    left, key = min((scores.mean(key), key) for key in rivals)
    plain = min(scores.mean(key) for key in ("pgd-dice", *_other_steps(scores)))
    said = f"PGD, with up to twice the steps, leaves {plain:.3f}; {_named(key)} PGD leaves {left:.3f}"
    return Check("scale", title, plain - left < SCALE_GAIN, said)


def black_box(scores: Scores) -> Check:
    """Is an attack that does not see the model weaker than the plain white-box one?"""
    title = "no black box beats its white box"
    best = scores.strongest(BLACK_BOX)
    if best is None or not scores.keys(OWN_SOFTMAX):
        return Check("black_box", title, None, f"no {'black-box' if best is None else 'white-box'} attack ran")
    key, left = best
    said = f"white-box attacks on its own softmax leave {scores.headline:.3f}, {key} leaves {left:.3f}"
    return Check("black_box", title, left >= scores.headline - TOLERANCE, said)


def noise(scores: Scores) -> Check:
    """Is noise of the same size weaker than the plain attack?"""
    title = "noise is weaker than the attack"
    if not scores.keys(("control",)) or not scores.keys(OWN_SOFTMAX):
        return Check("noise", title, None, "not run")
    left = scores.mean("noise")
    said = f"noise of the same size leaves {left:.3f}, the attack {scores.headline:.3f}"
    if average(scores.clean) - scores.floor < HARMLESS:
        return Check("noise", title, None, f"{said}: within this budget nothing does harm")
    return Check("noise", title, scores.headline < left - TOLERANCE, said)


def iterative(scores: Scores) -> Check:
    """Do many steps beat one?"""
    title = "iterative beats single-step"
    if not {"fgsm-dice", "pgd-dice"} <= set(scores.trials):
        return Check("iterative", title, None, "not run")
    one, many = scores.mean("fgsm-dice"), scores.mean("pgd-dice")
    return Check("iterative", title, many <= one + TOLERANCE, f"FGSM leaves {one:.3f}, PGD {many:.3f}")


def more_steps(scores: Scores) -> Check:
    """Is PGD never weaker with more steps?"""
    title = "more steps are never weaker"
    runs = _other_steps(scores)
    if len(runs) < 2 or "pgd-dice" not in scores.trials:
        return Check("more_steps", title, None, "not run")
    few, many = sorted(runs, key=lambda key: int(key[9:]))
    left = [scores.mean(key) for key in (few, "pgd-dice", many)]
    said = f"with half, all, twice the steps PGD leaves {', '.join(f'{value:.3f}' for value in left)}"
    return Check("more_steps", title, all(b <= a + TOLERANCE for a, b in pairwise(left)), said)


def unbounded(scores: Scores) -> Check:
    """Does an attack without a bound reach zero?"""
    title = "an unbounded attack leaves nothing"
    best = scores.strongest(("unbounded",))
    if best is None:
        return Check("unbounded", title, None, "not run")
    return Check("unbounded", title, best[1] <= NOTHING_LEFT, f"with the whole range as budget {best[1]:.3f} is left")


def white_box(scores: Scores) -> Check:
    """Are all white-box attacks together as strong as the best black box? Else this audit saw too little."""
    title = "the audit's own attacks see the model"
    best = scores.strongest(BLACK_BOX)
    seen = [key for key in scores.bounded if scores.roles[key] not in (*BLACK_BOX, "control")]
    if best is None or not seen:
        return Check("white_box", title, None, "not run")
    ours = average(scores.worst(seen))
    said = f"all white-box attacks together leave {ours:.3f}, the best black box {best[1]:.3f}"
    return Check("white_box", title, ours <= best[1] + TOLERANCE, said)


def label_leak(scores: Scores) -> Check:
    """Are FGSM examples scored no better than clean ones? (Kurakin et al. 2017: trained on FGSM, a model reads it.)"""
    title = "FGSM does not leak labels"
    if "fgsm-dice" not in scores.trials:
        return Check("label_leak", title, None, "not run")
    clean, fooled = average(scores.clean), scores.mean("fgsm-dice")
    return Check("label_leak", title, fooled <= clean + LEAK, f"clean {clean:.3f}, FGSM {fooled:.3f}")


def something_to_lose(scores: Scores) -> Check:
    """Does the model segment clean images at all? Of one that does not, attacks say nothing."""
    clean = average(scores.clean)
    return Check("something_to_lose", "there is something to lose", clean >= WORTH, f"clean {clean:.3f}")


def repeatable(changed: Sequence[float]) -> Check:
    """Does one image get the same labels twice? A model that draws at random needs attacks that average over draws."""
    title = "one image gets the same labels twice"
    if not changed:
        return Check("repeatable", title, None, "not run")
    most = max(changed)
    return Check("repeatable", title, most <= REPEATS, f"at most {100 * most:.2g} % of the labelled voxels differ")


def average(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def _other_steps(scores: Scores) -> list[str]:
    """Return the runs of PGD with fewer and more steps."""
    return [key for key in scores.trials if key.startswith("pgd-dice-") and key[9:].isdigit()]


def _named(key: str) -> str:
    return "on scaled logits" if key == "pgd-dice-scaled" else f"with logits divided by {key.rpartition('T')[2]}"
