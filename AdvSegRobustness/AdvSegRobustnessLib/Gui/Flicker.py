"""Two pictures in turn, at a pace."""

from __future__ import annotations

from collections.abc import Callable

import qt


class Flicker:
    """Calls ``show(second)`` with False and True in turn."""

    def __init__(self, show: Callable[[bool], object]) -> None:
        self._show = show
        self._second = False
        self._timer = qt.QTimer()
        self._timer.timeout.connect(self._onTimer)

    @property
    def running(self) -> bool:
        """Whether it flickers."""
        return bool(self._timer.isActive())

    def start(self, seconds: float) -> None:
        """Begin with the first picture, which is shown already."""
        self._second = False
        self.setSeconds(seconds)
        self._timer.start()

    def setSeconds(self, seconds: float) -> None:
        """Set how long each picture is shown."""
        milliseconds = max(50, round(1000 * seconds))
        if self._timer.interval != milliseconds:
            self._timer.setInterval(milliseconds)

    def stop(self) -> None:
        """Stay at the picture that is shown."""
        self._timer.stop()

    def _onTimer(self) -> None:
        self._second = not self._second
        self._show(self._second)
