"""Several processes that train one network: each takes its part of every batch, gradients are averaged.

A process finds its place in its environment (see `launching`); alone it is a group of one, for which everything here
does nothing. With the same batch the gradients are those of one process up to rounding (1e-6); parameters stay as close
for about ten steps, after that Adam amplifies the rounding.
"""

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sidcurate.errors import SidcurateError
from sidtrain.recipe import DeviceType
from sidtrain.training import devices
from sidtrain.training.launching import MEETING, part, rank

Value = TypeVar("Value")

# One process may decode raws for hours while the others wait.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class Group:
    """The processes of a training, seen by one of them."""

    device: torch.device
    rank: int = 0
    processes: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run and talks."""
        return self.rank == 0

    def part(self, batch: int) -> range:
        """Return the places in a batch that this process takes; UsageError where it cannot be divided evenly."""
        return part(batch, self.rank, self.processes)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Return the network whose gradients are averaged over the group; it starts with the leader's weights."""
        return DistributedDataParallel(model) if self.processes > 1 else model

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over the group, the same in each process."""
        if self.processes > 1:
            value = value.detach().clone()
            distributed.all_reduce(value)
            value /= self.processes
        return value

    def any(self, flag: bool) -> bool:
        """Say whether it is so in any process; all get the same answer."""
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0) if self.processes > 1 else flag

    def of_leader(self, value: Value) -> Value:
        """Return what the leader gave; the others wait for it."""
        return self.of_all(value)[0]

    def of_all(self, value: Value) -> list[Value]:
        """Return what each process gave, by rank."""
        if self.processes == 1:
            return [value]
        values: list[Value] = [value] * self.processes
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def joined(device_type: DeviceType) -> Iterator[Group]:
    """Yield the group that this process belongs to, and leave it at the end.

    Raises:
        SidcurateError: another process of the group went away.
        MissingResourceError: there is no such device.
    """
    device = devices.pick(device_type, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)  # Where nccl and what names no device go too.
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        yield Group(device)
        return
    # DistributedDataParallel imports it. Imported after the group is made, its functions take the group for the default
    # of an argument, and would keep it to the end of the interpreter.
    importlib.import_module("torch.distributed.nn.functional")
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=os.environ.get(MEETING, "env://"),
        rank=rank(),
        world_size=processes,
        timeout=_PATIENCE,
    )
    try:
        yield Group(device, rank(), processes)
    except RuntimeError as error:
        if "closed by peer" in str(error).lower() or isinstance(error, distributed.DistError):
            raise SidcurateError("another process of this training stopped; its own message says why") from error
        raise
    finally:
        # With the last reference to the group go gloo's threads. One that is left drops the tensors of its last
        # exchange when it gets to it; once the interpreter has gone, that aborts the process.
        gc.collect()  # DistributedDataParallel holds the group, and lies in cycles.
        distributed.destroy_process_group()
