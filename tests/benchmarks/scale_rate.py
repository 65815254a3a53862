"""Seconds and memory of the verbs that read tables alone, for a tenth of a million captures and for a million."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sidcurate import manifests
from tests.benchmarks.tables import DEVICE, SHORTS, manifest_tables
from tests.benchmarks.timing import Row, row
from tests.benchmarks.validate_rate import peak_mb

FEW, MANY = 100_000, 1_000_000
VERBS = {
    "pair": ["pair", "--device", DEVICE, "--dry-run"],
    "report --format json": ["report", "--device", DEVICE, "--format", "json"],
    "validate --no-files": ["validate", "--no-files", "--dry-run"],
}


def run() -> Iterator[Row]:
    """Yield for each verb how a capture's time grows with their number: 1 is linear; one round, each a new process."""
    with tempfile.TemporaryDirectory() as folder:
        roots = {captures: Path(folder) / str(captures) for captures in (FEW, MANY)}
        for captures, root in roots.items():
            manifests.save(root / DEVICE, manifest_tables(captures * SHORTS // (SHORTS + 1)))
        for verb, arguments in VERBS.items():
            (few, _), (many, most_mb) = (measured(arguments, root) for root in roots.values())
            what = f"`{verb}` of {MANY:,} captures, {most_mb:.0f} MB at most"
            yield row(what, f"itself on {FEW:,}, {MANY // FEW} times", [many], [few * MANY / FEW], MANY, "captures/s")


def measured(arguments: list[str], root: Path) -> tuple[float, float]:
    """Return the seconds that a verb takes, and the most memory, in MB."""
    start = time.perf_counter()
    most_mb = peak_mb([*arguments, "--manifests", str(root)])
    return time.perf_counter() - start, most_mb
