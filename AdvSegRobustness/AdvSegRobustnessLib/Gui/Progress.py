"""What is under way, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds.

    >>> clock(75.4), clock(3671)
    ('1:15', '1:01:11')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progressLine(doing: str, task: Any, parameterNode: Any) -> str:
    """Return how far a task is: its run, stage, step, loss and Dice."""
    device = (
        ""
        if parameterNode is None or task.kind == "phantom"
        else _("device {device}").format(device=parameterNode.device)
    )
    parts = [_("{doing}: {stage}").format(doing=doing, stage=task.stage or task.state)]
    if task.runs > 1:
        parts.append(_("run {number} of {count}").format(number=min(task.runsDone + 1, task.runs), count=task.runs))
    if task.steps:
        parts.append(_("step {step} of {steps}").format(step=min(task.step + 1, task.steps), steps=task.steps))
        parts += [f"{title} {text}" for title, text in _numbers(task.numbers)]
    return ", ".join([*parts, device] if device else parts)


def eventLine(event: Mapping[str, Any]) -> str:
    """Return a worker's event as a line of the log, "" where it needs none (steps are shown by the bar)."""
    kind = event["event"]
    if kind == "stage":
        return str(event["stage"])
    if kind == "loaded":
        memory = _(" (was in memory)") if event["warm"] else ""
        return _("{what} {source}").format(what=event["what"], source=event["source"]) + memory
    if kind in ("log", "failed"):
        return f"{event.get('level', kind)}: {event['message']}"
    if kind == "died":
        return "\n".join(event.get("log", []))
    return ""


def _numbers(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    wanted = ((_("loss"), "loss", "{:.4g}"), (_("Dice"), "dice", "{:.3f}"))
    return [(title, form.format(numbers[name])) for title, name, form in wanted if numbers.get(name) is not None]
