"""Scans, label maps and finished runs as the scene tests need them, on real MRML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer_fixtures  # noqa: F401 - puts the module's folder on the path
from hypothesis import strategies as st

from AdvSegLib.cases.registry import open_cases
from AdvSegLib.job_request import Job
from AdvSegLib.jobs import run_job
from AdvSegLib.labels import Label, LabelScheme
from AdvSegLib.segmenters.bundle import read_metadata
from AdvSegLib.segmenters.catalogue import model_folder
from AdvSegLib.segmenters.spec import Spec
from AdvSegLib.volumes import Grid, Image, LabelMap, read_image

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCHEME = LabelScheme(
    "softmax",
    (
        Label(1, "heart", (230, 75, 53), "SCT^80891009^Heart"),
        Label(2, "left clavicle", (240, 196, 25), "SCT^51299004^Clavicle"),
        Label(5, "oedema", (90, 175, 110), "SCT^79654002^Edema"),
        Label(7, "no code"),
    ),
)


@dataclass(frozen=True)
class FinishedRun:
    """A run folder, what it was made from, and the model's spec."""

    folder: Path
    files: tuple[Path, ...]
    spec: Spec

    def image(self) -> Image:
        """Return the clean scan."""
        return read_image(list(self.files), self.spec.channels)

    def scan(self, scene: Any) -> Any:
        """Return the clean scan as nodes of a scene, and as the model sees it."""
        from AdvSegRobustnessLib.ScanNodes import scanFromNodes

        return scanFromNodes(volumeNodes(scene, self.image()), self.spec.channels, self.spec.dims)


def _spec(model: str) -> Spec:
    return Spec.from_dict(read_metadata(model_folder(model))["advseg"])


def _finished(folder: Path, model: str, source: str, attack: str, **options: Any) -> FinishedRun:
    spec = _spec(model)
    size = {"shape": 32} if model == "brain" else {"size": 64}
    (case,) = open_cases(source, None, count=1, seed=5, **size)
    *files, truth = case.write(folder)
    byName = {path.name.split(".")[0].rsplit("_", 1)[1]: path for path in files}
    ordered = tuple(byName[name] for name in spec.channels)
    job = Job(model, tuple(map(str, ordered)), attack, truth=str(truth), device="cpu", **options)
    return FinishedRun(run_job(job, folder / "run"), ordered, spec)


@pytest.fixture(scope="session")
def aFilmRun(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Return a run of FGSM on a chest film of 64 x 64."""
    return _finished(tmp_path_factory.mktemp("film"), "chest", "phantom-chest", "fgsm")


@pytest.fixture(scope="session")
def aBrainRun(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Return a run of two steps of PGD on a brain of 32 x 32 x 32 and four channels, both steps recorded."""
    found = _finished(tmp_path_factory.mktemp("brain"), "brain", "phantom-brain", "pgd", parameters={"steps": 2})
    record(found)
    return found


def record(run: FinishedRun, steps: int = 3) -> None:
    """Write recorded iterations into a run folder: from the clean scan to the adversarial one in equal parts."""
    image, names = run.image(), run.spec.channels
    final = read_image([run.folder / f"adversarial_{name}.nii.gz" for name in names], names)
    (run.folder / "iterations").mkdir()
    entries = []
    for step in range(steps):
        share = step / (steps - 1)
        part = image.with_array(image.array * (1 - share) + final.array * share)
        files = [f"iterations/step_{step:04d}_{name}.nii.gz" for name in names]
        for index, file in enumerate(files):
            part.channel(index).write(run.folder / file)
        labels = f"iterations/step_{step:04d}_labels.nii.gz"
        values = np.zeros(image.grid.shape, np.int32)
        values.reshape(-1)[: 10 * (step + 1)] = 2
        LabelMap(values, image.grid).write(run.folder / labels)
        entries.append({"step": 2 * step, "images": files, "labels": labels, "numbers": {"dice": 1 - share}})
    index = {"schema": "advseg.iterations/1", "iterations": entries}
    (run.folder / "iterations" / "index.json").write_text(json.dumps(index), encoding="utf-8")


def volumeNode(scene: Any, array: np.ndarray, ijkToRas: np.ndarray, name: str = "scan") -> Any:
    """Return a volume node by Slicer's own calls only: an oracle that shares nothing with our code."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    data = vtk.vtkImageData()
    data.SetDimensions(*array.shape[::-1])
    data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(data)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(ijkToRas, float).ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    return node


def volumeNodes(scene: Any, image: Image) -> list[Any]:
    """Return one volume node a channel of an image."""
    grid = image.grid.lifted()
    matrix = TO_LPS @ grid.affine @ np.eye(4)[[2, 1, 0, 3]]
    return [
        volumeNode(scene, array.reshape(grid.shape), matrix, name)
        for array, name in zip(image.array, image.names, strict=True)
    ]


def transformNode(scene: Any, matrix: np.ndarray, parent: Any = None) -> Any:
    """Return a linear transform node."""
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    vtkMatrix = vtk.vtkMatrix4x4()
    vtkMatrix.DeepCopy(np.asarray(matrix, float).ravel().tolist())
    node.SetMatrixTransformToParent(vtkMatrix)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def worldOf(node: Any, ijk: Sequence[float]) -> np.ndarray:
    """Return where a voxel's centre lies in the world (RAS), asked of Slicer's own transform classes."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    point = list(matrix.MultiplyPoint((*ijk, 1.0))[:3])
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(point, world)
    return np.array(world)


def voxelsOf(node: Any) -> np.ndarray:
    """Return a volume node's voxels ``(k, j, i)``."""
    from vtk.util.numpy_support import vtk_to_numpy

    data = node.GetImageData()
    return vtk_to_numpy(data.GetPointData().GetScalars()).reshape(data.GetDimensions()[::-1])


def segmentMask(node: Any, identity: str, reference: Any) -> np.ndarray:
    """Return a segment on a volume's voxels by Slicer's own code."""
    import slicer
    from vtk.util.numpy_support import vtk_to_numpy

    oriented = slicer.vtkOrientedImageData()
    geometry = slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(reference)
    node.GenerateMergedLabelmapForAllSegments(oriented, 0, geometry, _strings([identity]))
    return vtk_to_numpy(oriented.GetPointData().GetScalars()).reshape(oriented.GetDimensions()[::-1]) != 0


def _strings(texts: Sequence[str]) -> Any:
    import vtk

    array = vtk.vtkStringArray()
    for text in texts:
        array.InsertNextValue(text)
    return array


def snapshot(scene: Any) -> tuple[Any, ...]:
    """Return what a scene holds: node IDs and names, and the hierarchy's items."""
    from AdvSegRobustnessLib.SceneChange import hierarchyOf, itemIds

    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return tuple((node.GetID(), node.GetName()) for node in nodes), tuple(itemIds(hierarchyOf(scene)))


def rotation(angles: Sequence[float]) -> np.ndarray:
    """Return a rotation ``(3, 3)`` about x, y and z."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        a, b = [index for index in range(3) if index != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


@st.composite
def rigid(draw: st.DrawFn) -> np.ndarray:
    """Draw a rotation and shift ``(4, 4)``."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(draw(st.tuples(*[st.floats(-3.1, 3.1)] * 3)))
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return matrix


@st.composite
def indexToRas(draw: st.DrawFn) -> np.ndarray:
    """Draw an IJK-to-RAS: turned, shifted, mirrored (left-handed, too), of unequal spacing."""
    steps = np.array(draw(st.tuples(*[st.floats(0.3, 5.0)] * 3)))
    signs = np.array(draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3)))
    return draw(rigid()) @ np.diag([*(steps * signs), 1.0])


def gridOf(shape: Sequence[int], matrix: np.ndarray) -> Grid:
    """Return the library's grid of an index-to-RAS matrix."""
    return Grid(tuple(shape), TO_LPS @ matrix @ np.eye(4)[[2, 1, 0, 3]])
