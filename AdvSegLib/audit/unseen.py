"""The cases an audit judges on: phantoms of seeds that no shipped recipe trains or validates on, or cases given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from AdvSegLib.cases.base import Case
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme, chest_scheme
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.volumes import Image, LabelMap

AUDIT_SEED = 940_000
"""Recipes train on seeds from 100000 and validate on seeds from 900000; the audit's begin here."""
SIZES = {"phantom-chest": 256, "phantom-brain": 96}


@dataclass(frozen=True, eq=False)
class Judged:
    """A case as read: name, image, truth with something in it to lose."""

    name: str
    image: Image
    truth: LabelMap


def phantom_source(spec: Spec) -> str:
    """Return which phantoms a model can be judged on; BadRequest where it knows neither chests nor brains."""
    values = set(spec.scheme.names.items())
    if len(spec.channels) == 1 and values == set(chest_scheme().names.items()):
        return "phantom-chest"
    if spec.channels == ("t1", "t1gd", "t2", "flair") and values == set(LabelScheme.brats().names.items()):
        return "phantom-brain"
    raise BadRequest(
        f"no phantom has the channels {', '.join(spec.channels)} and labels {', '.join(spec.scheme.names.values())} "
        "of this model: name cases by --source and --path"
    )


def unseen_phantoms(spec: Spec, count: int, *, seed: int = AUDIT_SEED, size: int | None = None) -> list[Case]:
    """Return ``count`` phantoms for a model, drawn when asked for."""
    source = phantom_source(spec)
    size = size or SIZES[source]
    if source == "phantom-chest":
        from AdvSegLib.cases.chest_phantom import chest_cases

        return chest_cases(count, seed, size)
    from AdvSegLib.cases.brain_phantom import brain_cases

    return brain_cases(count, seed, size)


def given_cases(source: str, path: Any, count: int | None, **options: Any) -> list[Case]:
    """Return the first ``count`` cases with a truth of a named source; BadRequest where there is none."""
    from AdvSegLib.cases.registry import open_cases

    found = [case for case in open_cases(source, path, **options) if case.read_truth is not None]
    if not found:
        raise BadRequest(f"{source} {path}: no case with a truth; an audit measures against one")
    return found[:count]


def read_cases(cases: Sequence[Case], spec: Spec) -> list[Judged]:
    """Read images and truths, checked against the model; BadRequest names the case that does not fit."""
    judged = []
    for case in cases:
        image, truth = case.image(), case.truth()
        if len(image.names) != len(spec.channels):
            raise BadRequest(f"case {case.identifier} has {len(image.names)} channels, the model {len(spec.channels)}")
        spec.scheme.check(truth.values, f"case {case.identifier}")
        if not truth.values:
            raise BadRequest(f"case {case.identifier}: its truth is empty, so an attack has nothing to lose")
        judged.append(Judged(case.identifier, image, truth.onto(image.grid)))
    if not judged:
        raise BadRequest("an audit needs at least one case")
    return judged
