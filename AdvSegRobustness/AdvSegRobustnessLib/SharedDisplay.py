"""One window for clean and adversarial: the volumes share one display node, so that none can be seen otherwise."""

from __future__ import annotations

from typing import Any


def shareDisplay(node: Any, cleanNode: Any) -> None:
    """Show a volume through the display node of the clean one.

    A clean volume that has none gets Slicer's default. Automatic windows are fixed at what they are: the window is
    the clean image's, and would otherwise follow whichever volume changed last.
    """
    if cleanNode.GetScalarVolumeDisplayNode() is None:
        cleanNode.CreateDefaultDisplayNodes()
    display = cleanNode.GetScalarVolumeDisplayNode()
    display.AutoWindowLevelOff()
    node.SetAndObserveDisplayNodeID(display.GetID())
    display.SetInputImageDataConnection(cleanNode.GetImageDataConnection())
