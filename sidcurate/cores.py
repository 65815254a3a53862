"""How many CPU cores this process may use: not those of the machine where a batch system or container allots fewer."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_PROCESS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def allotted(process: Path = _PROCESS, groups: Path = _GROUPS) -> int:
    """Return the cores of this process's affinity, or fewer where its control groups have a quota of less.

    Args:
        process: file that names the control group of this process.
        groups: folder in which the control groups are mounted (version 2 of the Linux kernel's interface).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas(process, groups))]))


def _quotas(process: Path, groups: Path) -> Iterator[float]:
    """Yield the cores that the process's group and those above it may use together, where they are limited."""
    lines = _read(process).splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    for folder in (groups / own, *(groups / own).parents):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.strip().isdecimal() and int(period):
            yield int(quota) / int(period)
        if folder == groups:
            return


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
