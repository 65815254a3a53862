"""What is tortured: the verbs and functions that write, on a session of two small scenes."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from sidcurate import manifests, source, validation  # noqa: F401 - loaded before a process is forked
from sidcurate.align import trace
from sidcurate.cli import main
from sidcurate.pairs import traces
from sidcurate.schemas import Capture, Pair
from sidcurate.storage import commits, durable, entries
from sidcurate.synthetic.dng import DngTags, write_dng
from sidtrain.data import store

SIZE = (64, 64)


@dataclass(frozen=True)
class Step:
    """One writer: `act` leads from the folder `before` (None: from nothing) to the folder that it is given."""

    name: str
    before: Path | None
    act: Callable[[Path], None]
    has_manifest: bool = True


def verb(*arguments: str | Path) -> None:
    """Run a verb; it ends in SystemExit."""
    main([str(argument) for argument in arguments])


def write_raws(folder: Path) -> None:
    """Write a long and a short frame of two scenes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for scene in range(2):
        light = rng.uniform(100, 900, SIZE)
        for seconds, name in ((Fraction(10), "10s"), (Fraction(1, 10), "0.1s")):
            codes = np.clip(light * float(seconds) / 10 + 64 + rng.normal(0, 2, SIZE), 0, 1023)
            tags = DngTags(black_level=(64.0,) * 4, white_level=1023, exposure_time_s=seconds, iso=800)
            write_dng(folder / f"{scene:05d}_00_{name}.dng", codes.astype(np.uint16), tags)


def quick(work: Path) -> list[Step]:
    """Return the writers that take milliseconds: each of their calls is made to fail."""
    old = work / "saved" / "cam"
    _save(old, iso=1, root="there")
    kept = trace.measure(np.full(SIZE, 600, np.uint16), "RGGB", (64.0,) * 4, (1023.0,) * 4)

    def keep_trace(folder: Path) -> None:
        traces.sweep(folder)
        trace.save(traces.path(folder, "0"), kept)

    def keep_entry(folder: Path) -> None:
        durable.sweep(folder)
        entries.write(folder / f"{entries.key({})}.planes.npy", kept.bins, {}, None)

    return [
        Step("first commit", None, lambda folder: _save(folder, iso=1, root="there")),
        Step("next commit", old, lambda folder: _save(folder, iso=2, root="elsewhere")),
        Step("the same tables", old, lambda folder: _save(folder, iso=1, root="elsewhere")),
        Step("trace", None, keep_trace, has_manifest=False),
        Step("store entry", None, keep_entry, has_manifest=False),
    ]


def verbs(work: Path) -> list[Step]:
    """Return the verbs that write a manifest or a store, and what each leads from."""
    raws, made = work / "raws", work / "made" / "cam"
    write_raws(raws)
    told = work / "pairs.csv"
    told.write_text("short,long\n00000_00_0.1s.dng,00001_00_10s.dng\n00001_00_0.1s.dng,00001_00_10s.dng\n")

    def fresh(folder: Path) -> None:
        verb("ingest", raws, "--manifests", folder.parent, "--device", folder.name, "--jobs", 1)

    def again(folder: Path) -> None:
        verb("ingest", raws, "--manifests", folder.parent, "--device", folder.name, "--jobs", 1, "--pairs", told)

    def pair(folder: Path) -> None:
        verb("pair", "--manifests", folder.parent, "--device", folder.name, "--pairs", told)

    def validate(folder: Path) -> None:
        verb("validate", "--manifests", folder.parent, "--device", folder.name)

    def build(folder: Path) -> None:
        manifest = manifests.load(made)
        by_path = {capture.path: capture for capture in manifest.captures}
        store.build(manifest.pairs, by_path, raws, folder, store.StoreSettings(0.75), jobs=1)

    def merge(folder: Path) -> None:
        verb("manifest", "merge", *sorted(work.glob("parts/cam.shards/*")), "--manifests", folder.parent, "--jobs", 1)

    return [
        Step("ingest", None, fresh),
        Step("ingest again", made, again),
        Step("pair", made, pair),
        Step("validate", made, validate),
        Step("store", None, build, has_manifest=False),
        shard(work, 1),
        Step("merge", None, merge),
    ]


def shard(work: Path, number: int) -> Step:
    """Return the writer of one of two shards, into the folder of all manifests that it is given."""

    def act(folder: Path) -> None:
        verb("ingest", work / "raws", "--manifests", folder, "--device", "cam", "--jobs", 1, "--shard", f"{number}/2")

    return Step("shard", None, act, has_manifest=False)


def _save(folder: Path, iso: int, root: str) -> None:
    facts = {"device": "cam", "path": "a.dng", "size_bytes": 1, "status": "ok", "iso": iso}
    pair = {"device": "cam", "pair_id": "s_00", "scene_id": "s", "burst_index": iso, "reason": "told"}
    rows = [Pair(**pair, short_path="a.dng", long_path="b.dng")]
    manifests.save(folder, {Capture: [Capture(**facts)], Pair: rows}, source=source.Source(root=root))


def state(folder: Path) -> dict[str, str]:
    """Return what a reader sees of a manifest: the hash of each table and of what goes with them, after all were read.

    Nothing where there is no manifest.
    """
    if not (folder / commits.RECORD).exists():
        return {}
    content = source.content(source.read(folder))
    return {**manifests.load(folder).sums, source.FILE: hashlib.sha256(content).hexdigest()}


def committed(files: Mapping[str, str]) -> dict[str, str]:
    """Return of all files of a folder, by path, those that change together."""
    return {name: digest for name, digest in files.items() if name.endswith(".parquet") or name == source.FILE}
