"""``advseg audit``, ``advseg certify`` and ``advseg ensemble``: their options and what they do. Light at import."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.arguments import (
    count,
    device_option,
    fresh,
    number,
    refuse_taken,
    relabelling,
    scan_options,
    seed_option,
    working,
)
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
    parser.add_argument("--cases", type=count, metavar="N",
                        help=f"how many cases (default: by effort; of a family {FAMILY_CASES})")  # fmt: skip
    parser.add_argument("--source", help="judge on cases of this source instead of unseen phantoms; see advseg info")
    parser.add_argument("--path", type=Path, help="folder or file of --source")
    parser.add_argument("--size", type=count, help="side of the phantoms in voxels")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"),
                        help="of gradients; results are judged in fp32 (default: %(default)s)")  # fmt: skip
    parser.add_argument("--batch", type=count, help="cases attacked together (default: by device)")
    seed_option(parser)
    parser.add_argument("--write-card", action="store_true", help="put the result into the model's card and metadata")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: audit-MODEL, numbered)")
    device_option(parser)
    return parser


def add_certify_parser(commands: Any) -> ArgumentParser:
    """Add ``advseg certify`` to the command line's sub-parsers."""
    parser: ArgumentParser = commands.add_parser(
        "certify", help="certify a scan's segmentation by randomized smoothing"
    )
    parser.add_argument("model", help="a shipped model's name, or a bundle's folder")
    scan_options(parser)
    parser.add_argument(
        "--sigma", type=float, default=0.05, help="noise, a fraction of the range (default: %(default)s)"
    )
    parser.add_argument("--range", type=float, nargs="+", metavar="R",
                        help="each channel's range in source units (default: the image's own)")  # fmt: skip
    parser.add_argument("--n0", type=count, default=10, help="draws to guess labels with (default: %(default)s)")
    parser.add_argument("--n", type=count, default=100, help="draws to test them with (default: %(default)s)")
    parser.add_argument("--tau", type=float, default=0.75, help="agreement to be shown (default: %(default)s)")
    parser.add_argument(
        "--alpha", type=float, default=0.001, help="error of all voxels together (default: %(default)s)"
    )
    parser.add_argument("--correction", choices=("holm", "bonferroni"), default="holm", help="default: %(default)s")
    seed_option(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, new or empty")
    device_option(parser)
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
    job = Job(options.model, tuple(options.image), "fgsm", truth=options.truth, relabel=relabelling(options.relabel),
              device=options.device)  # fmt: skip
    refuse_taken(options.out)
    with working("certify") as status:
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
        print(f"mean Dice {number(truth['dice']['mean'])}; no attack in the radius leaves less than "
              f"{number(truth['worst_dice']['mean'])}")  # fmt: skip
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
    from AdvSegLib.audit.audit import subject_of, usual_undefended
    from AdvSegLib.audit.card import write_card
    from AdvSegLib.audit.suite import find_effort
    from AdvSegLib.audit.writing import write_audit
    from AdvSegLib.jobs import choose_device
    from AdvSegLib.segmenters.catalogue import model_folder

    out = _place(options, _last(options.model))
    refuse_taken(out)
    if options.write_card:
        _refuse_fixed(model_folder(options.model))
    device = choose_device(options.device)
    subject = subject_of(options.model, device)
    if options.undefended is None:
        undefended = usual_undefended(subject, device)
    else:
        undefended = subject_of(options.undefended, device)
    effort = find_effort(options.effort)
    cases = _cases(options, subject.model.spec, effort.cases)
    plan = _plan(options, subject)
    with working("audit") as status:
        found = audited(subject, cases, plan, undefended=undefended, status=status)
        out = write_audit(_place(options, _last(options.model)), found, subject.model.scheme)
    _print_audit(found.data)
    if options.write_card:
        write_card(model_folder(options.model), found.data)
    print(f"\n{out / 'report.html'}")


def _family(options: Namespace) -> None:
    from AdvSegLib.audit.audit import subject_of
    from AdvSegLib.audit.family import EPSILONS, audit_family, family_members, verdict_of
    from AdvSegLib.audit.suite import find_effort
    from AdvSegLib.audit.writing import write_family
    from AdvSegLib.jobs import choose_device
    from AdvSegLib.segmenters.bundle import read_metadata
    from AdvSegLib.segmenters.catalogue import model_folder

    for name in ("write_card", "undefended"):
        if getattr(options, name):
            raise BadRequest(f"--{name.replace('_', '-')} is of one model's audit, not of a family's table")
    out = _place(options, f"{options.family}-family")
    refuse_taken(out)
    device = choose_device(options.device)
    names, left_out = family_members(options.family)
    if len(names) == 1:
        raise BadRequest(f"no defended model is named '{options.family}-…': there is nothing to compare it with")
    models = {name: subject_of(name, device) for name in names}
    few = find_effort("quick").cases if options.quick else FAMILY_CASES
    cases = _cases(options, models[options.family].model.spec, few)
    masked = {name: verdict_of(read_metadata(model_folder(name))) for name in names}
    batch = options.batch or _plan(options, models[options.family]).batch
    with working("audit") as status:
        table = audit_family(models, cases, baseline=options.family, epsilons=tuple(options.epsilon or EPSILONS),
                             masked=masked, seed=options.seed, batch=batch, precision=options.precision,
                             status=status)  # fmt: skip
        out = write_family(_place(options, f"{options.family}-family"), table)
    print(table.to_markdown(), end="")
    if left_out:
        print(f"left out, undefended too: {', '.join(left_out)}")
    print(f"\n{out / 'report.html'}")


def _plan(options: Namespace, subject: Subject) -> Plan:
    from AdvSegLib.audit.audit import EPSILON, Plan, at_batch
    from AdvSegLib.audit.suite import find_effort

    epsilons, effort = tuple(options.epsilon or (EPSILON,)), find_effort(options.effort)
    plan = Plan(epsilons, effort, options.seed, options.batch or 1, options.precision)
    return at_batch(plan, subject.model) if options.batch is None else plan


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
            print(f"  {row['title']:<44}{row['role']:<14}{number(row['mean']):>6}")
        print(f"  {'worst case of each image':<58}{budget['worst']['mean']:>6.3f}")
        for check in budget["checks"]:
            said = "-" if check["passed"] is None else "yes" if check["passed"] else "NO"
            print(f"  {said:<4}{check['title']}: {check['said']}")
    for note in data["notes"]:
        print(f"note: {note}")
    print(f"\nmasked: {str(data['masked']).lower()}" + ("" if data["conclusive"] else ", not conclusive"))
    for budget in data["budgets"]:
        for reason in budget["verdict"]["reasons"]:
            print(f"  {reason}")


def _place(options: Namespace, name: str) -> Path:
    """Return the folder to write; without ``--out`` one that nobody took, be it while this audit ran."""
    out: Path | None = options.out
    return out or fresh(Path(f"audit-{name}"))


def _refuse_fixed(folder: Path) -> None:
    """Raise BadRequest before an hour's work for a model whose card cannot be written in the end."""
    for part in (folder / "configs", folder / "docs"):
        place = part if part.exists() else folder
        if not os.access(place, os.W_OK | os.X_OK):
            raise BadRequest(f"{folder}: nothing can be written there; --write-card is for a bundle of your own")


def _last(name: str) -> str:
    return str(name).replace("\\", "/").rstrip("/").rpartition("/")[2] or "model"
