"""A scan into a folder of its segmentation: what ``advseg segment`` and the worker write."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from AdvSegLib.job_request import Job
    from AdvSegLib.loading import Loader

SEGMENT_SCHEMA = "advseg.segment/1"


def segment_scan(
    job: Job,
    out: str | os.PathLike[str],
    *,
    cache: Loader | None = None,
    status: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Segment a job's image into ``labels.nii.gz`` and ``segment.json`` of ``out``; return what the latter holds.

    Of the job only model, image, truth, relabel, device, windows and checkpoint count. The folder is written whole or
    not at all.
    """
    from AdvSegLib.jobs import load_inputs
    from AdvSegLib.metrics.overlap import compare, volumes_ml
    from AdvSegLib.provenance import versions
    from AdvSegLib.runs import staged_folder
    from AdvSegLib.segmenters.bundle import write_json

    with staged_folder(out) as stage:
        status("reading")
        inputs = load_inputs(job, cache=cache)
        segmenter, image, truth = inputs.segmenter, inputs.image, inputs.truth
        status("segmenting")
        labels = segmenter.segment(image)
        status("saving and measuring")
        labels.write(stage / "labels.nii.gz")
        found = {
            "schema": SEGMENT_SCHEMA,
            "model": job.model,
            "image": list(job.image),
            "volumes_ml": volumes_ml(labels.array, segmenter.scheme, image.grid.voxel_ml),
            "truth": None if truth is None else compare(truth.array, labels.array, segmenter.scheme),
            "versions": versions(),
        }
        write_json(stage / "segment.json", found)
    return found
