"""Memory of one call, measured in a process of its own: a peak is a peak of the whole process, and never goes down."""

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage


def extra_bytes(prepare: Callable[[], Callable[[], object]]) -> int:
    """Return by how many bytes a call raises the peak memory of a fresh process.

    Args:
        prepare: importable by name; makes what the call needs, warms up its libraries, and returns the call.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_rise, (prepare,))


def _rise(prepare: Callable[[], Callable[[], object]]) -> int:
    call = prepare()
    before = _peak_bytes()
    call()
    return _peak_bytes() - before


def _peak_bytes() -> int:
    if sys.platform == "darwin":
        return getrusage(RUSAGE_SELF).ru_maxrss
    # Linux hands ru_maxrss down to the processes that one starts; this is of the process alone.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])
