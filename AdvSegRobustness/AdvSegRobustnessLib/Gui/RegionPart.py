"""Where noise may go: the whole image, a segment, a Markups ROI, or a region of the library's registry."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .ParameterForm import ParameterForm
from .Section import Section
from .Wiring import fillCombo, setShown


class RegionPart(Section):
    """The part of section 4 that says where."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.form = ParameterForm(self.ui.regionParametersHolder)
        self._regions = {region["name"]: region for region in panel.logic.regions()}
        fillCombo(self.ui.regionComboBox, [(region["summary"], name) for name, region in self._regions.items()])
        self._segments: list[tuple[str, str]] | None = None

    @property
    def region(self) -> dict[str, Any]:
        """The chosen region as it is described."""
        return self._regions.get(self.panel.parameterNode.region, self._regions["whole"])

    @property
    def node(self) -> Any:
        """The node that the region takes, None where it takes none or none is chosen."""
        parameters = self.panel.parameterNode
        nodes = {"segment": parameters.regionSegmentation, "roi": parameters.regionRoi}
        return nodes.get(self.region["name"])

    def update(self) -> None:
        """Show what the region needs."""
        region = self.region
        isSegment = region["name"] == "segment"
        setShown(region["name"] == "roi", self.ui.regionRoiLabel, self.ui.regionRoiSelector)
        setShown(isSegment, self.ui.regionSegmentationLabel, self.ui.regionSegmentationSelector)
        setShown(isSegment, self.ui.regionSegmentLabel, self.ui.regionSegmentComboBox)
        self.form.show(region["name"], region["parameters"], structures=self.panel.goal.structures)
        self._listSegments(self.panel.parameterNode.regionSegmentation)

    def _listSegments(self, node: Any) -> None:
        segmentation = None if node is None else node.GetSegmentation()
        ids = [] if segmentation is None else list(segmentation.GetSegmentIDs())
        segments = [(segmentation.GetSegment(item).GetName(), item) for item in ids]
        if segments == self._segments:
            return
        self._segments = segments
        fillCombo(self.ui.regionSegmentComboBox, segments)
        parameters = self.panel.parameterNode
        if segments and parameters.regionSegment not in ids:
            parameters.regionSegment = ids[0]

    def reason(self) -> str:
        """Return what the region lacks, "" where nothing."""
        name = self.region["name"]
        if name == "roi" and self.node is None:
            return _("Choose the ROI in which noise may go (section 4).")
        if name == "segment" and (self.node is None or not self.panel.parameterNode.regionSegment):
            return _("Choose the segment in which noise may go (section 4).")
        return ""
