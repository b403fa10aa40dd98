"""The JSON request for one attack on one image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from AdvSegLib.attacks import make_attack
from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.regions import NoiseRegion, make_region
from AdvSegLib.schemas import check_schema
from AdvSegLib.segmenters.spec import Windows
from AdvSegLib.target_maps import TargetMap, make_target_map

if TYPE_CHECKING:
    from AdvSegLib.segmenters.segmenter import Segmenter

JOB_SCHEMA = "advseg.job/1"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Job:
    """A request: attack ``image`` (one file a channel, or one file of all) as ``model`` sees it.

    ``epsilon`` is a fraction of each channel's clean range, by default the attack's own; ``parameters`` are the
    attack's; ``relabel`` maps label values of truth and target files to the model's. Paths are relative to where the
    job is run.

    ``target`` is a label map to approach, or ``aim`` (a kind and its parameters) draws one; ``keep`` says what the
    other structures should keep: the ``truth``, the clean ``prediction``, or ``nothing``: then they do not count. By
    default the truth where there is one. ``region`` (a kind and its parameters) is where noise may go. ``surrogate``
    is the model the attack is crafted on; ``model`` is then only scored. ``precision`` is that of the gradients.
    ``windows`` replaces the model's own windows; ``checkpoint`` computes activations again instead of holding them.
    Every ``record``-th step's image and prediction are kept beside the result (0: none).
    """

    model: str
    image: tuple[str, ...]
    attack: str
    truth: str | None = None
    target: str | None = None
    aim: Mapping[str, Any] | None = None
    keep: str | None = None
    region: Mapping[str, Any] | None = None
    surrogate: str | None = None
    epsilon: float | None = None
    norm: str = "linf"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    relabel: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    windows: Mapping[str, Any] | None = None
    checkpoint: bool = False
    record: int = 0
    statistics: str = "recomputed"
    resolution: str = "native"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Read a job's JSON; BadRequest for an unknown field, a missing one, or another schema."""
        data = dict(data)
        known = {"schema", *(item.name for item in fields(cls))}
        for name in data:
            if name not in known:
                raise unknown_name("job field", name, known)
        check_schema("job", data, "job")
        data.pop("schema", None)
        image = data.pop("image")
        if "seed" in data:
            data["seed"] = int(data["seed"])  # to JSON Schema 1.0 is a whole number
        return cls(image=(image,) if isinstance(image, str) else tuple(image), **data)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON data, the attack's defaults filled in."""
        attack = make_attack(self.attack, **self.parameters)
        job = self.resolved()
        windows = job.make_windows()
        return {
            "schema": JOB_SCHEMA,
            **asdict(job),
            "image": list(self.image),
            "parameters": asdict(attack),
            "windows": None if windows is None else {**asdict(windows), "size": list(windows.size),
                                                     "mirror": list(windows.mirror)},
        }  # fmt: skip

    def resolved(self) -> Job:
        """Return the job with the budget it stands for; BadRequest where its parts contradict each other."""
        if self.target is not None and self.aim is not None:
            raise BadRequest("give a target or an aim, not both")
        if self.keep is not None and self.aim is None and self.target is None:
            raise BadRequest("keep says what becomes of the structures a target is not about: give a target or an aim")
        attack = make_attack(self.attack, **self.parameters)
        if self.epsilon is not None or (attack.bounds_itself and self.norm == "l2"):
            return self  # in L2 the whole range is a radius that depends on the image
        return replace(self, epsilon=attack.default_epsilon)

    def make_aim(self) -> TargetMap | None:
        """Return what draws the target, where the job has an aim."""
        return None if self.aim is None else _made(make_target_map, "aim", self.aim)

    def make_region(self) -> NoiseRegion | None:
        """Return where noise may go, where the job has a region."""
        return None if self.region is None else _made(make_region, "region", self.region)

    def make_windows(self) -> Windows | None:
        """Return the windows that replace the model's own."""
        if self.windows is None:
            return None
        try:
            return Windows.from_dict(self.windows)
        except TypeError as error:
            raise BadRequest(f"job: windows: {error}") from error

    def prepare(self, segmenter: Segmenter, *, crafts: bool = True) -> Segmenter:
        """Return a model as the job wants it run; only the one that ``crafts`` has activations to compute again."""
        windows = self.make_windows()
        if windows is not None:
            segmenter = replace(segmenter, spec=replace(segmenter.spec, windows=windows))
        if not crafts:
            return segmenter
        if self.checkpoint and not segmenter.can_checkpoint:
            raise BadRequest("checkpoint needs a network that is a sequence of layers; take windows instead")
        return replace(segmenter, checkpointed=True) if self.checkpoint else segmenter

    @property
    def files(self) -> tuple[str, ...]:
        """Every file the job reads, its model aside."""
        drawn = [part["file"] for part in (self.aim, self.region) if part is not None and part.get("file")]
        return (*self.image, *filter(None, (self.truth, self.target)), *drawn)


def _made(make: Callable[..., Made], what: str, data: Mapping[str, Any]) -> Made:
    parameters = dict(data)
    if "kind" not in parameters:
        raise BadRequest(f"job: {what} needs a kind; see advseg info")
    return make(str(parameters.pop("kind")), **parameters)
