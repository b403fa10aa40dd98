"""Attacks by name: the one machine-readable list behind command line, GUI and docs. Light: needs no torch."""

from __future__ import annotations

from typing import Any

from AdvSegLib.attacks.apgd import APGD
from AdvSegLib.attacks.asma import ASMA, AdaptiveMask, StaticMask
from AdvSegLib.attacks.base import Attack
from AdvSegLib.attacks.dag import DAG
from AdvSegLib.attacks.gradient_sign import FGSM, PGD, IterativeFGSM, TargetedIterativeFGSM
from AdvSegLib.attacks.minimum_norm import ALMAProx
from AdvSegLib.attacks.momentum import MomentumFGSM
from AdvSegLib.attacks.pixelwise import CosPGD, SegPGD
from AdvSegLib.attacks.square import Square
from AdvSegLib.attacks.wang2022 import Wang2022FGSM
from AdvSegLib.errors import BadRequest
from AdvSegLib.parameters import make

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        FGSM, IterativeFGSM, TargetedIterativeFGSM, PGD, StaticMask, AdaptiveMask, ASMA, MomentumFGSM, SegPGD, CosPGD,
        APGD, DAG, ALMAProx, Square, Wang2022FGSM,
    )
}  # fmt: skip

__all__ = [
    "APGD",
    "ASMA",
    "ATTACKS",
    "DAG",
    "FGSM",
    "PGD",
    "ALMAProx",
    "AdaptiveMask",
    "Attack",
    "CosPGD",
    "IterativeFGSM",
    "MomentumFGSM",
    "SegPGD",
    "Square",
    "StaticMask",
    "TargetedIterativeFGSM",
    "Wang2022FGSM",
    "check_aim",
    "describe",
    "make_attack",
]


def make_attack(name: str, /, **parameters: Any) -> Attack:
    """Return the attack called ``name``; BadRequest for an unknown name, parameter or value.

    >>> make_attack("i-fgsm", steps=5)
    IterativeFGSM(stop_at=None, temperature=1.0, steps=5, loss='dice')
    """
    return make("attack", ATTACKS, name, parameters)


def describe() -> list[dict[str, Any]]:
    """Return every attack as JSON data: name, summary, source, aim, default budget, parameters."""
    return [
        {
            "name": attack.name,
            "summary": attack.summary,
            "source": attack.source,
            "aim": attack.aim,
            "default_epsilon": attack.default_epsilon,
            "parameters": attack.parameters(),
        }
        for attack in ATTACKS.values()
    ]


def check_aim(attack: Attack, *, targeted: bool) -> None:
    """Raise BadRequest where an attack cannot go the way asked for."""
    if attack.aim == "targeted" and not targeted:
        raise BadRequest(f"{attack.name} is targeted: give it a target label map")
    if attack.aim == "untargeted" and targeted:
        raise BadRequest(f"{attack.name} is untargeted and takes no target")
