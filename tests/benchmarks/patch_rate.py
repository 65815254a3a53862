"""Training patches per second from the store, beside the common port that decodes both raws for every patch."""

import itertools
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import rawpy

from sidcurate import manifests
from sidcurate.ingest import ingest
from sidcurate.synthetic.dng import DngTags, write_dng
from sidtrain import feed, patches, store
from sidtrain.patches import Cut
from sidtrain.recipe import load
from sidtrain.store import Entry
from tests.benchmarks.timing import Row, rounds, row

SIDE, OURS, NAIVE = 512, 40, 1


def run() -> Iterator[Row]:
    """Yield the ratios of the store's rates to the naive rate, per patch: as a CPU takes it, and as a GPU does."""
    recipe = load("sid").model_copy(update={"patch": SIDE})
    with tempfile.TemporaryDirectory() as folder:
        scenes, (short, long) = stored(Path(folder))
        numbers = itertools.count()

        def cut() -> Cut:
            return patches.cut(scenes, recipe, SIDE, next(numbers))

        seconds = rounds(
            {
                "float32": lambda: [cut().patch for _ in range(OURS)],
                "copied": lambda: [feed.windows([cut()]) for _ in range(OURS)],
                "naive": lambda: [naive_patch(short, long) for _ in range(NAIVE)],
            }
        )
    naive = [value / NAIVE for value in seconds["naive"]]
    whats = {"float32": "float32 patches", "copied": "16-bit patches, to be converted on a GPU,"}
    for name, what in whats.items():
        ours = [value / OURS for value in seconds[name]]
        peer = "decoding and rendering both raws for each patch"
        yield row(f"{what} of {SIDE} packed px from the store, 12 MP, one thread", peer, ours, naive, 1, "patches/s")


def stored(folder: Path) -> tuple[list[list[Entry]], tuple[Path, Path]]:
    """Write a pair of raws, ingest and decode it; return its scene and its short and long file."""
    raws, manifest_folder = folder / "raws", folder / "cam"
    paths = make_pair(raws)
    ingest(raws, manifest_folder, jobs=1)
    manifest = manifests.load(manifest_folder)
    captures = {capture.path: capture for capture in manifest.captures}
    settings = store.StoreSettings(adjust_maximum_thr=0.75)
    entries = store.build(manifest.pairs, captures, raws, folder / "store", settings)
    return patches.by_scene(entries, load("sid")), paths


def make_pair(folder: Path) -> tuple[Path, Path]:
    """Write a short and a long frame of SID's size."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scene = rng.random((2848, 4256), np.float32)
    paths = folder / "00001_00_0.1s.dng", folder / "00001_00_10s.dng"
    for path, seconds, scale in zip(paths, (Fraction(1, 10), Fraction(10)), (80, 8000), strict=True):
        write_dng(path, (512 + scale * scene).astype(np.uint16), DngTags(exposure_time_s=seconds, iso=800))
    return paths


def naive_patch(short: Path, long: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return one patch the slow way: every pixel of both frames for a few of them."""
    with rawpy.imread(str(short)) as raw:
        mosaic = np.maximum(raw.raw_image_visible.astype(np.float32) - 512, 0) / (16383 - 512)
    planes = np.stack([mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 1::2], mosaic[1::2, 0::2]])
    with rawpy.imread(str(long)) as raw:
        target = np.float32(raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16) / 65535.0)
    top, left = 100, 200
    patch = np.minimum(planes[:, top : top + SIDE, left : left + SIDE] * 100, 1)
    return patch, target[2 * top : 2 * (top + SIDE), 2 * left : 2 * (left + SIDE)]
