"""What a training has reached so far, as it goes: a line of JSON an iteration, and TensorBoard where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from AdvSegLib.errors import BadRequest
from AdvSegLib.training.snapshot import write_whole

HISTORY = "history.jsonl"


class TrainingLog:
    """Appends to ``history.jsonl``: ``iteration`` (from 1), ``loss``, ``learning_rate``; ``dice`` where validated."""

    def __init__(self, folder: Path, *, upto: int = 0, tensorboard: bool = False) -> None:
        """Open the log of a training that stands at iteration ``upto``; what was logged beyond it is dropped."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / HISTORY
        kept = [line for line in read_history(self.path) if line["iteration"] <= upto]
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self.file = self.path.open("a", encoding="utf-8")
        self.board = _board(folder / "tensorboard", upto) if tensorboard else None

    def add(self, iteration: int, **numbers: float) -> None:
        """Log the numbers of one iteration."""
        self.file.write(json.dumps({"iteration": iteration, **numbers}, allow_nan=False) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, iteration)

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.board is not None:
            self.board.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a history; a last line that a crash cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def _board(folder: Path, upto: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadRequest("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(str(folder), purge_step=upto + 1)
