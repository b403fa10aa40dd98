"""What a report says in words: the finding, the key figures, the attack, where the result comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from AdvSegLib.reports.content import RunContent
from AdvSegLib.reports.formats import (
    DASH,
    TIMES,
    attack_title,
    decibel,
    file_name,
    fixed,
    moment,
    number,
    percent,
    short,
)


@dataclass(frozen=True)
class Figure:
    """One key figure: before and after, or one value; ``share`` draws a bar of 0 to 1 beneath."""

    title: str
    value: str
    before: str = ""
    note: str = ""
    share: float | None = None
    share_before: float | None = None


@dataclass(frozen=True)
class Fact:
    """A name and what it is; ``full`` is shown on pointing at it."""

    name: str
    value: str
    full: str = ""


def against(content: RunContent) -> str:
    """Return what the history's Dice is measured against."""
    if content.target is not None:
        return "the target"
    return "the truth" if content.truth is not None else "the clean prediction"


def headline(content: RunContent) -> tuple[str, str, str]:
    """Return the finding: a sentence's beginning, and its values before and after.

    The value before is empty where there is nothing to compare with, or where it stayed the same.
    """
    metrics = content.metrics
    who = f"{attack_title(str(metrics['attack']))} {_budget_phrase(metrics['budget'])}"
    if metrics.get("target"):
        before, after = _means(metrics, "target_before", "target")
        words = ("moved the agreement with its target from", "left the agreement with its target at")
    elif metrics.get("adversarial"):
        before, after = _means(metrics, "clean", "adversarial")
        words = ("changed mean Dice from", "left mean Dice at")
    else:
        _, after = _means(metrics, "agreement", "agreement")
        if after is None:
            return f"{who}: the model finds nothing, before or after", "", ""
        return f"{who}: agreement with the clean prediction", "", fixed(after, 2)
    if fixed(before, 2) == fixed(after, 2):
        return f"{who} {words[1]}", "", fixed(after, 2)
    return f"{who} {words[0]}", fixed(before, 2), fixed(after, 2)


def _means(metrics: Mapping[str, Any], *keys: str) -> list[Any]:
    """Return the mean Dice of each comparison, None for one that the run does not have."""
    return [(metrics.get(key) or {}).get("dice", {}).get("mean") for key in keys]


def _budget_phrase(budget: Mapping[str, Any]) -> str:
    asked = budget["asked"]
    if budget["norm"] == "linf":
        return f"at {percent(asked.get('percent_of_range', 100 * asked['epsilon']))} of range"
    return f"at an L2 budget of {short(asked['epsilon'])} of range"


def subtitle(content: RunContent) -> str:
    """Return what the headline's number is, in one sentence."""
    if content.target is not None:
        return "Agreement is the mean Dice over labels between the prediction and the target of the attack."
    if content.truth is not None:
        return "Mean Dice over labels between the prediction and the given truth."
    return (
        "No truth was given: agreement is the mean Dice over labels of the two predictions; 1 means nothing changed."
    )


def key_figures(content: RunContent) -> list[Figure]:
    """Return the figures at the top of the page."""
    metrics = content.metrics
    found = []
    for title, first, second in (
        ("Dice with truth", "clean", "adversarial"),
        ("Dice with target", "target_before", "target"),
    ):
        if metrics.get(second):
            before, after = _means(metrics, first, second)
            found.append(
                Figure(
                    title,
                    fixed(after),
                    fixed(before),
                    "mean over labels, clean → adversarial",
                    number(after),
                    number(before),
                )
            )
    mean = metrics["agreement"]["dice"]["mean"]
    found.append(Figure("Dice with clean", fixed(mean), "", "agreement of both predictions", number(mean)))
    image = metrics["image"]
    several = len(content.clean.names) > 1
    worst = "worst channel" if several else "of the clean range"
    found += [
        Figure("Largest change", percent(image["linf_percent"]), note=f"L∞, {'of range, ' if several else ''}{worst}"),
        Figure("PSNR", decibel(image["psnr"]), note=_psnr_note(image, several)),
        Figure("SSIM", fixed(image["ssim"]), note="worst channel" if several else "1 is identical"),
        _changed(content),
    ]
    return found


def _psnr_note(image: Mapping[str, Any], several: bool) -> str:
    if image["psnr"] is None:
        return "nothing changed" if not image["linf"] else "no range to relate to"
    return "worst channel" if several else "higher is closer"


def _changed(content: RunContent) -> Figure:
    """Return how much of the label map changed: ml of a volume, pixels of a picture."""
    counts = content.metrics["changed_voxels"]
    total = sum(counts.values())
    flat = content.clean.grid.rank == 2
    unit = "px" if flat else "ml"

    def size(count: int) -> str:
        return fixed(count, 0) if flat else short(count * content.clean.grid.voxel_ml, 3)

    note = ", ".join(f"{name}\u00a0{size(count)}" for name, count in counts.items())
    return Figure("Label changed", f"{size(total)}\u202f{unit}", note=note)


def attack_facts(content: RunContent) -> list[Fact]:
    """Return the attack with every parameter, its goal and its source."""
    from AdvSegLib.attacks import ATTACKS

    job = content.job
    name = str(job.get("attack", content.metrics["attack"]))
    known = ATTACKS.get(name)
    goal = "towards a target" if content.target is not None else f"untargeted, away from {against(content)}"
    facts = [Fact("Attack", f"{attack_title(name)} ({name})")]
    if known is not None:
        facts += [Fact("What it does", known.summary), Fact("Source", known.source)]
    facts.append(Fact("Goal", goal))
    facts += _aim_facts(job, content.metrics)
    docs = {item["name"]: item["doc"] for item in known.parameters()} if known is not None else {}
    order = {key: place for place, key in enumerate(docs)}
    facts += [
        Fact(key, _plain(value), str(docs.get(key, "")))
        for key, value in sorted(dict(job.get("parameters", {})).items(), key=lambda item: order.get(item[0], -1))
    ]
    facts += [
        Fact(key, _plain(job[key]))
        for key in ("norm", "epsilon", "seed", "precision", "statistics", "resolution")
        if key in job
    ]
    return facts


def _aim_facts(job: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Fact]:
    """Return what was drawn as a target, what the others keep, where noise might go, and what it was crafted on."""
    facts = []
    if job.get("aim"):
        facts.append(Fact("Target map", _kind(job["aim"])))
    if job.get("keep"):
        facts.append(Fact("Other structures keep", str(job["keep"])))
    if job.get("region"):
        share = (metrics["budget"].get("region") or {}).get("percent")
        of = "" if share is None else f": {percent(share)} of the image"
        facts.append(Fact("Noise only in", f"{_kind(job['region'])}{of}"))
    if job.get("surrogate"):
        facts.append(Fact("Crafted on", f"{file_name(job['surrogate'])}, without a look at the model (black box)"))
    return facts


def _kind(part: Mapping[str, Any]) -> str:
    """Return a kind with its parameters, file names without their folders."""
    given = [
        f"{name} {file_name(value) if name == 'file' else _plain(value)}"
        for name, value in part.items()
        if name != "kind"
    ]
    return f"{part['kind']} ({', '.join(given)})" if given else str(part["kind"])


def _plain(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return short(value) if isinstance(value, float) else str(value)


def input_facts(content: RunContent) -> list[Fact]:
    """Return model, files and geometry; file names without their folders."""
    job, grid = content.job, content.clean.grid
    image = job.get("image", ())
    files = [image] if isinstance(image, str) else list(image)
    facts = [Fact("Model", file_name(content.metrics["model"]))]
    facts.append(Fact("Image", ", ".join(file_name(path) for path in files) or DASH))
    facts += [Fact(key.capitalize(), file_name(job[key])) for key in ("truth", "target") if job.get(key)]
    if job.get("relabel"):
        facts.append(Fact("Relabelled", ", ".join(f"{old} → {new}" for old, new in job["relabel"].items())))
    if job.get("windows"):
        windows = job["windows"]
        size = f" {TIMES} ".join(str(n) for n in windows["size"])
        mirrored = f", mirrored along axes {windows['mirror']}" if windows.get("mirror") else ""
        facts.append(Fact("Windows", f"{size}, overlap {_plain(windows['overlap'])}, {windows['blend']}{mirrored}"))
    facts.append(Fact("Channels", ", ".join(content.clean.names)))
    facts.append(
        Fact(
            "Size",
            f" {TIMES} ".join(str(n) for n in grid.shape)
            + (" voxels (k, j, i)" if grid.rank == 3 else " pixels (rows, columns)"),
        )
    )
    if grid.rank == 3:
        facts.append(Fact("Voxel", f" {TIMES} ".join(short(s, 3) for s in grid.spacing) + " mm"))
    return facts


def provenance_facts(content: RunContent) -> list[Fact]:
    """Return versions, device, seed, hashes (shortened, whole on pointing), key and time."""
    origin = content.provenance
    facts = [Fact(name, str(version)) for name, version in dict(origin.get("versions", {})).items()]
    facts.append(Fact("device", str(origin.get("device", DASH))))
    facts.append(Fact("seed", str(origin.get("seed", DASH))))
    time = origin.get("time", {})
    facts.append(Fact("finished", moment(time.get("finished", DASH))))
    facts.append(Fact("time taken", f"{short(time.get('seconds'), 3)} s"))
    return facts


def hash_facts(content: RunContent) -> list[Fact]:
    """Return the run's key and the SHA-256 of weights and inputs."""
    origin = content.provenance
    weights = origin.get("model", {})
    pairs = [
        ("key of this run", origin.get("key")),
        (f"weights of {file_name(weights.get('name', 'model'))}", weights.get("weights_sha256")),
    ]
    surrogate = origin.get("surrogate")
    if surrogate:
        pairs.append((f"weights of {file_name(surrogate['name'])}", surrogate["weights_sha256"]))
    pairs += [(file_name(path), digest) for path, digest in dict(origin.get("inputs_sha256", {})).items()]
    return [Fact(name, str(digest)[:12], str(digest)) for name, digest in pairs if digest]
