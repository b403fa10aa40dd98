"""``advseg``: the command line. Exit codes: 0 done, 1 failed, 2 bad request, 130 interrupted."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from AdvSegLib.errors import AdvSegError, BadRequest, Cancelled, explain

NOTHING_WRITTEN = "interrupted; nothing was written"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from AdvSegLib.command_line import COMMANDS, build_parser

    _prepare_process()
    try:
        options = build_parser().parse_args(argv)
        COMMANDS[options.command](options)
    except BadRequest as error:
        return _fail(error, 2)
    except Cancelled as error:
        return _fail(str(error) or NOTHING_WRITTEN, 130)
    except KeyboardInterrupt:
        return _fail(NOTHING_WRITTEN, 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AdvSegError, OSError) as error:
        return _fail(error, 1)
    except Exception as error:  # the last resort: one line, unless somebody wants to see it all
        if os.environ.get("ADVSEG_DEBUG"):
            raise
        return _fail(explain(error), 1)
    return 0


def _prepare_process() -> None:
    """Treat polite kills like Ctrl-C, so that staged files are removed; print any label's name on any terminal."""
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(reason: object, code: int) -> int:
    text = " ".join(str(reason).split())
    print(f"advseg: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
