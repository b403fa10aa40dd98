"""Changes of a scene that are made whole or not at all, and where results hang in the subject hierarchy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer

IN_HIERARCHY = (
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLTableNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
)
"""What Slicer's plugins show in the subject hierarchy; other nodes have no item there."""


@contextmanager
def wholeOrNothing(scene: Any) -> Iterator[None]:
    """Take everything that was added inside out of the scene again where it fails: nodes and hierarchy items."""
    hierarchy = hierarchyOf(scene)
    nodes, items = set(nodeIds(scene)), set(itemIds(hierarchy))
    try:
        yield
    except BaseException:
        for identity in reversed([identity for identity in nodeIds(scene) if identity not in nodes]):
            node = scene.GetNodeByID(identity)
            if node is not None and node is not hierarchy:
                scene.RemoveNode(node)
        for item in itemIds(hierarchy):
            if item not in items:
                hierarchy.RemoveItem(item, False, False)
        raise


def nodeIds(scene: Any) -> list[str]:
    """Return the IDs of all nodes, in the scene's order."""
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def nodesWith(scene: Any, attribute: str, value: str | None = None) -> list[Any]:
    """Return the nodes that have an attribute, of a value where one is given, in the scene's order."""
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [
        node
        for node in nodes
        if (found := node.GetAttribute(attribute)) is not None and (value is None or found == value)
    ]


def hierarchyOf(scene: Any) -> Any:
    """Return the scene's subject hierarchy node."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def itemIds(hierarchy: Any) -> list[int]:
    """Return all items below the scene's, parents before children."""
    import vtk

    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), found, True)
    return [found.GetId(index) for index in range(found.GetNumberOfIds())]


def addFolder(scene: Any, name: str, besideNode: Any = None) -> int:
    """Return a new folder item, beside a node's item (in its study) where it has one; no two have one name there."""
    hierarchy = hierarchyOf(scene)
    parent = hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(besideNode) if besideNode is not None else 0
    if item and hierarchy.GetItemParent(item):
        parent = hierarchy.GetItemParent(item)
    return hierarchy.CreateFolderItem(parent, _free(hierarchy, parent, name))


def putInFolder(scene: Any, folderItem: int, nodes: Iterable[Any]) -> None:
    """Hang nodes below a folder item; those that the hierarchy does not show stay out of it."""
    hierarchy = hierarchyOf(scene)
    for node in nodes:
        if hierarchy.GetItemByDataNode(node) or node.GetClassName() in IN_HIERARCHY:
            hierarchy.CreateItem(folderItem, node)  # reparents an item that is there already


def folderWith(scene: Any, attribute: str, value: str, near: Any = None) -> int:
    """Return the folder item with an attribute: the one that holds ``near`` where it does, else the first; 0 if none.

    A scene that was loaded twice has two folders of one run.
    """
    hierarchy = hierarchyOf(scene)
    found = [item for item in itemIds(hierarchy) if hierarchy.GetItemAttribute(item, attribute) == value]
    parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(near)) if near is not None else 0
    return parent if parent in found else found[0] if found else 0


def removeNodes(scene: Any, nodes: Iterable[Any]) -> None:
    """Remove nodes and what only they use: their own storage and display nodes (a shared one stays)."""
    nodes = [node for node in nodes if node is not None and node.GetScene() is scene]
    own = {helper: None for node in nodes for helper in _helpers(node)}
    hierarchy = hierarchyOf(scene)
    items = [hierarchy.GetItemByDataNode(node) for node in nodes]
    for node in nodes:
        scene.RemoveNode(node)
    left = set(itemIds(hierarchy)).intersection(items)  # without Slicer's plugins the items stay behind
    for item in left:
        hierarchy.RemoveItem(item, False, False)
    for helper in own:
        if helper.GetScene() is scene and not _used(scene, helper):
            scene.RemoveNode(helper)


def _helpers(node: Any) -> list[Any]:
    helpers = []
    if isinstance(node, slicer.vtkMRMLStorableNode):
        helpers += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    if isinstance(node, slicer.vtkMRMLDisplayableNode):
        helpers += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    return [helper for helper in helpers if helper is not None]


def _used(scene: Any, node: Any) -> bool:
    """Tell whether a displayable or storable node of the scene refers to a node."""
    for index in range(scene.GetNumberOfNodes()):
        if any(helper is node for helper in _helpers(scene.GetNthNode(index))):
            return True
    return False


def _free(hierarchy: Any, parent: int, name: str) -> str:
    """Return a name no child of an item has: ``name``, ``name (2)``, ..."""
    count, free = 1, name
    while hierarchy.GetItemChildWithName(parent, free):
        count += 1
        free = f"{name} ({count})"
    return free
