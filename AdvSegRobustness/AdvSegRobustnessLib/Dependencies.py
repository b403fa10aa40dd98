"""What Slicer's own Python needs before it can compute: asked for at Apply, never at import."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegRobustnessLib.Interpreter import VARIABLE, chosenInterpreter

TORCH = ">=2.4"
REQUIREMENTS = (
    "jinja2>=3.1", "jsonschema>=4.20", "matplotlib>=3.8", "monai>=1.4", "pillow>=10", "pyyaml>=6",
    "safetensors>=0.4", "scikit-image>=0.22", "scipy>=1.11", "tqdm>=4.66",
)  # fmt: skip
"""AdvSegLib's, but for what Slicer brings itself and torch."""
KEPT = ("torch", "numpy", "SimpleITK")
"""What pip must not touch: torch is the PyTorch extension's, the others are Slicer's own builds."""
REQUESTER = "AdvSegRobustness"
ELSEWHERE = f"or name another Python that has AdvSegLib's dependencies by {VARIABLE} or in the module's settings"


def missingPackages(setting: str = "", environ: Mapping[str, str] = os.environ, *, packaging: Any = None) -> list[str]:
    """Return the requirements that Slicer's own Python does not meet; none where another Python computes. Fast."""
    if chosenInterpreter(setting, environ):
        return []
    packaging = packaging or _packaging()
    return [item for item in (f"torch{TORCH}", *REQUIREMENTS) if not packaging.pip_check(item)]


def ensureDependencies(
    setting: str = "",
    environ: Mapping[str, str] = os.environ,
    *,
    testing: bool = False,
    packaging: Any = None,
    torchLogic: Any = None,
) -> None:
    """Install what Slicer's own Python lacks, after asking; nothing where ADVSEG_PYTHON or the setting names another.

    ``packaging`` is ``slicer.packaging``, ``torchLogic`` the PyTorch extension's ``PyTorchUtilsLogic()``; both are
    found by themselves. With ``testing`` (Slicer's ``--testing``) nothing is ever installed. BadRequest where what is
    missing must not be installed, or somebody said no; AdvSegError where an installation failed.
    """
    missing = missingPackages(setting, environ, packaging=packaging)
    if not missing:
        return
    if testing:
        raise BadRequest(f"{', '.join(missing)} missing, and nothing is installed in testing mode: {ELSEWHERE[3:]}")
    packaging = packaging or _packaging()
    if any(item.startswith("torch>") for item in missing):
        _ensureTorch(torchLogic or _torchLogic())
    try:
        packaging.pip_ensure(list(REQUIREMENTS), skip_packages=list(KEPT), requester=REQUESTER)
    except subprocess.CalledProcessError as error:
        raise AdvSegError(f"pip could not install (exit code {error.returncode}); try again, {ELSEWHERE}") from error
    except RuntimeError as error:
        raise BadRequest(f"the packages that compute are not installed ({error}); press again and agree, {ELSEWHERE}"
                         ) from error  # fmt: skip


def _ensureTorch(logic: Any) -> None:
    try:
        torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH)
    except (subprocess.CalledProcessError, RuntimeError, ImportError) as error:
        raise AdvSegError(f"PyTorch could not be installed ({error}); see PyTorch Utils, {ELSEWHERE}") from error
    if torch is None:
        raise BadRequest(f"PyTorch is not installed: press again and agree, {ELSEWHERE}")


def _packaging() -> Any:
    try:
        return importlib.import_module("slicer.packaging")
    except ImportError as error:
        raise BadRequest(f"this Slicer has no slicer.packaging: take 5.12 or newer, {ELSEWHERE}") from error


def _torchLogic() -> Any:
    try:
        return importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    except ImportError as error:
        raise BadRequest(f"the PyTorch extension is missing: install it by the Extensions Manager, {ELSEWHERE}"
                         ) from error  # fmt: skip
