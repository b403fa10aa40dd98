"""The ``train`` command of ``advseg``. Light until it trains."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

HELP = "train a model from a recipe"


def add_parser(commands: Any) -> ArgumentParser:
    """Add ``train`` to a parser's sub-commands (what ``add_subparsers`` returned)."""
    parser: ArgumentParser = commands.add_parser("train", help=HELP, description=f"{HELP.capitalize()}.")
    parser.add_argument("--recipe", required=True, help="a shipped recipe's name (advseg info), or a YAML file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="bundle folder to write, new or empty")
    parser.add_argument(
        "--resume", action="store_true", help="continue a training that was stopped, from DIR.training"
    )
    parser.add_argument("--iterations", type=_iterations, help="override the recipe's number of iterations")
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard, in DIR.training")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    return parser


def train(options: Namespace) -> None:
    """Train a recipe; Cancelled, with how to continue, where a signal stops it."""
    from dataclasses import replace

    from AdvSegLib.jobs import choose_device
    from AdvSegLib.training.recipe import load_recipe
    from AdvSegLib.training.train import train as run

    recipe = load_recipe(options.recipe)
    if options.iterations is not None:
        recipe = replace(recipe, optimisation=replace(recipe.optimisation, iterations=options.iterations))
    run(
        recipe, options.out, device=choose_device(options.device), resume=options.resume,
        tensorboard=options.tensorboard,
    )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, one speaks
        print(options.out)


def _iterations(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_iterations.__name__ = "whole number >= 1"  # argparse names it in its complaint
