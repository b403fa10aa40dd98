"""What a recipe's ``defense`` section may say. Light: no torch; :mod:`AdvSegLib.defenses.strategies` trains by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from AdvSegLib.errors import BadRequest
from AdvSegLib.loss_names import LOSS_NAMES
from AdvSegLib.parameters import Parameters, make, parameter

INNER_ATTACKS = ("fgsm", "i-fgsm", "pgd", "segpgd", "cospgd", "mi-fgsm")
"""Attacks that can run inside a training: a fixed number of gradient steps within an L-inf ball."""
UPDATES = ("alternating", "summed")
LABELS = ("per-step", "cached")
_LABELS = (
    "per-step: of each batch as augmented; cached: of each training sample once, whole and before augmentation, then "
    "cropped and moved with it"
)
_UPDATE = (
    "alternating: a step of the weights on the perturbed batch, then one on the clean batch, as the paper trains; "
    "summed: one step on the weighted sum of both losses, as eq. 9 is written"
)


@dataclass(frozen=True)
class Defense(Parameters):
    """How a network is trained to resist. Subclasses declare their parameters."""

    source: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the section as JSON data."""
        return {"kind": self.name, **asdict(self)}


@dataclass(frozen=True)
class Undefended(Defense):
    """Plain training."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "undefended"


@dataclass(frozen=True)
class Distillation(Defense):
    """Defensive distillation: a student of the same hyper-parameters learns a teacher's soft labels, at temperature T.

    Soft labels are the teacher's output as it was trained to give it: ``F(X)`` of paper 001. A teacher trained at T
    needs division by T to give it (``label_temperature`` T), one trained without temperature none. By default the
    division is by the temperature that the teacher's own metadata records.
    """

    name: ClassVar[str] = "distillation"
    summary: ClassVar[str] = "defensive distillation"
    source: ClassVar[str] = "Liu et al. 2021, eq. 4 and 7; Papernot et al. 2016"

    temperature: float = parameter(100.0, "T: the student's logits are divided by it in training", minimum=1e-3)
    teacher: str = parameter("", "the teacher: a model's name in the catalogue, or a bundle's folder")
    label_temperature: float | None = parameter(
        None, "the teacher's logits are divided by it; default: the temperature it was trained at", minimum=1e-3
    )
    labels: str = parameter("per-step", f"when the teacher is asked; {_LABELS}", choices=LABELS)
    scaled_output: bool = parameter(
        False,
        "the last layer starts and learns T times larger, so that logits grow with T at the teacher's learning rate",
    )

    def __post_init__(self) -> None:
        """Refuse a student without a teacher."""
        super().__post_init__()
        if not self.teacher:
            raise BadRequest("distillation: teacher must name a model or a bundle's folder")

    def to_dict(self) -> dict[str, Any]:
        """Return the section as JSON data; ``labels`` is left out at its default, as before there was a choice."""
        section = super().to_dict()
        if self.labels == "per-step":
            del section["labels"]
        return section


@dataclass(frozen=True)
class UniformNoise(Defense):
    """Augmentation by uniform noise in the L-inf ball; the noisy batch is learned first, then the clean one."""

    name: ClassVar[str] = "noise"
    summary: ClassVar[str] = "uniform noise augmentation"
    source: ClassVar[str] = "Liu et al. 2021, Results"

    epsilon: float = parameter(0.01, "radius, a fraction of each sample's and channel's range", minimum=0.0, maximum=1)
    beta: float = parameter(0.5, "weight of the clean batch; the noisy one has 1 - beta", minimum=0.0, maximum=1)
    update: str = parameter("alternating", _UPDATE, choices=UPDATES)


@dataclass(frozen=True)
class AdversarialTraining(Defense):
    """Adversarial training: ``beta L(x) + (1 - beta) L(x_adv)``, the attack made on the network as it stands.

    With ``beta = 0`` and PGD it is Madry's; ``ramp`` lets epsilon grow from 0, which spares a warm-started network
    the collapse of its first steps.
    """

    name: ClassVar[str] = "adversarial"
    summary: ClassVar[str] = "adversarial training"
    source: ClassVar[str] = "Liu et al. 2021, eq. 9; Goodfellow et al. 2015; Madry et al. 2018"

    epsilon: float = parameter(0.05, "radius, a fraction of each sample's and channel's range", minimum=0.0, maximum=1)
    beta: float = parameter(0.5, "weight of the clean batch; the adversarial one has 1 - beta", minimum=0.0, maximum=1)
    update: str = parameter("alternating", _UPDATE, choices=UPDATES)
    attack: str = parameter("fgsm", "the inner attack", choices=INNER_ATTACKS)
    steps: int | None = parameter(None, "its steps; default: the attack's own number", minimum=1)
    alpha: float | None = parameter(None, "its step as a fraction of epsilon; default: the attack's own", minimum=0.0)
    random_start: bool = parameter(False, "begin at a random point of the ball")
    loss: str | None = parameter(
        None, "the loss it climbs; default: the training's, or the attack's own where that is fixed",
        choices=LOSS_NAMES,
    )  # fmt: skip
    ramp: float = parameter(0.0, "share of the iterations in which epsilon grows to its value", minimum=0.0, maximum=1)


DEFENSES: dict[str, type[Defense]] = {
    defense.name: defense for defense in (Undefended, Distillation, AdversarialTraining, UniformNoise)
}


def read_defense(section: Mapping[str, Any]) -> Defense:
    """Read ``{"kind": …, …}``; BadRequest for an unknown kind, parameter or value."""
    if not isinstance(section, Mapping) or not isinstance(section.get("kind"), str):
        raise BadRequest(f"defense must be a mapping with a kind, one of {', '.join(DEFENSES)}")
    values = {key: value for key, value in section.items() if key != "kind"}
    return make("defense", DEFENSES, section["kind"], values)


def describe_defenses() -> list[dict[str, Any]]:
    """Return every defense as JSON data: name, summary, source, parameters."""
    return [
        {"name": kind.name, "summary": kind.summary, "source": kind.source, "parameters": kind.parameters()}
        for kind in DEFENSES.values()
    ]
