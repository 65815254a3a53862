"""Training patches per second and core from the store, beside the common port that decodes both raws for each."""

import itertools
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import rawpy

from sidcurate import manifests
from sidcurate.ingest.folder import ingest
from sidcurate.synthetic.dng import DngTags, Stored, write_stored
from sidtrain.data import feed, patches, store
from sidtrain.data.patches import Cut
from sidtrain.data.store import Entry
from sidtrain.recipe import load
from tests.benchmarks import codings
from tests.benchmarks.timing import Row, core_seconds, rounds, row, script

SIDE, OURS = 512, 40

Paths = tuple[Path, Path]


def run() -> Iterator[Row]:
    """Yield the ratios of the store's rates to the naive rate, per patch: as a CPU takes it, and as a GPU does."""
    recipe = load("sid").model_copy(update={"patch": SIDE})
    with tempfile.TemporaryDirectory() as folder:
        scenes, plain = stored(Path(folder))
        compressed = make_pair(Path(folder) / "compressed", codings.one_scan)
        numbers = itertools.count()

        def cut() -> Cut:
            return patches.cut(scenes, recipe, SIDE, next(numbers))

        with script() as process:
            seconds = rounds(
                {
                    # No more of them live at once than the feed makes ahead.
                    "float32": lambda: deque((cut().patch for _ in range(OURS)), feed.AHEAD),
                    "copied": lambda: deque((feed.windows([cut()]) for _ in range(OURS)), feed.AHEAD),
                    "uncompressed": lambda: process.apply(naive_patch, plain),
                    "lossless JPEG": lambda: process.apply(naive_patch, compressed),
                },
                clock=core_seconds,
            )
    whats = {"float32": "float32 patches", "copied": "16-bit patches, to be converted on a GPU,"}
    for (name, what), coding in itertools.product(whats.items(), ("uncompressed", "lossless JPEG")):
        ours = [value / OURS for value in seconds[name]]
        peer = f"decoding and rendering both raws for each patch, {coding}"
        what = f"{what} of {SIDE} packed px from the store, 12 MP, by seconds of a core"
        yield row(what, peer, ours, seconds[coding], 1, "patches/s")


def stored(folder: Path) -> tuple[list[list[Entry]], Paths]:
    """Write a pair of raws, ingest and decode it; return its scene and its short and long file."""
    raws, manifest_folder = folder / "raws", folder / "cam"
    paths = make_pair(raws)
    ingest(raws, manifest_folder, jobs=1)
    manifest = manifests.load(manifest_folder)
    captures = {capture.path: capture for capture in manifest.captures}
    settings = store.StoreSettings(adjust_maximum_thr=0.75)
    entries = store.build(manifest.pairs, captures, raws, folder / "store", settings)
    return patches.by_scene(entries, load("sid")), paths


def make_pair(folder: Path, coding: Callable[[codings.Mosaic], Stored] = codings.plain) -> Paths:
    """Write a short and a long frame of SID's size: a textured scene with a little noise, which compresses as such."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    light = np.kron(rng.random((178, 266), np.float32), np.ones((16, 16), np.float32))
    noise = rng.normal(0, 8, light.shape).astype(np.float32)
    paths = folder / "00001_00_0.1s.dng", folder / "00001_00_10s.dng"
    for path, seconds, codes in zip(paths, (Fraction(1, 10), Fraction(10)), (80, 8000), strict=True):
        mosaic = (512 + codes * light + noise).astype(np.uint16)
        write_stored(path, mosaic.shape, coding(mosaic), DngTags(exposure_time_s=seconds, iso=800))
    return paths


def naive_patch(short: Path, long: Path) -> tuple[int, ...]:
    """Make one patch the slow way, every pixel of both frames for a few of them, and keep nothing of it."""
    with rawpy.imread(str(short)) as raw:
        mosaic = np.maximum(raw.raw_image_visible.astype(np.float32) - 512, 0) / (16383 - 512)
    planes = np.stack([mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 1::2], mosaic[1::2, 0::2]])
    with rawpy.imread(str(long)) as raw:
        target = np.float32(raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16) / 65535.0)
    top, left = 100, 200
    patch = np.minimum(planes[:, top : top + SIDE, left : left + SIDE] * 100, 1)
    return patch.shape + target[2 * top : 2 * (top + SIDE), 2 * left : 2 * (left + SIDE)].shape
