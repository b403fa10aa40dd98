"""What the batch scripts of this folder share: a folder of scans in, run folders and a summary out, an exit code.

    Slicer --no-splash --no-main-window --python-script batch_attack.py FOLDER --out OUT --model chest

0: all went well; 1: some scans or runs failed, the others are done; 2: the request cannot be fulfilled;
130: interrupted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import sys
import time
import traceback

import slicer

try:
    import AdvSegRobustnessLib
except ImportError:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "AdvSegRobustness"))
    import AdvSegRobustnessLib  # noqa: F401 - finds AdvSegLib

import scan_files
from AdvSegRobustnessLib.Dependencies import missingPackages
from AdvSegRobustnessLib.Interpreter import VARIABLE
from AdvSegRobustnessLib.Logic import RobustnessLogic
from AdvSegRobustnessLib.RequestChecks import checkRequest
from AdvSegRobustnessLib.ResultNodes import removeRun
from AdvSegRobustnessLib.SceneChange import removeNodes

from AdvSegLib.errors import AdvSegError, BadRequest

COLUMNS = (
    "scan", "run", "state", "dice_clean", "dice_adversarial", "dice_agreement", "dice_target", "linf_percent", "psnr",
    "ssim", "seconds", "folder", "message",
)  # fmt: skip
FAILURES = (AdvSegError, RuntimeError, OSError)
"""What is wrong with one scan or run, and no reason to leave the others."""


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are requests that cannot be fulfilled."""

    def error(self, message):
        raise BadRequest(f"{message} ({self.prog} --help tells more)")


def parser(description, one_model=True):
    """Return a parser with the options that all batch scripts have."""
    options = Parser(prog=pathlib.Path(sys.argv[0]).name, description=description)
    options.add_argument("folder", type=pathlib.Path, help="scans: <case>_<channel>.nii.gz, or a sub-folder a case")
    options.add_argument("--out", type=pathlib.Path, required=True, help="new folder, or one to go on with (--resume)")
    options.add_argument("--resume", action="store_true", help="leave out what is done in OUT already")
    if one_model:
        options.add_argument("--model", required=True, help="a shipped model's name, or a bundle's folder")
    options.add_argument("--attack", default="pgd")
    options.add_argument("--steps", type=int, help="steps of an iterative attack (default: the paper's)")
    options.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other parameters of the attack")
    options.add_argument("--norm", default="linf", choices=("linf", "l2"))
    options.add_argument("--goal", nargs="+", default=["untargeted"], metavar=("GOAL", "NAME=VALUE"),
                         help="e.g. heart-symbol structure=heart size=small")  # fmt: skip
    options.add_argument("--region", nargs="+", default=["whole"], metavar=("REGION", "NAME=VALUE"),
                         help="e.g. box structure=heart margin_mm=5")  # fmt: skip
    options.add_argument("--surrogate", help="craft on this model, score on the other (black box)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    options.add_argument("--temporary", help="folder for temporary folders (default: the system's)")
    return options


def fields(options):
    """Return the options as an attack's fields, those of a scan left out."""
    parameters = pairs(options.set, "--set")
    if options.steps is not None:
        parameters["steps"] = options.steps
    return {
        "attack": options.attack, "parameters": parameters, "norm": options.norm, "goal": options.goal[0],
        "goalParameters": pairs(options.goal[1:], "--goal"), "region": options.region[0],
        "regionParameters": pairs(options.region[1:], "--region"), "surrogate": options.surrogate,
        "seed": options.seed, "device": options.device,
    }  # fmt: skip


def pairs(texts, option):
    """Return NAME=VALUE texts as a dict; a value is JSON where it is (numbers, true, null), else text."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"{option} takes NAME=VALUE, not '{text}'")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def main(batch):
    """Run a batch and leave Slicer with its exit code: ``batch`` is a function that returns how many scans failed."""
    try:
        code = 1 if batch() else 0
    except BadRequest as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        code = 130
    except SystemExit as end:  # --help
        code = end.code or 0
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.exit(code)


def work_off(options, requests, runs):
    """Attack every scan, write the summary after each, and return of how many scans something failed.

    ``requests`` (fields of attacks, without volumes) are checked before a scan is read. ``runs(folder)`` returns what
    is to be done with each scan: ``(run, its folder, request)``, below the scan's folder. A scan that fails does not
    stop the others, nor does a run.
    """
    out = options.out.expanduser().absolute()
    specs = [check(request) for request in requests]
    if len({spec.channels for spec in specs}) > 1:
        raise BadRequest(f"the models do not take the same channels: {[spec.channels for spec in specs]}")
    scans = scan_files.find_scans(options.folder.expanduser().absolute(), specs[0].channels)
    if out.exists() and any(out.iterdir()) and not options.resume:
        raise BadRequest(f"{out}: not empty; name a new folder, or go on with this one by --resume")
    application = getattr(slicer, "app", None)
    if application is not None:
        check_packages()
    out.mkdir(parents=True, exist_ok=True)
    settings = {"temporary": options.temporary}
    logic = RobustnessLogic(
        slicer.mrmlScene, settings=settings, idle=application and application.processEvents,
        environment=slicer.util.startupEnvironment if application else None,
    )  # fmt: skip
    rows, failed = [], 0
    try:
        for number, scan in enumerate(scans, 1):
            found = one(logic, scan, runs(out / scan.name), specs[0].channels)
            failed += any(item["state"] == "failed" for item in found)
            rows += found
            write_summary(out / "summary.csv", rows)
            print(f"[{number}/{len(scans)}] {scan.name}: {'; '.join(told(item) for item in found)}", flush=True)
    finally:
        logic.close()
    print(f"{len(scans) - failed} of {len(scans)} scans done: {out / 'summary.csv'}", flush=True)
    return failed


def check_packages():
    """Refuse at once what each scan would fail of: there is nobody who could be asked whether to install anything."""
    missing = [item for item in missingPackages() if item.startswith(("torch", "monai"))]
    if missing:
        raise BadRequest(
            f"{' and '.join(missing)} missing in Slicer's own Python: install by the module's panel, "
            f"or name another Python that has AdvSegLib's dependencies by {VARIABLE}"
        )


def check(request):
    """Return the spec of a request's model, its fields checked as far as they can be without a scan."""
    from AdvSegRobustnessLib.AttackRequest import AttackRequest
    from AdvSegRobustnessLib.Choices import modelSpec

    spec = modelSpec(request["model"])
    checkRequest(AttackRequest.fromFields({**request, "volumes": tuple(spec.channels)}))
    return spec


def one(logic, files, runs, channels):
    """Return the rows of one scan, one a run, those that failed too; its nodes are removed again."""
    nodes = []
    try:
        if files.missing:
            raise BadRequest(f"no file for {', '.join(files.missing)}")
        for channel in channels:
            nodes.append(load_volume(files.volumes[channel]))
        truth = None if files.truth is None else load_truth(files.truth)
        nodes += [truth] * (truth is not None)
        scan = {"volumes": nodes[: len(channels)], "truth": truth}
        return [attempt(logic, files.name, name, folder, {**request, **scan}) for name, folder, request in runs]
    except FAILURES as error:
        return [failure(files.name, "", error)]
    finally:
        removeNodes(slicer.mrmlScene, nodes)


def attempt(logic, scan, name, folder, request):
    """Return the row of one run, done or failed."""
    began = time.monotonic()
    try:
        attack(logic, folder, **request)
        return row(scan, name, folder, round(time.monotonic() - began, 1))
    except FAILURES as error:
        return failure(scan, name, error)


def failure(scan, run, error):
    """Return the row of what failed."""
    return {"scan": scan, "run": run, "state": "failed", "message": " ".join(str(error).split())}


def load_volume(file):
    """Return a file's volume node: the file alone, not the series Slicer may see in numbered ones."""
    try:
        return slicer.util.loadVolume(str(file), {"singleFile": True, "show": False})
    except RuntimeError as error:
        raise BadRequest(f"{file}: cannot be loaded ({error})") from error


def load_truth(file):
    """Return a truth's node: a segmentation, or a label map."""
    try:
        if ".seg." in file.name.lower():
            return slicer.util.loadSegmentation(str(file))
        return slicer.util.loadLabelVolume(str(file), {"singleFile": True, "show": False})
    except RuntimeError as error:
        raise BadRequest(f"{file}: cannot be loaded ({error})") from error


def is_done(folder):
    """Tell whether a run folder is there: they are written whole or not at all."""
    return (folder / "metrics.json").is_file()


def attack(logic, folder, **request):
    """Attack into a run folder, unless it is there already; what the scene got is taken out of it again."""
    if not is_done(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        removeRun(slicer.mrmlScene, logic.attack(folder=folder, **request))


def row(scan, run, folder, seconds):
    """Return a line of the summary from a run folder's metrics."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    dice = {name: metrics[name] and metrics[name]["dice"]["mean"] for name in
            ("clean", "adversarial", "agreement", "target")}  # fmt: skip
    return {
        "scan": scan, "run": run, "state": "done", "seconds": seconds, "folder": str(folder),
        "message": "; ".join(metrics["warnings"]),
        **{f"dice_{name}": value for name, value in dice.items()},
        **{name: metrics["image"][name] for name in ("linf_percent", "psnr", "ssim")},
    }  # fmt: skip


def told(found):
    """Return a line of the summary as it is printed."""
    if found["state"] == "failed":
        return f"{found['run']} failed: {found['message']}".lstrip()
    before, after = found["dice_clean"], found["dice_adversarial"]
    if before is None:
        before, after = 1.0, found["dice_agreement"]
    numbers = " -> ".join("-" if value is None else f"{value:.3f}" for value in (before, after))
    return f"{found['run']} Dice {numbers}"


def write_summary(file, rows):
    """Write the summary whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    with open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in item.items()} for item in rows)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, file)
