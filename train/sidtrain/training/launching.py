"""The processes of a training: the place of each, and how they are started, told and ended. No torch."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sidcurate import cores
from sidcurate.errors import UsageError

MEETING = "SIDTRAIN_MEETING"
_PARENT = "SIDTRAIN_PARENT"
_GRACE_S = 20.0
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


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
            MEETING: (Path(folder) / "meeting").as_uri(),
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
