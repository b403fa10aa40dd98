"""`advseg benchmark` from its options, and the templates for clusters, whose commands must exist."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from argparse import ArgumentParser
from pathlib import Path

import pytest
import yaml

from AdvSegLib.benchmark import Store
from AdvSegLib.benchmark.command import add_parser, benchmark
from AdvSegLib.errors import AdvSegError, BadRequest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "docs/how-to/cluster").iterdir())
STUDY = """
name: two phantoms
cases: [{source: phantom-chest, options: {count: 2, seed: 77, size: 32}}]
models: [chest]
attacks: [fgsm]
budgets: [0.01]
"""


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="advseg", exit_on_error=False)
    add_parser(made.add_subparsers(dest="command", required=True))
    return made


def advseg(*words: object) -> None:
    benchmark(parser().parse_args(["benchmark", *map(str, words)]))


@pytest.mark.slow
def test_a_study_becomes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    store = tmp_path / "store"
    advseg("plan", tmp_path / "study.yaml", store)
    assert "2 cases x 1 models x 1 attacks at a budget = 2 units" in capsys.readouterr().out
    advseg("status", store, "--json")
    assert json.loads(capsys.readouterr().out)["missing"] == 2
    with pytest.raises(AdvSegError, match="2 of 2 units are missing"):
        advseg("collect", store, "--csv", tmp_path / "t.csv")
    advseg("run", store)
    assert "2 units computed, 0 failed" in capsys.readouterr().out
    advseg("run", store)
    assert "0 units computed, 0 failed" in capsys.readouterr().out
    advseg("collect", store, "--csv", tmp_path / "t.csv")
    header, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert len(rows) == 2
    assert "adversarial.dice.mean" in header.split(",")
    advseg("status", store, "--verify")
    assert "2 of 2 units done" in capsys.readouterr().out


def test_a_run_with_failures_is_not_a_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY.replace("attacks: [fgsm]", "attacks: [{attack: fgsm, windows: {size: [16, 16, 16]}}]")
    (tmp_path / "study.yaml").write_text(text)
    advseg("plan", tmp_path / "study.yaml", tmp_path / "s")
    with pytest.raises(AdvSegError, match=r"2 units failed; .*status"):
        advseg("run", tmp_path / "s")
    capsys.readouterr()
    advseg("status", tmp_path / "s")
    assert "0 of 2 units done, 2 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "absent"], "no plan there"),
        (["status", "absent"], "no plan there"),
        (["plan", "absent.yaml", "s"], "absent.yaml"),
        (["collect", "s"], "nothing to write"),
        (["collect", "s", "--csv", "t.csv"], "no plan there"),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRequest, match=said):
        advseg(*words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard", ["0/3", "4/3", "x", "1", "1/0", "-1/3"])
def test_a_shard_is_one_of_several(shard: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["benchmark", "run", "s", "--shard", shard])


def test_rays_options_are_rays(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    advseg("plan", tmp_path / "study.yaml", tmp_path / "s")
    with pytest.raises(BadRequest, match="--engine ray"):
        advseg("run", tmp_path / "s", "--address", "auto")
    assert not Store(tmp_path / "s").keys()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_are_well_formed_and_their_commands_exist(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    if template.suffix == ".yaml":
        job = yaml.safe_load(text)
        assert job["kind"] == "RayJob"
        commands = [job["spec"]["entrypoint"]]
        mounts = {
            mount["name"]
            for group in (job["spec"]["rayClusterSpec"]["headGroupSpec"],
                          *job["spec"]["rayClusterSpec"]["workerGroupSpecs"])
            for container in group["template"]["spec"]["containers"] for mount in container["volumeMounts"]
        }  # fmt: skip
        assert mounts == {"sweep", "data"}
    else:
        if shutil.which("bash"):
            subprocess.run(["bash", "-n", template], check=True)
        commands = re.findall(r"advseg benchmark [^\n]+", text)
    for command in commands:
        command = command.replace('"$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"', "3/64")
        parser().parse_args(shlex.split(command)[1:])
    assert commands or "torchrun" in text
