"""Section 4: which attack, how far it may go, and where."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AdvSegLib.attacks import ATTACKS

from ..AttackRequest import UNTARGETED
from .ParameterForm import ParameterForm
from .RegionPart import RegionPart
from .Section import Section
from .SourceUnits import epsilonText
from .Wiring import fillCombo, setShown, wire


class AttackSection(Section):
    """The registry's attacks with the parameters each has; the budget, also in the scan's own units."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.form = ParameterForm(self.ui.attackParametersHolder)
        self.region = RegionPart(panel)
        self._attacks = {attack["name"]: attack for attack in panel.logic.attacks()}
        titles = [(f"{name}: {attack['summary'].split(':')[0]}", name) for name, attack in self._attacks.items()]
        fillCombo(self.ui.attackComboBox, titles)
        norms = [(_("largest change of a voxel (L-inf)"), "linf"), (_("Euclidean norm of the change (L2)"), "l2")]
        fillCombo(self.ui.normComboBox, norms)
        fillCombo(self.ui.precisionComboBox, [(_("float32"), "fp32"), (_("bfloat16"), "bf16")])
        wire(self.ui.attackComboBox, "activated(int)", self._onChosen)

    @property
    def attack(self) -> dict[str, Any]:
        """The chosen attack as the registry describes it."""
        return self._attacks.get(self.panel.parameterNode.attack, self._attacks["pgd"])

    def update(self) -> None:
        """Show the attack's parameters, and the budget of its norm."""
        parameters = self.panel.parameterNode
        if parameters is None:
            return
        attack = self.attack
        self.ui.attackSummaryLabel.text = self._summary(attack)
        self.form.show(attack["name"], attack["parameters"], shared=ATTACKS[attack["name"]].shared)
        isLinf = parameters.norm == "linf"
        setShown(isLinf, self.ui.epsilonLabel, self.ui.epsilonSlider)
        setShown(not isLinf, self.ui.radiusLabel, self.ui.radiusSpinBox)
        units = epsilonText(parameters.epsilonPercent / 100, self.panel.scan.channels, self.panel.volumes)
        self.ui.epsilonUnitsLabel.text = units
        setShown(isLinf and bool(units), self.ui.epsilonUnitsTitle, self.ui.epsilonUnitsLabel)
        self.region.update()

    def _onChosen(self, index: int) -> None:
        """Take the default budget of an attack that somebody chose (not of one that a scene brought)."""
        chosen = self._attacks[self.ui.attackComboBox.itemData(index)]
        self.panel.parameterNode.epsilonPercent = 100 * float(chosen["default_epsilon"])

    def _summary(self, attack: dict[str, Any]) -> str:
        text = _("{summary}. Source: {source}. Its own epsilon: {percent:g} % of the range.").format(
            summary=attack["summary"], source=attack["source"], percent=100 * attack["default_epsilon"]
        )
        targeted = self.panel.parameterNode.goal != UNTARGETED
        if attack["aim"] == "targeted" and not targeted:
            return text + " " + _("It needs a target: choose one in section 3.")
        if attack["aim"] == "untargeted" and targeted:
            return text + " " + _("It takes no target: choose the untargeted goal in section 3.")
        return text
