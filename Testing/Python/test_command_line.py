"""The command line as a user meets it: real processes, exit codes, one clear line, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures_models import a_bundle

from AdvSegLib.command_line import build_parser, describe
from AdvSegLib.schemas import check_schema
from AdvSegLib.volumes import Grid, Image, LabelMap


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scan")
    rng = np.random.default_rng(0)
    grid = Grid.regular((10, 12, 14), (2.0, 1.0, 1.0))
    image = Image(rng.random((1, *grid.shape), np.float32) * 100, grid, ("image",))
    return {
        "image": image.write(folder / "scan.nii.gz"),
        "truth": LabelMap(rng.integers(0, 3, grid.shape), grid).write(folder / "truth.nii.gz"),
        "model": a_bundle(folder / "model"),
    }


def advseg(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "AdvSegLib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


def test_attack_prints_a_table_and_the_report(scan: dict[str, Path], tmp_path: Path) -> None:
    done = advseg("attack", "--model", scan["model"], "--image", scan["image"], "--truth", scan["truth"],
                  "--attack", "pgd", "--steps", 3, "--epsilon", 0.04, "--seed", 1, "--device", "cpu",
                  "--out", tmp_path / "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar where no terminal is, no library's chatter
    assert str(tmp_path / "run" / "report.html") in done.stdout
    assert "Dice clean" in done.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    check_schema("metrics", metrics, "metrics")
    assert 3.9 < metrics["image"]["linf_percent"] <= 4.0
    job = json.loads((tmp_path / "run" / "job.json").read_text())
    check_schema("job", job, "job")
    again = advseg("run", tmp_path / "run" / "job.json", "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "metrics.json").read_bytes() == (tmp_path / "run" / "metrics.json").read_bytes()


def test_segment(scan: dict[str, Path], tmp_path: Path) -> None:
    done = advseg("segment", "--model", scan["model"], "--image", scan["image"], "--truth", scan["truth"], "--out",
                  tmp_path / "seg")  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_schema("segment", json.loads((tmp_path / "seg" / "segment.json").read_text()), "segment")
    assert (tmp_path / "seg" / "labels.nii.gz").is_file()


def test_info_is_json_that_follows_its_schema() -> None:
    done = advseg("info", "--json")
    assert done.returncode == 0
    data = json.loads(done.stdout)
    check_schema("info", data, "info")
    assert data == json.loads(json.dumps(describe()))
    assert {"fgsm", "i-fgsm", "ti-fgsm", "pgd"} <= {attack["name"] for attack in data["attacks"]}
    listed = advseg("info")
    assert listed.returncode == 0
    for name in (model["name"] for model in data["models"]):
        assert f"\n  {name}  " in listed.stdout, f"{name} runs into what it is"


def test_cases_are_listed_and_written(tmp_path: Path) -> None:
    listed = advseg("cases", "phantom-chest", "--count", 2, "--seed", 3, "--json")
    assert len(json.loads(listed.stdout)["cases"]) == 2
    written = advseg("cases", "phantom-chest", "--count", 1, "--size", 64, "--out", tmp_path / "films")
    assert written.returncode == 0, written.stderr
    assert len(list((tmp_path / "films").glob("*.nii.gz"))) == 2
    sheet = advseg("cases", "phantom-brain", "--count", 2, "--size", 32, "--sheet", tmp_path / "sheet.png")
    assert sheet.returncode == 0, sheet.stderr
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def bad_requests(scan: dict[str, Path], folder: Path) -> dict[str, tuple[list[object], str]]:
    """Arguments that override a good request, and what the one line must say."""
    (folder / "text.nii.gz").write_text("not an image")
    (folder / "cut.nii.gz").write_bytes(scan["image"].read_bytes()[:3000])
    nan = np.full((1, 10, 12, 14), 1.0, np.float32)
    nan[0, 0, 0, 0] = np.nan
    grid = Grid.regular((10, 12, 14), (2.0, 1.0, 1.0))
    Image(nan, grid, ("image",)).write(folder / "nan.nrrd")
    far = np.array(grid.affine)
    far[:3, 3] = 9999
    LabelMap(np.ones(grid.shape, np.int32), Grid(grid.shape, far)).write(folder / "far.nii.gz")
    LabelMap(np.zeros(grid.shape, np.int32), grid).write(folder / "empty.nii.gz")
    LabelMap(np.full(grid.shape, 9, np.int32), grid).write(folder / "nine.nii.gz")
    image = scan["image"]
    return {
        "missing": (["--image", folder / "none.nii.gz"], "no such file"),
        "truncated": (["--image", folder / "cut.nii.gz"], "cut.nii.gz"),
        "text": (["--image", folder / "text.nii.gz"], "text.nii.gz"),
        "nan": (["--image", folder / "nan.nrrd"], "NaN"),
        "channels": (["--image", image, image], "takes 1 channels"),
        "apart": (["--image", image, folder / "far.nii.gz"], "overlap"),
        "label apart": (["--truth", folder / "far.nii.gz"], "overlap"),
        "empty truth": (["--truth", folder / "empty.nii.gz"], "empty"),
        "empty target": (["--target", folder / "empty.nii.gz"], "empty"),
        "unknown label": (["--truth", folder / "nine.nii.gz"], "does not have"),
        "negative": (["--epsilon", "-0.1"], "epsilon"),
        "nan epsilon": (["--epsilon", "nan"], "epsilon"),
        "no model": (["--model", "brian"], "unknown model 'brian'"),
        "no attack": (["--attack", "pdg"], "did you mean 'pgd'"),
        "zero steps": (["--steps", "0"], "steps"),
        "no float": (["--epsilon", "-1e-3"], "epsilon must be"),
        "no number": (["--epsilon", "much"], "epsilon"),
        "no device": (["--device", "cuda:77"], "cuda:77"),
        "negative seed": (["--seed", "-1"], "seed"),
        "bad set": (["--set", "loss"], "NAME=VALUE"),
    }


CASES = (
    "missing", "truncated", "text", "nan", "channels", "apart", "label apart", "empty truth", "empty target",
    "unknown label", "negative", "nan epsilon", "no model", "no attack", "zero steps", "no float", "no number",
    "no device", "negative seed", "bad set",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(scan: dict[str, Path], tmp_path: Path, case: str) -> None:
    override, says = bad_requests(scan, tmp_path)[case]
    base: list[object] = ["--model", scan["model"], "--image", scan["image"], "--attack", "pgd", "--device", "cpu"]
    done = advseg("attack", *base, *override, "--out", tmp_path / "out" / "run")
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert says in line
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_an_occupied_or_impossible_out_folder(scan: dict[str, Path], tmp_path: Path) -> None:
    base = ["attack", "--model", scan["model"], "--image", scan["image"], "--attack", "fgsm", "--out"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    assert advseg(*base, tmp_path / "full").returncode == 2
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    (tmp_path / "file").write_text("keep")
    done = advseg(*base, tmp_path / "file" / "run")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_working_directory_and_a_link_to_an_empty_folder_can_be_the_run(
    scan: dict[str, Path], tmp_path: Path
) -> None:
    base = ["attack", "--model", scan["model"], "--image", scan["image"], "--attack", "fgsm", "--steps", "3", "--out"]
    (tmp_path / "here").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = advseg(*base, ".", cwd=tmp_path / "here", env=environment)
    assert done.returncode == 0, done.stderr
    assert "--steps is ignored" in done.stderr
    (tmp_path / "aim").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "aim")
    assert advseg(*base, tmp_path / "link").returncode == 0
    for folder in ("here", "aim"):
        assert (tmp_path / folder / "metrics.json").is_file()
        assert not list((tmp_path / folder).glob(".*"))


def test_cases_cut_short_by_a_full_disk_leave_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    done = advseg("cases", "phantom-chest", "--count", 1, "--size", 64, "--out", tmp_path / "c", preexec_fn=limit)
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "c").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file sizes limits")
def test_a_full_disk_is_exit_code_1_and_leaves_nothing(scan: dict[str, Path], tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: every write past it fails."""
    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = advseg("attack", "--model", scan["model"], "--image", scan["image"], "--attack", "fgsm", "--out",
                  tmp_path / "out" / "run", preexec_fn=limit)  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_130_and_leaves_nothing(scan: dict[str, Path], tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out" / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "AdvSegLib", "attack", "--model", scan["model"], "--image", scan["image"],
         "--attack", "pgd", "--steps", "10000000", "--device", "cpu", "--out", out], stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (out.parent.is_dir() and any(out.parent.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert any(out.parent.iterdir())
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "advseg: interrupted; nothing was written"
    assert not any(out.parent.iterdir())


def test_every_option_has_a_help_text() -> None:
    parser = build_parser()
    (commands,) = (a for a in parser._actions if a.dest == "command")
    for name, command in commands.choices.items():  # type: ignore[union-attr]
        for action in command._actions:
            assert action.help, (name, action.dest)
