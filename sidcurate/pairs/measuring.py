"""What the pixels of pairs say, from the traces that ingest keeps beside the manifest: no raw is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int, Shaped

from sidcurate.align import PairFacts
from sidcurate.align.estimates import Estimate
from sidcurate.isolation import Crew, Failure, map_isolated
from sidcurate.pairs import traces
from sidcurate.pairs.pairing import Match
from sidcurate.pairs.traces import Task
from sidcurate.schemas import Capture, Pair
from sidcurate.tables.bounded import GROUP_ROWS, Packed, written
from sidcurate.tables.rows import Rows, arrow_schema

# Facts of a pair by the name of the value; the standard error stands beside it.
_ESTIMATES = {
    "correlation": "correlation_se",
    "shift_px": "shift_se_px",
    "measured_ratio": "measured_ratio_se",
    "gain_departure": "gain_departure_se",
    "nonlinearity": "nonlinearity_se",
    "moved_fraction": "moved_se",
    "focus_ratio": "focus_se",
}
_VALUES = ("shift_y_px", "shift_x_px", "rotation_deg")
FACTS = (
    "signal",
    "zero_error_dn",
    "zero_error_se_dn",
    *_VALUES,
    *_ESTIMATES,
    *_ESTIMATES.values(),
)

_NEVER_READ = "nobody has read the pixels of both its frames; `sidcurate ingest` does"
_NO_TRACE = (
    "no trace is kept of a frame: it is not Bayer, or the trace was deleted, which `sidcurate ingest` makes again"
)
_SCHEMA = arrow_schema(Pair)


class _Hashes(NamedTuple):
    """Hashes of the short and the long frame of some pairs, null where nobody has read one through."""

    short: pa.Array
    long: pa.Array

    @classmethod
    def of(cls, shorts: pa.Array, longs: pa.Array, captures: Rows[Capture]) -> "_Hashes":
        """Return those of pairs whose frames are given by path."""
        hashes = captures.arrow("sha256")
        places = (captures.places("path", paths) for paths in (shorts, longs))
        return cls(*(hashes.take(pa.array(found, mask=found < 0)) for found in places))

    def traces(self, row: int, directory: Path) -> tuple[Path, Path]:
        """Return where the traces of one pair, both of whose hashes are known, are kept."""
        return traces.path(directory, self.short[row].as_py()), traces.path(directory, self.long[row].as_py())

    @property
    def both(self) -> pa.Array:
        """One word for the two hashes of each pair; null where one is."""
        return pc.binary_join_element_wise(self.short, self.long, " ")


@dataclass(frozen=True)
class Known:
    """Pairs measured before: their rows, and the hashes of the two frames of each that was, as one word."""

    rows: Rows[Pair]
    hashes: pa.Array

    @classmethod
    def nothing(cls) -> "Known":
        """Return that no pair was measured before."""
        return cls(Rows.of(Pair, ()), pa.array([], pa.string()))

    @classmethod
    def of(cls, pairs: Rows[Pair], captures: Rows[Capture]) -> "Known":
        """Return the measured pairs of a manifest whose two hashes are known."""
        hashes = _Hashes.of(pairs.arrow("short_path"), pairs.arrow("long_path"), captures).both
        measured = pairs.arrow("unmeasured_reason").is_null()
        return cls(pairs, pc.if_else(measured, hashes, pa.scalar(None, pa.string())))


@dataclass(frozen=True)
class _Told:
    """Where the facts of some pairs stand, and why some have none.

    Attributes:
        places: rows of what was known, and behind them of what is measured now; -1 where neither is.
        reasons: why nothing was measured; None where it was.
    """

    places: Int[np.ndarray, "pairs"]
    reasons: Shaped[np.ndarray, "pairs"]

    @classmethod
    def of(cls, hashes: _Hashes, known: Known) -> "_Told":
        """Return what is known before anything is measured."""
        places = pc.index_in(hashes.both, value_set=known.hashes, skip_nulls=True).fill_null(-1).to_numpy()
        words = np.array([_NEVER_READ, _NO_TRACE, None], object)
        is_read = hashes.both.is_valid().to_numpy(zero_copy_only=False).astype(int)
        return cls(places.astype(np.int64), words[np.where(places < 0, is_read, 2)])


def measured(
    matches: Sequence[Match],
    captures: Rows[Capture],
    directory: Path,
    known: Known,
    workers: Crew,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Packed:
    """Return the pairs as a packed table, with the facts that their pixels tell, null where they cannot tell.

    Args:
        matches: pairs of the captures.
        captures: captures by which the traces are found.
        directory: folder of the manifest.
        known: pairs measured before.
        workers: who measures.
        progress: called with the stage in words, the count done in it and the count to do.
    """
    hashes = _Hashes.of(
        pa.array([match.short_path for match in matches], pa.string()),
        pa.array([match.long_path for match in matches], pa.string()),
        captures,
    )
    told = _Told.of(hashes, known)
    untold = ((told.places < 0) & hashes.both.is_valid().to_numpy(zero_copy_only=False)).nonzero()[0].tolist()
    rows = [row for row in untold if all(path.is_file() for path in hashes.traces(row, directory))]
    tasks = (Task(row, *hashes.traces(row, directory)) for row in rows)

    def facts_now() -> Iterator[dict[str, Any]]:
        for done, (task, result) in enumerate(map_isolated(traces.measure, tasks, workers), start=1):
            told.places[task.row] = len(known.rows) + done - 1
            told.reasons[task.row] = result.reason if isinstance(result, Failure) else None
            yield {} if isinstance(result, Failure) else as_fields(result)
            progress("measuring pairs", done, len(rows))

    fresh = _as_table(facts_now())
    facts = {name: pa.concat_arrays([known.rows.arrow(name), fresh.column(name).combine_chunks()]) for name in FACTS}
    return Packed(directory / f"{Pair.table}.parquet", written(_SCHEMA, _parts(matches, told, facts, progress)))


def _as_table(facts: Iterator[dict[str, Any]]) -> pa.Table:
    """Return facts by column: as dictionaries, those of a million pairs would take gigabytes."""
    schema = pa.schema([_SCHEMA.field(name) for name in FACTS])
    pieces = [schema.empty_table()]
    while some := list(islice(facts, GROUP_ROWS)):
        pieces.append(pa.Table.from_pylist(some, schema))
    return pa.concat_tables(pieces)


def _parts(
    matches: Sequence[Match], told: _Told, facts: Mapping[str, pa.Array], progress: Callable[[str, int, int], None]
) -> Iterator[pa.Table]:
    """Yield pairs as tables, some at a time, each with the facts that stand at its place."""
    for start in range(0, max(1, len(matches)), GROUP_ROWS):
        some = slice(start, start + GROUP_ROWS)
        places = told.places[some]
        taken = pa.array(places, mask=places < 0)
        columns = {name: column.take(taken) for name, column in facts.items()}
        columns["unmeasured_reason"] = pa.array(told.reasons[some], pa.string())
        for name in Match._fields:
            columns[name] = pa.array([getattr(match, name) for match in matches[some]], _SCHEMA.field(name).type)
        yield pa.Table.from_arrays([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)
        progress("packing pairs", min(start + GROUP_ROWS, len(matches)), len(matches))


def as_fields(facts: PairFacts) -> dict[str, Any]:
    """Return the facts under the names of `schemas.Pair`."""
    fields: dict[str, Any] = {"signal": facts.signal}
    for name in _VALUES:
        fields[name] = _value(getattr(facts, name))
    for name, error in _ESTIMATES.items():
        estimate: Estimate | None = getattr(facts, name)
        fields |= {name: _value(estimate), error: None if estimate is None else estimate.se}
    zeros = facts.zero_error_dn
    fields["zero_error_dn"] = None if zeros is None else tuple(zero.value for zero in zeros)
    fields["zero_error_se_dn"] = None if zeros is None else tuple(zero.se for zero in zeros)
    return fields


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
