"""Attacks by name: the one machine-readable list behind command line, GUI and docs. Light: needs no torch."""

from __future__ import annotations

from typing import Any

from AdvSegLib.attacks.asma import ASMA, AdaptiveMask, StaticMask
from AdvSegLib.attacks.base import Attack
from AdvSegLib.attacks.gradient_sign import FGSM, PGD, IterativeFGSM, TargetedIterativeFGSM
from AdvSegLib.errors import BadRequest
from AdvSegLib.parameters import make

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack for attack in (FGSM, IterativeFGSM, TargetedIterativeFGSM, PGD, StaticMask, AdaptiveMask, ASMA)
}

__all__ = [
    "ASMA",
    "ATTACKS",
    "FGSM",
    "PGD",
    "AdaptiveMask",
    "Attack",
    "IterativeFGSM",
    "StaticMask",
    "TargetedIterativeFGSM",
    "describe",
    "make_attack",
]


def make_attack(name: str, **parameters: Any) -> Attack:
    """Return the attack called ``name``; BadRequest for an unknown name, parameter or value.

    >>> make_attack("i-fgsm", steps=5)
    IterativeFGSM(steps=5, loss='dice')
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
