"""The traces that ingest keeps beside a manifest, one a raw: where they are, and what two of them say of a pair.

Workers load this module as they start: nothing here needs the tables.
"""

from pathlib import Path
from typing import NamedTuple

from sidcurate.align import PairFacts, measure_pair, trace
from sidcurate.storage import durable

_FOLDER = "traces"


class Task(NamedTuple):
    """Where the traces of the two frames of a pair are, and in which row of the table it stands."""

    row: int
    short: Path
    long: Path


def path(directory: Path, sha256: str) -> Path:
    """Return where the trace of a raw is kept: under the hash of the raw, so that it can always be made again."""
    return directory / _FOLDER / f"{sha256}.npz"


def sweep(directory: Path) -> None:
    """Remove what an ingest that died has left half-written beside the traces."""
    durable.sweep(directory / _FOLDER)


def measure(task: Task) -> PairFacts:
    """Return what the pixels of a pair say.

    Raises:
        FileNotFoundError: a trace is not there.
        IntegrityError: a file is no trace, or of another version of this program.
    """
    return measure_pair(trace.load(task.short), trace.load(task.long))
