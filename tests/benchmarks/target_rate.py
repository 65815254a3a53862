"""Pairs decoded and rendered per second into the store by two workers, beside scripts of rawpy.

What is kept needs memory for its pages. Where the host of a virtual machine takes back what is free, new pages cost
2 ms a MB, more than ten times as much as elsewhere: 0.2 s of each pair, which only a peer that keeps its pixels pays.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from sidcurate import manifests
from sidcurate.ingest.folder import ingest
from sidcurate.synthetic.dng import DngTags, write_dng
from sidtrain.data import store
from tests.benchmarks import peers
from tests.benchmarks.timing import Row, rounds, row, script

PAIRS, FEW, HEIGHT, WIDTH, JOBS, ROUNDS = 24, 8, 2848, 4256, 2, 3


def run() -> Iterator[Row]:
    """Yield the ratios of the store's rate to those of the scripts; the start of the processes counts everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = rounds(contenders(Path(folder)), ROUNDS)
    what = f"store of {PAIRS} pairs, 12 MP, {JOBS} workers, {ROUNDS} rounds"
    peer = "script that keeps the same pixels: rawpy, one process of one thread, np.save; no sums, no sync"
    yield row(what, peer, seconds["store"], seconds["script"], PAIRS, "pairs/s")
    peer = "that script, but nothing is kept"
    yield row("the same", peer, seconds["store"], seconds["unkept"], PAIRS, "pairs/s")
    peer = f"the most that {JOBS} processes can do: {JOBS} such scripts, which share the files and keep nothing"
    yield row("the same", peer, seconds["store"], seconds["shared"], PAIRS, "pairs/s")
    peer = f"itself on {FEW} of them: {FEW / PAIRS:.3g} but for the start"
    yield row("the same", peer, seconds["store"], seconds["few"], PAIRS, "pairs/s")


def contenders(folder: Path) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name; what one of them has kept is removed after it, apart from its time."""
    raws, manifest_folder = folder / "raws", folder / "cam"
    make_pairs(raws)
    ingest(raws, manifest_folder, jobs=JOBS)
    manifest = manifests.load(manifest_folder)
    captures = {capture.path: capture for capture in manifest.captures}
    settings, kept, paths = store.StoreSettings(adjust_maximum_thr=0.75), folder / "kept", sorted(raws.iterdir())

    def build(pairs: int) -> None:
        store.build(manifest.pairs[:pairs], captures, raws, kept, settings, jobs=JOBS)

    def prepare(processes: int, kept: Path | None = None) -> None:
        if kept:
            kept.mkdir()
        with script(processes) as pool:
            pool.map(partial(peers.prepare, kept=kept), paths, chunksize=1)

    def remove() -> None:
        shutil.rmtree(kept)

    return {
        "store": lambda: build(PAIRS),
        "removal of the store": remove,
        "script": lambda: prepare(1, kept),
        "removal of what it kept": remove,
        "unkept": lambda: prepare(1),
        "shared": lambda: prepare(JOBS),
        "few": lambda: build(FEW),
        "removal of the few": remove,
    }


def make_pairs(folder: Path) -> None:
    """Write noisy pairs of SID's size."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    light = rng.random((HEIGHT, WIDTH), np.float32)
    for scene in range(PAIRS):
        for name, seconds, codes in (("0.1s", Fraction(1, 10), 80), ("10s", Fraction(10), 8000)):
            path = folder / f"{scene:05d}_00_{name}.dng"
            mosaic = 512 + codes * np.roll(light, scene)
            write_dng(path, mosaic.astype(np.uint16), DngTags(exposure_time_s=seconds, iso=800))
