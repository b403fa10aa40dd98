"""What a network's output channels mean. Losses, targets, attacks and metrics take it; nothing assumes argmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from AdvSegLib.errors import BadRequest

if TYPE_CHECKING:
    from torch import Tensor

Activation = Literal["softmax", "sigmoid", "binary"]

PALETTE = (
    (230, 75, 53), (77, 187, 213), (240, 196, 25), (0, 160, 135), (145, 97, 242),
    (243, 155, 127), (60, 84, 136), (126, 166, 70), (220, 90, 160), (120, 94, 72),
)  # fmt: skip
"""Colours for labels that come without one: distinct to the eye, readable on grey."""


@dataclass(frozen=True)
class Label:
    """One structure: its value in a label map, its name, its colour, and its code (``scheme^value^meaning``)."""

    value: int
    name: str
    color: tuple[int, int, int] = (128, 128, 128)
    code: str = ""

    def __post_init__(self) -> None:
        """Refuse a colour that is not three numbers of 0 to 255."""
        color = self.color
        if not isinstance(color, tuple) or len(color) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in color):
            raise BadRequest(f"label '{self.name}': colour must be three whole numbers of 0 to 255, not {color!r}")


@dataclass(frozen=True)
class Region:
    """A named union of label values that is scored as one, e.g. BraTS' whole tumour."""

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class LabelScheme:
    """How logits become a label map, and a label map becomes targets.

    ``activation``:
      * ``softmax``: channel 0 is background (value 0), channel ``c`` is ``labels[c - 1]``; argmax decides.
      * ``sigmoid``: channel ``c`` is on where its logit is positive; it stands for the values ``members[c]`` and
        paints ``labels[c].value``, in channel order, later channels over earlier ones (BraTS: WT, TC, ET).
      * ``binary``: one channel, on where its logit is positive.

    ``labels`` are the foreground structures; ``regions`` are unions reported beside them.

    >>> LabelScheme.softmax("heart", "lung").channels
    3
    >>> LabelScheme.brats_regions().members
    ((1, 2, 4), (1, 4), (4,))
    """

    activation: Activation
    labels: tuple[Label, ...]
    members: tuple[tuple[int, ...], ...] = ()
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        """Refuse schemes whose values clash or whose channels cannot be told apart."""
        values = [label.value for label in self.labels]
        names = [label.name for label in self.labels]
        if not values:
            raise BadRequest("a label scheme needs at least one foreground label")
        if 0 in values or len(set(values)) != len(values) or len(set(names)) != len(names) or "mean" in names:
            raise BadRequest(f"label values must be distinct and not 0, names distinct and not 'mean': {self.labels}")
        if self.activation not in ("softmax", "sigmoid", "binary"):
            raise BadRequest(f"unknown activation '{self.activation}'; known: softmax, sigmoid, binary")
        if self.activation == "binary" and len(values) != 1:
            raise BadRequest(f"a binary scheme has one label, not {len(values)}")
        members = self.members or tuple((value,) for value in values)
        if len(members) != len(values) or any(not group or set(group) - set(values) for group in members):
            raise BadRequest(f"members {members} must name, for each channel, values among {values}")
        if self.activation != "sigmoid" and members != tuple((value,) for value in values):
            raise BadRequest(f"only a sigmoid scheme has channels of several labels, not {self.activation}")
        known = set(values)
        if any(not region.values or set(region.values) - known for region in self.regions):
            raise BadRequest(f"regions {self.regions} must be unions of the label values {values}")
        object.__setattr__(self, "members", tuple(tuple(group) for group in members))

    @classmethod
    def softmax(cls, *names: str) -> LabelScheme:
        """Return classes 1, 2, … named in order, over a background."""
        return cls("softmax", _named(names))

    @classmethod
    def sigmoid(cls, *names: str) -> LabelScheme:
        """Return independent channels 1, 2, … named in order."""
        return cls("sigmoid", _named(names))

    @classmethod
    def binary(cls, name: str) -> LabelScheme:
        """Return one structure of value 1."""
        return cls("binary", _named((name,)))

    @classmethod
    def brats(cls) -> LabelScheme:
        """Return the four classes of BraTS 2017 (labels 1, 2, 4) with WT, TC and ET as regions."""
        return cls("softmax", BRATS_LABELS, regions=BRATS_REGIONS)

    @classmethod
    def brats_regions(cls) -> LabelScheme:
        """Return BraTS as three nested sigmoid channels WT ⊃ TC ⊃ ET, painting 2, then 1, then 4."""
        necrosis, oedema, enhancing = BRATS_LABELS
        members = tuple(region.values for region in BRATS_REGIONS)
        return cls("sigmoid", (oedema, necrosis, enhancing), members, BRATS_REGIONS)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelScheme:
        """Read what :meth:`to_dict` wrote; BadRequest for data of another form."""
        try:
            labels = tuple(
                Label(int(item["value"]), str(item["name"]), tuple(item["color"]), str(item.get("code", "")))
                for item in data["labels"]
            )
            regions = tuple(Region(str(item["name"]), tuple(item["values"])) for item in data.get("regions", ()))
            members = tuple(tuple(group) for group in data.get("members", ()))
            activation = data["activation"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadRequest(f"not a label scheme: {error!r}") from error
        return cls(activation, labels, members, regions)

    def to_dict(self) -> dict[str, Any]:
        """Return this scheme as plain JSON data."""
        return {
            "activation": self.activation,
            "labels": [
                {"value": item.value, "name": item.name, "color": list(item.color), "code": item.code}
                for item in self.labels
            ],
            "members": [list(group) for group in self.members],
            "regions": [{"name": item.name, "values": list(item.values)} for item in self.regions],
        }

    @property
    def channels(self) -> int:
        """Number of output channels of the network."""
        return len(self.labels) + (self.activation == "softmax")

    @property
    def foreground(self) -> slice:
        """The output channels that stand for structures (a softmax's background is left out)."""
        return slice(1, None) if self.activation == "softmax" else slice(None)

    @property
    def values(self) -> tuple[int, ...]:
        """Foreground label values in channel order."""
        return tuple(label.value for label in self.labels)

    @property
    def names(self) -> dict[int, str]:
        """Name of each foreground label value."""
        return {label.value: label.name for label in self.labels}

    @property
    def colors(self) -> dict[int, tuple[int, int, int]]:
        """Colour of each foreground label value, RGB 0-255."""
        return {label.value: label.color for label in self.labels}

    def check(self, values: Sequence[int], what: str = "label map") -> None:
        """Raise BadRequest where ``values`` holds a label this scheme does not know."""
        unknown = sorted(set(values) - set(self.values) - {0})
        if unknown:
            known = ", ".join(f"{label.value} {label.name}" for label in self.labels)
            hint = (
                " (BraTS 2023 writes 3 for enhancing: pass --relabel 3=4)"
                if unknown == [3] and 4 in self.values
                else ""
            )
            shown = f"{unknown[:8]}"[:-1] + (", …]" if len(unknown) > 8 else "]")
            raise BadRequest(f"{what} holds labels {shown} that the model does not have; it has {known}{hint}")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return ``(N, K, *spatial)`` probabilities: softmax over channels, or a sigmoid each."""
        return logits.softmax(1) if self.activation == "softmax" else logits.sigmoid()

    def masks(self, logits: Tensor) -> list[Tensor]:
        """Return where logits ``(N, K, *spatial)`` say each label is: one boolean ``(N, *spatial)`` a label, disjoint.

        Of equal softmax logits the first channel wins. Comparisons with the maximum are many times faster than argmax.
        """
        if self.activation == "softmax":
            top = logits.amax(1)
            free = logits[:, 0] != top
            on = [logits[:, channel] == top for channel in range(1, logits.shape[1])]
        else:
            on = [logits[:, channel] > 0 for channel in reversed(range(logits.shape[1]))]
            free = on[0] | True
        found = []
        for mask in on:
            found.append(mask & free)
            free = free & ~mask
        return found if self.activation == "softmax" else found[::-1]

    def decode(self, logits: Tensor) -> Tensor:
        """Turn logits ``(N, K, *spatial)`` into label values ``(N, *spatial)`` int64."""
        import torch

        labels = torch.zeros(logits[:, 0].shape, dtype=torch.int64, device=logits.device)
        for value, mask in zip(self.values, self.masks(logits), strict=True):
            labels.masked_fill_(mask, value)
        return labels

    def encode(self, labels: Tensor, dtype: Any = None) -> Tensor:
        """Turn label values ``(N, *spatial)`` into targets ``(N, K, *spatial)`` of 0 and 1."""
        import torch

        planes = [
            torch.stack([labels == value for value in group]).any(0) if len(group) > 1 else labels == group[0]
            for group in self.members
        ]
        if self.activation == "softmax":
            planes.insert(0, ~torch.stack(planes).any(0))
        return torch.stack(planes, dim=1).to(dtype or torch.get_default_dtype())


def _named(names: Sequence[str]) -> tuple[Label, ...]:
    return tuple(Label(index, name, PALETTE[(index - 1) % len(PALETTE)]) for index, name in enumerate(names, start=1))


BRATS_LABELS = (
    Label(1, "necrotic core", (215, 60, 60), "SCT^6574001^Necrosis"),
    Label(2, "oedema", (90, 175, 110), "SCT^79654002^Edema"),
    Label(4, "enhancing tumour", (245, 200, 40), "SCT^108369006^Neoplasm"),
)
BRATS_REGIONS = (Region("WT", (1, 2, 4)), Region("TC", (1, 4)), Region("ET", (4,)))
CHEST_LABELS = (
    Label(1, "heart", (230, 75, 53), "SCT^80891009^Heart"),
    Label(2, "left lung", (77, 187, 213), "SCT^44029006^Left lung"),
    Label(3, "right lung", (60, 110, 190), "SCT^3341006^Right lung"),
    Label(4, "left clavicle", (240, 196, 25), "SCT^51299004^Clavicle"),
    Label(5, "right clavicle", (0, 160, 135), "SCT^51299004^Clavicle"),
)


def chest_scheme() -> LabelScheme:
    """Return the five structures of paper 003 (JSRT/SCR) over a background."""
    return LabelScheme("softmax", CHEST_LABELS)
