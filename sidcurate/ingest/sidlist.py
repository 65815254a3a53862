"""SID's own lists of pairs -> captures and pairs, by what names and columns say: no raw is needed.

A row names a short and a long frame and states one ISO and one f-number. These are the short frame's; a long frame has
those of most of its rows. The first digit of a scene is its part of the split. Scenes that SID's authors withdrew are
left out, with their reason.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sidcurate import manifests
from sidcurate.csvfile import read_text
from sidcurate.errors import UsageError
from sidcurate.exclusions import Exclusion, exclusions
from sidcurate.exposure import seconds_in_name
from sidcurate.pairs import pairing, splits
from sidcurate.schemas import Capture, Pair, Split, Unpaired
from sidcurate.source import ToldPair

PART_BY_DIGIT: dict[str, Split] = {"0": "train", "1": "test", "2": "val"}

_NAME = r"_\d{2}_\d{1,6}(?:\.\d{1,6})?s\.\w+"
_ROW = re.compile(
    rf"(?:\./)?(?P<folder>[^/ ]+)/(?P<short>short/(?P<scene>[012]\d{{4}}){_NAME}) "
    rf"(?:\./)?(?P=folder)/(?P<long>long/(?P=scene){_NAME}) "
    r"ISO(?P<iso>[1-9]\d{0,6}) F(?P<f_number>(?=.*[1-9])\d{1,3}(?:\.\d{1,2})?)"
)
_FORM = (
    "FOLDER/short/00001_00_0.04s.ARW FOLDER/long/00001_00_10s.ARW ISO200 F8, with a scene that starts with 0, 1 or 2"
)
_TWO_ISOS = re.compile(r".* ISO\d+ ISO\d+")
# In a quarter of LED's rows a short of 8 to 32 times the ISO would be as long as its long frame.
_WHY_NOT_LED = (
    "has an ISO for each frame, as LED's lists do: the numbers in their names are no exposure times, so nothing tells "
    "a ratio. Ingest the raws themselves"
)


@dataclass(frozen=True)
class Row:
    """One line of a list; the paths are relative to `folder`, as they are when that folder is ingested."""

    folder: str
    short: str
    long: str
    scene_id: str
    iso: int
    f_number: float


@dataclass(frozen=True)
class Listed:
    """What some lists say: all their captures; the pairs; and the captures of the scenes left out."""

    captures: list[Capture]
    pairs: list[Pair]
    unpaired: list[Unpaired]


def read(paths: Sequence[Path]) -> list[Row]:
    """Return the rows of some lists of one folder.

    Raises:
        UsageError: a file cannot be read or is no list of SID's, it names a frame twice, or the folders differ.
    """
    rows: list[Row] = []
    seen: dict[str, str] = {}
    for path in paths:
        for where, row in _rows(path):
            if row.short in seen:
                raise UsageError(f"{where} names {row.short}, as {seen[row.short]} does; give each row once")
            seen[row.short] = where
            rows.append(row)
    folders = sorted({row.folder for row in rows})
    if len(folders) != 1:
        found = f"the lists name raws of {' and '.join(folders)}" if folders else "the lists have no rows"
        raise UsageError(f"{found}; give the lists of one folder, such as Sony_train_list.txt and Sony_test_list.txt")
    return rows


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        columns = " ".join(line.split())
        if columns:
            where = f"{path.name} line {number}"
            yield where, _row(columns, where)


def _row(columns: str, where: str) -> Row:
    found = _ROW.fullmatch(columns)
    if found is None:
        why = _WHY_NOT_LED if _TWO_ISOS.fullmatch(columns) else f"is not of the form {_FORM}"
        raise UsageError(f"{where} {why}: {columns[:200]!r}")
    return Row(
        found["folder"], found["short"], found["long"], found["scene"], int(found["iso"]), float(found["f_number"])
    )


def ingest_lists(rows: Sequence[Row], directory: Path, *, dry_run: bool = False) -> Listed:
    """Write the manifest of some lists: captures that nobody has read yet, their pairs and their split.

    Args:
        rows: what `read` returned.
        directory: folder of the manifest; its name is the device.
        dry_run: write nothing.

    Raises:
        UsageError: the manifest is there and is about raws that were read.
        IntegrityError: the manifest that is there is damaged.
    """
    _check_nothing_is_lost(directory)
    result = listed(rows, directory.name)
    if not dry_run:
        manifests.save(directory, {Capture: result.captures, Pair: result.pairs, Unpaired: result.unpaired})
    return result


def listed(rows: Sequence[Row], device: str) -> Listed:
    """Return the captures and pairs of some rows."""
    left_out = {row.scene_id: row for row in exclusions() if row.folder == rows[0].folder}
    scene_of = {path: row.scene_id for row in rows for path in (row.short, row.long)}
    captures = sorted(_captures(rows, device), key=lambda capture: capture.path)
    told = [
        ToldPair(short=row.short, long=row.long, scene_id=row.scene_id) for row in rows if row.scene_id not in left_out
    ]
    kept = [capture for capture in captures if scene_of[capture.path] not in left_out]
    pairs = [match.record() for match in pairing.pair_as_told(kept, told, by="SID's list").pairs]
    parts = {row.scene_id: PART_BY_DIGIT[row.scene_id[0]] for row in told}
    unpaired = [
        _left_out(capture, left_out[scene_of[capture.path]])
        for capture in captures
        if scene_of[capture.path] in left_out
    ]
    return Listed(captures, splits.apply(pairs, parts), unpaired)


def _captures(rows: Iterable[Row], device: str) -> Iterator[Capture]:
    settings: dict[str, Counter[tuple[int, float]]] = {}
    for row in rows:
        for path in (row.short, row.long):
            settings.setdefault(path, Counter())[row.iso, row.f_number] += 1
    for path, stated in settings.items():
        (iso, f_number), _ = stated.most_common(1)[0]
        yield _capture(path, device, iso, f_number)


def _capture(path: str, device: str, iso: int, f_number: float) -> Capture:
    time = seconds_in_name(PurePosixPath(path).stem)
    exposure: dict[str, Any] = {"exposure_num": time.numerator, "exposure_den": time.denominator} if time else {}
    seconds = float(time) if time else None
    return Capture(
        device=device,
        path=path,
        size_bytes=None,
        status="listed",
        **exposure,
        exposure_time_s=seconds,
        exposure_source="name",
        name_exposure_time_s=seconds,
        iso=iso,
        iso_source="name",
        f_number=f_number,
        f_number_source="name",
    )


def _left_out(capture: Capture, why: Exclusion) -> Unpaired:
    reason = f"scene {why.scene_id} is left out: {why.reason} ({why.source})"
    return Unpaired(device=capture.device, path=capture.path, scene_id=why.scene_id, reason=reason)


def _check_nothing_is_lost(directory: Path) -> None:
    if not (directory / manifests.SUMS).exists():
        return
    if any(capture.status != "listed" for capture in manifests.load(directory).captures):
        raise UsageError(
            f"{directory} is the manifest of raws that were read, and a list knows less of them; name another with "
            "--device"
        )
