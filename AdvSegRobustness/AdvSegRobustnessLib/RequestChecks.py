"""What can be said against a request before a voxel is read or a process started."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AdvSegLib.attacks import TargetedIterativeFGSM, check_aim, make_attack
from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.regions import REGIONS, make_region
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.target_maps import TARGET_MAPS, find_structure, make_target_map
from AdvSegRobustnessLib.AttackRequest import ROI, SEGMENT, UNTARGETED, WHOLE, AttackRequest
from AdvSegRobustnessLib.Choices import NODE_GOALS, modelSpec

DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]+)?")
TEXTS = ("model", "attack", "goal", "region", "regionSegment", "surrogate")
MAPPINGS = ("parameters", "goalParameters", "regionParameters", "relabel")
NODES = ("truth", "target", "regionNode")
CHOICES = {"norm": ("linf", "l2"), "precision": ("fp32", "bf16"), "keep": (None, "truth", "prediction", "nothing")}


def checkRequest(request: AttackRequest) -> Spec:
    """Return the spec of the request's model; BadRequest, one line, for the first thing that is wrong with it."""
    _checkTypes(request)
    spec = modelSpec(request.model)
    checkVolumes(request.volumes, spec)
    _checkNumbers(request)
    _checkGoal(request, spec)
    _checkRegion(request, spec)
    if request.surrogate is not None:
        _checkSurrogate(request.surrogate, spec)
    return spec


def checkVolumes(volumes: Sequence[Any], spec: Spec) -> None:
    """Refuse no scan, channels that are missing, and too many."""
    wanted = ", ".join(spec.channels)
    if isinstance(volumes, str) or not isinstance(volumes, Sequence):
        raise BadRequest(f"volumes: give a list of volume nodes, one a channel ({wanted}), not {volumes!r}")
    if not any(node is not None for node in volumes):
        raise BadRequest(f"no scan chosen: the model takes one volume for each of {wanted}")
    missing = [name for name, node in zip(spec.channels, volumes, strict=False) if node is None]
    if missing:
        raise BadRequest(f"no volume chosen for {', '.join(missing)}; the model takes {wanted}")
    if len(volumes) != len(spec.channels):
        raise BadRequest(f"{len(volumes)} volume(s) given, but the model takes {len(spec.channels)}: {wanted}")


def checkDevice(device: str) -> None:
    """Refuse what is not the name of a device."""
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise BadRequest(f"device: auto, cpu, cuda or cuda:N, not {device!r}")


def checkEpsilon(epsilon: Any, norm: str) -> None:
    """Refuse a budget that is none: in L-inf a fraction of the range, in L2 a length."""
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not math.isfinite(epsilon) or epsilon < 0:
        raise BadRequest(f"epsilon: a number from 0 up, not {epsilon!r}")
    if norm == "linf" and epsilon > 1:
        raise BadRequest(f"epsilon: a fraction of the image's range, 0 to 1, not {epsilon:g}; 5 % is 0.05")


def _checkTypes(request: AttackRequest) -> None:
    """Refuse what is of another kind than its field: in a console anything may be given for anything."""
    for name in TEXTS:
        value = getattr(request, name)
        if not isinstance(value, str | os.PathLike) and not (name == "surrogate" and value is None):
            raise BadRequest(f"{name}: give a name, not {value!r}")
    for name in MAPPINGS:
        if not isinstance(getattr(request, name), Mapping):
            raise BadRequest(f"{name}: give a dict of names and values, not {getattr(request, name)!r}")
    for name in NODES:
        value = getattr(request, name)
        if value is not None and not hasattr(value, "GetScene"):
            raise BadRequest(f"{name}: give a node, not {value!r}; slicer.util.getNode() finds one by its name")


def _checkNumbers(request: AttackRequest) -> None:
    checkDevice(request.device)
    for name, known in CHOICES.items():
        if getattr(request, name) not in known:
            raise BadRequest(f"{name}: one of {', '.join(filter(None, known))}, not {getattr(request, name)!r}")
    for name in ("seed", "record"):
        value = getattr(request, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise BadRequest(f"{name}: a whole number from 0 up, not {value!r}")
    if request.epsilon is not None:
        checkEpsilon(request.epsilon, request.norm)


def _checkGoal(request: AttackRequest, spec: Spec) -> None:
    attack = make_attack(request.attack, **request.parameters)
    targeted = request.goal != UNTARGETED
    if targeted and request.goal not in TARGET_MAPS:
        raise unknown_name("goal", request.goal, [UNTARGETED, *TARGET_MAPS])
    if targeted or not isinstance(attack, TargetedIterativeFGSM):  # which aims at its own label by itself
        check_aim(attack, targeted=targeted)
    if request.keep == "truth" and request.truth is None:
        raise BadRequest("keep=truth needs a truth: choose a segmentation that is the truth")
    if not targeted and request.keep is not None:
        raise BadRequest("keep says what becomes of the structures a target is not about: choose a goal, or no keep")
    _checkTarget(request)
    if targeted:
        parameters = dict(request.goalParameters)
        if request.goal in NODE_GOALS:
            parameters["file"] = "target"
        _checkStructures(make_target_map(request.goal, **parameters), spec)


def _checkTarget(request: AttackRequest) -> None:
    takes = request.goal in NODE_GOALS
    if takes and request.target is None:
        raise BadRequest(f"goal {request.goal}: choose the target segmentation (target=)")
    if not takes and request.target is not None:
        raise BadRequest(f"a target segmentation is given, but goal is '{request.goal}': take drawn or other-case")
    if request.goal == UNTARGETED and request.goalParameters:
        raise BadRequest(f"goal untargeted has no parameters, but {', '.join(request.goalParameters)} given")


def _checkRegion(request: AttackRequest, spec: Spec) -> None:
    if request.region in (SEGMENT, ROI):
        if request.regionNode is None:
            kind = "segmentation" if request.region == SEGMENT else "Markups ROI"
            raise BadRequest(f"region {request.region}: choose the {kind} (regionNode=)")
        if request.region == SEGMENT and not request.regionSegment:
            raise BadRequest("region segment: choose which segment (regionSegment=, its name or ID)")
    elif request.region != WHOLE:
        if request.region not in REGIONS:
            raise unknown_name("region", request.region, [WHOLE, SEGMENT, ROI, *REGIONS])
        region = make_region(request.region, **request.regionParameters)
        _checkStructures(region, spec)
        if not Path(getattr(region, "file", ".")).exists():
            raise BadRequest(f"region {request.region}: no such file: {getattr(region, 'file', '')}")
        return
    if request.regionParameters:
        raise BadRequest(f"region {request.region} has no parameters: {', '.join(request.regionParameters)}")


def _checkStructures(part: Any, spec: Spec) -> None:
    """Refuse structures and labels the model does not have."""
    if getattr(part, "structure", ""):
        find_structure(part.structure, spec.scheme)
    if part.name == "constant":
        spec.scheme.check([part.label], "constant target")


def _checkSurrogate(surrogate: str, spec: Spec) -> None:
    other = modelSpec(surrogate)
    for what, theirs, ours in (
        ("channels", other.channels, spec.channels),
        ("labels", other.scheme.names, spec.scheme.names),
    ):
        if theirs != ours:
            raise BadRequest(f"surrogate {surrogate}: its {what} ({theirs}) are not the model's ({ours})")
