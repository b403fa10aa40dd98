"""``report.html``: one page, nothing outside it, with every table and figure that was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib import __version__
from AdvSegLib.reports.formats import DASH, short
from AdvSegLib.reports.run_report import MARK
from AdvSegLib.reproduce.cells import NO_VALUE
from AdvSegLib.reproduce.shown import ShownCell, galleries, shown_figure, table_rows
from AdvSegLib.segmenters.bundle import read_metadata
from AdvSegLib.segmenters.catalogue import model_folder

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

    from AdvSegLib.reproduce.claims import Verdict
    from AdvSegLib.reproduce.results import PaperResults

SCALE_TITLES = {
    "paper": "At the paper's settings",
    "phantom": "On drawn phantoms, scaled",
    "quick": "Quick run on drawn phantoms, scaled",
    "quick-data": "Quick run on given data, scaled",
}
FOLDER = Path(__file__).parent


def write_page(path: Path, papers: Sequence[PaperResults], footer: str) -> Path:
    """Write the page of some papers and return its path."""
    title = papers[0].recipe.source if len(papers) == 1 else "Four papers on attacked segmentation"
    page = _template().render(
        title=title,
        mark=MARK,
        version=__version__,
        css=_css(),
        papers=[_paper(item) for item in papers],
        footer=footer,
    )
    path.write_text(page, encoding="utf-8")
    return path


def _paper(results: PaperResults) -> dict[str, Any]:
    recipe = results.recipe
    return {
        "name": recipe.paper,
        "title": recipe.title,
        "citation": results.printed.citation,
        "scale_title": SCALE_TITLES[results.scale],
        "scaled": recipe.scaled[results.scale],
        "cases": _cases(results),
        "not_available": recipe.not_available,
        "verdicts": [_verdict(item) for item in results.verdicts],
        "verdicts_line": verdict_counts(results),
        "tables": [_table(results, name) for name in results.wanted.tables],
        "figures": [shown_figure(results, name) for name in results.wanted.figures],
        "galleries": galleries(results),
        "models": [_model(results, role) for role in recipe.models],
        "readings": recipe.readings,
        "settings": ", ".join(f"{key} = {value}" for key, value in recipe.values(results.scale).items()) or "none",
    }


def _model(results: PaperResults, role: str) -> dict[str, Any]:
    """Return a model's name and, where it is here, its bundle's own title."""
    name, missing = results.names[role], role in results.missing
    title = name if missing else str(read_metadata(model_folder(name)).get("name", name))
    return {
        "role": role,
        "name": Path(name).name,
        "title": title if title != Path(name).name else "",
        "paper": results.recipe.models[role].paper,
        "missing": missing,
    }


def _cases(results: PaperResults) -> str:
    parts = []
    for name, cases in results.sets.items():
        kind = "phantom" if cases.drawn else "case"
        where = f"{name}: {cases.origin}" if cases.origin else name
        parts.append(f"{len(cases)} {kind}{'s' if len(cases) > 1 else ''} ({where})")
    text = f"Run on {', '.join(parts)}."
    if any(record.against_prediction for record in results.records):
        text += " Cases without a truth are scored against the network's own prediction of the clean image."
    return text


def _verdict(verdict: Verdict) -> dict[str, Any]:
    p_text = DASH if verdict.p is None else short(verdict.p, 2)
    return {**verdict.to_dict(), "word": verdict.word, "p_text": p_text}


def verdict_counts(results: PaperResults) -> str:
    """Return how many claims held, in words."""
    counts = Counter(item.word for item in results.verdicts)
    order = ("held", "held in part", "not held", "not available")
    return ", ".join(f"{counts[word]} {word}" for word in order if counts[word]) or "no claim checked"


def _table(results: PaperResults, name: str) -> dict[str, Any]:
    spec = results.recipe.tables[name]
    rows: list[tuple[str, list[ShownCell]]] = table_rows(results, name)
    reasons = dict.fromkeys(cell.missing for _, cells in rows for cell in cells if cell.missing)
    for silent in ("not measured", NO_VALUE):
        reasons.pop(silent, None)
    counts = sorted({cell.count for cell in results.tables[name] if cell.mean is not None})
    return {
        "name": name, "title": spec.title, "unit": spec.unit, "note": spec.note, "rows": rows,
        "heat": spec.display == "heat",
        "columns": [column.key for column in spec.columns], "missing": list(reasons),
        "cases": " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1]))) if counts else "0",
        "printed": any(cell.published is not None for cell in results.tables[name]),
    }  # fmt: skip


def _css() -> Markup:
    """Return the style sheets as they are: escaped, their quotes and ``>`` would void the rules they stand in."""
    from markupsafe import Markup

    shared = FOLDER.parent / "reports" / "run_report.css"
    return Markup(shared.read_text(encoding="utf-8") + (FOLDER / "page.css").read_text(encoding="utf-8"))


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
