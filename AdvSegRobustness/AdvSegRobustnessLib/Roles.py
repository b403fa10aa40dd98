"""The marks by which our nodes are known: attributes, roles, and references from a run's metric table."""

from __future__ import annotations

from typing import Any

RUN_ATTRIBUTE = "AdvSeg.Run"
"""ID of the run a node belongs to."""
ROLE_ATTRIBUTE = "AdvSeg.Role"
"""What a node is in its run: one of :data:`SINGLE`, :data:`SEVERAL` or :data:`HELPERS`."""
NAME_ATTRIBUTE = "AdvSeg.Name"
"""Name of the run, as it is shown."""
NOTES_ATTRIBUTE = "AdvSeg.Notes"
"""What the run warns of, a JSON list, on the metric table."""
MARK_ATTRIBUTE = "AdvSeg.Mark"
"""``AdvSegLib.volumes.MARK``, on every adversarial and perturbation volume."""
CHANNEL_ATTRIBUTE = "AdvSeg.Channel"
"""Name of the model's channel a volume is of."""
NOISE_ATTRIBUTE = "AdvSeg.LargestNoise"
"""Largest absolute value of a perturbation volume, in source units."""

SINGLE = ("clean", "attacked", "difference", "metrics", "history", "browser")
SEVERAL = ("adversarial", "perturbation", "chart")
HELPERS = ("series", "sequence", "iteration")
"""Nodes that a run owns, but that no one asks for by name."""
OWNED = (*SINGLE, *SEVERAL, *HELPERS)
FOREIGN = ("scan", "target")
"""Nodes that a run refers to, and does not own."""


def referenceRole(role: str) -> str:
    """Return the name of the node reference by which a metric table knows its run's nodes of a role."""
    return f"AdvSeg.{role}"


def assign(node: Any, runId: str, role: str, *, channel: str = "", mark: str = "") -> Any:
    """Write run, role and, where given, channel and mark into a node's attributes; return the node."""
    facts = {RUN_ATTRIBUTE: runId, ROLE_ATTRIBUTE: role, CHANNEL_ATTRIBUTE: channel, MARK_ATTRIBUTE: mark}
    for name, value in facts.items():
        if value:
            node.SetAttribute(name, value)
    if mark:
        node.SetDescription(mark)
    return node
