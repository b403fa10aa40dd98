"""Certificates of every voxel at once (SegCertify; Fischer, Baader, Vechev 2021, algorithm 2).

Noise is drawn ``n0`` times to guess each voxel's label and ``n`` times more to test it. The test's hypothesis is that
at most a share ``tau`` of all noises gives the guess. A voxel where it is rejected keeps its label under every change
of the image whose Euclidean norm, each channel divided by its range, is at most ``sigma * Phi^-1(tau)``; the others
abstain. With probability ``1 - alpha`` all certificates of an image hold together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.statistics import bonferroni_rejections, holm_rejections
from AdvSegLib.segmenters.smoothing import Smoothed
from AdvSegLib.volumes import Grid, Image, LabelMap

Correction = Literal["holm", "bonferroni"]
REJECTIONS = {"holm": holm_rejections, "bonferroni": bonferroni_rejections}


@dataclass(frozen=True)
class Terms:
    """What is promised: noise ``sigma`` (fraction of range), ``n0`` and ``n`` draws, agreement ``tau``, error.

    ``alpha`` is that of all voxels together; ``correction`` keeps it: ``holm`` (never weaker) or ``bonferroni``.
    """

    sigma: float
    n0: int = 10
    n: int = 100
    tau: float = 0.75
    alpha: float = 0.001
    correction: Correction = "holm"

    def __post_init__(self) -> None:
        """Refuse numbers that promise nothing."""
        if not 0 < self.sigma < math.inf:
            raise BadRequest(f"sigma must be a finite number above 0, not {self.sigma}")
        if self.n0 < 1 or self.n < 1:
            raise BadRequest(f"n0 and n must be at least 1, not {self.n0} and {self.n}")
        if not 0.5 <= self.tau < 1:
            raise BadRequest(f"tau must be at least 0.5 and below 1, not {self.tau}")
        if not 0 < self.alpha < 1:
            raise BadRequest(f"alpha must lie between 0 and 1, not {self.alpha}")
        if self.correction not in REJECTIONS:
            raise BadRequest(f"unknown correction '{self.correction}'; known: {', '.join(REJECTIONS)}")

    @property
    def radius(self) -> float:
        """The certified L2 radius in units of the channels' ranges, ``sigma * Phi^-1(tau)``."""
        from scipy.stats import norm

        return float(self.sigma * norm.ppf(self.tau))


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is certified of one image: ``labels`` as guessed, where they ``hold``, p values; all ``(*spatial)``.

    ``ranges`` are the channels' ranges in source units that sigma and radius are fractions of; ``notes`` says what is
    weak about it.
    """

    terms: Terms
    labels: NDArray[np.int64]
    hold: NDArray[np.bool_]
    p_values: NDArray[np.float64] = field(repr=False)
    grid: Grid
    scheme: LabelScheme
    ranges: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def abstain(self) -> NDArray[np.bool_]:
        """Where nothing is promised."""
        return ~self.hold

    @property
    def radii(self) -> NDArray[np.float64]:
        """Certified radius of each voxel ``(*spatial)`` in units of range; 0 where it abstains."""
        return np.where(self.hold, self.terms.radius, 0.0)

    @property
    def abstain_value(self) -> int:
        """The label value that stands for abstaining: one above the scheme's."""
        return max(self.scheme.values) + 1

    def label_map(self) -> LabelMap:
        """Return the certified labels, abstaining voxels as a label of their own."""
        array = np.where(self.hold, self.labels, self.abstain_value).astype(np.int32)
        return LabelMap(array, self.grid, {**self.scheme.names, self.abstain_value: "abstain"})


def certify(model: Smoothed, image: Image, terms: Terms, *, seed: int = 0) -> Certificate:
    """Certify every voxel of ``image``; the noise's range is the image's, or the model's fixed one.

    Raises BadRequest where ``terms.n`` is too small for any voxel to be certified, with the number that would do, and
    where a channel has no range: without noise nothing is shown.
    """
    voxels = math.prod(image.grid.shape)
    check_samples(terms, voxels)
    if model.sigma != terms.sigma:
        raise BadRequest(f"the model is smoothed with sigma {model.sigma}, the terms say {terms.sigma}")
    _check_ranges(model, image)
    bound = model.on(image, "recomputed")
    x = bound.tensor(image)
    guess = np.asarray((0, *model.scheme.values))[bound.votes(x, terms.n0, 2 * seed).argmax(0)]
    agreeing = np.zeros(guess.shape, np.int64)
    for labels in bound.predictions(x, terms.n, 2 * seed + 1):
        agreeing += labels == guess
    p_values = binomial_p_values(terms.n, terms.tau)[agreeing]
    hold = REJECTIONS[terms.correction](p_values, terms.alpha)
    ranges = tuple(model.scale or (float(span) for span in image.ranges))
    return Certificate(terms, guess, hold, p_values, image.grid, model.scheme, ranges, notes(terms, voxels, model))


def binomial_p_values(n: int, tau: float) -> NDArray[np.float64]:
    """Return ``P(X >= k)``, X binomial of ``n`` and ``tau``, for k = 0 … n: the p value of k agreeing draws.

    >>> binomial_p_values(2, 0.5).tolist()
    [1.0, 0.75, 0.25]
    """
    from scipy.stats import binom

    return np.asarray(binom.sf(np.arange(n + 1) - 1, n, tau), np.float64)


def samples_needed(voxels: int, alpha: float, tau: float, dissent: int = 0) -> int:
    """Return the fewest draws with which a voxel can be certified though ``dissent`` of them disagree.

    The smallest p value of all must be at most ``alpha / voxels``, under Bonferroni and Holm alike; where all agree it
    is ``tau ** n``.

    >>> samples_needed(256 * 256, 0.001, 0.75), samples_needed(256 * 256, 0.001, 0.75, dissent=5)
    (63, 109)
    """
    from scipy.stats import binom

    low, high = dissent, dissent + 1
    while binom.sf(high - dissent - 1, high, tau) > alpha / voxels:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = binom.sf(middle - dissent - 1, middle, tau) <= alpha / voxels
        low, high = (low, middle) if enough else (middle, high)
    return int(high)


def tolerated_dissent(n: int, voxels: int, alpha: float, tau: float) -> int | None:
    """Return how many of ``n`` draws may disagree at the first voxel certified; None where none can be certified."""
    allowed = np.flatnonzero(binomial_p_values(n, tau) <= alpha / voxels)
    return int(n - allowed[0]) if len(allowed) else None


def check_samples(terms: Terms, voxels: int) -> None:
    """Raise BadRequest where no voxel of so many could be certified, whatever the model says."""
    needed = samples_needed(voxels, terms.alpha, terms.tau)
    if terms.n < needed:
        raise BadRequest(
            f"n = {terms.n} draws certify no voxel of {voxels}: even if all agree, p = {terms.tau**terms.n:.3g} is "
            f"above alpha / voxels = {terms.alpha / voxels:.3g}; take n = {needed} at least, or a smaller tau"
        )


def _check_ranges(model: Smoothed, image: Image) -> None:
    """Raise BadRequest where the noise would be a fraction of nothing."""
    flat = [name for name, span in zip(image.names, image.ranges, strict=True) if not span > 0]
    if model.scale is None and flat:
        raise BadRequest(f"channel {', '.join(flat)} is the same everywhere, so a fraction of its range is no noise; "
                         "fix the ranges (--range)")  # fmt: skip


def notes(terms: Terms, voxels: int, model: Smoothed) -> tuple[str, ...]:
    """Return what a reader of a certificate must know."""
    dissent = tolerated_dissent(terms.n, voxels, terms.alpha, terms.tau)
    found = [
        f"of {terms.n} draws at most {dissent} may disagree where few voxels are certified; a voxel that disagrees in "
        f"one of ten needs about {ample_samples(voxels, terms)} draws"
    ]
    if terms.radius == 0:
        found.append("tau is 0.5: the certified radius is 0")
    if model.scale is None:
        found.append(
            "the noise's size was taken from this image: the certificate is of smoothing with that size in source "
            "units; give a fixed range where the scanner has one"
        )
    return tuple(found)


def ample_samples(voxels: int, terms: Terms, agreement: float = 0.9) -> int:
    """Return the fewest draws, to 5 %, at which a voxel that agrees this often is certified in nine cases of ten.

    Judged at Bonferroni's level; 0 where ``agreement`` is not above tau, and no number would do.
    """
    from scipy.stats import binom

    if agreement <= terms.tau:
        return 0
    n = samples_needed(voxels, terms.alpha, terms.tau)
    while True:
        dissent = tolerated_dissent(n, voxels, terms.alpha, terms.tau)
        if dissent is not None and binom.sf(n - dissent - 1, n, agreement) >= 0.9:
            return n
        n = max(n + 1, round(1.05 * n))


def certified_scores(certificate: Certificate, truth: LabelMap) -> dict[str, Any]:
    """Return how much of ``truth`` is certified: shares of voxels, and Dice that no attack in the radius undercuts.

    ``worst_dice`` of a label lets an attacker decide every abstaining voxel: inside the truth it is lost, outside it
    is falsely found. None where nothing holds the label and nothing could.
    """
    true, guess, hold = truth.array, certificate.labels, certificate.hold
    worst, plain = {}, {}
    for label in certificate.scheme.labels:
        here, found = true == label.value, guess == label.value
        kept = int((here & found & hold).sum())
        claimed = int((found & hold).sum()) + int((~hold & ~here).sum())
        both = int(here.sum()) + int(found.sum())
        plain[label.name] = 2 * int((here & found).sum()) / both if both else None
        most = int(here.sum()) + claimed
        worst[label.name] = 2 * kept / most if most else None
    return {
        "certified_correct": float((hold & (guess == true)).mean()),
        "certified_wrong": float((hold & (guess != true)).mean()),
        "abstain": float((~hold).mean()),
        "dice": {**plain, "mean": _mean(plain)},
        "worst_dice": {**worst, "mean": _mean(worst)},
    }


def _mean(scores: dict[str, float | None]) -> float | None:
    present = [value for value in scores.values() if value is not None]
    return float(np.mean(present)) if present else None
