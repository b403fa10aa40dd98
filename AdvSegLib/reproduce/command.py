"""``advseg reproduce``: a paper's tables and figures by one command. Light: loads what it needs when it runs."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.errors import BadRequest, unknown_name
from AdvSegLib.reproduce.recipe import load_paper, recipe_names

if TYPE_CHECKING:
    from AdvSegLib.reproduce.measure import Record
    from AdvSegLib.reproduce.recipe import PaperRecipe
    from AdvSegLib.reproduce.results import PaperResults

ALL = "all"


def add_parser(commands: Any) -> None:
    """Add ``reproduce`` to the parser's commands."""
    parser = commands.add_parser("reproduce", help="a paper's tables and figures: printed number, ours, difference")
    parser.add_argument("paper", help=f"{', '.join(recipe_names())}, or {ALL}")
    parser.add_argument("--table", action="append", default=[], metavar="N", help="a table; may be repeated")
    parser.add_argument("--figure", action="append", default=[], metavar="N", help="a figure; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few cases, few steps: minutes on two cores")
    parser.add_argument("--data", metavar="PATH", help="the data set's folder (of several: NAME=PATH,NAME=PATH)")
    parser.add_argument("--source", help="read --data by another case source than the paper's (folder, datalist, …)")
    parser.add_argument("--cases", type=int, metavar="N", help="so many cases instead of the recipe's")
    parser.add_argument(
        "--model", action="append", default=[], metavar="ROLE=NAME", help="another model for a role of the recipe"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of the attacks' gradients")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core on a CPU, else 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def reproduce(options: Namespace) -> None:
    """Run what is asked for and write the page."""
    from AdvSegLib.jobs import choose_device
    from AdvSegLib.reproduce.writing import write_results

    started = time.perf_counter()
    names = recipe_names() if options.paper == ALL else (options.paper,)
    if options.paper == ALL and (options.table or options.figure or options.data):
        raise BadRequest("--table, --figure and --data are of one paper: name it instead of 'all'")
    if options.cases is not None and options.cases < 1:
        raise BadRequest(f"--cases must be at least 1, not {options.cases}")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise BadRequest(f"{options.out}: folder is not empty; name a new one")
    device = choose_device(options.device)
    papers = [run_paper(load_paper(name), options, device) for name in names]
    write_results(options.out, papers, time.perf_counter() - started)
    for results in papers:
        print_paper(results)
    print(options.out / "report.html")


def run_paper(recipe: PaperRecipe, options: Namespace, device: str) -> PaperResults:
    """Run one paper as the options ask."""
    from AdvSegLib.reproduce.data import data_sets
    from AdvSegLib.reproduce.published import published
    from AdvSegLib.reproduce.results import PaperResults, asked_for, gather, units_for
    from AdvSegLib.reproduce.running import run_units

    wanted = asked_for(recipe, [str(name) for name in options.table], [str(name) for name in options.figure])
    scale = ("quick-data" if options.data else "quick") if options.quick else "paper" if options.data else "phantom"
    sets = data_sets(recipe, scale, options.data, options.source, options.cases)
    models, missing = found_models(recipe, options.model)
    units = units_for(recipe, scale, wanted, sets, missing)
    records = run_units(
        units, models, sets, unit=recipe.unit, device=device, precision=options.precision,
        workers=_workers(options.workers, device, len(units)),
        progress=_bar(recipe.paper),
    )  # fmt: skip
    return gather(PaperResults(recipe, published(recipe.paper), scale, sets, models, missing, wanted, records))


def found_models(recipe: PaperRecipe, changes: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the model of each role, and why a role has none: the page says so, and how to train it."""
    from AdvSegLib.segmenters.catalogue import model_folder

    names = {role: item.name for role, item in recipe.models.items()}
    for text in changes:
        role, mark, name = text.partition("=")
        if not mark:
            raise BadRequest(f"--model takes ROLE=NAME, not '{text}'")
        if role not in names:
            raise unknown_name(f"role of {recipe.paper}:", role, names)
        model_folder(name)
        names[role] = name
    missing = {}
    for role, name in names.items():
        try:
            model_folder(name)
        except BadRequest:
            missing[role] = f"model '{name}' is not here: {recipe.models[role].train or 'give one by --model'}"
    return names, missing


def _workers(asked: int | None, device: str, units: int) -> int:
    import os

    if asked is not None:
        if asked < 1:
            raise BadRequest(f"--workers must be at least 1, not {asked}")
        return asked
    return 1 if device != "cpu" or units < 4 else max(1, min(os.cpu_count() or 1, 8))


def _bar(name: str) -> Any:
    from tqdm import tqdm

    def progress(records: Iterable[Record], total: int) -> Iterable[Record]:
        return tqdm(records, total=total, desc=name, unit="unit", disable=not sys.stderr.isatty(), leave=False)

    return progress


def print_paper(results: PaperResults) -> None:
    """Print the verdicts on a paper's claims."""
    from AdvSegLib.reproduce.page import verdict_counts

    print(f"{results.recipe.paper}: {verdict_counts(results)}")
    width = max((len(item.word) for item in results.verdicts), default=0)
    for item in results.verdicts:
        print(f"  {item.word:<{width}}  {item.text}")
    failed: Mapping[str, None] = {record.error: None for record in results.records if record.error}
    for reason in failed:
        print(f"  note: {reason}")
