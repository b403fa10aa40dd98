"""The card of a trained bundle: what it is, how it was made, what it reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from AdvSegLib.defenses.plan import AdversarialTraining, Defense, Distillation, UniformNoise
from AdvSegLib.training.recipe import Recipe

CARD = """# {title}

{warning}{description}

{made}

Dice on {cases}:

| structure | Dice |
|---|---|
{rows}

{notes}

It is a victim for robustness research, {defended}. It is **not a medical device** and not for clinical use.
Licence: Apache-2.0.
"""


COLLAPSED = 0.05
"""A mean Dice below it is a network that found next to nothing."""


@dataclass(frozen=True)
class Outcome:
    """What a training reached: mean results on unseen cases, the time it took, and what must be said aloud."""

    scores: Mapping[str, Any]
    seconds: float
    warning: str = ""


def collapse(dice: float | None, losses: Sequence[float]) -> str:
    """Return what is said of a network that did not learn, given its losses iteration by iteration; else nothing.

    >>> collapse(0.9, [1.0, 0.2]), collapse(0.001, [1.75, 1.75])
    ('', 'did not learn: mean Dice 0.001 on unseen cases; loss 1.750 at the start and 1.750 at the end')
    """
    if dice is None or dice >= COLLAPSED:
        return ""
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    return (
        f"did not learn: mean Dice {dice:.3f} on unseen cases; loss {first:.3f} at the start and {last:.3f} at the end"
    )


def bundle_card(recipe: Recipe, outcome: Outcome, device: str) -> dict[str, Any]:
    """Return the bundle's card and the results its metadata keeps."""
    data = recipe.data
    rows = "\n".join(
        f"| {name} | {'-' if value is None else f'{value:.3f}'} |"
        for key in ("dice", "dice_regions")
        for name, value in outcome.scores[key].items()
    )
    cases = f"{data.validation_cases} unseen phantoms (seeds from {data.validation_seed})"
    if not data.phantom:
        cases = f"{data.validation_cases} unseen cases"
    text = CARD.format(
        title=recipe.title, description=recipe.description, made=_made(recipe, outcome, device), cases=cases,
        rows=rows, notes=recipe.notes, defended=words(recipe.defense),
        warning=f"> **This network {outcome.warning}.** It is no victim to measure anything on.\n\n"
        if outcome.warning else "",
    )  # fmt: skip
    seen = "unseen_phantoms" if data.phantom else "unseen_cases"
    results = {
        seen: data.validation_cases, **outcome.scores, "training_seconds": outcome.seconds, "recipe": recipe.name,
        "defense": recipe.defense.to_dict(),
    }  # fmt: skip
    if outcome.warning:
        results["warning"] = outcome.warning
    return {"title": recipe.title, "description": recipe.description, "text": text, "results": results}


def words(defense: Defense) -> str:
    """Say a defense in words.

    >>> words(UniformNoise())
    'trained with uniform noise of 1 % of the range'
    """
    if isinstance(defense, Distillation):
        return (
            f"defensively distilled at T = {defense.temperature:g} from the model `{defense.teacher}`; it is used at "
            f"T = 1, and an attacker who divides its logits by {defense.temperature:g} sees the gradients that "
            "training saw"
        )
    if isinstance(defense, UniformNoise):
        return f"trained with uniform noise of {100 * defense.epsilon:g} % of the range"
    if isinstance(defense, AdversarialTraining):
        steps = f" of {defense.steps} steps" if defense.steps else ""
        return (
            f"trained on {defense.attack}{steps} examples of epsilon {100 * defense.epsilon:g} % of the range, with "
            f"weight {defense.beta:g} on the clean images"
        )
    return "undefended"


def _made(recipe: Recipe, outcome: Outcome, device: str) -> str:
    plan, data = recipe.optimisation, recipe.data
    start = f", starting from the model `{plan.start_from}`" if plan.start_from else ""
    corrected = ", N4-corrected: correct what you give it, too" if data.n4 else ""
    cases = (
        f"{data.train_cases} synthetic phantoms ({data.source}, seeds from {data.train_seed}{corrected})"
        if data.phantom
        else f"{data.train_cases} cases read as '{data.source}'{corrected}"
    )
    return (
        f"Trained by `advseg train --recipe {recipe.name}` on {cases}, {plan.iterations} iterations of {plan.batch}, "
        f"loss {plan.loss}{start}, in {outcome.seconds / 60:.0f} minutes on {device}."
        + (" No patient data." if data.phantom else "")
    )
