"""What every section of the panel is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .Panel import Panel


class Section:
    """A part of the panel: fills and connects its widgets once, and keeps them in line with the parameters."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.ui: Any = panel.ui

    def update(self) -> None:
        """Bring the widgets in line with parameters and scene. Called often: cheap, and idempotent."""

    def close(self) -> None:
        """Let go of timers and observers."""
