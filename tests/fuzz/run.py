"""Read damaged files as ingest does, and say of each how it ended."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from sidcurate.ingest.reading import read_captures
from sidcurate.isolation import Crew
from sidcurate.places.place import Folder
from sidcurate.places.scan import RawFile
from sidcurate.schemas import Capture
from sidcurate.tables.rows import table_of
from tests.fuzz.mutations import mutate

Ending = Literal["read", "refused", "crashed", "stopped", "out of memory", "BROKEN"]

# A row with these words was bought with a worker: bounded, as promised, but worth knowing.
_DEATHS: dict[str, Ending] = {
    "the reader crashed": "crashed",
    "the reader took longer": "stopped",
    "the reader ran out": "out of memory",
}
_LARGEST_ROW_BYTES = 16_384
_SLOW_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """How the reading of one damaged file ended; `why` is the row's reason, or what is wrong with the row."""

    number: int
    name: str
    ending: Ending
    why: str | None


def damaged(numbers: Sequence[int], seeds: Mapping[str, bytes], seed: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield a number, the name of the whole file and the damaged bytes of each number."""
    names = sorted(seeds)
    for number in numbers:
        name = names[number % len(names)]
        yield number, name, mutate(seeds[name], (seed, number))


def read_damaged(
    files: Sequence[tuple[int, str, bytes]], folder: Path, workers: Crew, manifest: Path
) -> Iterator[Outcome]:
    """Yield the outcome of each file, as they come: written into a folder, read in the workers, removed."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        _write(folder / f"{number:06d}{Path(name).suffix or '.dng'}", content) for number, name, content in files
    ]
    waiting = {task.path: (number, name, task) for (number, name, _), task in zip(files, written, strict=True)}
    last = time.monotonic()
    for file, row in read_captures(Folder(folder), written, "fuzz", manifest, workers=workers):
        now = time.monotonic()
        number, name, task = waiting.pop(file.path)
        wrong = _what_is_wrong(task, file, row, now - last)
        yield Outcome(number, name, "BROKEN" if wrong else _ending(row), wrong or row.status_reason)
        last = now
        (folder / file.path).unlink()
    for number, name, _ in waiting.values():
        yield Outcome(number, name, "BROKEN", "no row came")


def _write(path: Path, content: bytes) -> RawFile:
    path.write_bytes(content)
    status = path.stat()
    return RawFile(path.name, status.st_size, status.st_mtime_ns)


def _what_is_wrong(task: RawFile, file: RawFile, row: Capture, seconds: float) -> str | None:
    text = row.model_dump_json()
    if file != task or row.path != task.path:
        return f"the row of {row.path} came for {task.path}"
    if Capture.model_validate_json(text) != row:
        return "the row does not come back as it was written"
    try:
        table_of(Capture, [row])
    except (OverflowError, pa.ArrowException) as error:
        return f"no table holds the row ({error})"
    if len(text) > _LARGEST_ROW_BYTES:
        return f"the row has {len(text)} bytes"
    if (row.status_reason or "").startswith("the reader failed"):
        return row.status_reason
    stopped = _ending(row) == "stopped"
    return f"it took {seconds:.0f} s" if seconds > _SLOW_S and not stopped else None


def _ending(row: Capture) -> Ending:
    reason = row.status_reason or ""
    deaths = (ending for words, ending in _DEATHS.items() if reason.startswith(words))
    return "read" if row.status == "ok" else next(deaths, "refused")
