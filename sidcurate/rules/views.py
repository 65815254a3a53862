"""What a rule is shown: the rows of one manifest, by column, and the records of those that it words a fault for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from sidcurate.errors import IntegrityError
from sidcurate.schemas import Capture, FileState, Pair, SubjectKind, Unpaired

if TYPE_CHECKING:
    # They load libraries of arrays, which the command that only lists the rules does without.
    import pyarrow as pa

    from sidcurate.tables.columns import Column, Numbers, Where
    from sidcurate.tables.rows import Rows

BODY_FACTS = ("make", "model", "serial", "sensor size")
R = TypeVar("R", Capture, Pair, Unpaired, FileState)


@dataclass(frozen=True)
class Tables:
    """All rows of one manifest, as such, as records or as Arrow tables, and what the disk says of its raws.

    `files` is None when nobody looked. `folder` is where the raws should be, for messages only.
    """

    device: str
    captures: "Rows[Capture] | Sequence[Capture] | pa.Table" = ()
    pairs: "Rows[Pair] | Sequence[Pair] | pa.Table" = ()
    unpaired: "Rows[Unpaired] | Sequence[Unpaired] | pa.Table" = ()
    files: "Sequence[FileState] | pa.Table | None" = None
    folder: str | None = None

    @cached_property
    def capture_rows(self) -> "Rows[Capture]":
        """The captures, by column."""
        return _rows(Capture, self.captures)

    @cached_property
    def pair_rows(self) -> "Rows[Pair]":
        """The pairs, by column."""
        return _rows(Pair, self.pairs)

    @cached_property
    def unpaired_rows(self) -> "Rows[Unpaired]":
        """The captures in no pair, by column."""
        return _rows(Unpaired, self.unpaired)

    @cached_property
    def file_rows(self) -> "Rows[FileState]":
        """What the disk says, by column; no rows where nobody looked."""
        return _rows(FileState, () if self.files is None else self.files)

    @cached_property
    def frames(self) -> "tuple[Numbers, Numbers]":
        """Row numbers of the short and of the long capture of each pair.

        Raises:
            IntegrityError: a pair names a capture that the manifest does not have.
        """
        sides = [self.capture_rows.places("path", self.pair_rows.arrow(side)) for side in ("short_path", "long_path")]
        absent = ((sides[0] < 0) | (sides[1] < 0)).nonzero()[0]
        if len(absent):
            (pair,) = self.pair_rows.take(absent[:1])
            path = pair.short_path if sides[0][absent[0]] < 0 else pair.long_path
            raise IntegrityError(
                f"pair {pair.pair_id} of {self.device} names {path!r}, which is no capture of the manifest; "
                f"run `sidcurate pair --device {self.device}`"
            )
        return sides[0], sides[1]

    @cached_property
    def originals(self) -> Mapping[str, str]:
        """The first path, in alphabetical order, by each hash that several captures share."""
        paths: dict[str, list[str]] = {}
        shared = self.capture_rows.repeated("sha256")
        for batch in self.capture_rows.batches() if shared else ():
            copies = batch.take(batch.sha256.is_one_of(shared))
            for path, sha256 in zip(copies.path.values, copies.sha256.values, strict=True):
                paths.setdefault(sha256, []).append(path)
        return {sha256: min(sharing) for sha256, sharing in paths.items()}

    @cached_property
    def bodies(self) -> Mapping[str, Counter[str]]:
        """How many readable captures have each value of each body fact; unknown ones are not counted."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in BODY_FACTS}
        for batch in self.capture_rows.batches():
            for name, values in body_facts(batch).items():
                counts[name].update(values.only(batch.status.is_one_of(("ok", "header"))).known_values())
        return counts

    @cached_property
    def usual_bodies(self) -> Mapping[str, Sequence[str]]:
        """The most frequent values of each body fact, sorted; more than one is a tie."""
        most = {name: max(counts.values(), default=0) for name, counts in self.bodies.items()}
        return {name: sorted(v for v, n in counts.items() if n == most[name]) for name, counts in self.bodies.items()}


def _rows(model: type[R], given: "Rows[R] | Sequence[R] | pa.Table") -> "Rows[R]":
    from sidcurate.tables.rows import Rows

    return Rows.of(model, given)


def body_facts(captures: "Captures | Rows[Capture]") -> "dict[str, Column]":
    """Return what is known of the bodies that took captures, in words."""
    named = {"make": captures.camera_make, "model": captures.camera_model, "serial": captures.camera_serial}
    known = {name: values.only(~values.equals("")) for name, values in named.items()}
    return {**known, "sensor size": captures.width.joined(captures.height, "x")}


@dataclass(frozen=True)
class PairView:
    """A pair with its two captures."""

    pair: Pair
    short: Capture
    long: Capture


@dataclass(frozen=True)
class Captures:
    """Captures of one manifest. A fact of all of them is an attribute: `captures.iso` is a column."""

    rows: "Rows[Capture]"
    tables: Tables

    def views(self, where: "Where") -> Sequence[Capture]:
        """Return the records of some of the rows."""
        return self.rows.views(where)

    def __getattr__(self, fact: str) -> "Column":
        return getattr(self.rows, fact)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Pairs:
    """Pairs of one manifest and, row by row, their two captures. Facts are attributes, as of `Captures`."""

    rows: "Rows[Pair]"
    short: "Rows[Capture]"
    long: "Rows[Capture]"

    def views(self, where: "Where | None" = None) -> Sequence[PairView]:
        """Return the records of all the rows, or of some."""
        where = ~self.rows.nowhere() if where is None else where
        sides = (rows.views(where) for rows in (self.rows, self.short, self.long))
        return [PairView(*row) for row in zip(*sides, strict=True)]

    def __getattr__(self, fact: str) -> "Column":
        return getattr(self.rows, fact)  # type: ignore[no-any-return]


def captures_of(tables: Tables) -> Iterator[Captures]:
    """Yield the captures of a manifest, many at a time."""
    for rows in tables.capture_rows.batches():
        yield Captures(rows, tables)


def pairs_of(tables: Tables) -> Iterator[Pairs]:
    """Yield the pairs of a manifest with their captures, many at a time.

    Raises:
        IntegrityError: a pair names a capture that the manifest does not have.
    """
    short, long = tables.frames
    for rows in tables.pair_rows.batches():
        frames = (tables.capture_rows.take(side[rows.numbers]) for side in (short, long))
        yield Pairs(rows, *frames)


@dataclass(frozen=True)
class ManifestView:
    """All tables, and the names of the subjects with an error so far."""

    tables: Tables
    faulty: Mapping[SubjectKind, Set[str]]

    @property
    def usable(self) -> "Rows[Pair]":
        """The pairs that no error concerns, themselves or through a capture."""
        pairs = self.tables.pair_rows
        faulty = pairs.named("pair_id", self.faulty.get("pair", ()))
        for side in ("short_path", "long_path"):
            faulty |= pairs.named(side, self.faulty.get("capture", ()))
        return pairs.take(~faulty)
