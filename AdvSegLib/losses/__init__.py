"""What an attack climbs and a training descends. Every loss is per sample: the batch never couples samples.

:class:`Loss` says what goes in and comes out. Values and gradients are finite for logits up to 1e6 at least, also
where a softmax or sigmoid is saturated, a mask is empty or all logits are equal.
"""

from AdvSegLib.errors import unknown_name
from AdvSegLib.losses.compound import dice_ce, dice_focal
from AdvSegLib.losses.logit_space import (
    at_temperature,
    logit_spread,
    logit_sum,
    margin,
    scaled_cross_entropy,
    scaled_soft_dice,
    unit_spread,
)
from AdvSegLib.losses.overlap import GAMMA, published_soft_dice, soft_dice, soft_iou
from AdvSegLib.losses.protocol import Loss
from AdvSegLib.losses.voxelwise import bce, cross_entropy, focal, jensen_shannon
from AdvSegLib.losses.weighted import balanced_cross_entropy, cospgd_loss, masked_cross_entropy, segpgd_loss

__all__ = [
    "GAMMA",
    "LOSSES",
    "Loss",
    "at_temperature",
    "balanced_cross_entropy",
    "bce",
    "cospgd_loss",
    "cross_entropy",
    "dice_ce",
    "dice_focal",
    "focal",
    "get_loss",
    "jensen_shannon",
    "logit_spread",
    "logit_sum",
    "margin",
    "masked_cross_entropy",
    "published_soft_dice",
    "scaled_cross_entropy",
    "scaled_soft_dice",
    "segpgd_loss",
    "soft_dice",
    "soft_iou",
    "unit_spread",
]

LOSSES: dict[str, Loss] = {
    "dice": soft_dice,
    "dice-published": published_soft_dice,
    "iou": soft_iou,
    "ce": cross_entropy,
    "bce": bce,
    "focal": focal,
    "dice-ce": dice_ce,
    "dice-focal": dice_focal,
    "js": jensen_shannon,
    "ce-masked": masked_cross_entropy,
    "ce-balanced": balanced_cross_entropy,
    "margin": margin,
    "logit-sum": logit_sum,
    "ce-scaled": scaled_cross_entropy,
    "dice-scaled": scaled_soft_dice,
}


def get_loss(name: str) -> Loss:
    """Return a loss by name; BadRequest with the nearest name where there is none."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name]
