"""Interleaved timings: the machine's speed drifts, the ratio within a round does not."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One claim: how many times faster than a named peer, by round; none where the peer is not installed."""

    what: str
    peer: str
    ratios: tuple[float, ...]
    rate: str


def rounds(
    contenders: Mapping[str, Callable[[], object]],
    count: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return seconds by contender, one a round, all contenders in every round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(count + 1):
        for name, work in contenders.items():
            start = clock()
            work()
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def core_seconds() -> float:
    """Return the seconds of a core that this process and its living children have used (Linux): no load delays it."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def script(processes: int = 1, prepare: Callable[[], None] | None = None) -> Iterator[Pool]:
    """Yield the processes of a peer: plain Python, whose libraries have one thread and would wait in others.

    Args:
        processes: how many.
        prepare: called in each first; importable by name.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with multiprocessing.get_context("spawn").Pool(processes, prepare) as pool:
            yield pool
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def row(what: str, peer: str, ours: list[float], theirs: list[float], items: int, unit: str) -> Row:
    """Return the ratios of the peer's seconds to ours, round by round."""
    ratios = tuple(other / own for own, other in zip(ours, theirs, strict=bool(theirs)))
    return Row(what, peer, ratios, f"{items / statistics.median(ours):.3g} {unit}")


def markdown(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, with the machine."""
    lines = ["| what | peer, in the same run | times the peer (range) | rate |", "|---|---|---|---|"]
    lines += [f"| {entry.what} | {entry.peer} | {_spread(entry.ratios)} | {entry.rate} |" for entry in rows]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines.append(f"\n{machine}; {ROUNDS} rounds where a row shows a range and names no other count")
    return "\n".join(lines)


def _spread(ratios: tuple[float, ...]) -> str:
    """Return the median and the range; one figure alone, as of memory, has no range."""
    if len(ratios) < 2:
        return "".join(f"{ratio:.3g}×" for ratio in ratios) or "-"
    return f"{statistics.median(ratios):.3g}× ({min(ratios):.3g}-{max(ratios):.3g})"
