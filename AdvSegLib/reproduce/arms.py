"""An arm: one way in which every case of a table is treated. Plain data, filled in from a recipe's templates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from AdvSegLib.errors import BadRequest, unknown_name

WHOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Arm:
    """How a case is treated, and who then segments it.

    ``model`` is scored. ``attack`` is crafted on ``crafted_on`` (by default the model itself); None leaves the case
    clean. ``epsilon`` is divided by ``range``, the length of the intensity range in the paper's unit (2 for images in
    [-1, 1]); None takes the attack's own. ``target`` is a kind of target map with its parameters, ``another`` being
    another case's truth; ``keep`` and ``region`` as in a job. ``trace`` measures the image before every step as well.
    """

    model: str
    attack: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None
    range: float = 1.0
    target: Mapping[str, Any] | None = None
    keep: str | None = None
    region: Mapping[str, Any] | None = None
    crafted_on: str | None = None
    trace: bool = False
    seed: int = 0

    @property
    def fraction(self) -> float | None:
        """Epsilon as a fraction of the intensity range."""
        return None if self.epsilon is None else self.epsilon / self.range

    @property
    def clean(self) -> bool:
        """Whether nothing is done to the image."""
        return self.attack is None or self.epsilon == 0

    @property
    def models(self) -> tuple[str, ...]:
        """The roles of the models it needs."""
        return tuple(dict.fromkeys((self.model, *([self.crafted_on] if self.crafted_on and not self.clean else []))))

    @property
    def key(self) -> str:
        """What tells arms apart: equal for arms that do the same."""
        data: dict[str, Any] = {"model": self.model} if self.clean else asdict(self)
        if data.get("crafted_on") == self.model:
            data["crafted_on"] = None
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_template(cls, template: Mapping[str, Any], values: Mapping[str, Any]) -> Arm:
        """Fill a recipe's template; BadRequest for a field that is unknown or a value that is not given."""
        known = {item.name for item in fields(cls)}
        for name in template:
            if name not in known:
                raise unknown_name("arm field", name, known)
        try:
            return cls(**fill(template, values))
        except TypeError as error:
            raise BadRequest(f"arm {dict(template)}: {error}") from error


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Put values into the ``{name}`` of a template's texts; a text that is nothing else takes the value's type.

    Entries of mappings that come out None are left out.

    >>> fill({"epsilon": "{e}", "name": "at {e}", "x": "{none}"}, {"e": 0.5, "none": None})
    {'epsilon': 0.5, 'name': 'at 0.5'}
    """
    if isinstance(template, Mapping):
        filled = {key: fill(item, values) for key, item in template.items()}
        return {key: item for key, item in filled.items() if item is not None}
    if isinstance(template, list | tuple):
        return [fill(item, values) for item in template]
    if not isinstance(template, str):
        return template
    whole = WHOLE.fullmatch(template)
    if whole:
        return _given(whole[1], values)
    return WHOLE.sub(lambda match: str(_given(match[1], values)), template)


def _given(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise unknown_name("value of a recipe", name, values)
    return values[name]
