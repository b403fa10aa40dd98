"""The engine of a cluster: Ray places one actor for each slot, on whatever machine has room. Light until made.

Ray does not restart actors here: a lost one is replaced by a new one, placed anew, and the driver knows the unit.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
from concurrent.futures import Future
from typing import Any, cast

from AdvSegLib.benchmark.plan import Unit
from AdvSegLib.benchmark.worker import Outcome, Setup, Worker
from AdvSegLib.errors import AdvSegError, BadRequest


class RayEngine:
    """``workers`` actors (by default one for each GPU, or for each CPU where there is none), a GPU each.

    ``address`` is that of a running cluster (``auto``, ``host:6379``, ``ray://host:10001``); without one Ray is
    started on this machine alone, on the loopback interface. Nothing is uploaded: every node needs this library, and
    the data and models under the same paths.
    """

    name = "ray"

    def __init__(
        self, setup: Setup, workers: int | None = None, address: str | None = None, gpus: float | None = None
    ) -> None:
        ray = _ray()
        # Actor, node or result lost, memory full: what a unit raises is an outcome, so whatever Ray raises is loss.
        self.lost: tuple[type[BaseException], ...] = (ray.exceptions.RayError,)
        _connect(ray, address, workers)
        try:
            have = ray.cluster_resources()
            gpus = (1.0 if have.get("GPU", 0) else 0.0) if gpus is None else gpus
            count = workers or max(1, int(have.get("GPU", 0) / gpus if gpus else have.get("CPU", 1)))
            actor = ray.remote(Worker).options(num_cpus=1, num_gpus=gpus, max_restarts=0)
        except BaseException:
            ray.shutdown()
            raise
        self.slots = [_Slot(ray, actor, setup, number) for number in range(count)]

    def close(self) -> None:
        """Kill the actors and leave the cluster; one that was started here ends."""
        for slot in self.slots:
            slot.stop()
        _ray().shutdown()


class _Slot:
    """An actor."""

    def __init__(self, ray: Any, actor: Any, setup: Setup, number: int) -> None:
        self._ray, self._make, self._arguments = ray, actor, (setup, number)
        self._actor: Any = None

    def start(self) -> Future[dict[str, Any]]:
        self.stop()
        self._actor = self._make.remote(*self._arguments)
        return cast("Future[dict[str, Any]]", self._actor.open.remote().future())

    def submit(self, unit: Unit) -> Future[Outcome]:
        return cast("Future[Outcome]", self._actor.do.remote(unit).future())

    def stop(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            self._ray.kill(actor)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is ever sent anywhere
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise BadRequest("Ray is not installed; pip install 'advseglib[ray]', or take --engine pool") from error


def _connect(ray: Any, address: str | None, workers: int | None) -> None:
    """Join a cluster, or start one here that listens on loopback only."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            _knock(address)
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False,
                     _node_ip_address="127.0.0.1")  # fmt: skip
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())[:200]
        raise AdvSegError(f"Ray: no cluster at {address or 'this machine'} ({text})") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray takes it for itself; a polite kill is to end as Ctrl-C does


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at ``host:port``: Ray itself would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
