"""The MRML widgets that the panel uses, on a real scene."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QTableView, QVBoxLayout, QWidget


class qMRMLWidget(QWidget):  # noqa: N801 - as Slicer calls it
    """Hands its scene on."""

    mrmlSceneChanged = Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}  # noqa: RUF012
    _scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene, and tell whoever is connected."""
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


def _flag(name: str, default: bool) -> Any:
    return Property(
        bool, lambda self: self.flags.get(name, default), lambda self, value: self.flags.update({name: value})
    )


class qMRMLNodeComboBox(qMRMLWidget):  # noqa: N801 - as Slicer calls it
    """Lists the nodes of some classes; follows the scene."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    SIGNALS = {  # noqa: RUF012
        **qMRMLWidget.SIGNALS,
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
    }

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.flags: dict[str, bool] = {}
        self._types: list[str] = []
        self._node: Any = None
        self._tags: list[int] = []
        self._box = QComboBox(self)
        self._box.setSizePolicy(self._box.sizePolicy().Policy.Expanding, self._box.sizePolicy().Policy.Fixed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(lambda index: self.setCurrentNode(self._box.itemData(index)))

    def setMRMLScene(self, scene: Any) -> None:
        """Follow a scene, or let go of it."""
        if self._scene is not None:
            for tag in self._tags:
                self._scene.RemoveObserver(tag)
        self._tags = []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
            self._tags = [scene.AddObserver(event, self._onScene) for event in events]
        super().setMRMLScene(scene)
        self._onScene()

    def _onScene(self, *_args: Any) -> None:
        nodes = self._nodes()
        blocked = self._box.blockSignals(True)
        self._box.clear()
        self._box.addItem("None", None)
        for node in nodes:
            self._box.addItem(node.GetName(), node)
        self._box.blockSignals(blocked)
        if self._node is not None and self._node not in nodes:
            self.setCurrentNode(None)
        elif self._node is None and nodes and not self.flags.get("noneEnabled", False):
            self.setCurrentNode(nodes[0])
        self._point()

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        found = []
        for kind in self._types:
            for index in range(self._scene.GetNumberOfNodesByClass(kind)):
                node = self._scene.GetNthNodeByClass(index, kind)
                if not node.GetHideFromEditors() and (self.flags.get("showChildNodeTypes", True) or node.IsA(kind)):
                    exact = node.GetClassName() == kind
                    if exact or self.flags.get("showChildNodeTypes", True):
                        found.append(node)
        return found

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node of the listed classes, or none."""
        node = node if node in self._nodes() else None
        if node is not self._node:
            self._node = node
            self._point()
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit("" if node is None else node.GetID())

    def _point(self) -> None:
        index = next((i for i in range(self._box.count()) if self._box.itemData(i) is self._node), 0)
        self._box.setCurrentIndex(index)

    def currentNode(self) -> Any:
        return self._node

    def nodeCount(self) -> int:
        return len(self._nodes())

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        """Accept an attribute."""

    def _setTypes(self, types: list[str]) -> None:
        self._types = list(types)
        self._onScene()

    nodeTypes = Property("QStringList", lambda self: self._types, _setTypes)
    showChildNodeTypes = _flag("showChildNodeTypes", True)
    addEnabled = _flag("addEnabled", True)
    removeEnabled = _flag("removeEnabled", True)
    renameEnabled = _flag("renameEnabled", False)
    editEnabled = _flag("editEnabled", False)
    noneEnabled = _flag("noneEnabled", False)
    showHidden = _flag("showHidden", False)
    currentNodeID = Property(str, lambda self: "" if self._node is None else self._node.GetID())


class qMRMLTableView(QTableView):  # noqa: N801 - as Slicer calls it
    """Shows a table node."""

    _scene: Any = None
    _table: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def setMRMLTableNode(self, table: Any) -> None:
        """Fill the view from a table node, or empty it."""
        self._table = table
        model = QStandardItemModel(self)
        if table is not None:
            titled = table.GetUseColumnTitleAsColumnHeader()
            for column in range(table.GetNumberOfColumns()):
                cells = [QStandardItem(table.GetCellText(row, column)) for row in range(table.GetNumberOfRows())]
                model.appendColumn(cells)
                title = table.GetColumnTitle(table.GetColumnName(column)) if titled else chr(65 + column)
                model.setHorizontalHeaderItem(column, QStandardItem(title))
        self.setModel(model)

    def mrmlTableNode(self) -> Any:
        return self._table


class qMRMLSegmentEditorWidget(qMRMLWidget):  # noqa: N801 - as Slicer calls it
    """Takes what a Segment Editor takes, and refuses what it refuses."""

    currentSegmentIDChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state: dict[str, Any] = {"effect": None, "order": []}
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("(Slicer's Segment Editor)", self))

    def setMRMLScene(self, scene: Any) -> None:
        if scene is None:
            self.state |= {"segmentation": None, "volume": None, "node": None, "effect": None}
        super().setMRMLScene(scene)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        assert node is None or node.GetScene() is self._scene
        self.state["node"] = node

    def setSegmentationNode(self, node: Any) -> None:
        assert self.state.get("node") is not None or node is None, "the editor needs its node first"
        assert node is None or node.GetScene() is self._scene
        self.state["segmentation"] = node

    def setSourceVolumeNode(self, node: Any) -> None:
        assert self.state.get("segmentation") is not None or node is None, "the editor needs a segmentation first"
        self.state["volume"] = node

    def segmentationNode(self) -> Any:
        return self.state.get("segmentation")

    def sourceVolumeNode(self) -> Any:
        return self.state.get("volume")

    def setCurrentSegmentID(self, segment: str) -> None:
        assert self.state["segmentation"].GetSegmentation().GetSegment(segment) is not None
        self.state["segment"] = segment

    def currentSegmentID(self) -> str:
        return str(self.state.get("segment", ""))

    def setActiveEffectByName(self, name: str) -> None:
        self.state["effect"] = name

    def setActiveEffect(self, effect: Any) -> None:
        self.state["effect"] = effect

    def activeEffect(self) -> Any:
        return self.state["effect"]

    def setEffectNameOrder(self, names: list[str]) -> None:
        assert isinstance(names, list)
        self.state["order"] = names

    def setSwitchToSegmentationsButtonVisible(self, visible: bool) -> None:
        self.state["switch"] = visible

    def _set(name: str) -> Any:  # noqa: N805 - makes properties of the class body
        return lambda self, value: self.state.update({name: value})

    def _get(name: str) -> Any:  # noqa: N805
        return lambda self: self.state.get(name, True)

    unorderedEffectsVisible = Property(bool, _get("unordered"), _set("unordered"))
    segmentationNodeSelectorVisible = Property(bool, _get("segmentations"), _set("segmentations"))
    sourceVolumeNodeSelectorVisible = Property(bool, _get("volumes"), _set("volumes"))
    maximumNumberOfUndoStates = Property(int, lambda self: self.state.get("undo", 10), _set("undo"))
