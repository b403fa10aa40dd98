"""The engine of one machine: the standard library's process pool, one pool of one worker for each slot. Light.

A killed worker breaks the pool it is in, and takes the work of its neighbours with it. With a pool a slot it is known
which unit was lost, and the neighbours go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from AdvSegLib.benchmark.plan import Unit
from AdvSegLib.benchmark.worker import Outcome, Setup, Worker

_WORKER: list[Worker] = []


class Pool:
    """``workers`` processes on this machine; each computes with ``threads`` threads unless the environment says."""

    name = "pool"
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, setup: Setup, workers: int, threads: int = 1) -> None:
        self.slots = [_Slot(setup, number, threads) for number in range(workers)]

    def close(self) -> None:
        """Kill every worker."""
        for slot in self.slots:
            slot.stop()


class _Slot:
    """A pool of one worker."""

    def __init__(self, setup: Setup, number: int, threads: int) -> None:
        self._arguments = (setup, number, threads)
        self._pool: ProcessPoolExecutor | None = None
        self._pid: int | None = None

    def start(self) -> Future[dict[str, Any]]:
        self.stop()
        context = multiprocessing.get_context("spawn")  # fork and CUDA, or fork and threads, do not go together
        self._pool = ProcessPoolExecutor(1, context, _begin, self._arguments)
        opened: Future[dict[str, Any]] = self._pool.submit(_open)
        opened.add_done_callback(self._remember)
        return opened

    def submit(self, unit: Unit) -> Future[Outcome]:
        assert self._pool is not None, "submit before start"
        return self._pool.submit(_do, unit)

    def stop(self) -> None:
        pool, pid = self._pool, self._pid
        self._pool = self._pid = None
        if pool is None:
            return
        pool.shutdown(wait=False, cancel_futures=True)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _remember(self, opened: Future[dict[str, Any]]) -> None:
        if not opened.cancelled() and opened.exception() is None:
            self._pid = opened.result()["pid"]


def _begin(setup: Setup, number: int, threads: int) -> None:
    """Prepare a worker's process, before anything heavy is imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver ends its workers itself
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    threading.Thread(target=_end_with_driver, daemon=True).start()
    _WORKER[:] = [Worker(setup, number)]


def _end_with_driver() -> None:
    """End this process when the driver is gone, even by kill -9: nobody would take the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _open() -> dict[str, Any]:
    return _WORKER[0].open()


def _do(unit: Unit) -> Outcome:
    return _WORKER[0].do(unit)
