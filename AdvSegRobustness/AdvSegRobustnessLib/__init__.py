"""What the Slicer module does beneath its panel: scene nodes, and attacks in a child process. No Qt, no torch."""

from __future__ import annotations

try:
    import AdvSegLib as _library
except ImportError:  # started from the source tree without the module factory: the library lies beside the module
    import pathlib
    import sys

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
    import AdvSegLib as _library

__all__: list[str] = []
__version__ = _library.__version__
