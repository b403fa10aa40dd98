"""The audit's pages: self-contained HTML from templates beside this module, in the style of the run report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.audit.audit import Audit, Example
from AdvSegLib.audit.charts import attack_bars, temperature_curve
from AdvSegLib.audit.pictures import Picture, picture, slice_to_show, window_of
from AdvSegLib.audit.suite import ROLES
from AdvSegLib.reports.formats import DASH, file_name, fixed, moment
from AdvSegLib.reports.run_report import MARK

if TYPE_CHECKING:
    from jinja2 import Environment

    from AdvSegLib.audit.family import FamilyTable
    from AdvSegLib.labels import LabelScheme


def audit_page(audit: Audit, scheme: LabelScheme) -> str:
    """Return an audit's report as one page."""
    data = audit.data
    budgets = [
        {
            "epsilon": f"{budget['epsilon']:g}",
            "percent": f"{100 * budget['epsilon']:g} % of the range",
            "verdict": budget["verdict"],
            "rows": budget["attacks"],
            "worst": budget["worst"],
            "checks": budget["checks"],
            "bars": attack_bars(budget["attacks"], data["clean"], budget["worst"]["mean"], f"bars{number}"),
            "curve": temperature_curve(budget["attacks"], f"curve{number}"),
            "pictures": example_pictures(example, scheme),
            "case": example.case.name,
        }
        for number, (budget, example) in enumerate(zip(data["budgets"], audit.examples, strict=True))
    ]
    template = _environment().get_template("audit_report.html")
    return template.render(
        mark=MARK, name=file_name(data["model"]["name"]), data=data, budgets=budgets, roles=ROLES,
        headline=_headline(data), finished=moment(data["time"]["finished"]),
        legend=[(item.name, item.color) for item in scheme.labels],
        gradient=_gradient(data["cases"]),
    )  # fmt: skip


def family_page(table: FamilyTable) -> str:
    """Return a family's tables as one page: the mean, then every structure."""
    tables = [{"structure": name, "header": table.header, "rows": table.rows(name)} for name in table.structures]
    return _environment().get_template("family_report.html").render(mark=MARK, table=table, tables=tables)


def certificate_page(data: Mapping[str, Any], pictures: Sequence[Picture], scheme: LabelScheme) -> str:
    """Return a certificate's report as one page."""
    legend = [*((item.name, item.color) for item in scheme.labels), ("abstains", ABSTAIN)]
    return (
        _environment()
        .get_template("certificate_report.html")
        .render(data=data, pictures=pictures, legend=legend, name=file_name(data["model"]["name"]))
    )


ABSTAIN = (240, 60, 210)
"""Colour of voxels that abstain: magenta, which no film and no shipped label has."""


def example_pictures(example: Example, scheme: LabelScheme) -> list[Picture]:
    """Return one slice of a case: truth, clean, after the strongest plain attack, after the strongest of all."""
    case, shown = example.case, (example.clean, example.plain[1], example.worst[1])
    plane = slice_to_show(case.image, case.truth, *(outcome.labels for outcome in shown))
    window, colors = window_of(case.image), scheme.colors

    def draw(title: str, note: str, outcome: Any, marked: bool) -> Picture:
        return picture(title, note, outcome.image, outcome.labels, colors, plane, window, MARK if marked else "")

    return [
        picture("Truth", "what should be found", case.image, case.truth, colors, plane, window),
        draw("Clean", f"Dice {example.clean.mean:.3f}", example.clean, False),
        draw(
            "Strongest plain attack", f"{example.plain[0]}, Dice {example.plain[1].mean:.3f}", example.plain[1], True
        ),
        draw("Strongest of all", f"{example.worst[0]}, Dice {example.worst[1].mean:.3f}", example.worst[1], True),
    ]


def _headline(data: Mapping[str, Any]) -> str:
    if data["masked"]:
        return "This defense only hides its gradients"
    if not data["conclusive"]:
        return "This audit saw too little to conclude"
    return "No sign of hidden gradients"


def _gradient(cases: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the gradient's facts, mean over cases, as text."""
    means = {
        key: sum(case["gradient"][key] for case in cases) / len(cases)
        for key in ("zero_share", "zero_share_scaled", "logit_spread")
    }
    return {
        "own": f"{100 * means['zero_share']:.1f} %",
        "scaled": f"{100 * means['zero_share_scaled']:.1f} %",
        "spread": fixed(means["logit_spread"], 1),
    }


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    loader = FileSystemLoader([here, here.parent / "reports"])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["dice"] = lambda value: DASH if value is None else fixed(value)
    return made
