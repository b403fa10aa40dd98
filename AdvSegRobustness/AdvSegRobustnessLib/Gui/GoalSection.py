"""Section 3: what the attack is to bring about."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest

from ..AttackRequest import UNTARGETED
from ..LabelNodes import drawableTarget
from .ParameterForm import ParameterForm
from .Section import Section
from .TargetEditor import TargetEditor
from .Wiring import fillCombo, setReady, setShown, wire

DRAWN = "drawn"


class GoalSection(Section):
    """The goal, its parameters, and a target drawn here."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.form = ParameterForm(self.ui.goalParametersHolder)
        self.editor = TargetEditor(self.ui.editorFrame, self.ui.closeEditorButton)
        self.prediction: Any = None
        """The last segmentation of the unchanged scan made here."""
        self._tip = self.ui.drawTargetButton.toolTip
        self._goals = {goal["name"]: goal for goal in panel.logic.goals()}
        texts = {UNTARGETED: _("Untargeted"), DRAWN: _("Drawn here, or another segmentation")}
        fillCombo(
            self.ui.goalComboBox, [(texts.get(name, goal["summary"]), name) for name, goal in self._goals.items()]
        )
        keeping = ((_("automatic"), ""), (_("the truth"), "truth"), (_("the clean prediction"), "prediction"))
        fillCombo(self.ui.keepComboBox, [*keeping, (_("nothing"), "nothing")])
        wire(self.ui.drawTargetButton, "clicked(bool)", lambda _on: self.draw())

    @property
    def goal(self) -> dict[str, Any]:
        """The chosen goal as the registry describes it."""
        return self._goals.get(self.panel.parameterNode.goal, self._goals[UNTARGETED])

    def update(self) -> None:
        """Show what the goal needs, and nothing else."""
        parameters = self.panel.parameterNode
        self.ui.drawTargetButton.enabled = parameters is not None
        if parameters is None:
            return
        goal, targeted = self.goal, parameters.goal != UNTARGETED
        source = _(" Source: {source}.").format(source=goal["source"]) if goal["source"] else ""
        self.ui.goalSummaryLabel.text = goal["summary"] + "." + source
        self.form.show(
            goal["name"], goal["parameters"], structures=self.structures, needsStructure=not goal.get("node")
        )
        setShown(bool(goal.get("node")), self.ui.targetLabel, self.ui.targetSelector)
        setShown(targeted, self.ui.keepLabel, self.ui.keepComboBox)
        self.editor.update(parameters.target)
        setReady(self.ui.drawTargetButton, self._reason(), self._tip)

    @property
    def structures(self) -> list[str]:
        """What the chosen model can draw: its labels, then unions of them."""
        spec = self.panel.spec
        if spec is None:
            return []
        return [label.name for label in spec.scheme.labels] + [
            region.name for region in spec.scheme.regions if len(region.values) > 1
        ]

    # -- drawing --------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Open a target to draw on: a copy of the clean prediction, which is made first where it is not at hand."""
        prediction = self._predictionAtHand()
        if prediction is None:
            self.panel.model.segment(then=self._openTarget)
        else:
            self.panel.attempt(_("Draw target"), lambda: self._openTarget(prediction))

    def _openTarget(self, prediction: Any) -> None:
        parameters, volumes = self.panel.parameterNode, self.panel.volumes
        if parameters is None:
            raise BadRequest("the scene was closed")
        name = self.panel.scene.GenerateUniqueName(_("Target"))
        parameters.target = drawableTarget(self.panel.scene, prediction, name)
        parameters.goal = DRAWN
        self.panel.results.showLayout("")  # it is drawn in Slicer's own views
        self.editor.open(self.panel.scene, parameters.target, volumes[0])
        self.update()

    def _predictionAtHand(self) -> Any:
        """Return the prediction made here, if it is still there and of this scan."""
        node, volumes = self.prediction, self.panel.volumes
        if node is None or node.GetScene() is not self.panel.scene or not volumes or volumes[0] is None:
            return None
        reference = node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole())
        return node if reference == volumes[0].GetID() and self._predictedBy == self.asked else None

    @property
    def asked(self) -> tuple[str, ...]:
        """What a prediction would be of: the model and the volumes."""
        return (self.panel.parameterNode.model, *(node.GetID() for node in self.panel.volumes if node is not None))

    _predictedBy: tuple[str, ...] = ()

    def keepPrediction(self, node: Any, asked: tuple[str, ...]) -> None:
        """Remember a segmentation of the unchanged scan, and what it is of."""
        self.prediction, self._predictedBy = node, asked

    def _reason(self) -> str:
        if self._predictionAtHand() is not None:
            return ""
        return "" if self.ui.segmentButton.enabled else self.ui.segmentButton.toolTip

    def close(self) -> None:
        """End the editor."""
        self.editor.dispose()
