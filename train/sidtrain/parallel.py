"""Several processes that train one network: each takes its part of every batch, gradients are averaged.

Under `torchrun`, or started by `launch`, a process finds its place in its environment; alone it is a group of one, for
which everything here does nothing. With the same batch the gradients are those of one process up to rounding (1e-6);
parameters stay as close for about ten steps, after that Adam amplifies the rounding.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sidcurate import cores
from sidcurate.errors import SidcurateError, UsageError
from sidtrain import devices
from sidtrain.recipe import DeviceType

Value = TypeVar("Value")

# One process may decode raws for hours while the others wait.
_PATIENCE = timedelta(days=2)
_GRACE_S = 20.0
_MEETING, _PARENT = "SIDTRAIN_MEETING", "SIDTRAIN_PARENT"
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


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


def part(batch: int, rank: int, processes: int) -> range:
    """Return the places in a batch that a process takes.

    Raises:
        UsageError: the batch cannot be divided evenly.
    """
    share, rest = divmod(batch, processes)
    if rest:
        raise UsageError(
            f"a batch of {batch} cannot be shared evenly by {processes} processes: set a multiple of {processes} as "
            "`batch` in the recipe, or launch another number"
        )
    return range(rank * share, (rank + 1) * share)


def rank() -> int:
    """Return the number of this process in its group; 0 alone."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def joined(device_type: DeviceType) -> Iterator[Group]:
    """Yield the group that this process belongs to, and leave it at the end.

    Raises:
        SidcurateError: another process of the group went away.
        MissingResourceError: there is no such device.
    """
    device = devices.pick(device_type, int(os.environ.get("LOCAL_RANK", "0")))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        yield Group(device)
        return
    # DistributedDataParallel imports it. Imported after the group is made, its functions take the group for the default
    # of an argument, and would keep it to the end of the interpreter.
    importlib.import_module("torch.distributed.nn.functional")
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=os.environ.get(_MEETING, "env://"),
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


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m sidtrain` in some processes of this machine; return the exit status of one that failed, or 0.

    They meet through a file and, on a CPU, talk over the loopback interface only. A Ctrl-C (or SIGTERM) is passed on
    once to each; when one fails the others are stopped.
    """
    with tempfile.TemporaryDirectory() as folder:
        common = {
            **os.environ,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores.allotted() // processes))),
            "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
            "WORLD_SIZE": str(processes),
            _MEETING: (Path(folder) / "meeting").as_uri(),
            _PARENT: str(os.getpid()),
        }
        command = [sys.executable, "-m", "sidtrain", *arguments]
        children = [
            # In a session of its own, a child sees no key of the terminal: this process tells it, exactly once.
            subprocess.Popen(
                command, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, start_new_session=True
            )
            for rank in range(processes)
        ]
        try:
            with _passed_on(children):
                return _watched(children)
        finally:
            _stop(children)


def die_with_parent() -> None:
    """Have the system end this process when the one that launched it is gone: nobody else would."""
    parent = os.environ.get(_PARENT)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != int(parent):
        raise SystemExit(1)


@contextmanager
def _passed_on(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(number: int, _frame: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watched(children: Sequence[subprocess.Popen[bytes]]) -> int:
    while True:
        states = [child.poll() for child in children]
        failed = [state for state in states if state]
        if failed:
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if None not in states:
            return 0
        time.sleep(0.05)


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait a little for processes that follow a failed or interrupted one, then end what is left."""
    end = time.monotonic() + _GRACE_S
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, end - time.monotonic()))
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()
