"""The audit in a model's own files: a section of its card, and a summary in its metadata."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.segmenters.bundle import CARD, METADATA, read_metadata

BEGIN, END = "<!-- advseg audit: begin -->", "<!-- advseg audit: end -->"


def write_card(folder: Path, data: Mapping[str, Any]) -> None:
    """Put an audit's section into a bundle's card and its summary into the metadata; each file whole or not at all.

    An older audit's section is replaced. Raises BadRequest where the folder is no bundle, or holds other weights than
    those that were audited.
    """
    metadata = read_metadata(folder)
    _check_weights(folder, data)
    results = metadata.get("results")
    metadata["results"] = {**(results if isinstance(results, dict) else {}), "audit": summary(data)}
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {metadata.get('name', folder.name)}\n"
    replace_file(folder / METADATA, json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    replace_file(card, with_section(text, section(data)))


def summary(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model's metadata keeps of an audit."""
    return {
        "schema": data["schema"],
        "finished": data["time"]["finished"],
        "effort": data["plan"]["effort"]["name"],
        "cases": len(data["cases"]),
        "undefended": data["undefended"] and data["undefended"]["name"],
        "clean": data["clean"],
        "masked": data["masked"],
        "conclusive": data["conclusive"],
        "budgets": [
            {
                "epsilon": budget["epsilon"],
                **{key: budget["verdict"][key] for key in ("masked", "headline", "seen_through", "worst", "reasons")},
                "attacks": {row["key"]: row["mean"] for row in budget["attacks"]},
            }
            for budget in data["budgets"]
        ],
    }


def _gradients(data: Mapping[str, Any]) -> str:
    return ", gradients in bf16" if data["plan"]["precision"] == "bf16" else ""


def section(data: Mapping[str, Any]) -> str:
    """Return the card's section as Markdown, between its marks."""
    budgets = data["budgets"]
    head = " | ".join(f"eps {budget['epsilon']:g}" for budget in budgets)
    lines = [
        BEGIN,
        "## Audit",
        "",
        f"`advseg audit`, effort {data['plan']['effort']['name']}, {len(data['cases'])} unseen cases"
        f"{_gradients(data)}; mean Dice left, epsilon as a fraction of the intensity range.",
        "",
        *verdict_lines(data),
        "",
        f"| attack | kind | {head} |",
        "|---|---|" + "---|" * len(budgets),
        f"| none | clean | {' | '.join([_fixed(data['clean'])] * len(budgets))} |",
    ]
    for rows in zip(*(budget["attacks"] for budget in budgets), strict=True):
        lines.append(f"| {rows[0]['title']} | {rows[0]['role']} | {' | '.join(_fixed(row['mean']) for row in rows)} |")
    worst = " | ".join(f"**{_fixed(budget['worst']['mean'])}**" for budget in budgets)
    lines += [f"| **worst case of each image** | all within the budget | {worst} |", "", END]
    return "\n".join(lines)


def verdict_lines(data: Mapping[str, Any]) -> list[str]:
    """Return the verdict as Markdown: masked or not, conclusive or not, and why."""
    lines = [f"**masked: {str(data['masked']).lower()}**" + ("" if data["conclusive"] else ", **not conclusive**")]
    for budget in data["budgets"]:
        lines += [f"- eps {budget['epsilon']:g}: {reason}" for reason in budget["verdict"]["reasons"]]
    return lines if len(lines) == 1 else [lines[0], "", *lines[1:]]


def with_section(card: str, new: str) -> str:
    """Return a card with the audit's section replaced, or put before its last paragraph (which names the licence)."""
    if BEGIN in card and END in card:
        return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: new, card, flags=re.DOTALL)
    body, gap, last = card.rstrip("\n").rpartition("\n\n")
    if not gap or "not a medical device" not in last:
        return f"{card.rstrip()}\n\n{new}\n"
    return f"{body}\n\n{new}\n\n{last}\n"


def replace_file(path: Path, text: str) -> None:
    """Write a file beside its place, flush it to disk, and rename it there; AdvSegError where that cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise AdvSegError(f"{path}: cannot write ({error.strerror})") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except OSError as error:
        raise AdvSegError(f"{path}: cannot write ({error.strerror})") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _check_weights(folder: Path, data: Mapping[str, Any]) -> None:
    from AdvSegLib.segmenters.bundle import load_bundle, weights_hash

    if weights_hash(load_bundle(folder).network) != data["model"]["weights_sha256"]:
        raise BadRequest(f"{folder}: holds other weights than the audit looked at; audit it again")


def _fixed(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
