"""The commands of ``advseg``. Light: each command loads what it needs."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib import __version__
from AdvSegLib.arguments import fresh, kind_of, number, pairs, relabelling, value_of, working
from AdvSegLib.attacks import ATTACKS
from AdvSegLib.audit.command import COMMANDS as AUDIT_COMMANDS
from AdvSegLib.benchmark.command import benchmark
from AdvSegLib.command_options import build_parser
from AdvSegLib.errors import BadRequest
from AdvSegLib.reproduce.command import reproduce
from AdvSegLib.training.command import train

if TYPE_CHECKING:
    from AdvSegLib.cases.base import Case

__all__ = ["COMMANDS", "build_parser"]

INFO_SCHEMA = "advseg.info/1"
DEMO_STEPS = 10


def demo(options: Namespace) -> None:
    """Draw a brain phantom the model never saw, attack it, print what happened."""
    import tempfile

    from AdvSegLib.cases.brain_phantom import brain_cases
    from AdvSegLib.job_request import Job

    with tempfile.TemporaryDirectory(prefix="advseg-demo-") as folder:
        (case,) = brain_cases(1, options.seed, 96)
        *channels, truth = case.write(Path(folder))
        job = Job("brain", tuple(map(str, channels)), "pgd", truth=str(truth), parameters={"steps": DEMO_STEPS},
                  device=options.device)  # fmt: skip
        _run(job, options.out or fresh(Path("demo-run")))


def attack(options: Namespace) -> None:
    """Run an attack from the command line's options."""
    from AdvSegLib.job_request import Job

    parameters = {name: value_of(text) for name, text in pairs(options.set, "--set")}
    if options.steps is not None and "steps" in parameters:
        raise BadRequest("give --steps or --set steps=, not both")
    if options.steps is not None:
        if options.attack in ATTACKS and "steps" not in ATTACKS[options.attack].parameter_names():
            print(f"advseg: {options.attack} is a single step; --steps is ignored", file=sys.stderr)
        else:
            parameters["steps"] = options.steps
    _run(
        Job(
            options.model, tuple(options.image), options.attack, truth=options.truth, target=options.target,
            aim=kind_of(options.aim, "--aim"), keep=options.keep, region=kind_of(options.region, "--region"),
            surrogate=options.surrogate, epsilon=options.epsilon, norm=options.norm, parameters=parameters,
            relabel=relabelling(options.relabel), seed=options.seed, device=options.device,
            precision=options.precision, windows=_windows(options), checkpoint=options.checkpoint,
            record=options.record, statistics=options.statistics, resolution=options.resolution,
        ),
        options.out,
    )  # fmt: skip


def run(options: Namespace) -> None:
    """Run a job file."""
    from AdvSegLib.job_request import Job

    try:
        data = json.loads(options.job.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"{options.job}: not readable as JSON ({error})") from error
    if not isinstance(data, dict):
        raise BadRequest(f"{options.job}: a job is a JSON object")
    _run(Job.from_dict(data), options.out)


def segment(options: Namespace) -> None:
    """Segment a scan into ``labels.nii.gz`` and ``segment.json``."""
    from AdvSegLib.job_request import Job
    from AdvSegLib.segmenting import segment_scan

    job = Job(options.model, tuple(options.image), "fgsm", truth=options.truth, relabel=relabelling(options.relabel),
              device=options.device, windows=_windows(options), checkpoint=options.checkpoint)  # fmt: skip
    with working("segment") as status:
        written = segment_scan(job, options.out, status=status)
    scores, volumes = written["truth"], written["volumes_ml"]
    found = {**scores["dice"], **scores["dice_regions"]} if scores else {}
    rows = [[name, f"{ml:.1f}", number(found.get(name))] for name, ml in volumes.items()]
    _print_table(["structure", "volume ml", "Dice"], rows)
    print(f"\n{options.out / 'labels.nii.gz'}")


def cases(options: Namespace) -> None:
    """List or write cases."""
    from AdvSegLib.cases.registry import open_cases

    phantom = options.source.startswith("phantom-")
    extra: dict[str, Any] = {"count": options.count, "seed": options.seed} if phantom else {}
    if phantom and options.size is not None:
        extra["shape" if options.source == "phantom-brain" else "size"] = options.size
    found = open_cases(options.source, options.path, **extra)
    if options.sheet is not None:
        if options.sheet.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise BadRequest(f"{options.sheet}: a contact sheet is a .png, .pdf or .svg")
        from AdvSegLib.reports.contact_sheet import write_contact_sheet

        print(write_contact_sheet(options.sheet, found, per_row=3 if found[0].image().grid.rank == 2 else 1))
    elif options.out is not None:
        _write_cases(found, options.out)
    elif options.json:
        listed = [{"id": case.identifier, "truth": case.read_truth is not None} for case in found]
        print(json.dumps({"source": options.source, "cases": listed}, indent=2))
    else:
        for case in found:
            print(case.identifier, "" if case.read_truth else "(no truth)")


def _write_cases(found: Sequence[Case], out: Path) -> None:
    from AdvSegLib.runs import staged_folder

    shown: Iterable[Case] = found
    if sys.stderr.isatty():  # phantoms are drawn where only numpy, scipy and SimpleITK are: in Slicer's Python
        from tqdm import tqdm

        shown = tqdm(found, unit="case", leave=False)

    with staged_folder(out) as stage:
        for case in shown:
            case.write(stage)
        names = sorted(path.name for path in stage.iterdir())
    for name in names:
        print(out / name)


def worker(options: Namespace) -> None:
    """Serve jobs from stdin."""
    from AdvSegLib.worker import serve

    serve(options.on_eof)


def info(options: Namespace) -> None:
    """List what there is."""
    data = describe()
    if options.json:
        print(json.dumps(data, indent=2))
        return
    for title in ("models", "attacks", "target_maps", "regions", "sources", "recipes"):
        print(f"{title.replace('_', ' ')}:")
        width = max(16, *(len(item["name"]) + 2 for item in data[title]))
        for item in data[title]:
            print(f"  {item['name']:<{width}}{item.get('summary') or item.get('description', '')}")


def describe() -> dict[str, Any]:
    """Return models, attacks, losses, case sources and recipes as JSON data."""
    from AdvSegLib.attacks import describe as describe_attacks
    from AdvSegLib.attacks.base import LOSS_NAMES
    from AdvSegLib.cases.registry import SOURCES
    from AdvSegLib.regions import describe_regions
    from AdvSegLib.segmenters.catalogue import shipped_models
    from AdvSegLib.target_maps import describe_target_maps
    from AdvSegLib.training.recipe import load_recipe, shipped_recipes

    return {
        "schema": INFO_SCHEMA,
        "version": __version__,
        "models": [model.describe() for model in shipped_models().values()],
        "attacks": describe_attacks(),
        "losses": list(LOSS_NAMES),
        "target_maps": describe_target_maps(),
        "regions": describe_regions(),
        "sources": [{"name": source.name, "summary": source.description} for source in SOURCES],
        "recipes": [{"name": name, "description": load_recipe(name).title} for name in shipped_recipes()],
    }


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "demo": demo, "segment": segment, "attack": attack, "run": run, "cases": cases, "worker": worker, "info": info,
    "train": train, "reproduce": reproduce, "benchmark": benchmark, **AUDIT_COMMANDS,
}  # fmt: skip


def _run(job: Any, out: Path) -> None:
    """Run a job with a progress bar and print its table and its report's path."""
    from tqdm import tqdm

    from AdvSegLib.jobs import run_job

    with tqdm(desc=job.attack, unit="step", disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(step: int, steps: int, record: Any) -> None:
            if bar.disable:
                return
            numbers = record.numbers()
            bar.total, bar.n = steps, step
            bar.set_postfix(loss=f"{numbers['loss']:.3f}", dice=f"{numbers['dice']:.3f}")

        run_job(job, out, progress=progress, status=lambda stage: bar.set_description(f"{job.attack} {stage}"))
    print_summary(out)


def print_summary(folder: Path) -> None:
    """Print a run's Dice table and the path of its report."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    truth, fooled, agreement = metrics["clean"], metrics["adversarial"], metrics["agreement"]
    rows = []
    for name, kept in {**agreement["dice"], **agreement["dice_regions"]}.items():
        before, after = (
            None if side is None else {**side["dice"], **side["dice_regions"]}[name] for side in (truth, fooled)
        )
        volumes = [
            f"{metrics['volumes_ml'][side][name]:.1f}" if name != "mean" else "" for side in ("clean", "adversarial")
        ]
        rows.append([name, number(before), number(after), number(kept), *volumes])
    _print_table(["structure", "Dice clean", "Dice attacked", "agreement", "ml clean", "ml attacked"], rows)
    image = metrics["image"]
    print(f"\nL-inf {number(image['linf_percent'], 2)} % of range, PSNR {number(image['psnr'], 1)} dB, "
          f"SSIM {number(image['ssim'], 4)} (worst channel, measured on the saved files)")  # fmt: skip
    for note in metrics["warnings"]:
        print(f"note: {note}")
    print(f"\n{folder / 'report.html'}")


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        first, *others = (
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]))


def _windows(options: Namespace) -> dict[str, Any] | None:
    """Return the windows asked for as a job holds them."""
    given = {
        "overlap": options.overlap,
        "blend": options.blend,
        "mirror": options.mirror,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if options.window is not None:
        return {"size": options.window, **chosen}
    if chosen:
        raise BadRequest(f"--{next(iter(chosen))} is of windows: give --window too")
    return None
