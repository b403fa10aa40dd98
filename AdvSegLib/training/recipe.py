"""A training recipe: readable YAML that says everything a training needs, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.segmenters.spec import Spec

RECIPES = Path(__file__).parent / "recipes"
SECTIONS = ("spec", "data", "optimisation")


@dataclass(frozen=True)
class Data:
    """Which phantoms to train and validate on; ``size`` is the side of the drawn grid in voxels.

    Every ``analytic_every``-th training brain (0: none) is drawn without the template, so that a model knows both.
    """

    source: str
    size: int
    train_cases: int
    train_seed: int
    validation_cases: int
    validation_seed: int
    analytic_every: int = 0

    def __post_init__(self) -> None:
        """Refuse empty sets and validation phantoms that training has seen."""
        if self.train_cases < 1 or self.validation_cases < 1:
            raise BadRequest("data needs at least one case to train and one to validate on")
        train = range(self.train_seed, self.train_seed + self.train_cases)
        validation = range(self.validation_seed, self.validation_seed + self.validation_cases)
        if max(train.start, validation.start) < min(train.stop, validation.stop):
            raise BadRequest(f"training seeds {train} and validation seeds {validation} overlap")


@dataclass(frozen=True)
class Optimisation:
    """How the weights are found; ``crop`` lists the sides (voxels) that each batch's field of view is drawn from."""

    iterations: int
    batch: int
    learning_rate: float
    loss: str = "dice+ce"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    crop: tuple[int, ...] = ()
    augmentation: tuple[str, ...] = ()
    bf16: bool = False
    validate_every: int = 250

    def __post_init__(self) -> None:
        """Refuse numbers that train nothing."""
        if min(self.iterations, self.batch, self.validate_every) < 1 or self.learning_rate <= 0:
            raise BadRequest("iterations, batch, validate_every and learning_rate must be positive")


@dataclass(frozen=True)
class Recipe:
    """One training, complete: network, what it sees, data, optimisation, seed, and the words of its card."""

    name: str
    title: str
    description: str
    network: Mapping[str, Any]
    spec: Spec
    data: Data
    optimisation: Optimisation
    seed: int = 0
    notes: str = field(default="")

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
                data=Data(**data["data"]),
                optimisation=Optimisation(**optimisation),
            )
        except (KeyError, TypeError) as error:
            raise BadRequest(f"recipe is incomplete or malformed: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON data."""
        return {**asdict(self), "spec": self.spec.to_dict()}


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the library, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by shipped name or from a YAML file."""
    import yaml

    path = shipped_recipes().get(str(name), Path(name))
    if not path.is_file():
        raise unknown_name("recipe", str(name), shipped_recipes())
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadRequest(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(data, dict):
        raise BadRequest(f"{path}: a recipe is a mapping")
    try:
        return Recipe.from_dict(data)
    except BadRequest as error:
        raise BadRequest(f"{path}: {error}") from error
