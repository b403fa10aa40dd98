"""The batch scripts over folders of scans: what they take, what they write, and their exit codes.

They run here as Slicer runs them, but for loading: ``slicer-core`` has no I/O manager, so the library reads files.
"""

# ruff: noqa: E402 - the module's library is found once logic_standins is there

from __future__ import annotations

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from logic_standins import ROOT
from slicer_fixtures import HeadlessSlicer

slicer = pytest.importorskip("slicer")
sys.path.insert(0, str(ROOT / "Testing" / "Slicer"))

import in_batch
from AdvSegRobustnessLib.Logic import RobustnessLogic
from AdvSegRobustnessLib.Phantoms import _volume
from AdvSegRobustnessLib.SceneChange import nodeIds
from scan_files import find_scans

from AdvSegLib.cases.chest_phantom import chest_cases
from AdvSegLib.errors import BadRequest
from AdvSegLib.volumes import read_image

SCRIPTS = ROOT / "Testing" / "Slicer"
QUICK = ["--model", "chest", "--attack", "fgsm"]


def load(path: str, properties: dict[str, Any] | None = None) -> Any:
    """Stand in for slicer.util.loadVolume and loadLabelVolume: RuntimeError for what cannot be read."""
    try:
        node = _volume(slicer.mrmlScene, read_image(path), Path(path).name)
    except BadRequest as error:
        raise RuntimeError(f"Failed to load node from file: {error}") from error
    if "_labels" not in path:
        return node
    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", Path(path).name)
    label.Copy(node)
    label.SetAndObserveImageData(node.GetImageData())
    slicer.mrmlScene.RemoveNode(node)
    return label


class Batch:
    """Runs the scripts, all on one worker."""

    def __init__(self, scene: Any, films: Path) -> None:
        self.scene, self.films = scene, films
        self.logic: RobustnessLogic | None = None
        self.started = 0

    def makeLogic(self, scene: Any, **options: Any) -> Any:
        self.started += 1
        if self.logic is None:
            self.logic = RobustnessLogic(scene, **options)
            self.end, self.logic.close = self.logic.close, lambda: None  # type: ignore[method-assign]
        return self.logic

    def run(self, monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> int:
        monkeypatch.setattr(slicer, "mrmlScene", self.scene, raising=False)
        for name in ("loadVolume", "loadLabelVolume"):
            monkeypatch.setattr(slicer.util, name, load)
        monkeypatch.setattr(in_batch, "RobustnessLogic", self.makeLogic)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        return int(left.value.code or 0)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    films = tmp_path_factory.mktemp("films é")
    for case in chest_cases(count=2, seed=5, size=64):
        case.write(films)
    with tempfile.TemporaryDirectory() as folder:
        headless = HeadlessSlicer(Path(folder))
        batch = Batch(headless.scene, films)
        yield batch
        if batch.logic is not None:
            batch.end()
        headless.close()


def summary(out: Path) -> list[dict[str, str]]:
    with open(out / "summary.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_attack_on_a_folder(batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = nodeIds(batch.scene)
    out = tmp_path / "attacked"
    assert batch.run(monkeypatch, "batch_attack.py", batch.films, "--out", out, *QUICK, "--epsilon", 0.02) == 0
    rows = summary(out)
    assert [(row["scan"], row["state"]) for row in rows] == [("chest-0000", "done"), ("chest-0001", "done")]
    for row in rows:
        metrics = json.loads((Path(row["folder"]) / "metrics.json").read_text(encoding="utf-8"))
        assert float(row["dice_clean"]) == metrics["clean"]["dice"]["mean"]
        assert float(row["dice_adversarial"]) < float(row["dice_clean"])
        assert float(row["linf_percent"]) == pytest.approx(2.0, rel=1e-3)
    assert sorted(item.name for item in out.iterdir()) == ["chest-0000", "chest-0001", "summary.csv"]
    assert nodeIds(batch.scene) == before, "the scene is as it was"


def test_sweep_and_compare(batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tmp_path / "one"
    one.mkdir()
    for file in batch.films.glob("chest-0000*"):
        (one / file.name).write_bytes(file.read_bytes())
    swept, compared = tmp_path / "swept", tmp_path / "compared"
    arguments = ("--attack", "fgsm", "--goal", "erased", "structure=heart")
    code = batch.run(monkeypatch, "batch_sweep.py", one, "--out", swept, "--model", "chest", *arguments,
                     "--epsilons", 0.01, 0.05)  # fmt: skip
    assert code == 0
    rows = summary(swept)
    assert [row["run"] for row in rows] == ["epsilon 0.01", "epsilon 0.05"]
    assert all(row["dice_target"] for row in rows)
    code = batch.run(monkeypatch, "batch_compare.py", one, "--out", compared, *arguments, "--models", "chest")
    assert code == 0
    assert [row["run"] for row in summary(compared)] == ["chest"]


def test_a_run_that_fails_leaves_the_others_of_its_scan(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    films, out, broken = tmp_path / "films", tmp_path / "out", tmp_path / "broken"
    films.mkdir()
    for file in batch.films.glob("chest-0000*"):
        (films / file.name).write_bytes(file.read_bytes())
    shutil.copytree(ROOT / "Resources" / "Models" / "chest", broken)
    for file in (broken / "models").iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    arguments = (films, "--out", out, "--attack", "fgsm", "--models", broken, "chest")
    assert batch.run(monkeypatch, "batch_compare.py", *arguments) == 1
    assert [(row["run"], row["state"]) for row in summary(out)] == [("broken", "failed"), ("chest", "done")]
    assert summary(out)[0]["message"]
    assert "broken failed: " in capsys.readouterr().out
    assert batch.run(monkeypatch, "batch_sweep.py", films, "--out", tmp_path / "swept", *QUICK,
                     "--epsilons", 0.01, 0.010000000001) == 2  # fmt: skip
    assert "named twice" in capsys.readouterr().err


def test_a_bad_scan_does_not_stop_the_others_and_resume_goes_on(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for file in batch.films.glob("chest-0001*"):
        (films / file.name).write_bytes(file.read_bytes())
    (films / "broken_film.nii.gz").write_bytes(b"no image")
    arguments = (films, "--out", out, *QUICK)
    assert batch.run(monkeypatch, "batch_attack.py", *arguments) == 1
    assert [(row["scan"], row["state"]) for row in summary(out)] == [("broken", "failed"), ("chest-0001", "done")]
    assert "cannot be loaded" in summary(out)[0]["message"]
    assert "1 of 2 scans done" in capsys.readouterr().out
    assert batch.run(monkeypatch, "batch_attack.py", *arguments) == 2, "OUT is not empty"
    stamp = (out / "chest-0001" / "metrics.json").stat().st_mtime_ns
    (films / "broken_film.nii.gz").unlink()
    assert batch.run(monkeypatch, "batch_attack.py", *arguments, "--resume") == 0
    assert (out / "chest-0001" / "metrics.json").stat().st_mtime_ns == stamp, "what is done is left as it is"
    assert [row["state"] for row in summary(out)] == ["done"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["FILMS", "--out", "OUT"], "--model"),
        (["FILMS", "--out", "OUT", "--model", "chst"], "did you mean 'chest'"),
        (["FILMS", "--out", "OUT", "--model", "brain"], "no scan in it"),
        (["absent", "--out", "OUT", "--model", "chest"], "no such folder"),
        (["FILMS", "--out", "OUT", *QUICK, "--epsilon", "7"], "0 to 1, not 7"),
        (["FILMS", "--out", "OUT", *QUICK, "--set", "steps"], "NAME=VALUE"),
        (["FILMS", "--out", "OUT", *QUICK, "--goal", "resized", "structure=hart"], "did you mean 'heart'"),
        (["FILMS", "--out", "FILMS", *QUICK], "not empty"),
    ],
)
def test_bad_requests_leave_2_and_nothing_behind(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    places = {"FILMS": str(batch.films), "OUT": str(tmp_path / "out")}
    started = batch.started
    assert batch.run(monkeypatch, "batch_attack.py", *(places.get(item, item) for item in arguments)) == 2
    assert words in capsys.readouterr().err
    assert batch.started == started
    assert not (tmp_path / "out").exists()


def test_without_torch_no_scan_is_begun(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ADVSEG_PYTHON", raising=False)
    packaging = SimpleNamespace(pip_check=lambda requirement: not requirement.startswith(("monai", "tqdm")))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer, "app", SimpleNamespace(processEvents=lambda: None), raising=False)
    out = tmp_path / "out"
    assert batch.run(monkeypatch, "batch_attack.py", batch.films, "--out", out, *QUICK) == 2
    assert "error: monai>=1.4 missing in Slicer's own Python" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setenv("ADVSEG_PYTHON", sys.executable)
    in_batch.check_packages()


def test_models_of_one_name_cannot_be_compared(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = ROOT / "Resources" / "Models" / "chest"
    arguments = (batch.films, "--out", tmp_path / "out", "--models", "chest", bundle)
    assert batch.run(monkeypatch, "batch_compare.py", *arguments) == 2
    assert "called the same" in capsys.readouterr().err


def test_a_script_leaves_its_process_with_the_code(tmp_path: Path) -> None:
    """In a process of its own, from another folder, found by its own path alone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for arguments, code in ((["--help"], 0), (["absent", "--out", "o", *QUICK], 2)):
        answer = subprocess.run(
            [sys.executable, str(SCRIPTS / "batch_attack.py"), *arguments], cwd=tmp_path, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode == code, answer.stderr
        assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_scans_in_one_folder_and_in_folders_of_their_own(tmp_path: Path) -> None:
    folder = touched(
        tmp_path, "b_T1.nii.gz", "b_flair.nrrd", "b_labels.nii.gz", "a_t1.mha", "notes.txt", ".hidden_t1.nii",
        "odd.nii", "case 3/t1.nii", "case 3/flair.nii", "case 3/case 3_seg.nii.gz", "x/y_t1.nii", "x/y_flair.nii",
        "x/y.seg.nrrd",
    )  # fmt: skip
    found = {scan.name: scan for scan in find_scans(folder, ("t1", "flair"))}
    assert sorted(found) == ["a", "b", "case 3", "x/y"]
    assert found["a"].missing == ("flair",)
    assert {name: file.name for name, file in found["b"].volumes.items()} == {
        "t1": "b_T1.nii.gz",
        "flair": "b_flair.nrrd",
    }
    truths = {name: scan.truth and scan.truth.name for name, scan in found.items()}
    assert truths == {"a": None, "b": "b_labels.nii.gz", "case 3": "case 3_seg.nii.gz", "x/y": "y.seg.nrrd"}


def test_one_channel_takes_every_file_for_a_case(tmp_path: Path) -> None:
    folder = touched(tmp_path, "one.png", "two_film.nii.gz", "two_mask.nii.gz", "three four.nrrd")
    assert [(scan.name, scan.truth is not None) for scan in find_scans(folder, ("film",))] == [
        ("one", False), ("three four", False), ("two", True),
    ]  # fmt: skip


def test_two_files_of_one_channel_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="second file of t1 of case a"):
        find_scans(touched(tmp_path, "a_t1.nii", "a_T1.nrrd"), ("t1", "t2"))
