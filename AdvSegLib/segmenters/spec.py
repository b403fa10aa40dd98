"""How a network expects its input: channels, axes, voxel size, intensities. Plain data, no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import channel_names

Statistics = Literal["recomputed", "frozen"]
Precision = Literal["fp32", "bf16"]
Blend = Literal["constant", "gaussian"]
CHANNEL_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)
"""Channel names become parts of file names."""
AXIS_CODES = ("RL", "AP", "SI")


@dataclass(frozen=True)
class Intensity:
    """How source intensities become network input, channel by channel.

    ``kind``:
      * ``none``: as read.
      * ``zscore``: (x - mean) / std, over voxels above the channel's own mean where ``foreground`` (the usual stand-in
        for "inside the body", and stable under small noise), else over all voxels.
      * ``range``: [min, max] to ``[low, high]``.
      * ``quantile``: clipped to the quantiles ``q_low``, ``q_high``, which go to ``[low, high]``.
      * ``window``: the source interval ``[source_low, source_high]`` to ``[low, high]``, not clipped.
    """

    kind: Literal["none", "zscore", "range", "quantile", "window"] = "none"
    low: float = 0.0
    high: float = 1.0
    foreground: bool = True
    q_low: float = 0.02
    q_high: float = 0.98
    source_low: float = 0.0
    source_high: float = 255.0

    def __post_init__(self) -> None:
        """Refuse kinds and bounds that make no mapping."""
        if self.kind not in ("none", "zscore", "range", "quantile", "window"):
            raise BadRequest(f"unknown intensity kind '{self.kind}'; known: none, zscore, range, quantile, window")
        if not (0 <= self.q_low < self.q_high <= 1 and self.source_low < self.source_high and self.low < self.high):
            raise BadRequest(f"intensity bounds out of order: {self}")


@dataclass(frozen=True)
class Windows:
    """How a network passes over a grid too large for one forward: overlapping windows, blended.

    ``size`` (voxels), ``overlap`` (share of a window, below 1), ``blend`` and ``sigma`` (share of a window) mean what
    they mean in MONAI's ``sliding_window_inference``. ``mirror`` lists axes, of the network's own, along which every
    window is also seen mirrored, in all combinations, and averaged (test-time augmentation). ``batch`` windows go
    through the network at a time.
    """

    size: tuple[int, ...]
    overlap: float = 0.25
    blend: Blend = "gaussian"
    sigma: float = 0.125
    mirror: tuple[int, ...] = ()
    batch: int = 1

    def __post_init__(self) -> None:
        """Refuse windows that cannot cover a grid."""
        if not self.size or min(self.size) < 1:
            raise BadRequest(f"a window needs a positive size on every axis, not {self.size}")
        if not 0 <= self.overlap < 1:
            raise BadRequest(f"window overlap must be >= 0 and < 1, not {self.overlap}")
        if self.blend not in ("constant", "gaussian"):
            raise BadRequest(f"unknown blend '{self.blend}'; known: constant, gaussian")
        if not self.sigma > 0:
            raise BadRequest(f"window sigma must be positive, not {self.sigma}")
        if self.batch < 1:
            raise BadRequest(f"window batch must be at least 1, not {self.batch}")
        if len(set(self.mirror)) != len(self.mirror) or any(not 0 <= axis < len(self.size) for axis in self.mirror):
            raise BadRequest(f"mirror must name axes 0 to {len(self.size) - 1} once each, not {self.mirror}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Windows:
        """Read what ``dataclasses.asdict`` wrote; TypeError for an unknown field."""
        data = dict(data)
        for name in ("size", "mirror"):
            if name in data:
                data[name] = tuple(int(n) for n in data[name])
        if "batch" in data:
            data["batch"] = int(data["batch"])
        return cls(**data)


@dataclass(frozen=True)
class Spec:
    """What a network sees and says.

    ``dims`` is the network's own number of spatial axes; a 2-D network is run slice by slice on a volume. ``channels``
    names its input channels in order. ``orientation`` names, for each array axis of a volume, where it points
    (``"SPL"``: first axis to superior, …); empty takes axes as stored. ``spacing`` (mm) or ``size`` (voxels) is the
    grid the network sees, along the oriented axes; neither takes the scan's own grid. Sizes are padded to
    ``multiple``. With ``windows`` the network passes over that grid in windows; else it takes it whole.
    """

    dims: int
    channels: tuple[str, ...]
    scheme: LabelScheme
    intensity: Intensity = Intensity()
    orientation: str = ""
    spacing: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    multiple: int = 1
    windows: Windows | None = None

    def __post_init__(self) -> None:
        """Refuse specs that contradict themselves."""
        if self.dims not in (2, 3):
            raise BadRequest(f"a network has 2 or 3 spatial dims, not {self.dims}")
        names = [str(name) for name in self.channels]
        if not names or len(set(names)) != len(names) or not all(CHANNEL_NAME.fullmatch(name) for name in names):
            raise BadRequest(f"channels must be distinct names of letters, digits, . _ + or -, not {self.channels}")
        if "labels" in names:
            raise BadRequest("a channel must not be called 'labels': its file would be the label map's")
        if self.spacing and self.size:
            raise BadRequest("give the network's spacing or its size, not both")
        if self.multiple < 1:
            raise BadRequest(f"multiple must be at least 1, not {self.multiple}")
        for name, value in (("spacing", self.spacing), ("size", self.size)):
            if value and (len(value) != self.dims or min(value) <= 0):
                raise BadRequest(f"{name} needs {self.dims} positive numbers, got {value}")
        if self.windows is not None and len(self.windows.size) != self.dims:
            raise BadRequest(f"windows need {self.dims} sizes, got {self.windows.size}")
        if self.orientation:
            axes = sorted(next((pair for pair in AXIS_CODES if code in pair), code) for code in self.orientation)
            if axes != sorted(AXIS_CODES):
                raise BadRequest(f"orientation '{self.orientation}' must name R or L, A or P, S or I once each")

    @classmethod
    def plain(cls, scheme: LabelScheme, *, dims: int = 3, channels: int = 1, **options: Any) -> Spec:
        """Return a spec with unnamed channels; ``options`` are the other fields."""
        return cls(dims, channel_names(channels), scheme, **options)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spec:
        """Read what :meth:`to_dict` wrote; BadRequest names a field that is missing or unknown."""
        if isinstance(data.get("channels"), str):
            raise BadRequest("segmenter spec: channels must be a list of names")
        try:
            return cls(
                dims=int(data["dims"]),
                channels=tuple(data["channels"]),
                scheme=LabelScheme.from_dict(data["labels"]),
                intensity=Intensity(**data.get("intensity", {})),
                orientation=str(data.get("orientation", "")),
                spacing=tuple(float(s) for s in data.get("spacing", ())),
                size=tuple(int(s) for s in data.get("size", ())),
                multiple=int(data.get("multiple", 1)),
                windows=Windows.from_dict(data["windows"]) if data.get("windows") else None,
            )
        except BadRequest:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadRequest(f"segmenter spec is incomplete or malformed: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return this spec as plain JSON data."""
        return {
            "dims": self.dims,
            "channels": list(self.channels),
            "labels": self.scheme.to_dict(),
            "intensity": asdict(self.intensity),
            "orientation": self.orientation,
            "spacing": list(self.spacing),
            "size": list(self.size),
            "multiple": self.multiple,
            "windows": None if self.windows is None else asdict(self.windows),
        }
