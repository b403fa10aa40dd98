"""Several models as one Segmenter: every member sees the image in its own way, and a gradient goes through all.

A folder holds one on disk: ``configs/inference.json`` names the members instead of a network.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec, Statistics
from AdvSegLib.volumes import Image

Combine = Literal["probabilities", "logits"]
COMBINATIONS = ("probabilities", "logits")


@dataclass(frozen=True, eq=False)
class Ensemble(Segmenter):
    """Models that vote: ``logits(x)`` are those of the mean probabilities, or the mean of the logits.

    Make one by :meth:`of`. Each member keeps its own intensities, spacing, orientation and windows; what is replaced
    on the ensemble (windows, precision, checkpointing, grid) is replaced in every member. ``probabilities`` are
    averaged as logarithms, so that a member whose softmax is saturated still shows its gradient where others decide.
    """

    members: tuple[Segmenter, ...] = ()
    combine: Combine = "probabilities"

    @classmethod
    def of(cls, members: Sequence[Segmenter], combine: Combine = "probabilities") -> Ensemble:
        """Return the ensemble of ``members``; BadRequest where they speak of other labels or channels."""
        if not members:
            raise BadRequest("an ensemble needs at least one member")
        if any(isinstance(member, Ensemble) for member in members):
            raise BadRequest("an ensemble's members are models, not ensembles: name their members instead")
        if combine not in COMBINATIONS:
            raise BadRequest(f"unknown combination '{combine}'; known: {', '.join(COMBINATIONS)}")
        spec = common_spec([member.spec for member in members])
        networks = nn.ModuleList([member.network for member in members])
        return cls(networks, spec, members=tuple(members), combine=combine)

    def to(self, device: str | torch.device) -> Ensemble:
        """Move every member (in place, as torch does) and return the ensemble there."""
        return replace(self, members=tuple(member.to(device) for member in self.members))

    def on(self, image: Image, statistics: Statistics = "recomputed") -> Ensemble:
        """Return the ensemble on ``image``'s grid, each member bound to it with its own statistics."""
        self.check(image)
        return replace(self, grid=image.grid, members=tuple(member.on(image, statistics) for member in self.members))

    @property
    def can_checkpoint(self) -> bool:
        """True: members can be run again one at a time on the way back, so that one's activations are held."""
        return True

    @property
    def last_size(self) -> tuple[int, ...] | None:
        """The largest grid a member was last given whole."""
        sizes = [size for member in self.members if (size := member.last_size) is not None]
        return max(sizes, key=math.prod) if sizes else None

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K, *spatial)`` for source intensities ``(N, C, *spatial)``, differentiably."""
        return combined([self._run_member(member, x) for member in self._ready()], self.scheme, self.combine)

    def _ready(self) -> list[Segmenter]:
        """Return the members as the ensemble is asked to run them."""
        windows, precision = self.spec.windows, self.precision
        ready = [member if member.precision == precision else member.at(precision) for member in self.members]
        if windows is None:
            return ready
        return [replace(member, spec=replace(member.spec, windows=windows)) for member in ready]

    def _run_member(self, member: Segmenter, x: Tensor) -> Tensor:
        if self.checkpointed and torch.is_grad_enabled():
            again: Tensor = checkpoint(member.logits, x, use_reentrant=False, preserve_rng_state=False)
            return again
        return member.logits(x)


def combined(logits: Sequence[Tensor], scheme: LabelScheme, combine: Combine) -> Tensor:
    """Return one ``(N, K, *spatial)`` of several: of the mean probabilities, or their mean.

    Of a softmax, ``log(mean(softmax(z_m)))``; where channels stand alone ``log(mean p_m) - log(mean (1 - p_m))``.
    """
    stack = torch.stack(list(logits))
    if combine == "logits":
        return stack.mean(0)
    if scheme.activation == "softmax":
        return stack.log_softmax(2).logsumexp(0) - math.log(len(logits))
    return F.logsigmoid(stack).logsumexp(0) - F.logsigmoid(-stack).logsumexp(0)


def common_spec(specs: Sequence[Spec]) -> Spec:
    """Return what an ensemble takes and says: the members' channels and labels, no preparation of its own.

    Orientation, spacing and size are kept where all members share them: they say which grid the members see.
    """
    first = specs[0]
    for number, spec in enumerate(specs[1:], start=2):
        for what, theirs, ours in (
            ("labels", spec.scheme, first.scheme),
            ("channels", spec.channels, first.channels),
        ):
            if theirs != ours:
                raise BadRequest(
                    f"ensemble: member {number} has other {what} ({_said(theirs)}) than member 1 ({_said(ours)})"
                )
    dims = max(spec.dims for spec in specs)
    shared = len({(spec.dims, spec.orientation, spec.spacing, spec.size) for spec in specs}) == 1
    grid = {"orientation": first.orientation, "spacing": first.spacing, "size": first.size} if shared else {}
    multiple = math.lcm(*(spec.multiple for spec in specs))
    return Spec(dims, first.channels, first.scheme, Intensity("none"), multiple=multiple, **grid)  # type: ignore[arg-type]


def _said(what: LabelScheme | Sequence[str]) -> str:
    """Return labels or channels in a few words."""
    if not isinstance(what, LabelScheme):
        return ", ".join(what)
    regions = [region.name for region in what.regions]
    return ", ".join([what.activation, *(f"{value} {name}" for value, name in what.names.items()), *regions])


def load_ensemble(folder: Path, definition: Mapping[str, Any], device: str = "cpu") -> Ensemble:
    """Load the ensemble that a folder's ``inference.json`` defines: ``{"members": [...], "combine": ...}``.

    A member is a catalogue name, or a folder's path relative to this one. Raises BadRequest, naming the folder and the
    member, for anything else.
    """
    from AdvSegLib.segmenters.bundle import load_bundle

    members = member_folders(folder, definition)
    try:
        return Ensemble.of([load_bundle(member, device) for member in members], combination(definition))
    except BadRequest as error:
        raise BadRequest(f"{folder}: {error}") from error


def member_folders(folder: Path, definition: Mapping[str, Any]) -> list[Path]:
    """Return where an ensemble's members lie; BadRequest for a definition that is none."""
    from AdvSegLib.segmenters.bundle import INFERENCE
    from AdvSegLib.segmenters.catalogue import model_folder

    names = definition.get("members") if isinstance(definition, Mapping) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise BadRequest(f"{folder / INFERENCE}: an ensemble lists its 'members': names or folders of models")
    unknown = sorted(set(definition) - {"members", "combine"})
    if unknown:
        raise BadRequest(f"{folder / INFERENCE}: unknown field '{unknown[0]}' of an ensemble; known: members, combine")
    found = [folder / name if (folder / name).is_dir() else model_folder(name) for name in names]
    for name, place in zip(names, found, strict=True):
        if is_ensemble(place):
            raise BadRequest(f"{folder}: member '{name}' is an ensemble itself: name its members instead")
    return found


def combination(definition: Mapping[str, Any]) -> Combine:
    """Return how an ensemble's members are put together; BadRequest for an unknown way."""
    wanted = definition.get("combine", "probabilities")
    if wanted not in COMBINATIONS:
        raise BadRequest(f"unknown combination '{wanted}'; known: {', '.join(COMBINATIONS)}")
    return wanted  # type: ignore[no-any-return]


def is_ensemble(folder: Path) -> bool:
    """Return whether a folder defines an ensemble."""
    from AdvSegLib.segmenters.bundle import INFERENCE

    try:
        return "ensemble" in json.loads((folder / INFERENCE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def save_ensemble(folder: Path, members: Sequence[str], combine: Combine = "probabilities", title: str = "") -> Path:
    """Write an ensemble of catalogue names or folders to a new folder, whole or not at all, and return it.

    Folders are written relative to ``folder``: moved together they stay together. The members are loaded once, so
    that what is written is known to load.
    """
    from AdvSegLib.runs import staged_folder
    from AdvSegLib.segmenters.bundle import CARD, INFERENCE, METADATA, load_bundle, write_json
    from AdvSegLib.segmenters.catalogue import model_folder, shipped_models

    shipped = shipped_models()
    ensemble = Ensemble.of([load_bundle(model_folder(name)) for name in members], combine)
    place = Path(folder).resolve()
    names = [name if name in shipped else os.path.relpath(model_folder(name).resolve(), place) for name in members]
    title = title or f"Ensemble of {', '.join(Path(name).name for name in names)}"
    text = f"Mean of {combine} of {len(names)} models: {', '.join(names)}."
    with staged_folder(folder) as stage:
        for part in ("configs", "docs"):
            (stage / part).mkdir()
        write_json(
            stage / METADATA,
            {"name": title, "task": "segmentation", "description": text, "advseg": ensemble.spec.to_dict()},
        )
        write_json(stage / INFERENCE, {"ensemble": {"members": names, "combine": combine}})
        card = f"# {title}\n\n{text}\n\nIt is **not a medical device** and not for clinical use.\n"
        (stage / CARD).write_text(card, encoding="utf-8")
    return place
