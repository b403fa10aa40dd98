"""``advseg benchmark plan|run|status|collect``. Light: each loads what it needs."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.arguments import count, positive
from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled

if TYPE_CHECKING:
    from AdvSegLib.benchmark.engines import Engine
    from AdvSegLib.benchmark.plan import Plan


def add_parser(commands: Any) -> None:
    """Add ``benchmark`` and its parts to ``advseg``'s commands (what ``add_subparsers`` returned)."""
    parser: ArgumentParser = commands.add_parser("benchmark", help="sweep cases x models x attacks x budgets")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART", help="what to do")
    _plan_options(parts.add_parser("plan", help="turn a study (YAML) into a plan in a store"))
    _run_options(parts.add_parser("run", help="compute what the store lacks; any number of times, from anywhere"))
    _status_options(parts.add_parser("status", help="tell how far a store is"))
    _collect_options(parts.add_parser("collect", help="write the results as tables"))


def _plan_options(parser: ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="study.yaml: name, cases, models, attacks, budgets")
    _store_option(parser)
    parser.add_argument("--workers", type=count, default=1, help="processes that hash cases (default: %(default)s)")
    parser.add_argument("--update", action="store_true", help="replace the store's plan, keep what both share")
    _trust_option(parser)


def _run_options(parser: ArgumentParser) -> None:
    _store_option(parser)
    parser.add_argument("--engine", default="pool", choices=("pool", "ray"),
                        help="processes on this machine, or Ray (default: %(default)s)")  # fmt: skip
    parser.add_argument("--workers", type=count,
                        help="default: pool: one; ray: one for each of the cluster's GPUs, else CPUs")  # fmt: skip
    parser.add_argument("--threads", type=count, default=1,
                        help="of a pool's worker, unless OMP_NUM_THREADS says (default: %(default)s)")  # fmt: skip
    parser.add_argument("--address", help="Ray cluster: auto, host:6379, ray://host:10001 (default: start one here)")
    parser.add_argument("--gpus-per-worker", type=positive, metavar="N", help="of a Ray worker (default: 1 if any)")
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N",
                        help="take every N-th case from the I-th: for N drivers at once")  # fmt: skip
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed for good")
    parser.add_argument("--give-up-after", type=count, default=100, metavar="N",
                        help="stop where N attempts in a row fail (default: %(default)s)")  # fmt: skip
    parser.add_argument("--timeout", type=positive, default=float("inf"), metavar="S",
                        help="end a worker whose unit takes longer (default: never)")  # fmt: skip
    _trust_option(parser)


def _status_options(parser: ArgumentParser) -> None:
    _store_option(parser)
    parser.add_argument("--verify", action="store_true", help="read every record instead of counting them")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def _collect_options(parser: ArgumentParser) -> None:
    _store_option(parser)
    parser.add_argument("--csv", type=Path, metavar="F", help="table to write, a row a unit")
    parser.add_argument("--json", type=Path, metavar="F", help="the same as JSON")
    parser.add_argument("--gaps", type=Path, metavar="F", help="CSV of the units without a result")
    parser.add_argument("--allow-gaps", action="store_true", help="write tables of what there is")
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def _store_option(parser: ArgumentParser) -> None:
    parser.add_argument("store", type=Path, help="the sweep's folder")


def _trust_option(parser: ArgumentParser) -> None:
    parser.add_argument("--trust", action="store_true", help="let a study name a task from outside of this library")


def _shard(text: str) -> tuple[int, int]:
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise ArgumentTypeError(f"'{text}' is no shard; give I/N with 1 <= I <= N, e.g. 3/8")
    return int(first), int(count)


def benchmark(options: Namespace) -> None:
    """Run a part of the command."""
    PARTS[options.part](options)


def plan(options: Namespace) -> None:
    """Turn a study into a plan."""
    from AdvSegLib.benchmark import Store, load_study, make_plan

    with _bar("cases", 0) as bar:

        def hear(done: int, of: int) -> None:
            bar.total, bar.n = of, done
            bar.refresh()

        made = make_plan(load_study(options.study), workers=options.workers, trust=options.trust, hear=hear)
    Store(options.store).keep_plan(made, update=options.update)
    _say(made)


def _say(made: Plan) -> None:
    pairs = sum(len(attack.budgets) for attack in made.attacks)
    print(f"{len(made.cases)} cases x {len(made.models)} models x {pairs} attacks at a budget = {len(made)} units")


def run(options: Namespace) -> None:
    """Compute what is missing."""
    from AdvSegLib.benchmark import Store, run_plan

    store = Store(options.store)
    made = store.plan()
    have, wanted = store.keys(), len(made)
    done = sum(bytes.fromhex(unit.key) in have for unit in made.units())
    with _bar("units", wanted, done) as bar:

        def hear(event: str, **facts: Any) -> None:
            if event == "done":
                bar.update()
            elif event == "ready":
                bar.write(f"worker {facts['slot']} on {facts['host']} ({facts['device']})", file=sys.stderr)
            elif event == "lost":
                bar.write(f"worker {facts['slot']} died", file=sys.stderr)
            elif event == "failed":
                bar.write(f"failed{'' if facts['final'] else ', will be tried again'}: {facts['unit']}: "
                          f"{facts['error']}", file=sys.stderr)  # fmt: skip

        try:
            tally = run_plan(
                store, _engine(options, made), shard=options.shard, retry_failed=options.retry_failed,
                give_up_after=options.give_up_after, timeout=options.timeout, hear=hear,
            )  # fmt: skip
        except KeyboardInterrupt as stop:
            raise Cancelled("interrupted; what is committed stays, run again to go on") from stop
    lost = f", {tally.workers_lost} workers lost" if tally.workers_lost else ""
    print(f"{tally.committed} units computed, {tally.failed} failed{lost}; {options.store}")
    if tally.failed:
        raise AdvSegError(f"{tally.failed} units failed; 'advseg benchmark status {options.store}' names them")


def _engine(options: Namespace, made: Plan) -> Engine:
    """Return the engine asked for; BadRequest where options do not go together."""
    from AdvSegLib.benchmark.worker import Setup

    setup = Setup.of(made, trust=options.trust)
    if options.engine == "pool":
        from AdvSegLib.benchmark.pool import Pool

        for name in ("address", "gpus_per_worker"):
            if getattr(options, name) is not None:
                raise BadRequest(f"--{name.replace('_', '-')} is Ray's: give --engine ray too")
        return Pool(setup, options.workers or 1, options.threads)
    from AdvSegLib.benchmark.ray_engine import RayEngine

    address = options.address or os.environ.get("RAY_ADDRESS")
    return RayEngine(setup, options.workers, address, options.gpus_per_worker)


def status(options: Namespace) -> None:
    """Tell how far a store is."""
    from AdvSegLib.benchmark import Store
    from AdvSegLib.benchmark.status import status_of

    found = status_of(Store(options.store), verify=options.verify)
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(f"{found.name}: {found.done} of {found.units} units done, {found.failed} failed, "
              f"{found.retrying} to be tried again, {found.missing} missing")  # fmt: skip
        for cause, count in found.causes.items():
            print(f"  {count} x {cause}")
        if found.foreign:
            print(f"  {found.foreign} records belong to no unit of this plan")
    if found.damaged:
        raise AdvSegError(f"{found.damaged[0]} ({found.unreadable} such files)")


def collect(options: Namespace) -> None:
    """Write tables."""
    from AdvSegLib.benchmark import Store
    from AdvSegLib.benchmark.collect import collect as write_tables

    outs = {"csv_out": options.csv, "json_out": options.json, "gaps_out": options.gaps}
    if not any(outs.values()):
        raise BadRequest("nothing to write: give --csv, --json or --gaps")
    found = write_tables(Store(options.store), **outs, allow_gaps=options.allow_gaps, force=options.force)
    gaps = f" ({found.missing} missing, {found.failed} failed)" if found.missing or found.failed else ""
    print(f"{found.units} units{gaps}: {', '.join(str(out) for out in outs.values() if out)}")


PARTS: dict[str, Callable[[Namespace], None]] = {"plan": plan, "run": run, "status": status, "collect": collect}


@contextmanager
def _bar(unit: str, total: int, initial: int = 0) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=total, initial=initial, unit=unit, disable=not sys.stderr.isatty(), leave=False) as bar:
        yield bar
