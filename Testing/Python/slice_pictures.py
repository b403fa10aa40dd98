"""The four slice views of a result, drawn offscreen from its nodes: clean, adversarial, noise, difference.

``python Testing/Python/slice_pictures.py [FOLDER [WORK]]`` draws the pictures of README and tutorial: real attacks on
the shipped models, on phantoms, through the scene layer. No picture is ever made of a patient for that.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from offscreen_views import OffscreenSliceView
from panel_standins.install import installed
from PIL import Image
from slicer_fixtures import HeadlessSlicer
from vtk.util.numpy_support import vtk_to_numpy

ROOT = Path(__file__).resolve().parents[2]
VIEWS = {
    "clean": ("AdvClean", "clean image, the model's segmentation"),
    "adversarial": ("AdvAdversarial", "adversarial image, the same model's segmentation"),
    "noise": ("AdvNoise", "what was added"),
    "difference": ("AdvDifference", "what changed: blue lost, orange gained, violet other"),
}
"""The views by name: the singleton tag of the panel's own layout, and what is written into the picture."""
SIDE = 440
GAP = 6
LARGEST = 420_000
"""Bytes of a picture in the repository."""


@dataclass(frozen=True)
class Look:
    """Where the views look, and how strongly the noise is shown."""

    zoom: float = 1.0
    magnification: float = 1.0
    channel: int = 0
    side: int = SIDE


@dataclass(frozen=True)
class Example:
    """A picture of the documentation: a phantom, an attack on a shipped model, and how it is looked at."""

    name: str
    kind: str
    model: str
    seed: int
    attack: tuple[str, ...]
    look: Look = field(default_factory=Look)
    size: int | None = None


BRAIN_ATTACK = ("--attack", "pgd", "--steps", "12", "--epsilon", "0.03", "--region", "body")
CHEST_ATTACK = ("--attack", "pgd", "--steps", "40", "--epsilon", "0.02")
HEART = ("--aim", "heart-symbol", "structure=heart", "size=large")
EXAMPLES = (
    Example("brain", "phantom-brain", "brain", 900, BRAIN_ATTACK, Look(zoom=1.15, channel=3), size=128),
    Example("chest", "phantom-chest", "chest", 900, (*CHEST_ATTACK, *HEART), Look(side=370)),
)


def fourViews(scene: Any, applicationLogic: Any, result: Any, look: Look | None = None) -> dict[str, np.ndarray]:
    """Return the four views of a result as pictures ``(side, side, 3)``, by the names of :data:`VIEWS`."""
    from AdvSegRobustnessLib.NoiseDisplay import setMagnification

    look = look or Look()
    clean, noisy = result.scanNodes[look.channel], result.adversarial[look.channel]
    noise = result.perturbation[look.channel]
    shown = {
        "clean": (clean, None, result.clean),
        "adversarial": (noisy, None, result.attacked),
        "noise": (clean, noise, None),
        "difference": (clean, None, result.difference),
    }
    views = {
        name: OffscreenSliceView(scene, applicationLogic, tag, (look.side, look.side))
        for name, (tag, _) in VIEWS.items()
    }
    _limit({segmentation: views[name] for name, (_, _, segmentation) in shown.items() if segmentation is not None})
    setMagnification(result, look.magnification)
    point = mostChanged(result)
    pictures = {}
    for name, (background, foreground, _) in shown.items():
        view = views[name]
        view.show(background, foreground)
        view.look("Axial", point, look.zoom)
        if foreground is not None:
            view.showLegendOf(foreground)
        view.renderer.AddViewProp(caption(VIEWS[name][1], look.side))
        if name in ("adversarial", "noise"):
            view.renderer.AddViewProp(mark())
        pictures[name] = view.pixels()
    return pictures


def mostChanged(result: Any) -> tuple[float, float, float]:
    """Return the middle of the axial slice where most of the clean segmentation was changed, RAS.

    Where nothing of it was, the slice that gained most; where nothing changed at all, the middle one.
    """
    reference = result.scanNodes[0]
    width, height, depth = reference.GetImageData().GetDimensions()
    altered, gained = np.zeros(depth), np.zeros(depth)
    segmentation = result.difference.GetSegmentation()
    for segmentId in segmentation.GetSegmentIDs():
        voxels = _voxelsOf(result.difference, segmentId, reference).sum(axis=(1, 2))
        (gained if segmentId.startswith("gained") else altered)[:] += voxels
    scores = altered if altered.any() else gained
    k = int(scores.argmax()) if scores.any() else depth // 2
    matrix = vtk.vtkMatrix4x4()
    reference.GetIJKToRASMatrix(matrix)
    return tuple(matrix.MultiplyPoint(((width - 1) / 2, (height - 1) / 2, k, 1))[:3])


def _voxelsOf(segmentation: Any, segmentId: str, reference: Any) -> np.ndarray:
    """Return a segment as 0 and 1 on the reference's voxels, ``(k, j, i)``."""
    labelmap = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segmentId, labelmap)
    extent, (width, height, depth) = labelmap.GetExtent(), reference.GetImageData().GetDimensions()
    voxels = np.zeros((depth, height, width), np.uint8)
    if extent[0] <= extent[1]:
        scalars = vtk_to_numpy(labelmap.GetPointData().GetScalars())
        shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
        block = scalars.reshape(shape)
        voxels[extent[4] : extent[5] + 1, extent[2] : extent[3] + 1, extent[0] : extent[1] + 1] = block > 0
    return voxels


def _limit(shown: dict[Any, OffscreenSliceView]) -> None:
    """Show each segmentation in its view, and no other segmentation of the scene anywhere."""
    scene = next(iter(shown)).GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
        node.GetDisplayNode().SetVisibility(node in shown)
        if node in shown:
            node.GetDisplayNode().SetViewNodeIDs([shown[node].node.GetID()])


def caption(text: str, side: int) -> Any:
    """Return a line of text at the lower edge of a view so large."""
    actor = vtk.vtkTextActor()
    actor.SetInput(text)
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(0.02, 0.015)
    style = actor.GetTextProperty()
    style.SetFontSize(round(13 * side / SIDE))
    style.SetColor(1, 1, 1)
    style.SetShadow(True)
    return actor


def mark() -> Any:
    """Return the mark that the module puts into the views of an adversarial image (its file needs a Qt)."""
    from AdvSegRobustnessLib.Gui.Marks import markActor

    return markActor()


def arranged(pictures: dict[str, np.ndarray]) -> Image.Image:
    """Return the four pictures as the panel's side-by-side layout has them: two by two."""
    clean, adversarial, noise, difference = (pictures[name] for name in VIEWS)
    height, width, _ = clean.shape
    sheet = np.full((2 * height + GAP, 2 * width + GAP, 3), 60, np.uint8)
    for row, pair in enumerate(((clean, adversarial), (noise, difference))):
        for column, picture in enumerate(pair):
            top, left = row * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = picture
    return Image.fromarray(sheet)


def savePicture(picture: Image.Image, path: Path) -> None:
    """Save as a PNG; ValueError where the repository would grow by more than it should."""
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}: draw it smaller")


def advseg(*arguments: str) -> None:
    """Run a command of the library in a process of its own; what it prints goes to stderr."""
    subprocess.run([sys.executable, "-m", "AdvSegLib", *arguments], cwd=ROOT, check=True, stdout=sys.stderr)


def addExample(slicerAlone: Any, example: Example, folder: Path) -> Any:
    """Draw the phantom, attack the model on it, and return the nodes of the result; what is in the folder is kept."""
    from AdvSegLib.segmenters.catalogue import shipped_models
    from AdvSegLib.segmenters.spec import Spec

    spec = Spec.from_dict(shipped_models()[example.model].metadata["advseg"])
    if not (folder / "run").exists():
        compute(example, spec.channels, folder)
    _, images = filesOf(folder / "case", spec.channels)
    return addFromFiles(slicerAlone, images, spec, folder / "run")


def compute(example: Example, channels: Sequence[str], folder: Path) -> None:
    """Write the phantom into ``case`` and the run into ``run`` of a folder."""
    size = ("--size", str(example.size)) if example.size else ()
    advseg("cases", example.kind, "--count", "1", "--seed", str(example.seed), *size, "--out", str(folder / "case"))
    labels, images = filesOf(folder / "case", channels)
    inputs = ["--image", *map(str, images), "--truth", str(labels)]
    advseg("attack", "--model", example.model, *inputs, *example.attack, "--out", str(folder / "run"))


def filesOf(case: Path, channels: Sequence[str]) -> tuple[Path, list[Path]]:
    """Return the label map of the one case in a folder, and its images in the order of the channels."""
    (labels,) = case.glob("*_labels.nii.gz")
    return labels, [labels.with_name(labels.name.replace("_labels", f"_{channel}")) for channel in channels]


def addFromFiles(slicerAlone: Any, images: list[Path], spec: Any, run: Path) -> Any:
    """Load the files of a scan as volumes, and a run of it as result nodes."""
    from AdvSegRobustnessLib.ResultNodes import addRun
    from AdvSegRobustnessLib.ScanNodes import scanFromNodes

    logic = slicerAlone.logics["Volumes"]
    volumes = [logic.AddArchetypeVolume(str(path), path.name.split(".")[0]) for path in images]
    scan = scanFromNodes(volumes, spec.channels, spec.dims)
    return addRun(slicerAlone.scene, run, scan, spec.scheme)


def main(folder: Path, work: Path) -> None:
    """Draw every example into a folder; phantoms and runs are kept in ``work``, and taken from there."""
    folder.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        with tempfile.TemporaryDirectory() as name:
            slicerAlone = HeadlessSlicer(Path(name))
            with installed(slicerAlone, mainWindow=False):
                result = addExample(slicerAlone, example, work / example.name)
                pictures = fourViews(slicerAlone.scene, slicerAlone.application, result, example.look)
            savePicture(arranged(pictures), folder / f"{example.name}.png")
            slicerAlone.close()


if __name__ == "__main__":
    shots = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots"
    with tempfile.TemporaryDirectory(prefix="advseg-pictures-") as passing:
        main(shots, Path(sys.argv[2]) if len(sys.argv) > 2 else Path(passing))
