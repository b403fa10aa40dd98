"""The volumes of one channel of a result, found by name: somebody may have deleted some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vtk

from ..Roles import CHANNEL_ATTRIBUTE


@dataclass(frozen=True)
class Channel:
    """The clean volume, the adversarial one and the noise; None where deleted since."""

    clean: Any
    adversarial: Any
    noise: Any

    @property
    def under(self) -> Any:
        """What noise and difference are shown over."""
        return self.clean if self.clean is not None else self.adversarial


def channelNames(result: Any) -> list[str]:
    """Return the channels of which a result still has an adversarial volume."""
    return [nameOf(node) for node in result.adversarial]


def channelOf(result: Any, name: str) -> Channel:
    """Return a channel's volumes; of the first channel where there is none of that name."""
    names = channelNames(result)
    index = names.index(name) if name in names else 0
    adversarial = result.adversarial[index] if names else None
    whole = len(result.scanNodes) == len(names)
    clean = result.scanNodes[index] if whole and names else None
    return Channel(clean, adversarial, _named(result.perturbation, names[index] if names else ""))


def recordedOf(browser: Any, name: str) -> tuple[Any, Any]:
    """Return the volume of a channel and the segmentation that a browser shows its selected iteration by."""
    sequences = _collected(browser)
    proxies = [proxy for proxy in map(browser.GetProxyNode, sequences) if proxy is not None]
    volumes = [proxy for proxy in proxies if proxy.IsA("vtkMRMLScalarVolumeNode")]
    segmentations = [proxy for proxy in proxies if proxy.IsA("vtkMRMLSegmentationNode")]
    found = _named(volumes, name)
    return found or next(iter(volumes), None), next(iter(segmentations), None)


def nameOf(node: Any) -> str:
    """Return the channel that a volume is of."""
    return str(node.GetAttribute(CHANNEL_ATTRIBUTE) or node.GetName())


def _named(nodes: Sequence[Any], name: str) -> Any:
    return next((node for node in nodes if nameOf(node) == name), None)


def _collected(browser: Any) -> list[Any]:
    sequences = vtk.vtkCollection()
    browser.GetSynchronizedSequenceNodes(sequences, True)
    return [sequences.GetItemAsObject(index) for index in range(sequences.GetNumberOfItems())]
