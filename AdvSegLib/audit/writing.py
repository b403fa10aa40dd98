"""What the commands of this room write, each folder whole or not at all."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AdvSegLib.audit.schema import check_written
from AdvSegLib.provenance import now, versions
from AdvSegLib.runs import staged_folder
from AdvSegLib.segmenters.bundle import weights_hash, write_json

if TYPE_CHECKING:
    from AdvSegLib.audit.audit import Audit
    from AdvSegLib.audit.certificates import Certificate
    from AdvSegLib.audit.family import FamilyTable
    from AdvSegLib.audit.pictures import Picture
    from AdvSegLib.labels import LabelScheme
    from AdvSegLib.segmenters.smoothing import Smoothed
    from AdvSegLib.volumes import Image, LabelMap

CERTIFICATE_SCHEMA = "advseg.certificate/1"


def write_audit(folder: Path, audit: Audit, scheme: LabelScheme) -> Path:
    """Write ``audit.json`` and ``report.html`` to a new folder and return it."""
    from AdvSegLib.audit.pages import audit_page

    check_written("audit", audit.data)
    page = audit_page(audit, scheme)
    with staged_folder(folder) as stage:
        write_json(stage / "audit.json", audit.data)
        (stage / "report.html").write_text(page, encoding="utf-8")
    return folder


def write_family(folder: Path, table: FamilyTable) -> Path:
    """Write ``family.json``, ``family.csv`` (one row a score), ``family.md`` and ``report.html`` to a new folder."""
    from AdvSegLib.audit.pages import family_page

    data = table.to_dict()
    check_written("family", data)
    with staged_folder(folder) as stage:
        write_json(stage / "family.json", data)
        parts = [f"## {name}\n\n{table.to_markdown(name)}" for name in table.structures]
        (stage / "family.md").write_text("\n".join(parts), encoding="utf-8")
        (stage / "report.html").write_text(family_page(table), encoding="utf-8")
        with open(stage / "family.csv", "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["model", "epsilon", "structure", "case", "dice"])
            writer.writerows(_flat(table))
    return folder


def _flat(table: FamilyTable) -> list[list[Any]]:
    """Return one row a score; an absent structure's is empty."""
    return [
        [model, epsilon, structure, case, "" if value is None else repr(value)]
        for model in table.models
        for epsilon in table.epsilons
        for structure in table.structures
        for case, value in zip(table.cases, table.scores[model][epsilon][structure], strict=True)
    ]


def write_certificate(
    folder: Path, name: str, model: Smoothed, image: Image, found: Certificate, truth: LabelMap | None, *, seed: int,
    paths: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Write ``labels.nii.gz``, ``abstain.nii.gz``, ``certificate.json``, ``report.html``; return the third's content.

    ``labels`` holds the certified labels and, where the model abstains, the value one above the scheme's.
    """
    from AdvSegLib.audit.pages import certificate_page
    from AdvSegLib.volumes import LabelMap

    data = certificate_data(name, model, image, found, truth, seed=seed, paths=paths)
    check_written("certificate", data)
    page = certificate_page(data, certificate_pictures(image, found, truth), found.scheme)
    with staged_folder(folder) as stage:
        found.label_map().write(stage / "labels.nii.gz")
        abstain = LabelMap(found.abstain.astype(np.int32), found.grid, {1: "abstain"})
        abstain.write(stage / "abstain.nii.gz")
        write_json(stage / "certificate.json", data)
        (stage / "report.html").write_text(page, encoding="utf-8")
    return data


def certificate_data(
    name: str, model: Smoothed, image: Image, found: Certificate, truth: LabelMap | None, *, seed: int,
    paths: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Return the content of ``certificate.json``."""
    from dataclasses import asdict

    from AdvSegLib.audit.certificates import certified_scores, samples_needed, tolerated_dissent

    terms, voxels = found.terms, int(found.hold.size)
    scores = None if truth is None else certified_scores(found, truth)
    return {
        "schema": CERTIFICATE_SCHEMA,
        "model": {"name": name, "weights_sha256": weights_hash(model.network)},
        "image": list(paths),
        "terms": asdict(terms),
        "seed": seed,
        "voxels": voxels,
        "samples": {
            "needed": samples_needed(voxels, terms.alpha, terms.tau),
            "tolerated_dissent": tolerated_dissent(terms.n, voxels, terms.alpha, terms.tau),
        },
        "radius": {
            "of_range": terms.radius,
            "uniform_linf_of_range": terms.radius / math.sqrt(image.array.size),
            "source_units": _by_channel(image, [terms.radius * span for span in found.ranges]),
        },
        "sigma_source_units": _by_channel(image, [terms.sigma * span for span in found.ranges]),
        "shares": {"abstain": float(found.abstain.mean())},
        "abstain_value": found.abstain_value,
        "truth": scores,
        "notes": list(found.notes),
        "versions": versions(),
        "finished": now(),
    }


def certificate_pictures(image: Image, found: Certificate, truth: LabelMap | None) -> list[Picture]:
    """Return one slice: truth (else the bare image), the smoothed model's labels, the certified ones, abstentions."""
    from AdvSegLib.audit.pages import ABSTAIN
    from AdvSegLib.audit.pictures import picture, slice_to_show, window_of
    from AdvSegLib.volumes import LabelMap

    guessed = LabelMap(found.labels.astype(np.int32), found.grid, found.scheme.names)
    certified = found.label_map()
    plane, window = slice_to_show(image, guessed, certified), window_of(image)
    colors: Mapping[int, tuple[int, int, int]] = {**found.scheme.colors, found.abstain_value: ABSTAIN}
    nothing = LabelMap(np.zeros(found.labels.shape, np.int32), found.grid, {})
    shown = [
        ("Image", "as it was given", nothing) if truth is None else ("Truth", "what should be found", truth),
        ("Smoothed model", f"majority of {found.terms.n0} draws", guessed),
        ("Certified", f"{100 * found.hold.mean():.1f} % of voxels; magenta abstains", certified),
    ]
    pictures = [picture(title, note, image, labels, colors, plane, window) for title, note, labels in shown]
    abstain = LabelMap(found.abstain.astype(np.int32), found.grid, {1: "abstain"})
    note = f"{100 * found.abstain.mean():.1f} % of voxels, of which nothing is promised"
    return [*pictures, picture("Abstains", note, image, abstain, {1: ABSTAIN}, plane, window, fill=1.0)]


def _by_channel(image: Image, values: Sequence[float]) -> dict[str, float]:
    return dict(zip(image.names, (float(value) for value in values), strict=True))
