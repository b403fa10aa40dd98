"""Fixtures shared by the tests."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite that a shell started in the background ignores Ctrl-C, and so would every process that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Return the path of a real file below ``../shared/data``; skip where it is absent."""

    def locate(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"real data '{name}' is absent: ../shared/data/{name}, seen from the project's root")
        return path

    return locate


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of fixed seed."""
    return np.random.default_rng(20240)
