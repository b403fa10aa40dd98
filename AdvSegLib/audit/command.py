"""``advseg audit``, ``advseg certify`` and ``advseg ensemble``: their options and what they do. Light at import."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.errors import BadRequest

if TYPE_CHECKING:
    from AdvSegLib.audit.audit import Plan, Subject
    from AdvSegLib.audit.unseen import Judged
    from AdvSegLib.segmenters.spec import Spec

FAMILY_CASES = 20
EFFORT_NAMES = ("quick", "standard", "thorough")


def add_audit_parser(commands: Any) -> ArgumentParser:
    """Add ``advseg audit`` to the command line's sub-parsers."""
    parser: ArgumentParser = commands.add_parser("audit", help="attack a model in every way, and judge its defense")
    parser.add_argument("model", nargs="?", help="a shipped model's name, or a bundle's folder")
    parser.add_argument(
        "--family", metavar="NAME", help="one attack on a shipped model and all named NAME-…, compared"
    )
    parser.add_argument("--epsilon", type=float, nargs="+", metavar="E",
                        help="budgets as fractions of the range (default: 0.05; family: 0.01 0.05 0.1)")  # fmt: skip
    parser.add_argument("--undefended", metavar="MODEL",
                        help="attacks are transferred from it (default: the shipped one of the family)")  # fmt: skip
    parser.add_argument(
        "--effort", choices=EFFORT_NAMES, default="standard", help="how hard to try (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="the same as --effort quick: 4 cases, few steps")
    parser.add_argument("--cases", type=_count, metavar="N",
                        help=f"how many cases (default: by effort; of a family {FAMILY_CASES})")  # fmt: skip
    parser.add_argument("--source", help="judge on cases of this source instead of unseen phantoms; see advseg info")
    parser.add_argument("--path", type=Path, help="folder or file of --source")
    parser.add_argument("--size", type=_count, help="side of the phantoms in voxels")
    parser.add_argument("--batch", type=_count, help="cases attacked together (default: by device)")
    parser.add_argument("--seed", type=_seed, default=0, help="seed of every random draw (default: %(default)s)")
    parser.add_argument("--write-card", action="store_true", help="put the result into the model's card and metadata")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: audit-MODEL, numbered)")
    _device(parser)
    return parser


def add_certify_parser(commands: Any) -> ArgumentParser:
    """Add ``advseg certify`` to the command line's sub-parsers."""
    parser: ArgumentParser = commands.add_parser(
        "certify", help="certify a scan's segmentation by randomized smoothing"
    )
    parser.add_argument("model", help="a shipped model's name, or a bundle's folder")
    parser.add_argument("--image", required=True, nargs="+", metavar="F", help="one file a channel, or one of all")
    parser.add_argument("--truth", metavar="F", help="label map to measure against")
    parser.add_argument("--relabel", nargs="+", default=[], metavar="OLD=NEW", help="label values of F to the model's")
    parser.add_argument(
        "--sigma", type=float, default=0.05, help="noise, a fraction of the range (default: %(default)s)"
    )
    parser.add_argument("--range", type=float, nargs="+", metavar="R",
                        help="each channel's range in source units (default: the image's own)")  # fmt: skip
    parser.add_argument("--n0", type=_count, default=10, help="draws to guess labels with (default: %(default)s)")
    parser.add_argument("--n", type=_count, default=100, help="draws to test them with (default: %(default)s)")
    parser.add_argument("--tau", type=float, default=0.75, help="agreement to be shown (default: %(default)s)")
    parser.add_argument(
        "--alpha", type=float, default=0.001, help="error of all voxels together (default: %(default)s)"
    )
    parser.add_argument("--correction", choices=("holm", "bonferroni"), default="holm", help="default: %(default)s")
    parser.add_argument("--seed", type=_seed, default=0, help="seed of every draw (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, new or empty")
    _device(parser)
    return parser


def add_ensemble_parser(commands: Any) -> ArgumentParser:
    """Add ``advseg ensemble`` to the command line's sub-parsers."""
    parser: ArgumentParser = commands.add_parser("ensemble", help="make one model of several")
    parser.add_argument("members", nargs="+", metavar="MODEL", help="shipped models' names, or bundles' folders")
    parser.add_argument("--combine", choices=("probabilities", "logits"), default="probabilities",
                        help="what is averaged (default: %(default)s)")  # fmt: skip
    parser.add_argument("--title", default="", help="what it is called")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder to write, new or empty")
    return parser


def audit(options: Namespace) -> None:
    """Audit a model, or compare a family."""
    if (options.model is None) == (options.family is None):
        raise BadRequest("audit takes a model, or --family NAME")
    if options.quick:
        options.effort = "quick"
    if options.family is not None:
        _family(options)
    else:
        _audit(options)


def certify(options: Namespace) -> None:
    """Certify one scan."""
    from AdvSegLib.audit.certificates import Terms
    from AdvSegLib.audit.certificates import certify as certified
    from AdvSegLib.audit.writing import write_certificate
    from AdvSegLib.job_request import Job
    from AdvSegLib.jobs import load_inputs
    from AdvSegLib.segmenters.smoothing import Smoothed

    terms = Terms(options.sigma, options.n0, options.n, options.tau, options.alpha, options.correction)
    job = Job(options.model, tuple(options.image), "fgsm", truth=options.truth, relabel=_relabel(options.relabel),
              device=options.device)  # fmt: skip
    _refuse_taken(options.out)
    with _working("certify") as status:
        status("reading")
        inputs = load_inputs(job)
        scale = None if options.range is None else tuple(options.range)
        model = Smoothed.of(inputs.segmenter, terms.sigma, scale=scale)
        status(f"drawing {terms.n0} + {terms.n}")
        found = certified(model, inputs.image, terms, seed=options.seed)
        data = write_certificate(options.out, options.model, model, inputs.image, found, inputs.truth,
                                 seed=options.seed, paths=options.image)  # fmt: skip
    shares, truth = data["shares"], data["truth"]
    print(f"certified {100 * (1 - shares['abstain']):.1f} % of {data['voxels']} voxels within L2 radius "
          f"{data['radius']['of_range']:.4g} of the range")  # fmt: skip
    if truth is not None:
        print(f"mean Dice {_number(truth['dice']['mean'])}; no attack in the radius leaves less than "
              f"{_number(truth['worst_dice']['mean'])}")  # fmt: skip
    for note in data["notes"]:
        print(f"note: {note}")
    print(f"\n{options.out / 'report.html'}")


def ensemble(options: Namespace) -> None:
    """Write an ensemble's folder."""
    from AdvSegLib.segmenters.ensemble import save_ensemble

    save_ensemble(options.out, options.members, options.combine, options.title)
    print(options.out)


COMMANDS: dict[str, Callable[[Namespace], None]] = {"audit": audit, "certify": certify, "ensemble": ensemble}


def _audit(options: Namespace) -> None:
    from AdvSegLib.audit.audit import audit as audited
    from AdvSegLib.audit.audit import subject_of, undefended_name
    from AdvSegLib.audit.card import write_card
    from AdvSegLib.audit.suite import find_effort
    from AdvSegLib.audit.writing import write_audit
    from AdvSegLib.jobs import choose_device
    from AdvSegLib.segmenters.catalogue import model_folder

    out = options.out or _fresh(Path(f"audit-{_last(options.model)}"))
    _refuse_taken(out)
    device = choose_device(options.device)
    subject = subject_of(options.model, device)
    source = options.undefended or undefended_name(options.model)
    undefended = None if source is None else subject_of(source, device)
    effort = find_effort(options.effort)
    cases = _cases(options, subject.model.spec, effort.cases)
    plan = _plan(options, subject)
    with _working("audit") as status:
        found = audited(subject, cases, plan, undefended=undefended, status=status)
        write_audit(out, found, subject.model.scheme)
    if options.write_card:
        write_card(model_folder(options.model), found.data)
    _print_audit(found.data)
    print(f"\n{out / 'report.html'}")


def _family(options: Namespace) -> None:
    from AdvSegLib.audit.audit import subject_of
    from AdvSegLib.audit.family import EPSILONS, audit_family, family_members, verdict_of
    from AdvSegLib.audit.writing import write_family
    from AdvSegLib.jobs import choose_device
    from AdvSegLib.segmenters.bundle import read_metadata
    from AdvSegLib.segmenters.catalogue import model_folder

    if options.write_card:
        raise BadRequest("--write-card is of one model's audit, not of a family's table")
    out = options.out or _fresh(Path(f"audit-{options.family}-family"))
    _refuse_taken(out)
    device = choose_device(options.device)
    names, left_out = family_members(options.family)
    models = {name: subject_of(name, device) for name in names}
    cases = _cases(options, models[options.family].model.spec, FAMILY_CASES)
    masked = {name: verdict_of(read_metadata(model_folder(name))) for name in names}
    batch = options.batch or _plan(options, models[options.family]).batch
    with _working("audit") as status:
        table = audit_family(models, cases, baseline=options.family, epsilons=tuple(options.epsilon or EPSILONS),
                             masked=masked, seed=options.seed, batch=batch, status=status)  # fmt: skip
        write_family(out, table)
    print(table.to_markdown(), end="")
    if left_out:
        print(f"left out, undefended too: {', '.join(left_out)}")
    print(f"\n{out / 'report.html'}")


def _plan(options: Namespace, subject: Subject) -> Plan:
    from AdvSegLib.audit.audit import EPSILON, Plan, at_batch
    from AdvSegLib.audit.suite import find_effort

    plan = Plan(tuple(options.epsilon or (EPSILON,)), find_effort(options.effort), options.seed)
    if options.batch is None:
        return at_batch(plan, subject.model)
    return Plan(plan.epsilons, plan.effort, plan.seed, options.batch)


def _cases(options: Namespace, spec: Spec, default: int) -> list[Judged]:
    from AdvSegLib.audit.unseen import given_cases, read_cases, unseen_phantoms

    if options.source is None:
        if options.path is not None:
            raise BadRequest("--path is of a source: give --source too")
        return read_cases(unseen_phantoms(spec, options.cases or default, size=options.size), spec)
    if options.size is not None:
        raise BadRequest("--size is of phantoms, not of --source")
    return read_cases(given_cases(options.source, options.path, options.cases or default), spec)


def _print_audit(data: dict[str, Any]) -> None:
    print(f"clean Dice {data['clean']:.3f} on {len(data['cases'])} cases")
    for budget in data["budgets"]:
        print(f"\nepsilon {budget['epsilon']:g}")
        for row in budget["attacks"]:
            print(f"  {row['title']:<44}{row['role']:<14}{_number(row['mean']):>6}")
        print(f"  {'worst case of each image':<58}{budget['worst']['mean']:>6.3f}")
        for check in budget["checks"]:
            said = "-" if check["passed"] is None else "yes" if check["passed"] else "NO"
            print(f"  {said:<4}{check['title']}: {check['said']}")
    print(f"\nmasked: {str(data['masked']).lower()}" + ("" if data["conclusive"] else ", not conclusive"))
    for budget in data["budgets"]:
        for reason in budget["verdict"]["reasons"]:
            print(f"  {reason}")


def _device(parser: ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: auto)")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**62:
        raise ValueError
    return value


_count.__name__, _seed.__name__ = "whole number >= 1", "seed (a whole number >= 0)"


def _relabel(texts: list[str]) -> dict[str, int]:
    try:
        return {str(int(old)): int(new) for old, new in (text.split("=") for text in texts)}
    except ValueError as error:
        raise BadRequest(f"--relabel takes whole numbers, e.g. 3=4 ({error})") from error


def _last(name: str) -> str:
    return str(name).replace("\\", "/").rstrip("/").rpartition("/")[2] or "model"


def _fresh(path: Path) -> Path:
    """Return ``path``, numbered where it is taken."""
    taken, index = path, 2
    while taken.exists():
        taken, index = path.with_name(f"{path.name}-{index}"), index + 1
    return taken


def _refuse_taken(out: Path) -> None:
    """Raise BadRequest before an hour's work for a folder that cannot be written in the end."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BadRequest(f"{out}: is not an empty folder; name a new one")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@contextmanager
def _working(command: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what a command is at."""
    from tqdm import tqdm

    with tqdm(desc=command, bar_format="{desc} {elapsed}", disable=not sys.stderr.isatty(), leave=False) as bar:
        yield lambda stage: bar.set_description_str(f"{command}: {stage}")
