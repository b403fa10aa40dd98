"""Fixtures shared by the tests."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite that a shell started in the background ignores Ctrl-C, and so would every process that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

MODULE_LIBRARY = "AdvSegRobustnessLib"
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
def published_encoders() -> None:
    """Load paper 000's library; skip where it is not installed.

    A torchvision beside a CPU torch from elsewhere lacks its compiled operators and refuses to load before two of them
    are declared; none of them is called.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except ImportError:
        pytest.skip("segmentation_models_pytorch is not installed: pip install 'advseglib[papers]'")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    pytest.importorskip("segmentation_models_pytorch", reason="pip install 'advseglib[papers]'")


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of fixed seed."""
    return np.random.default_rng(20240)


@pytest.fixture(autouse=True)
def _the_same_library_for_every_test() -> Iterator[None]:
    """Undo a reload of Slicer's module: tests that imported its library before hold on to the old one."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == MODULE_LIBRARY}
    yield
    if before and sys.modules.get(MODULE_LIBRARY) is not before[MODULE_LIBRARY]:
        for name in [name for name in sys.modules if name.partition(".")[0] == MODULE_LIBRARY]:
            del sys.modules[name]
        sys.modules.update(before)
