"""Files per second of a whole ingest, beside rawpy doing nothing but unpacking the same files."""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import exifread
import numpy as np
import rawpy

from sidcurate.ingest import ingest
from sidcurate.isolation import map_isolated
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.benchmarks.timing import Row, rounds, row

FILES, HEIGHT, WIDTH, JOBS = 12, 4000, 6000, 2


def run() -> Iterator[Row]:
    """Yield the ratios of ingest to a serial unpack, to the same pool unpacking, and to a naive script."""
    with tempfile.TemporaryDirectory() as folder:
        raws = Path(folder) / "raws"
        paths = make_raws(raws)
        manifests = (Path(folder) / f"manifest{number}" for number in range(100))
        seconds = rounds(
            {
                "ingest": lambda: ingest(raws, next(manifests), jobs=JOBS),
                "pool": lambda: list(map_isolated(unpack, paths, jobs=JOBS)),
                "serial": lambda: [unpack(path) for path in paths],
                "naive": lambda: [naive(path) for path in paths],
            }
        )
    what = f"`ingest --jobs {JOBS}` of {FILES} DNG, 24 MP"
    for peer, name in (
        ("serial", "rawpy unpack only, one process"),
        ("pool", f"rawpy unpack only, the same pool of {JOBS}"),
        ("naive", "serial script: exifread, rawpy, np.percentile a channel"),
    ):
        yield row(what, name, seconds["ingest"], seconds[peer], FILES, "files/s")


def make_raws(folder: Path) -> list[Path]:
    """Write noisy 14-bit frames, so that no reader profits from empty pixels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    mosaic = rng.integers(500, 3000, (HEIGHT, WIDTH)).astype(np.uint16)
    tags = DngTags(exposure_time_s=Fraction(1, 10), iso=800)
    paths = [folder / f"{number:05d}_00_0.1s.dng" for number in range(FILES)]
    for number, path in enumerate(paths):
        write_dng(path, np.roll(mosaic, 64 * number), tags)
    return paths


def unpack(path: Path) -> int:
    """Decode the pixels, and nothing else."""
    with rawpy.imread(str(path)) as raw:
        raw.unpack()
        return int(raw.raw_image_visible[0, 0])


def naive(path: Path) -> list[float]:
    """What a script written in an afternoon does for each file."""
    with path.open("rb") as stream:
        exifread.process_file(stream, details=False)
    with rawpy.imread(str(path)) as raw:
        mosaic = raw.raw_image_visible.astype(np.float32)
    sites = (mosaic[row::2, column::2] for row in (0, 1) for column in (0, 1))
    return [float(value) for site in sites for value in np.percentile(site, (0, 0.1, 1, 50, 99, 99.9, 100))]
