"""Write the table of shipped models in docs/reference/models.md from the bundles' own metadata.

``python Testing/Python/model_table.py`` rewrites what lies between the marks; with ``--check`` it only says whether it
is out of date, and exits with 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "Resources" / "Models"
PAGE = ROOT / "docs" / "reference" / "models.md"
BEGIN, END = "<!-- models: begin -->", "<!-- models: end -->"
HEAD = (
    "| model | defense | minutes | clean | FGSM | PGD, own softmax | seen through | worst case | masked | audit |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def table() -> str:
    """Return the table: one row for each bundle, families together."""
    names = sorted((path.parent.parent.name for path in MODELS.glob("*/configs/metadata.json")), key=_place)
    return "\n".join([HEAD, *(row(name) for name in names)])


def row(name: str) -> str:
    """Return a bundle's row; what was not measured is a dash."""
    results = json.loads((MODELS / name / "configs" / "metadata.json").read_text(encoding="utf-8"))["results"]
    audit = results.get("audit")
    cells = [
        f"`{name}`",
        _defense(results.get("defense", {"kind": "none"})),
        f"{results['training_seconds'] / 60:.0f}",
    ]
    cells.append(_number(audit["clean"] if audit else results["dice"]["mean"]))
    if audit is None:
        return "| " + " | ".join([*cells, *["-"] * 6]) + " |"
    budget = max(audit["budgets"], key=lambda found: found["epsilon"])
    attacks = budget["attacks"]
    own = min(value for key, value in attacks.items() if key == "pgd-dice" or key[len("pgd-dice-") :].isdigit())
    numbers = (attacks["fgsm-dice"], own, budget["seen_through"], budget["worst"])
    cells += [_number(value) for value in numbers]
    verdict = ("**yes**" if audit["masked"] else "no") if audit["conclusive"] else "not conclusive"
    return "| " + " | ".join([*cells, verdict, f"{audit['cases']} cases, {audit['effort']}"]) + " |"


def _place(name: str) -> tuple[str, int, float, str]:
    """Sort a family's undefended model first, then by kind and by the number in the name."""
    family = next((stem for stem in ("brain-2d", "brain", "chest", "abdomen") if name.startswith(stem)), name)
    rest = name.removeprefix(family).strip("-")
    kinds = ("", "surrogate", "noise", "distilled", "adversarial", "robust")
    kind, _, number = rest.partition("-")
    value = float(number.lstrip("t")) if number.lstrip("t").replace(".", "").isdigit() else 0.0
    return family, kinds.index(kind) if kind in kinds else len(kinds), value, name


def _defense(defense: dict[str, Any]) -> str:
    kind = defense["kind"]
    if kind == "distillation":
        return f"distilled, T = {defense['temperature']:g}"
    if kind == "adversarial":
        steps = f"-{defense['steps']}" if defense["steps"] else ""
        return f"{defense['attack'].upper()}{steps} training, {100 * defense['epsilon']:g} %"
    return f"uniform noise, {100 * defense['epsilon']:g} %" if kind == "noise" else "none"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def written(page: str) -> str:
    """Return the page with the table as it should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Rewrite the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    if arguments == ["--check"]:
        return int(page != written(page))
    PAGE.write_text(written(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
