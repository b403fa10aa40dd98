"""Synthetic cases, drawn on the spot: something to attack where no patient's data is at hand, or wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AdvSegLib.errors import AdvSegError, unknown_name
from AdvSegLib.volumes import Image, read_image, read_labels
from AdvSegRobustnessLib.Choices import modelSpec
from AdvSegRobustnessLib.LabelNodes import segmentationFromLabelMap
from AdvSegRobustnessLib.NodeGeometry import RAS_TO_LPS, REVERSED, toVtk
from AdvSegRobustnessLib.SceneChange import hierarchyOf, putInFolder, wholeOrNothing
from AdvSegRobustnessLib.Voxels import imageDataOf

KINDS = {"brain": "phantom-brain", "chest": "phantom-chest"}
"""Phantoms, each called as the shipped model that segments it."""


def phantomCommand(python: Path, kind: str, seed: int, size: int | None, out: Path) -> list[str]:
    """Return the command line that writes a phantom's files into ``out``; BadRequest for an unknown kind."""
    if kind not in KINDS:
        raise unknown_name("phantom", kind, KINDS)
    sized = [] if size is None else ["--size", str(size)]
    return [str(python), "-m", "AdvSegLib", "cases", KINDS[kind], "--count", "1", "--seed", str(seed), *sized,
            "--out", str(out)]  # fmt: skip


def addPhantom(scene: Any, folder: Path, kind: str) -> list[Any]:
    """Return a phantom's volumes, in the order of the shipped model's channels, and its true segmentation."""
    spec = modelSpec(kind)
    labelFile = _only(folder, "labels")
    caseName = labelFile.name.removesuffix("_labels.nii.gz")
    images = [read_image(_only(folder, channel)) for channel in spec.channels]
    labels = read_labels(labelFile)
    named = [(f"{caseName} {channel}", image) for channel, image in zip(spec.channels, images, strict=True)]
    with wholeOrNothing(scene):
        volumes = [_volume(scene, image, name) for name, image in named]
        truth = segmentationFromLabelMap(scene, labels, spec.scheme, f"{caseName} truth", volumes[0])
        putInFolder(scene, hierarchyOf(scene).GetSceneItemID(), [*volumes, truth])
    return [*volumes, truth]


def _only(folder: Path, what: str) -> Path:
    found = sorted(folder.glob(f"*_{what}.nii.gz"))
    if len(found) != 1:
        raise AdvSegError(f"{folder}: {len(found)} files of {what} where a phantom should have one")
    return found[0]


def _volume(scene: Any, image: Image, name: str) -> Any:
    """Return a new volume node of a one-channel image, shown in grey."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    grid = image.grid.lifted()
    node.SetIJKToRASMatrix(toVtk(RAS_TO_LPS @ grid.affine @ REVERSED))
    node.SetAndObserveImageData(imageDataOf(image.array.reshape(grid.shape)))
    node.CreateDefaultDisplayNodes()
    return node
