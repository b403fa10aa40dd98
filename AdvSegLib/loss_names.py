"""The losses by name, for interfaces that list them. Light: no torch; :mod:`AdvSegLib.losses` computes them."""

from __future__ import annotations

LOSS_SUMMARIES: dict[str, str] = {
    "dice": "1 - soft Dice over foreground (Liu 2021, eq. 5-6)",
    "dice-published": "the same divided by all channels, as printed",
    "iou": "1 - soft IoU over foreground (Bortsova 2020)",
    "ce": "cross-entropy",
    "bce": "binary cross-entropy of every channel's logit",
    "focal": "focal loss, gamma 2 (Lin 2017)",
    "dice-ce": "dice + ce",
    "dice-focal": "dice + focal (what Wang 2022 trains)",
    "js": "Jensen-Shannon divergence: bounded (Croce 2024)",
    "ce-masked": "cross-entropy of the voxels still to be turned (Croce 2024)",
    "ce-balanced": "ce-masked with equal weight for every class present (Croce 2024)",
    "margin": "best other logit minus the wanted one (Carlini-Wagner 2017): sees through saturation",
    "logit-sum": "minus the wanted logit (Ozbulak 2019): sees through saturation",
    "ce-scaled": "cross-entropy of logits at unit spread: sees through an unknown temperature",
    "dice-scaled": "soft Dice of logits at unit spread: sees through an unknown temperature",
}
LOSS_NAMES: tuple[str, ...] = tuple(LOSS_SUMMARIES)
