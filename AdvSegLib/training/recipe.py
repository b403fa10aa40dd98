"""A training recipe: readable YAML that says everything a training needs, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from AdvSegLib.defenses.plan import Defense, Undefended, read_defense
from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.segmenters.spec import Spec

RECIPES = Path(__file__).parent / "recipes"
VICTIMS = Path(__file__).parents[1] / "reproduce" / "victims"
"""The recipes of the small models behind ``advseg reproduce``."""
SECTIONS = ("spec", "data", "optimisation", "defense")
STORED = ("float32", "float16")
DEEPEST = 8
"""Recipes that rest on recipes: no more than this many."""


@dataclass(frozen=True)
class Data:
    """Which cases to train and validate on.

    Phantoms are drawn on a grid of ``size`` voxels a side, from their seeds on; every ``analytic_every``-th training
    brain (0: none) without the template, so that a model knows both. Any other source of
    :mod:`AdvSegLib.cases.registry` reads ``path`` with its ``options``; its cases with truth are shuffled by
    ``train_seed``, the first ones are trained on and the next validated on. ``n4`` corrects bias fields beforehand.
    """

    source: str
    size: int
    train_cases: int
    train_seed: int
    validation_cases: int
    validation_seed: int
    analytic_every: int = 0
    path: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    n4: bool = False

    @property
    def phantom(self) -> bool:
        """Whether cases are drawn, not read."""
        return self.source.startswith("phantom-")

    @property
    def wanted(self) -> int:
        """How many cases are needed in all."""
        return self.train_cases + self.validation_cases

    def __post_init__(self) -> None:
        """Refuse empty sets and validation phantoms that training has seen."""
        if self.phantom != (self.path is None):
            raise BadRequest(f"data: source '{self.source}' {'takes no' if self.phantom else 'needs a'} path")
        if self.train_cases < 1 or self.validation_cases < 1:
            raise BadRequest("data needs at least one case to train and one to validate on")
        if not self.phantom:
            return
        if self.analytic_every and self.source != "phantom-brain":
            raise BadRequest(f"data: source '{self.source}' is drawn without a template; leave analytic_every out")
        train = range(self.train_seed, self.train_seed + self.train_cases)
        validation = range(self.validation_seed, self.validation_seed + self.validation_cases)
        if max(train.start, validation.start) < min(train.stop, validation.stop):
            raise BadRequest(f"training seeds {train} and validation seeds {validation} overlap")


@dataclass(frozen=True)
class Optimisation:
    """How the weights are found; ``crop`` lists the sides (voxels) that each batch's field of view is drawn from.

    ``start_from`` names a model (of the catalogue, or a bundle's folder) whose weights the training begins at.
    ``schedule`` is ``one-cycle`` (a tenth of the iterations up to ``learning_rate``, then down) or ``constant``.
    """

    iterations: int
    batch: int
    learning_rate: float
    loss: str = "dice+ce"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    crop: tuple[int, ...] = ()
    augmentation: tuple[str, ...] = ()
    bf16: bool = False
    fp16: bool = False
    validate_every: int = 250
    snapshot_every: int = 50
    schedule: str = "one-cycle"
    start_from: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that train nothing."""
        counts = (self.iterations, self.batch, self.validate_every, self.snapshot_every)
        if min(counts) < 1 or self.learning_rate <= 0:
            raise BadRequest("iterations, batch, validate_every, snapshot_every and learning_rate must be positive")
        if self.bf16 and self.fp16:
            raise BadRequest("optimisation: give bf16 or fp16, not both")
        if self.schedule not in ("one-cycle", "constant"):
            raise unknown_name("schedule", self.schedule, ("one-cycle", "constant"))


@dataclass(frozen=True)
class Recipe:
    """One training, complete: network, what it sees, data, optimisation, seed, and the words of its card.

    ``stored`` is the type that the bundle keeps its weights in: ``float32``, or ``float16`` for half the space. They
    are rounded before the final validation, so that card and audit speak of the network that is stored.
    """

    name: str
    title: str
    description: str
    network: Mapping[str, Any]
    spec: Spec
    data: Data
    optimisation: Optimisation
    defense: Defense = field(default_factory=Undefended)
    seed: int = 0
    notes: str = field(default="")
    stored: str = "float32"

    def __post_init__(self) -> None:
        """Refuse a type that weights are not stored in."""
        if self.stored not in STORED:
            raise unknown_name("type of stored weights", self.stored, STORED)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Read a recipe; BadRequest names what is missing or unknown."""
        known = {item.name for item in fields(cls)}
        for name in data:
            if name not in known:
                raise unknown_name("recipe field", name, known)
        try:
            optimisation = dict(data["optimisation"])
            for key in ("crop", "augmentation"):
                optimisation[key] = tuple(optimisation.get(key, ()))
            return cls(
                **{key: value for key, value in data.items() if key not in SECTIONS},
                spec=Spec.from_dict(data["spec"]),
                data=_data(data["data"]),
                optimisation=Optimisation(**optimisation),
                defense=read_defense(data.get("defense", {"kind": "none"})),
            )
        except BadRequest:
            raise
        except (KeyError, TypeError) as error:
            raise BadRequest(f"recipe is incomplete or malformed: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON data."""
        return {**asdict(self), "spec": self.spec.to_dict(), "defense": self.defense.to_dict()}


def _data(section: Mapping[str, Any]) -> Data:
    """Read the data section; what only phantoms need may be left out where files are read."""
    unneeded = {"size": 0, "train_seed": 0, "validation_seed": 0} if section.get("path") is not None else {}
    return Data(**{**unneeded, **section})


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the library, by name."""
    return {path.stem: path for folder in (RECIPES, VICTIMS) for path in sorted(folder.glob("*.yaml"))}


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by shipped name or from a YAML file.

    A recipe may rest on another: ``base`` names it (a shipped name, or a file beside it), and what the recipe says
    itself replaces what the base says, field by field. Lists are replaced whole, and so is a section of another
    ``kind``.
    """
    path = _find(name, None)
    try:
        return Recipe.from_dict(_resolved(path, ()))
    except BadRequest as error:
        raise BadRequest(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error


def _find(name: str | Path, beside: Path | None) -> Path:
    path = shipped_recipes().get(str(name))
    path = path or (Path(name) if beside is None else beside / name)
    if not path.is_file():
        raise unknown_name("recipe", str(name), shipped_recipes())
    return path


def _resolved(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return a recipe's data with its bases filled in."""
    data = _read(path)
    if "base" not in data:
        return data
    base = _find(str(data.pop("base")), path.parent)
    if base in (path, *above) or len(above) >= DEEPEST:
        raise BadRequest(f"{path}: its bases lead back to itself")
    return _merged(_resolved(base, (path, *above)), data)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("kind", old.get("kind")) == old.get("kind")
        ):
            value = _merged(old, value)
        merged[key] = value
    return merged


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadRequest(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(data, dict):
        raise BadRequest(f"{path}: a recipe is a mapping")
    return data
