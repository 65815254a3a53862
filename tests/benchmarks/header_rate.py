"""Files per second of a scan of headers, manifest and pairs included, beside exiftool listing the same headers."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np

from sidcurate.ingest.folder import ingest
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.benchmarks import scale_rate
from tests.benchmarks.timing import Row, rounds, row

FEW, MANY = 500, 10_000
"""Raws that this process reads by itself, and that it starts workers for."""
HEIGHT, WIDTH = 200, 300
ROUNDS = 3
CAMERA_RAW = Path(__file__).parents[3] / "shared/raws/sony-a7r3/_DSC2164.ARW"
"""A raw as a camera writes it, with the maker notes on which exiftool spends most of its time."""


def run() -> Iterator[Row]:
    """Yield the ratios of a scan to exiftool, which reads no pixel either, for headers with and without maker notes."""
    with tempfile.TemporaryDirectory() as folder:
        plain, many, camera = (Path(folder, name) for name in ("plain", "many", "camera"))
        make_raws(plain)
        yield scanned(plain, FEW, "DNG without maker notes")
        scale_rate.link_raws(many, MANY)
        yield scanned(many, MANY, "DNG without maker notes, one file under so many names, by workers")
        if CAMERA_RAW.exists():
            link_raws(camera, FEW)
            yield scanned(camera, FEW, "ARW of a Sony A7R III")
        else:
            yield Row("`ingest --headers-only` of a camera's raws", "exiftool", (), "not measured: no ../shared/raws")


def scanned(raws: Path, count: int, kind: str) -> Row:
    """Return the ratio for the raws of a folder; the rate alone where exiftool is missing."""
    manifests = (raws.with_name(f"manifest{number}") / raws.name for number in range(100))
    contenders: dict[str, Callable[[], object]] = {"scan": lambda: ingest(raws, next(manifests), headers_only=True)}
    peer = "exiftool is not installed: apt install libimage-exiftool-perl"
    if shutil.which("exiftool"):
        peer = "`exiftool -fast2 -j`, one process"
        command = ["exiftool", "-q", "-fast2", "-j", raws]
        contenders["exiftool"] = lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    seconds = rounds(contenders, ROUNDS)
    what = f"`ingest --headers-only` of {count:,} {kind}, pairs and manifest included, {ROUNDS} rounds"
    return row(what, peer, seconds["scan"], seconds.get("exiftool", []), count, "files/s")


def link_raws(folder: Path, count: int) -> list[Path]:
    """Put a camera's raw into a folder under many names, and return them."""
    folder.mkdir()
    paths = [folder / f"_DSC{number:04d}.ARW" for number in range(count)]
    shutil.copy(CAMERA_RAW, paths[0])
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    return paths


def make_raws(folder: Path) -> None:
    """Write pairs of small frames; of a scan of headers their pixels are no part."""
    folder.mkdir()
    mosaic = np.random.default_rng(0).integers(500, 4000, (HEIGHT, WIDTH), np.uint16)
    start = datetime(2026, 3, 1, 21)
    for number in range(FEW):
        seconds = Fraction(10) if number % 2 else Fraction(1, 10)
        taken = start + timedelta(seconds=300 * (number // 2) + number % 2)
        tags = DngTags(exposure_time_s=seconds, iso=800, f_number=Fraction(4), serial="7", captured_at=taken)
        write_dng(folder / f"IMG_{number:04d}.dng", mosaic, tags)
