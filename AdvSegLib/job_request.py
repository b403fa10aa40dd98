"""The JSON request for one attack on one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from AdvSegLib.attacks import make_attack
from AdvSegLib.errors import unknown_name
from AdvSegLib.schemas import check_schema

JOB_SCHEMA = "advseg.job/1"


@dataclass(frozen=True)
class Job:
    """A request: attack ``image`` (one file a channel, or one file of all) as ``model`` sees it.

    ``epsilon`` is a fraction of each channel's clean range; ``parameters`` are the attack's own; ``relabel`` maps
    label values of truth and target files to the model's. Paths are relative to where the job is run.
    """

    model: str
    image: tuple[str, ...]
    attack: str
    truth: str | None = None
    target: str | None = None
    epsilon: float = 0.05
    norm: str = "linf"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    relabel: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
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
        return cls(image=(image,) if isinstance(image, str) else tuple(image), **data)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON data, the attack's defaults filled in."""
        attack = make_attack(self.attack, **self.parameters)
        return {"schema": JOB_SCHEMA, **asdict(self), "image": list(self.image), "parameters": asdict(attack)}
