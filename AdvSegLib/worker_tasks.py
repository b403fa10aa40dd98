"""What the worker does for a request, and what it tells while it does. Light: each task loads what it needs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.errors import Cancelled
from AdvSegLib.job_request import Job
from AdvSegLib.loading import Warm
from AdvSegLib.worker_protocol import Events

if TYPE_CHECKING:
    from AdvSegLib.attacks.history import StepRecord

STEP_SECONDS = 0.05
"""Least time between two step events; a walk's first step and the last one of all are always told."""
SEGMENT_FIELDS = ("model", "image", "truth", "relabel", "device", "windows", "checkpoint")
DICE_OF = ("clean", "adversarial", "agreement", "target")


@dataclass(frozen=True)
class Call:
    """A request being answered: by what name, from which memory, and whether it is still wanted."""

    request: dict[str, Any]
    events: Events
    cache: Warm
    is_cancelled: Callable[[], bool]

    def tell(self, event: str, **facts: Any) -> None:
        """Send an event of this request."""
        self.events.send(event, self.request["id"], **facts)

    def stage(self, stage: str) -> None:
        """Tell that a stage begins, unless there is no need for it any more."""
        if self.is_cancelled():
            raise Cancelled(f"cancelled before {stage}")
        self.tell("stage", stage=stage)


def job_of(request: dict[str, Any]) -> Job | None:
    """Return the job a request is about, if any; BadRequest for a bad one."""
    if request["do"] == "run":
        return Job.from_dict(request["job"])
    if request["do"] == "segment":
        return Job.from_dict({"attack": "fgsm", **{name: request[name] for name in SEGMENT_FIELDS if name in request}})
    return None


def run(call: Call) -> dict[str, Any]:
    """Run a job into its folder."""
    from AdvSegLib.jobs import run_job

    steps = _Steps(call)

    def status(stage: str) -> None:
        steps.flush()
        call.stage(stage)

    out = run_job(
        call.request["job"], call.request["out"], cache=call.cache, progress=steps, cancel=call.is_cancelled,
        status=status,
    )  # fmt: skip
    return {"out": str(out.resolve()), "summary": _run_summary(out)}


def segment(call: Call) -> dict[str, Any]:
    """Segment a scan into a folder."""
    from AdvSegLib.segmenting import segment_scan

    out = Path(call.request["out"])
    found = segment_scan(call.request["job"], out, cache=call.cache, status=call.stage)
    dice = found["truth"] and found["truth"]["dice"]
    return {"out": str(out.resolve()), "summary": {"volumes_ml": found["volumes_ml"], "dice": dice}}


def release(call: Call) -> dict[str, Any]:
    """Forget models and images."""
    call.cache.release()
    return {}


TASKS: dict[str, Callable[[Call], dict[str, Any]]] = {"run": run, "segment": segment, "release": release}


class _Steps:
    """Tells of an attack's steps, no more often than somebody can look: reading a record costs a device sync."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._told = 0.0
        self._untold: tuple[int, int, StepRecord] | None = None

    def __call__(self, step: int, steps: int, record: StepRecord) -> None:
        self._untold = (step, steps, record)
        now = time.monotonic()
        if step == 0 or now - self._told >= STEP_SECONDS:
            self._told = now
            self.flush()

    def flush(self) -> None:
        """Tell of the step that is still untold: nobody knows which is the last before the walk has ended."""
        if self._untold is not None:
            step, steps, record = self._untold
            self._untold = None
            numbers = {key: value for key, value in record.numbers().items() if key != "step"}
            self._call.tell("step", step=step, steps=steps, numbers=numbers)


def _run_summary(folder: Path) -> dict[str, Any]:
    """Return the few numbers of a run's ``metrics.json`` that a panel shows."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    dice = {name: metrics[name] and metrics[name]["dice"]["mean"] for name in DICE_OF}
    image = {name: metrics["image"][name] for name in ("linf_percent", "psnr", "ssim")}
    return {"dice": dice, **image, "warnings": metrics["warnings"]}
