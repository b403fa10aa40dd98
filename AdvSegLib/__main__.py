"""``advseg``: the command line. Exit codes: 0 done, 1 failed, 2 bad request, 130 interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from AdvSegLib.command_line import COMMANDS, build_parser

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    parser = build_parser()
    options = parser.parse_args(argv)
    try:
        COMMANDS[options.command](options)
    except BadRequest as error:
        return _fail(error, 2)
    except (KeyboardInterrupt, Cancelled):
        return _fail("interrupted; nothing was written", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError:
        return _fail("out of memory; try --resolution network or a smaller image", 1)
    except (AdvSegError, OSError) as error:
        return _fail(error, 1)
    except RuntimeError as error:
        return _fail(_explain(error), 1)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat a polite kill like Ctrl-C, so that staged files are removed."""
    raise KeyboardInterrupt


def _fail(reason: object, code: int) -> int:
    text = " ".join(str(reason).split())
    print(f"advseg: {text}", file=sys.stderr)
    return code


def _explain(error: RuntimeError) -> str:
    """Turn torch's allocation failures into one clear line."""
    text = str(error)
    if "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text:
        return "out of memory; try --resolution network, a smaller image, or another --device"
    return text


if __name__ == "__main__":
    sys.exit(main())
