"""Files per second of a whole ingest, beside rawpy doing nothing but unpacking the same files, and beside itself
without what only pairs need.
"""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import exifread
import numpy as np
import rawpy

from sidcurate.ingest import ingest
from sidcurate.isolation import crew, map_isolated
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.benchmarks.timing import Row, rounds, row

FILES, HEIGHT, WIDTH, JOBS = 12, 4000, 6000, 2


def run() -> Iterator[Row]:
    """Yield the ratios of ingest to its own without traces and pairs, to unpacking, and to a naive script."""
    with tempfile.TemporaryDirectory() as folder:
        raws = Path(folder) / "raws"
        paths = make_raws(raws)
        manifests = (Path(folder) / f"manifest{number}" for number in range(100))
        seconds = rounds(
            {
                "ingest": lambda: ingest(raws, next(manifests), jobs=JOBS),
                "unmeasured": lambda: ingest(raws, next(manifests), jobs=JOBS, dry_run=True),
                "pool": lambda: unpack_all(paths),
                "serial": lambda: [unpack(path) for path in paths],
                "naive": lambda: [naive(path) for path in paths],
            }
        )
    what = f"`ingest --jobs {JOBS}` of {FILES} DNG, 24 MP"
    for peer, name in (
        ("serial", "rawpy unpack only, one process"),
        ("pool", f"rawpy unpack only, the same pool of {JOBS}"),
        ("naive", "serial script: exifread, rawpy, np.percentile a channel"),
        ("unmeasured", "itself with --dry-run: no traces, no facts of pairs, no manifest"),
    ):
        yield row(what, name, seconds["ingest"], seconds[peer], FILES, "files/s")


def make_raws(folder: Path) -> list[Path]:
    """Write noisy 14-bit pairs of a textured scene, so that no reader and no measurement profits from empty pixels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    light = np.kron(rng.random((HEIGHT // 16, WIDTH // 16), np.float32), np.ones((16, 16), np.float32))
    noise = rng.normal(0, 8, light.shape).astype(np.float32)
    paths = []
    for scene in range(FILES // 2):
        for name, seconds, codes in (("0.1s", Fraction(1, 10), 80), ("10s", Fraction(10), 8000)):
            path = folder / f"{scene:05d}_00_{name}.dng"
            mosaic = 512 + codes * light + np.roll(noise, codes + scene)
            write_dng(path, mosaic.astype(np.uint16), DngTags(exposure_time_s=seconds, iso=800))
            paths.append(path)
    return paths


def unpack(path: Path) -> int:
    """Decode the pixels, and nothing else."""
    with rawpy.imread(str(path)) as raw:
        raw.unpack()
        return int(raw.raw_image_visible[0, 0])


def unpack_all(paths: list[Path]) -> None:
    """Decode the pixels in a pool like that of ingest, its start included."""
    with crew(JOBS) as workers:
        for _ in map_isolated(unpack, paths, workers):
            pass


def naive(path: Path) -> list[float]:
    """What a script written in an afternoon does for each file."""
    with path.open("rb") as stream:
        exifread.process_file(stream, details=False)
    with rawpy.imread(str(path)) as raw:
        mosaic = raw.raw_image_visible.astype(np.float32)
    sites = (mosaic[row::2, column::2] for row in (0, 1) for column in (0, 1))
    return [float(value) for site in sites for value in np.percentile(site, (0, 0.1, 1, 50, 99, 99.9, 100))]
