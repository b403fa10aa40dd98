"""The options of ``advseg``'s commands. Light."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn

from AdvSegLib import __version__
from AdvSegLib.arguments import count, device_option, scan_options, seed, seed_option
from AdvSegLib.audit.command import add_audit_parser, add_certify_parser, add_ensemble_parser
from AdvSegLib.benchmark.command import add_parser as add_benchmark_parser
from AdvSegLib.errors import BadRequest
from AdvSegLib.reproduce.command import add_parser as add_reproduce_parser
from AdvSegLib.training.command import add_parser as add_train_parser

DEMO_SEED = 900_015


class _Parser(ArgumentParser):
    """argparse, whose complaints are one clear line, and to whom -1e-3 is a number."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^-(inf|nan)$")

    def error(self, message: str) -> NoReturn:
        """Raise BadRequest instead of printing the whole usage."""
        raise BadRequest(f"{message} ({self.prog} --help tells more)")


def build_parser() -> ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(prog="advseg", description="How a segmentation network is fooled by noise nobody sees.")
    parser.add_argument("--version", action="version", version=f"advseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _demo_options(commands.add_parser("demo", help="segment, attack and compare a synthetic brain scan"))
    _segment_options(commands.add_parser("segment", help="segment a scan"))
    _attack_options(commands.add_parser("attack", help="attack a model on a scan and report what changed"))
    _run_options(commands.add_parser("run", help="run a job from its JSON file"))
    for add in (add_train_parser, add_audit_parser, add_certify_parser, add_ensemble_parser, add_reproduce_parser,
                add_benchmark_parser):  # fmt: skip
        add(commands)
    _cases_options(commands.add_parser("cases", help="list or write cases of a data set or phantom"))
    _worker_options(commands.add_parser("worker", help="run jobs from stdin as JSON lines, models kept loaded"))
    _info_options(commands.add_parser("info", help="list models, attacks, case sources, recipes"))
    return parser


def _demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="run folder (default: demo-run, numbered where it exists)")
    parser.add_argument("--seed", type=seed, default=DEMO_SEED, help="which phantom (default: %(default)s)")
    device_option(parser)


def _segmenting_options(parser: ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a shipped model's name, or a bundle's folder")
    scan_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run folder to write, new or empty")
    device_option(parser)


def _segment_options(parser: ArgumentParser) -> None:
    _segmenting_options(parser)
    _window_options(parser)


def _window_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--window", nargs="+", type=count, metavar="N", help="pass over the scan in windows this large"
    )
    parser.add_argument("--overlap", type=float, help="share of a window that neighbours cover too (default: 0.25)")
    parser.add_argument("--blend", choices=("gaussian", "constant"), help="weights of windows (default: gaussian)")
    parser.add_argument("--mirror", nargs="+", type=int, metavar="AXIS", help="see windows mirrored along axes too")
    parser.add_argument("--checkpoint", action="store_true",
                        help="compute activations again instead of holding them")  # fmt: skip


def _attack_options(parser: ArgumentParser) -> None:
    _segmenting_options(parser)
    parser.add_argument("--record", type=count, default=0, metavar="N",
                        help="keep the image and the prediction of every N-th step (default: none)")  # fmt: skip
    parser.add_argument("--attack", required=True, metavar="NAME", help="see advseg info")
    parser.add_argument("--epsilon", type=float,
                        help="budget as a fraction of each channel's clean range (default: 0.05; 1 for attacks that "
                             "bound their change themselves)")  # fmt: skip
    parser.add_argument("--norm", default="linf", choices=("linf", "l2"),
                        help="linf, or l2: epsilon is then the Euclidean norm of change / range")  # fmt: skip
    parser.add_argument("--steps", type=int, help="steps of an iterative attack (default: the paper's)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other parameters of the attack")
    parser.add_argument("--target", metavar="F", help="label map to approach")
    parser.add_argument("--aim", nargs="+", metavar=("KIND", "NAME=VALUE"),
                        help="draw the target instead, e.g. heart-symbol structure=heart size=small")  # fmt: skip
    parser.add_argument("--keep", choices=("truth", "prediction", "nothing"),
                        help="what structures beside the target's keep (default: the truth, if given)")  # fmt: skip
    parser.add_argument("--region", nargs="+", metavar=("KIND", "NAME=VALUE"),
                        help="where noise may go, e.g. box structure=heart margin_mm=5; see advseg info")  # fmt: skip
    parser.add_argument("--surrogate", metavar="MODEL", help="craft on this model, score on --model (black box)")
    seed_option(parser)
    parser.add_argument("--statistics", default="recomputed", choices=("recomputed", "frozen"),
                        help="intensity statistics the attack sees: of each image, or of the clean one")  # fmt: skip
    parser.add_argument("--resolution", default="native", choices=("native", "network"),
                        help="craft on the scan's own grid, or on the network's")  # fmt: skip
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"),
                        help="of the gradients; results are judged in fp32 (default: %(default)s)")  # fmt: skip
    _window_options(parser)


def _run_options(parser: ArgumentParser) -> None:
    parser.add_argument("job", type=Path, help="job.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run folder to write, new or empty")


def _cases_options(parser: ArgumentParser) -> None:
    parser.add_argument("source", help="see advseg info")
    parser.add_argument("path", nargs="?", type=Path, help="folder or file of the data set (phantoms need none)")
    parser.add_argument("--count", type=count, default=4, help="phantoms to draw (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="first phantom's seed (default: %(default)s)")
    parser.add_argument("--size", type=count, help="phantom's side in voxels")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the cases here as NIfTI; else list them")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw a contact sheet of the cases")
    parser.add_argument("--json", action="store_true", help="list as JSON")


def _worker_options(parser: ArgumentParser) -> None:
    parser.add_argument("--on-eof", default="finish", choices=("finish", "cancel"),
                        help="where stdin ends: finish the jobs, or cancel them (default: %(default)s)")  # fmt: skip


def _info_options(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable")
