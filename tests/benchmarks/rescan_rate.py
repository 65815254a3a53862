"""What a folder costs that was ingested before and has not changed, beside listing it."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sidcurate import manifests, source
from sidcurate.ingest import reading
from sidcurate.ingest.folder import ingest
from sidcurate.pairs import traces
from sidcurate.places.scan import scan
from sidcurate.schemas import Capture, Pair
from tests import factories
from tests.benchmarks.timing import Row, rounds, row

SCENES = 5000


def run() -> Iterator[Row]:
    """Yield the ratios of looking for what is new, and of a whole second ingest, to scandir and stat."""
    with tempfile.TemporaryDirectory() as folder:
        raws, directory = Path(folder) / "raws", Path(folder) / factories.DEVICE
        make_ingested(raws, directory)
        gc.freeze()  # What other benchmarks left is no part of a scan.
        seconds = rounds(
            {
                "new": lambda: new_files(raws, directory),
                "again": lambda: ingest(raws, directory, jobs=1),
                "listing": lambda: listing(raws),
            }
        )
    files, peer = 2 * SCENES, "os.scandir and stat"
    what = f"finding that none of {files:,} raws is new: scan and comparison"
    yield row(what, peer, seconds["new"], seconds["listing"], files, "files/s")
    what = "the whole second ingest of them: tables verified and written, pairs formed anew, no raw opened"
    yield row(what, peer, seconds["again"], seconds["listing"], files, "files/s")


def make_ingested(raws: Path, directory: Path) -> None:
    """Write names of raws, and the manifest that an ingest of them would have left."""
    tables = factories.session(*(factories.scene(number) for number in range(SCENES)))
    for capture in tables.captures:
        path, trace = raws / capture.path, traces.path(directory, capture.sha256)
        for file in (path, trace):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    captures = [capture.model_copy(update={"size_bytes": 0}) for capture in tables.captures]
    seen = {file.path: (file.size_bytes, file.mtime_ns) for file in scan(raws).raws}
    told = source.Source(root=str(raws.resolve()), reader=reading.reader(), seen=seen)
    manifests.save(directory, {Capture: captures, Pair: tables.pairs}, source=told)
    if ingest(raws, directory, jobs=1).read:
        raise RuntimeError("the manifest is not one that an ingest leaves")


def new_files(raws: Path, directory: Path) -> int:
    """Count the raws that are not as the last ingest saw them."""
    seen = source.read(directory).seen
    return sum(seen.get(file.path) != (file.size_bytes, file.mtime_ns) for file in scan(raws).raws)


def listing(raws: Path) -> int:
    """List the folders of the raws and look at each file."""
    found = 0
    for folder in raws.iterdir():
        with os.scandir(folder) as entries:
            found += sum(entry.stat().st_mtime_ns > 0 for entry in entries)
    return found
