"""``report.html``: one page, nothing outside it, that tells a reader what an attack did to one image."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.reports import story, tables
from AdvSegLib.reports.charts import charts
from AdvSegLib.reports.content import RunContent
from AdvSegLib.reports.figures import Gallery, difference_legend, legend
from AdvSegLib.reports.formats import attack_title, file_name
from AdvSegLib.reports.layers import noise_gradient

if TYPE_CHECKING:
    from jinja2 import Template

MARK = "ADVERSARIAL — not for clinical use"
PAGE_BYTES = 3_900_000
"""Pages stay below 4 MB, so that they can be mailed."""
LIMITS = (1024, 720, 512, 384, 288, 192)
"""Most pixels a side of a picture, tried in turn until the page is small enough."""


def write_run_report(path: Path, content: RunContent) -> Path:
    """Write the report of a run as one self-contained HTML page and return its path; OSError where it cannot."""
    path.write_text(render(content), encoding="utf-8")
    return path


def render(content: RunContent) -> str:
    """Return the page, its pictures coarser where they would make it larger than :data:`PAGE_BYTES`."""
    words = _words(content)
    page = ""
    for limit in LIMITS:
        page = _template().render(**words, **_pictures(content, limit))
        if len(page.encode()) <= PAGE_BYTES:
            break
    return page


def _words(content: RunContent) -> dict[str, Any]:
    """Return everything on the page but its pictures."""
    metrics, scheme = content.metrics, content.scheme
    names = scheme.names
    return {
        "mark": MARK,
        "title": f"{attack_title(str(metrics['attack']))} on {file_name(metrics['model'])}",
        "finding": story.headline(content),
        "subtitle": story.subtitle(content),
        "figures": story.key_figures(content),
        "warnings": list(metrics.get("warnings", ())),
        "overlap": tables.overlap_table(content),
        "volumes": tables.volume_table(content),
        "whole": tables.whole_table(content),
        "quality": tables.quality_table(content),
        "budget": tables.budget_table(metrics),
        "charts": charts(content.history, story.against(content)),
        "against": story.against(content),
        "network_grid": content.job.get("resolution") == "network",
        "attack": story.attack_facts(content),
        "inputs": story.input_facts(content),
        "provenance": story.provenance_facts(content),
        "hashes": story.hash_facts(content),
        "volume": content.clean.grid.rank == 3,
        "several": len(content.clean.names) > 1,
        "regions": [(item.name, [names[value] for value in item.values if value in names]) for item in scheme.regions],
    }


def _pictures(content: RunContent, limit: int) -> dict[str, Any]:
    """Return the slice pictures and their legends, at most ``limit`` pixels a side."""
    gallery = Gallery(content, limit)
    return {
        "rows": gallery.rows(),
        "channels": gallery.channels(),
        "window": gallery.window_note(),
        "reduced": gallery.reduced,
        "channel_note": gallery.channel_note(),
        "legend": legend(content, gallery.planes),
        "difference_legend": difference_legend(),
        "gradient": noise_gradient(),
    }


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("run_report.html")
