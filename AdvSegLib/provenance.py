"""Where a result comes from: versions, device, hashes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "monai", "numpy", "scipy", "SimpleITK", "scikit-image")


def versions() -> dict[str, str]:
    """Return the versions that decide a result, ours first."""
    from AdvSegLib import __version__

    found = {"advseglib": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files in name order (a DICOM series)."""
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def content_key(request: Mapping[str, Any], hashes: Sequence[str]) -> str:
    """Return the key of a request on inputs of these hashes: equal keys ask for equal results."""
    text = json.dumps({"request": request, "inputs": list(hashes)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
