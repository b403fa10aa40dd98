"""The module's real logic with a worker that is played: it hands out a run that was computed before."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


class PlayedWorker:
    """Answers at once with copies of a finished run, or holds its answer until it is told to."""

    program = "played-python"

    def __init__(self, run: Path) -> None:
        self._run = run
        self.sent: list[dict[str, Any]] = []
        self._says: list[dict[str, Any]] = []
        self.running = self.greeted = False
        self.holds = False
        self.fails = ""
        self.dies = False

    def start(self) -> None:
        self.running = True
        self._says.append({"event": "hello", "id": None})

    def send(self, request: dict[str, Any]) -> None:
        self.sent.append(request)
        name = request.get("id")
        if request["do"] == "cancel":
            self._says.append({"event": "cancelled", "id": name})
        elif self.dies:
            self.running = False
            self._says.append({"event": "died", "id": None, "code": -9, "log": ["Killed: out of memory"]})
        elif self.fails:
            self._says.append({"event": "failed", "id": name, "kind": "bad-request", "code": 2, "message": self.fails})
        elif request["do"] in ("run", "segment"):
            self._begin(name)
            if not self.holds:
                self._finish(request)

    def _begin(self, name: str) -> None:
        numbers = {"loss": 0.5, "dice": 0.875, "iou": 0.7, "linf": 0.01, "l2": 1.0, "psnr": 40.0}
        self._says += [
            {"event": "accepted", "id": name, "do": "run", "ahead": 0},
            {"event": "stage", "id": name, "stage": "attacking"},
            {"event": "step", "id": name, "step": 1, "steps": 4, "numbers": numbers},
        ]

    def _finish(self, request: dict[str, Any]) -> None:
        out = Path(request["out"])
        if request["do"] == "run":
            shutil.copytree(self._run, out, dirs_exist_ok=True)
        else:
            out.mkdir(parents=True)
            shutil.copy(self._run / "clean_labels.nii.gz", out / "labels.nii.gz")
        self._says.append({"event": "done", "id": request["id"], "out": str(out), "summary": {}, "seconds": 1.0})

    def poll(self) -> list[dict[str, Any]]:
        said, self._says = self._says, []
        self.greeted = self.greeted or bool(said)
        return said

    def log(self, count: int = 8) -> list[str]:
        return []

    def terminate(self) -> None:
        self.running = False

    def reap(self) -> bool:
        return not self.running

    def close(self, timeout: float = 3.0) -> None:
        self.running = False


def playedLogic(scene: Any, run: Any, worker: PlayedWorker) -> Any:
    """Return a RobustnessLogic on a played worker, whose phantoms are the finished run's own scan."""
    from AdvSegRobustnessLib.LabelNodes import segmentationFromLabelMap
    from AdvSegRobustnessLib.Logic import RobustnessLogic
    from AdvSegRobustnessLib.Tasks import Task
    from fixtures_scene import volumeNodes

    from AdvSegLib.volumes import read_labels

    class Played(RobustnessLogic):
        def phantom(self, kind: str = "brain", *, wait: bool = True, onDone: Any = None, **options: Any) -> Any:
            def draw(_folders: list[Path]) -> list[Any]:
                volumes = volumeNodes(self.scene, run.image())
                labels = read_labels(str(run.folder / "clean_labels.nii.gz"))
                return [*volumes, segmentationFromLabelMap(self.scene, labels, run.spec.scheme, "truth", volumes[0])]

            task = Task("phantom", kind, [], draw, folder=TemporaryDirectory(), onDone=onDone)
            task.begin()
            self._due.append(task)
            return task

        @property
        def tasks(self) -> list[Any]:
            return [*super().tasks, *self._due]

        def pump(self) -> None:
            super().pump()
            while self._due:
                task = self._due.pop()
                task.complete()
                task.farewell()

    Played._due = []
    return Played(scene, startWorker=lambda _folder: worker)
