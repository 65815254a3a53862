"""How seconds and memory grow with the captures: a million for what reads tables alone, fewer for an ingest."""

import os
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from sidcurate import manifests
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.benchmarks.tables import DEVICE, SHORTS, manifest_tables
from tests.benchmarks.timing import Row, row
from tests.benchmarks.validate_rate import peak_mb

FEW, MANY = 100_000, 1_000_000
VERBS = {
    "pair": ["pair", "--device", DEVICE, "--dry-run"],
    "report --format json": ["report", "--device", DEVICE, "--format", "json"],
    "validate --no-files": ["validate", "--no-files", "--dry-run"],
}


FEW_RAWS, MANY_RAWS = 10_000, 100_000
_MOST_LINKS = 10_000  # File systems allow no more than some ten thousand names of one file.


def run() -> Iterator[Row]:
    """Yield for each verb how a capture's time grows with their number: 1 is linear; one round, each a new process."""
    yield from of_tables()
    yield from of_raws()


def of_tables() -> Iterator[Row]:
    """Yield the rows of the verbs that read tables alone."""
    with tempfile.TemporaryDirectory() as folder:
        roots = {captures: Path(folder) / str(captures) for captures in (FEW, MANY)}
        for captures, root in roots.items():
            manifests.save(root / DEVICE, manifest_tables(captures * SHORTS // (SHORTS + 1)))
        for verb, arguments in VERBS.items():
            (few, _), (many, most_mb) = (measured(arguments, root) for root in roots.values())
            what = f"`{verb}` of {MANY:,} captures, {most_mb:.0f} MB at most"
            yield row(what, f"itself on {FEW:,}, {MANY // FEW} times", [many], [few * MANY / FEW], MANY, "captures/s")


def of_raws() -> Iterator[Row]:
    """Yield the rows of a scan of headers, pairs and manifest included, and of a second one, which reads none."""
    first, second = [], []
    with tempfile.TemporaryDirectory() as folder:
        for count in (FEW_RAWS, MANY_RAWS):
            raws = link_raws(Path(folder) / f"raws{count}", count)
            for found in (first, second):
                found.append(measured(["ingest", str(raws), "--headers-only"], Path(folder, "manifests")))
    for which, ((few, few_mb), (many, most_mb)) in {"": first, "a second ": second}.items():
        memory = f"{most_mb:.0f} MB at most beside its workers, {few_mb:.0f} MB of {FEW_RAWS:,}"
        what, times = f"{which}`ingest --headers-only` of {MANY_RAWS:,} raws, {memory}", MANY_RAWS // FEW_RAWS
        yield row(what, f"itself on {FEW_RAWS:,}, {times} times", [many], [few * times], MANY_RAWS, "files/s")


def link_raws(folder: Path, count: int) -> Path:
    """Return a new folder of scenes of five small frames, most of which are one file under many names."""
    folder.mkdir()
    paths = [folder / f"{number // 5:05d}_{number % 5:02d}_0.1s.dng" for number in range(count)]
    for start in range(0, count, _MOST_LINKS):
        first, *others = paths[start : start + _MOST_LINKS]
        write_dng(first, np.full((16, 16), 600, np.uint16), DngTags(exposure_time_s=Fraction(1, 10), iso=800))
        for path in others:
            os.link(first, path)
    return folder


def measured(arguments: list[str], root: Path) -> tuple[float, float]:
    """Return the seconds that a verb takes, and the most memory, in MB."""
    start = time.perf_counter()
    most_mb = peak_mb([*arguments, "--manifests", str(root)])
    return time.perf_counter() - start, most_mb
