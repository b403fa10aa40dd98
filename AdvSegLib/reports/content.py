"""What a run's report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from AdvSegLib.labels import LabelScheme
from AdvSegLib.volumes import Image, LabelMap


@dataclass(frozen=True, eq=False)
class RunContent:
    """One attack on one image, everything as saved and read back; all maps lie on the image's grid.

    ``metrics`` is the content of ``metrics.json``, ``history`` the rows of ``history.csv`` (step, loss, dice, linf,
    l2, psnr, measured), ``job`` that of ``job.json``, ``provenance`` that of ``provenance.json``.
    """

    clean: Image
    adversarial: Image
    clean_labels: LabelMap
    adversarial_labels: LabelMap
    difference: LabelMap
    truth: LabelMap | None
    target: LabelMap | None
    scheme: LabelScheme
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    job: Mapping[str, Any]
    provenance: Mapping[str, Any]
