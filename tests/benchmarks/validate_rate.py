"""Pairs a second that `sidcurate validate` judges, beside the least that a validator of rows does: make records."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from sidcurate import manifests
from sidcurate.schemas import Capture, Pair
from tests.benchmarks.tables import DEVICE, manifest_tables
from tests.benchmarks.timing import Row, rounds, row

PAIRS = 100_000
# The largest size that the process had goes to stderr; getrusage would count that of the process which started it too.
PROGRAM = """
import atexit, pathlib, sys
from sidcurate.cli import main
atexit.register(lambda: sys.stderr.write(pathlib.Path("/proc/self/status").read_text()))
main(sys.argv[1:])
"""


def run() -> Iterator[Row]:
    """Yield the ratio of judging a manifest, its start and its findings included, to validating its rows one by one."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifests.save(root / DEVICE, manifest_tables(PAIRS))
        peaks: list[float] = []
        contenders = {"validate": lambda: peaks.append(validate(root)), "records": lambda: records(root / DEVICE)}
        seconds = rounds(contenders)
    what = f"`validate --no-files` of {PAIRS:,} pairs, a process of its own with {max(peaks):.0f} MB at most"
    peer = "reading the same tables and making a pydantic record of each row, no rule"
    yield row(what, peer, seconds["validate"], seconds["records"], PAIRS, "pairs/s")


def validate(root: Path) -> float:
    """Judge the manifests under a folder as a user does; return the most memory that it took, in MB."""
    return peak_mb(["validate", "--no-files", "--format", "json", "--manifests", str(root)])


def peak_mb(arguments: list[str]) -> float:
    """Return the most memory that a verb takes, in MB, in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: the faulty pairs are found.
        raise RuntimeError(f"{arguments[0]} ended with {done.returncode}: {done.stderr}")
    peak = next(line for line in done.stderr.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def records(directory: Path) -> None:
    """Make a record of every row, some at a time."""
    for model in (Capture, Pair):
        rows = TypeAdapter(list[model])
        for batch in pq.ParquetFile(directory / f"{model.table}.parquet").iter_batches(10_000):
            rows.validate_python(batch.to_pylist())
