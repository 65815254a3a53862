"""Files per second of a whole ingest, beside a plain script and beside rawpy doing nothing but unpacking them."""

import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from sidcurate.ingest.folder import ingest
from sidcurate.isolation import crew, map_isolated
from sidcurate.raws import levels
from sidcurate.synthetic.dng import DngTags, Stored, write_stored
from tests.benchmarks import rescan_rate
from tests.benchmarks.codings import CODINGS
from tests.benchmarks.header_rate import CAMERA_RAW, link_raws
from tests.benchmarks.peers import naive, statistics, unpack
from tests.benchmarks.timing import Row, core_seconds, rounds, row

HEIGHT, WIDTH, JOBS, SCENES = 4000, 6000, 2, 4
ROUNDS, FRAMES = 3, 32
BLACK, WHITE = 512, 16383
NAIVE = "serial script: exifread, rawpy, np.percentile a channel"
POOL = f"rawpy unpack only, the same pool of {JOBS}"


def run() -> Iterator[Row]:
    """Yield the ratios of ingest on all codings, on the usual and the easiest one, and on a camera's raws.

    Then those of its statistics, and of a rescan.
    """
    for part in (_of_all, partial(_of_one, "lossless JPEG"), partial(_of_one, "uncompressed"), _of_camera):
        with tempfile.TemporaryDirectory() as folder:
            yield from part(Path(folder))
    yield from _of_statistics()
    yield from rescan_rate.run()


def _of_all(folder: Path) -> Iterator[Row]:
    paths, half = make_raws(folder / "raws", CODINGS), folder / "half"
    half.mkdir()
    for path in paths[: len(paths) // 2]:
        (half / path.name).hardlink_to(path)
    seconds = _seconds(
        folder,
        paths,
        dry=lambda to: ingest(folder / "raws", to, jobs=JOBS, dry_run=True),
        half=lambda to: ingest(half, to, jobs=JOBS),
    )
    codings = ", ".join(CODINGS)
    yield from _rows(f"{len(paths)} DNG, 24 MP, as many each of {codings}", len(paths), seconds)
    dry = "itself with --dry-run: no traces, no facts of pairs, no manifest"
    yield row("the same", dry, seconds["ingest"], seconds["dry"], len(paths), "files/s")
    linear = "itself on half of them, half of each coding: 0.5 but for the start"
    yield row("the same", linear, seconds["ingest"], seconds["half"], len(paths), "files/s")


def _of_one(name: str, folder: Path) -> Iterator[Row]:
    paths = make_raws(folder / "raws", {name: CODINGS[name]})
    yield from _rows(f"{len(paths)} DNG, 24 MP, {name}", len(paths), _seconds(folder, paths))


def _of_camera(folder: Path) -> Iterator[Row]:
    """Compare on a raw that no code of ours wrote, with the maker notes that exifread takes apart."""
    if not CAMERA_RAW.exists():
        yield Row("`ingest` of a camera's raws", NAIVE, (), "not measured: no ../shared/raws")
        return
    paths = link_raws(folder / "raws", FRAMES)
    what = f"{FRAMES} ARW of a Sony A7R III, 18 MP, one file under so many names"
    yield from _rows(what, FRAMES, _seconds(folder, paths))


def _rows(what: str, count: int, seconds: dict[str, list[float]]) -> Iterator[Row]:
    what = f"`ingest --jobs {JOBS}` of {what}, {ROUNDS} rounds"
    yield row(what, NAIVE, seconds["ingest"], seconds["naive"], count, "files/s")
    yield row("the same", POOL, seconds["ingest"], seconds["pool"], count, "files/s")


def _seconds(folder: Path, paths: list[Path], **more: Callable[[Path], object]) -> dict[str, list[float]]:
    """Return the seconds of ingest and its peers; the start of the workers counts, in ingest and in the pool alike."""
    manifests = (folder / f"manifest{number}" for number in range(1000))
    contenders = {name: lambda work=work: work(next(manifests)) for name, work in more.items()}
    return rounds(
        {
            "ingest": lambda: ingest(folder / "raws", next(manifests), jobs=JOBS),
            "pool": lambda: unpack_all(paths),
            "naive": lambda: [naive(path) for path in paths],
            **contenders,
        },
        ROUNDS,
    )


def make_raws(folder: Path, codings: dict[str, Callable[[np.ndarray], Stored]], scenes: int = SCENES) -> list[Path]:
    """Write noisy 14-bit pairs, so many scenes in each coding."""
    folder.mkdir(parents=True)
    paths = []
    for number, coding in enumerate(list(codings.values()) * scenes):
        for name, seconds, mosaic in zip(("0.1s", "10s"), (Fraction(1, 10), Fraction(10)), frames(number), strict=True):
            paths.append(folder / f"{number:05d}_00_{name}.dng")
            tags = DngTags(exposure_time_s=seconds, iso=800, black_level=(BLACK,), white_level=WHITE)
            write_stored(paths[-1], mosaic.shape, coding(mosaic), tags)
    return paths


def frames(scene: int) -> Iterator[np.ndarray]:
    """Yield the short and the long frame of a scene whose texture and noise leave no pixel empty."""
    rng = np.random.default_rng(scene)
    light = np.kron(rng.random((HEIGHT // 16, WIDTH // 16), np.float32), np.ones((16, 16), np.float32))
    noise = rng.normal(0, 8, light.shape).astype(np.float32)
    for codes in (80, 8000):
        yield (BLACK + codes * light + np.roll(noise, codes)).astype(np.uint16)


def unpack_all(paths: list[Path]) -> None:
    """Decode the pixels in a pool like that of ingest, its start included."""
    with crew(JOBS) as workers:
        for _ in map_isolated(unpack, paths, workers):
            pass


def _of_statistics() -> Iterator[Row]:
    mosaics = list(frames(0))
    white, black = (float(WHITE),) * 4, (float(BLACK),) * 4
    seconds = rounds(
        {
            "ours": lambda: [levels.measure(mosaic, white, 14, "bayer", black) for mosaic in mosaics],
            "naive": lambda: [statistics(mosaic, WHITE) for mosaic in mosaics],
        },
        clock=core_seconds,
    )
    megapixels = sum(mosaic.size for mosaic in mosaics) / 1e6
    what = "all statistics of a frame, 24 MP, exact, by seconds of a core"
    yield row(
        what, "np.percentile, mean, clipped share a channel", seconds["ours"], seconds["naive"], megapixels, "MP/s"
    )
