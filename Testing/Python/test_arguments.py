"""What the commands share: types of arguments, OLD=NEW, folders that can be written in the end."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from AdvSegLib import arguments
from AdvSegLib.arguments import fresh, kind_of, number, pairs, refuse_taken, relabelling, value_of
from AdvSegLib.command_options import build_parser
from AdvSegLib.errors import AdvSegError, BadRequest


@pytest.mark.parametrize(("kind", "text", "value"), [
    (arguments.count, "1", 1), (arguments.count, "0", None), (arguments.count, "1.5", None),
    (arguments.seed, "0", 0), (arguments.seed, str(2**63 - 1), 2**63 - 1), (arguments.seed, str(2**63), None),
    (arguments.seed, "-1", None), (arguments.positive, "0.5", 0.5), (arguments.positive, "0", None),
    (arguments.positive, "nan", None), (arguments.positive, "inf", None), (arguments.positive, "-1", None),
])  # fmt: skip
def test_an_argument_is_read_or_refused_by_name(kind: Callable[[str], Any], text: str, value: Any) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("x", type=kind)
    if value is not None:
        assert parser.parse_args([text]).x == value
        return
    with pytest.raises(Exception, match=r"whole number|number above 0|required"):
        parser.parse_args([text])


@pytest.mark.parametrize("words", [
    "demo --seed 9223372036854775807", "audit chest --seed 9223372036854775807",
    "certify chest --image f --out o --seed 9223372036854775807",
    "attack --model m --image f --attack pgd --out o --seed 9223372036854775807",
])  # fmt: skip
def test_every_command_takes_the_seed_of_a_sweeps_unit(words: str) -> None:
    assert build_parser().parse_args(words.split()).seed == 2**63 - 1


@pytest.mark.parametrize("words", [
    "audit chest --cases 0", "audit chest --seed -1", "cases phantom-chest --count 0", "benchmark run s --workers 0",
    "benchmark run s --timeout 0", "benchmark run s --timeout nan", "benchmark run s --gpus-per-worker -1",
    "benchmark run s --shard 3/2", "certify chest --image f --out o --n 0",
])  # fmt: skip
def test_numbers_that_mean_nothing_are_refused_in_one_line(words: str) -> None:
    with pytest.raises(BadRequest, match="--help tells more"):
        build_parser().parse_args(words.split())


def test_relabelling_is_whole_numbers_each_once() -> None:
    assert relabelling(["3=4", "07=1"]) == {"3": 4, "7": 1}
    for texts, said in (
        (["3"], "takes NAME=VALUE"),
        (["a=1"], "whole numbers"),
        (["3=4", "03=5"], "names a label twice"),
    ):
        with pytest.raises(BadRequest, match=said):
            relabelling(texts)


def test_a_kind_with_its_values() -> None:
    assert kind_of(None, "--aim") is None
    assert kind_of(["box", "margin_mm=5", "name=a=b"], "--region") == {"kind": "box", "margin_mm": 5, "name": "a=b"}
    assert pairs(["a=1=2"], "--set") == [("a", "1=2")]
    assert [value_of(text) for text in ("1", "true", "x")] == [1, True, "x"]
    assert (number(None), number(0.12345), number(1, 1)) == ("-", "0.123", "1.0")


def test_a_taken_name_is_numbered(tmp_path: Path) -> None:
    assert fresh(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").touch()
    assert fresh(tmp_path / "run") == tmp_path / "run-3"


def _no_more(**options: Any) -> str:
    raise OSError(30, "Read-only file system")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    refuse_taken(tmp_path / "empty")
    refuse_taken(tmp_path / "deep" / "new")
    assert not (tmp_path / "deep").exists()
    for taken in (tmp_path, tmp_path / "file", tmp_path / "dangling"):
        with pytest.raises(BadRequest, match="not an empty folder"):
            refuse_taken(taken)
    for place in (tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(AdvSegError, match="no folder that takes files"):
            refuse_taken(place)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["dangling", "empty", "file"]
    monkeypatch.setattr(tempfile, "mkdtemp", _no_more)
    for place in (tmp_path / "empty", tmp_path / "new"):
        with pytest.raises(AdvSegError, match="no folder that takes files"):
            refuse_taken(place)
