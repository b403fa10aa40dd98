"""Section 2: which model, what is known of it, where it runs, and its segmentation of the unchanged scan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ctk
from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.spec import Spec

from .Section import Section
from .Wiring import fillCombo, setReady, wire

RECENT_KEY = "AdvSegRobustness/RecentModels"
PYTHON_KEY = "AdvSegRobustness/Python"
RECENT = 6
DEVICES = ("auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3")


class ModelSection(Section):
    """The catalogue, folders used lately, a folder; the chosen one's card."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._specs: dict[str, Spec | BadRequest] = {}
        self._cards: dict[str, str] = {}
        self._shown: str | None = None
        self._tip = self.ui.segmentButton.toolTip
        self._refill()
        fillCombo(self.ui.deviceComboBox, [(_("automatic") if name == "auto" else name, name) for name in DEVICES])
        self.ui.modelFolderEdit.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
        self.ui.interpreterEdit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Executable
        self.ui.interpreterEdit.currentPath = panel.settings.value(PYTHON_KEY) or ""
        wire(self.ui.modelFolderEdit, "currentPathChanged(QString)", self._onFolder)
        wire(self.ui.interpreterEdit, "currentPathChanged(QString)", self._onInterpreter)
        wire(self.ui.segmentButton, "clicked(bool)", lambda _on: self.segment())

    @property
    def names(self) -> list[tuple[str, str]]:
        """The models that can be chosen: (text, name or folder)."""
        return list(self._items)

    @property
    def comparable(self) -> list[tuple[str, str]]:
        """Those that take the same kind of scan as the chosen one: as many channels and dimensions."""
        spec = self.spec
        return [] if spec is None else [item for item in self._items if self._isLike(self._read(item[1]), spec)]

    @staticmethod
    def _isLike(known: Spec | BadRequest, spec: Spec) -> bool:
        return isinstance(known, Spec) and (len(known.channels), known.dims) == (len(spec.channels), spec.dims)

    @property
    def spec(self) -> Spec | None:
        """What the chosen model sees and says; None where it cannot be read."""
        known = self._read(self.panel.parameterNode.model)
        return known if isinstance(known, Spec) else None

    def update(self) -> None:
        """Show the chosen model's card, and whether the scan can be segmented."""
        parameters = self.panel.parameterNode
        self.ui.segmentButton.enabled = parameters is not None
        if parameters is None:
            return
        if parameters.model != self._shown:
            self._shown = parameters.model
            known = self._read(parameters.model)
            if isinstance(known, Spec):
                self.ui.modelCardBrowser.setMarkdown(withoutHeadings(self._card(parameters.model)))
            else:
                self.ui.modelCardBrowser.setPlainText(str(known))
        setReady(self.ui.segmentButton, self.panel.run.busyReason or self._reason(), self._tip)

    def segment(self, then: Any = None) -> None:
        """Segment the scan by the chosen model; ``then(segmentation)`` follows."""
        parameters, volumes = self.panel.parameterNode, self.panel.volumes
        model, asked = parameters.model, self.panel.goal.asked
        self.panel.run.start(
            _("Segmentation"),
            lambda onEvent, onDone: self.panel.logic.segment(
                model,
                volumes,
                truth=parameters.truth,
                device=parameters.device,
                wait=False,
                onEvent=onEvent,
                onDone=onDone,
            ),
            lambda node: self._segmented(node, asked, then),
        )

    def _segmented(self, node: Any, asked: tuple[str, ...], then: Any) -> None:
        self.panel.goal.keepPrediction(node, asked)
        if then is not None:
            then(node)

    # -- folders --------------------------------------------------------------------------------------------------

    def addFolder(self, folder: str) -> None:
        """Choose a bundle's folder, and remember it; BadRequest for one that is none."""
        known = self._read(folder, anew=True)
        if isinstance(known, BadRequest):
            raise known
        kept = [folder, *(item for item in self._recent() if item != folder)][:RECENT]
        self.panel.settings.setValue(RECENT_KEY, "\n".join(kept))
        self._refill()
        if self.panel.parameterNode is not None:
            self.panel.parameterNode.model = folder

    def _onFolder(self, path: str) -> None:
        """Take a folder once it is one; half-typed paths are left alone."""
        folder = str(Path(path).expanduser()) if path else ""
        if not folder or not Path(folder).is_dir():
            return
        try:
            self.addFolder(folder)
        except BadRequest as error:
            self._shown = None
            self.ui.modelCardBrowser.setPlainText(str(error))

    def _onInterpreter(self, path: str) -> None:
        self.panel.settings.setValue(PYTHON_KEY, path)

    def _recent(self) -> list[str]:
        kept = str(self.panel.settings.value(RECENT_KEY) or "").split("\n")
        return [folder for folder in kept if folder and Path(folder).is_dir()]

    def _refill(self) -> None:
        self._items: list[tuple[str, str]] = []
        for model in self.panel.logic.models():
            self._items.append((_("{name}: {title}").format(name=model["name"], title=model["title"]), model["name"]))
            self._cards[model["name"]] = model.get("card") or model["description"]
        self._items += [(folder, folder) for folder in self._recent()]
        fillCombo(self.ui.modelComboBox, self._items)
        fillCombo(self.ui.surrogateComboBox, [(_("the attacked model itself"), ""), *self._items])

    def _card(self, model: str) -> str:
        if model not in self._cards:
            readme = Path(model) / "docs" / "README.md"
            self._cards[model] = (
                readme.read_text(encoding="utf-8") if readme.is_file() else _("This model has no card.")
            )
        return self._cards[model]

    def _read(self, model: str, *, anew: bool = False) -> Spec | BadRequest:
        if anew or model not in self._specs:
            try:
                self._specs[model] = self.panel.logic.modelSpec(model)
            except BadRequest as error:
                self._specs[model] = error
        return self._specs[model]

    def _reason(self) -> str:
        parameters = self.panel.parameterNode
        known = self._read(parameters.model)
        if isinstance(known, BadRequest):
            return str(known)
        missing = [
            name for name, node in zip(self.panel.scan.channels, self.panel.volumes, strict=True) if node is None
        ]
        return _("Choose a volume for {names} in section 1.").format(names=", ".join(missing)) if missing else ""


def withoutHeadings(card: str) -> str:
    """Return a card whose headings are bold lines: in the panel they would be larger than the panel's own.

    >>> withoutHeadings("# Brain\\n\\nSees T1.")
    '**Brain**\\n\\nSees T1.'
    """
    return re.sub(r"^#+ +(.+)$", r"**\1**", card, flags=re.MULTILINE)
