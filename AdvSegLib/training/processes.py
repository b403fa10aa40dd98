"""One training on any number of processes, as ``torchrun`` starts them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from AdvSegLib.errors import BadRequest


@dataclass(frozen=True)
class World:
    """This process among those that train together; ``size`` 1 is a training of its own."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process validates, writes and speaks for all."""
        return self.rank == 0

    def places(self, batch: int) -> Sequence[int]:
        """Return which samples of the global batch are this process's; the first ones get one more where uneven."""
        if batch < self.size:
            raise BadRequest(f"a batch of {batch} cannot be split over {self.size} processes; start fewer")
        return [int(place) for place in torch.arange(batch).tensor_split(self.size)[self.rank]]

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network whose backward sums gradients over all processes."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network, device_ids=[self.device] if self.device != "cpu" else None)

    def synchronised(self, network: nn.Module) -> nn.Module:
        """Return the network with batch norms over the global batch; on CPU, where torch has none, it stays as is."""
        if self.size == 1 or self.device == "cpu":
            return network
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(network)

    def any(self, flag: bool) -> bool:
        """Return whether any process says so."""
        if self.size == 1:
            return flag
        tensor = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return bool(tensor.item())

    def mean(self, value: float) -> float:
        """Return the mean of all processes' values."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return float(tensor.item()) / self.size

    def tensor_from(self, rank: int, own: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return the tensor ``own`` of process ``rank`` on all; ``shape`` and ``dtype`` are what it has."""
        if self.size == 1:
            assert own is not None
            return own
        box = (
            own
            if self.rank == rank and own is not None
            else torch.empty(tuple(shape), dtype=dtype, device=self.device)
        )
        box = box.contiguous()
        dist.broadcast(box, src=rank)
        return box

    def from_first(self, value: Any) -> Any:
        """Return the first process's value on all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device(self.device))
        return box[0]


def joined(device: str) -> World:
    """Join the processes that ``torchrun`` started beside this one; alone where there are none.

    ``cuda`` or ``cuda:0`` then stands for each process's own GPU, ``LOCAL_RANK``. A process group that already exists
    is used; one made here stays for the trainings that follow, until the process ends: made a second time, processes
    would look for each other at the first one's addresses.
    """
    exists = dist.is_available() and dist.is_initialized()
    if not exists and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World(device=device)
    if device.startswith("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not exists:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        atexit.register(_leave)
    return World(dist.get_rank(), dist.get_world_size(), device)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
