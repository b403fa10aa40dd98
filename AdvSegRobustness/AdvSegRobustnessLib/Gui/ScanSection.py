"""Section 1: the volumes that the model gets, and what is odd about their geometry."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from .ScanNotes import geometryNotes
from .Section import Section
from .Wiring import setReady, setShown, wire

CHANNELS = 8
"""How many selectors the .ui has."""


class ScanSection(Section):
    """One selector a channel of the model, and sample cases drawn on the spot."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._selectors = [getattr(self.ui, f"channelSelector{number}") for number in range(1, CHANNELS + 1)]
        self._labels = [getattr(self.ui, f"channelLabel{number}") for number in range(1, CHANNELS + 1)]
        self._tips = {kind: self._button(kind).toolTip for kind in ("brain", "chest")}
        wire(self.ui.brainSampleButton, "clicked(bool)", lambda _on: self.sample("brain"))
        wire(self.ui.chestSampleButton, "clicked(bool)", lambda _on: self.sample("chest"))

    @property
    def channels(self) -> tuple[str, ...]:
        """The model's channel names, as many as there are selectors for."""
        spec = self.panel.spec
        return () if spec is None else tuple(spec.channels[:CHANNELS])

    @property
    def volumes(self) -> tuple[Any, ...]:
        """The chosen volumes in the model's order."""
        node = self.panel.parameterNode
        if node is None:
            return ()
        return tuple(getattr(node, f"channel{index + 1}") for index in range(len(self.channels)))

    def update(self) -> None:
        """Show as many selectors as the model has channels, called as the model calls them."""
        channels = self.channels
        for index, (selector, label) in enumerate(zip(self._selectors, self._labels, strict=True)):
            setShown(index < len(channels), selector, label)
            if index < len(channels):
                label.text = channels[index] + ":"
                selector.toolTip = _("The volume that the model gets as '{name}'.").format(name=channels[index])
        notes = self._notes()
        self.ui.scanNotesLabel.text = "\n".join(notes)
        self.ui.scanNotesLabel.setVisible(bool(notes))
        for kind, tip in self._tips.items():
            setReady(self._button(kind), self.panel.run.busyReason, tip)

    def sample(self, kind: str) -> None:
        """Draw a synthetic case and choose it."""
        self.panel.run.start(
            _("Sample {kind}").format(kind=kind),
            lambda onEvent, onDone: self.panel.logic.phantom(kind, wait=False, onDone=onDone),
            lambda nodes: self._choose(kind, nodes),
            needsTorch=False,
        )

    def _choose(self, kind: str, nodes: Any) -> None:
        *volumes, truth = nodes
        parameters = self.panel.parameterNode
        if parameters is None:
            return
        with slicer.util.NodeModify(parameters):
            parameters.model = kind
            for index in range(CHANNELS):
                setattr(parameters, f"channel{index + 1}", volumes[index] if index < len(volumes) else None)
            parameters.truth = truth
        self.panel.results.showLayout("")  # the next line fills every view, ours too
        slicer.util.setSliceViewerLayers(background=volumes[-1], fit=True)

    def _notes(self) -> list[str]:
        spec, volumes = self.panel.spec, self.volumes
        if spec is None:
            return []
        notes = []
        if len(spec.channels) > CHANNELS:
            notes.append(
                _("The model has {count} channels and the panel {limit}; use the Python console.").format(
                    count=len(spec.channels), limit=CHANNELS
                )
            )
        chosen = [volume for volume in volumes if volume is not None]
        if len({volume.GetID() for volume in chosen}) < len(chosen):
            notes.append(_("The same volume is chosen for two channels."))
        return notes + geometryNotes(self.channels, volumes)

    def _button(self, kind: str) -> Any:
        return getattr(self.ui, f"{kind}SampleButton")
