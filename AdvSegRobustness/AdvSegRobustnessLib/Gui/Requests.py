"""The parameters of the panel as a request to the logic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest

from ..AttackRequest import UNTARGETED, AttackRequest

if TYPE_CHECKING:
    from .Panel import Panel


def requestFrom(panel: Panel) -> AttackRequest:
    """Return what the panel asks for; BadRequest with the first thing that is missing or wrong."""
    reason = _reason(panel)
    if reason:
        raise BadRequest(reason)
    parameters, goal, region = panel.parameterNode, panel.goal.goal, panel.attack.region
    return AttackRequest(
        model=parameters.model,
        volumes=panel.volumes,
        truth=parameters.truth,
        goal=goal["name"],
        goalParameters=panel.goal.form.values,
        target=parameters.target if goal.get("node") else None,
        keep=(parameters.keep or None) if goal["name"] != UNTARGETED else None,
        attack=parameters.attack,
        parameters=panel.attack.form.values,
        epsilon=_epsilon(panel),
        norm=parameters.norm,
        region=parameters.region,
        regionParameters=region.form.values,
        regionNode=region.node,
        regionSegment=parameters.regionSegment if parameters.region == "segment" else "",
        surrogate=parameters.surrogate or None,
        seed=parameters.seed,
        device=parameters.device,
        precision=parameters.precision,
        record=parameters.recordEvery,
        name=parameters.runName.strip() or None,
    )


def fieldsOf(request: AttackRequest, *without: str) -> dict[str, Any]:
    """Return a request's fields, those in ``without`` left out."""
    return {name: value for name, value in vars(request).items() if name not in without}


def percents(text: str) -> list[float]:
    """Return the fractions that a text such as "0.5, 1, 2" of percents means; BadRequest for another text.

    >>> percents("1, 2.5")
    [0.01, 0.025]
    """
    parts = [part.strip().rstrip("%").strip() for part in text.replace(";", ",").split(",") if part.strip()]
    try:
        values = [float(part) / 100 for part in parts]
    except ValueError:
        raise BadRequest(f"epsilons: numbers separated by commas are needed, not '{text}'") from None
    if not values or not all(0 <= value <= 1 for value in values):
        raise BadRequest(f"epsilons: at least one number of 0 to 100 is needed, not '{text}'")
    return values


def _epsilon(panel: Panel) -> float | None:
    """Return the budget in the norm's unit; None where an attack that bounds itself is to be left alone (L2, 0)."""
    parameters = panel.parameterNode
    if parameters.norm == "linf":
        return parameters.epsilonPercent / 100
    boundsItself = panel.attack.attack["default_epsilon"] >= 1
    return None if boundsItself and parameters.radius == 0 else parameters.radius


def _reason(panel: Panel) -> str:
    """Return what is missing from the panel, "" where nothing is; the logic's own check comes after."""
    if panel.spec is None:
        return _("Choose a model in section 2: '{model}' cannot be read.").format(model=panel.parameterNode.model)
    missing = [name for name, node in zip(panel.scan.channels, panel.volumes, strict=True) if node is None]
    if missing:
        return _("Choose a volume for {names} in section 1.").format(names=", ".join(missing))
    if panel.goal.goal.get("node") and panel.parameterNode.target is None:
        return _("Choose or draw a target in section 3.")
    return panel.goal.form.problem or panel.attack.form.problem or panel.attack.region.reason()
