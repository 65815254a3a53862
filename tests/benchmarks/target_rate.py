"""Pairs decoded and rendered per second into the store by two workers, beside rawpy doing it one file at a time."""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import rawpy

from sidcurate import manifests
from sidcurate.ingest import ingest
from sidcurate.isolation import crew, map_isolated
from sidcurate.synthetic.dng import DngTags, write_dng
from sidtrain import store
from tests.benchmarks.timing import Row, rounds, row

SCENES, HEIGHT, WIDTH, JOBS = 8, 2848, 4256, 2


def run() -> Iterator[Row]:
    """Yield the ratio of the store's rate to that of plain rawpy; the start of the workers counts on both sides."""
    with tempfile.TemporaryDirectory() as folder:
        raws, manifest_folder = Path(folder) / "raws", Path(folder) / "cam"
        make_pairs(raws)
        ingest(raws, manifest_folder, jobs=JOBS)
        manifest = manifests.load(manifest_folder)
        captures = {capture.path: capture for capture in manifest.captures}
        settings = store.StoreSettings(adjust_maximum_thr=0.75)
        stores = (Path(folder) / f"store{number}" for number in range(100))
        seconds = rounds(
            {
                "ours": lambda: store.build(manifest.pairs, captures, raws, next(stores), settings, jobs=JOBS),
                "rawpy": lambda: prepare_all(sorted(raws.iterdir())),
            }
        )
    what = f"store of {SCENES} pairs, 12 MP, {JOBS} workers"
    peer = "rawpy rendering and reading the same, one worker of one thread, nothing written"
    yield row(what, peer, seconds["ours"], seconds["rawpy"], SCENES, "pairs/s")


def make_pairs(folder: Path) -> None:
    """Write noisy pairs of SID's size."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    light = rng.random((HEIGHT, WIDTH), np.float32)
    for scene in range(SCENES):
        for name, seconds, codes in (("0.1s", Fraction(1, 10), 80), ("10s", Fraction(10), 8000)):
            path = folder / f"{scene:05d}_00_{name}.dng"
            mosaic = 512 + codes * np.roll(light, scene)
            write_dng(path, mosaic.astype(np.uint16), DngTags(exposure_time_s=seconds, iso=800))


def prepare_all(paths: list[Path]) -> None:
    """Prepare the frames one by one in one worker, whose LibRaw has one thread like those of the store."""
    with crew(1) as worker:
        for _ in map_isolated(prepare, paths, worker):
            pass


def prepare(path: Path) -> tuple[int, ...]:
    """Render a long frame or read the mosaic of a short one, as ports of SID do, and keep nothing of it."""
    with rawpy.imread(str(path)) as raw:
        if path.stem.endswith("_10s"):
            return raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16).shape
        return raw.raw_image_visible.astype(np.float32).shape
