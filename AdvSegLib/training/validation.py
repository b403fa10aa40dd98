"""What a network reaches on cases that training has not seen."""

from __future__ import annotations

from typing import Any

from AdvSegLib.metrics.overlap import compare, mean
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.training.pool import validation_case
from AdvSegLib.training.recipe import Recipe

GLANCE = 4
"""Validations on the way look at this many cases."""


def validate(segmenter: Segmenter, recipe: Recipe, count: int) -> dict[str, Any]:
    """Return Dice per label and region, averaged over the first ``count`` validation cases."""
    results = []
    for index in range(count):
        image, truth = validation_case(recipe.data, index)
        labels = truth.onto(image.grid).array
        results.append(compare(labels, segmenter.segment(image).array, segmenter.scheme))
    keys = ("dice", "dice_regions", "iou")
    return {key: {name: mean([r[key][name] for r in results]) for name in results[0][key]} for key in keys}


def glance(segmenter: Segmenter, recipe: Recipe) -> float:
    """Return the mean Dice over the first few validation cases."""
    found = validate(segmenter, recipe, min(GLANCE, recipe.data.validation_cases))["dice"]["mean"]
    return float(found or 0.0)
