"""What the commands of ``advseg`` share: types of arguments, options of the same name, folders, progress. Light."""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from AdvSegLib.errors import AdvSegError, BadRequest


def count(text: str) -> int:
    """Return a whole number above 0; ValueError, for argparse, where it is none.

    >>> count("3")
    3
    """
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def seed(text: str) -> int:
    """Return a seed of 63 bits, as large as a sweep's units have; ValueError, for argparse, where it is none."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise ValueError
    return value


def positive(text: str) -> float:
    """Return a finite number above 0; ValueError, for argparse, where it is none."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


# argparse names a type in its complaints by this
count.__name__, seed.__name__, positive.__name__ = "whole number >= 1", "seed (a whole number >= 0)", "number above 0"


def device_option(parser: ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: auto)")


def seed_option(parser: ArgumentParser) -> None:
    """Add ``--seed``, by default 0."""
    parser.add_argument("--seed", type=seed, default=0, help="seed of every random draw (default: %(default)s)")


def scan_options(parser: ArgumentParser) -> None:
    """Add ``--image``, ``--truth`` and ``--relabel``: the files of one scan."""
    parser.add_argument("--image", required=True, nargs="+", metavar="F", help="one file a channel, or one of all")
    parser.add_argument("--truth", metavar="F", help="label map to measure against")
    parser.add_argument("--relabel", nargs="+", default=[], metavar="OLD=NEW", help="label values of F to the model's")


def pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    """Return ``NAME=VALUE`` texts as pairs; BadRequest names the option and the text that is none."""
    for text in texts:
        if "=" not in text:
            raise BadRequest(f"{option} takes NAME=VALUE, not '{text}'")
    return [(text.partition("=")[0], text.partition("=")[2]) for text in texts]


def relabelling(texts: Sequence[str]) -> dict[str, int]:
    """Return ``OLD=NEW`` texts as a job holds them; BadRequest where they are no whole numbers, or name one twice.

    >>> relabelling(["3=4"])
    {'3': 4}
    """
    found = pairs(texts, "--relabel")
    try:
        numbers = [(str(int(old)), int(new)) for old, new in found]
    except ValueError as error:
        raise BadRequest(f"--relabel takes whole numbers, e.g. 3=4 ({error})") from error
    if len(dict(numbers)) != len(numbers):
        raise BadRequest(f"--relabel names a label twice: {' '.join(texts)}")
    return dict(numbers)


def value_of(text: str) -> Any:
    """Read a parameter's value: JSON where it is (numbers, true, null), else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def kind_of(texts: Sequence[str] | None, option: str) -> dict[str, Any] | None:
    """Return ``KIND NAME=VALUE …`` as a job holds it, None where the option was not given."""
    if texts is None:
        return None
    return {"kind": texts[0], **{name: value_of(text) for name, text in pairs(texts[1:], option)}}


def fresh(path: Path) -> Path:
    """Return ``path``, numbered where it is taken."""
    taken, index = path, 2
    while taken.exists():
        taken, index = path.with_name(f"{path.name}-{index}"), index + 1
    return taken


def refuse_taken(out: Path) -> None:
    """Raise BadRequest, AdvSegError before an hour's work for a folder that cannot be written in the end."""
    if out.is_symlink() or out.exists():
        if not out.is_dir() or any(out.iterdir()):
            raise BadRequest(f"{out}: is not an empty folder; name a new one")
        places = [out, out.absolute().parent]  # an empty folder is filled, or replaced
    else:
        places = [next(folder for folder in out.absolute().parents if folder.exists())]
    if not any(map(_takes_folders, places)):
        raise AdvSegError(f"{out}: cannot be written ({places[-1]} is no folder that takes files)")


def _takes_folders(place: Path) -> bool:
    """Tell whether a folder can be made in ``place``, by making one: rights alone do not say it of every disk."""
    try:
        Path(tempfile.mkdtemp(prefix=".advseg-", dir=place)).rmdir()
    except OSError:
        return False
    return True


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as tables show it, a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


@contextmanager
def working(command: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal which stage a command is in."""
    from tqdm import tqdm

    with tqdm(desc=command, bar_format="{desc} {elapsed}", disable=not sys.stderr.isatty(), leave=False) as bar:
        yield lambda stage: bar.set_description_str(f"{command}: {stage}")
