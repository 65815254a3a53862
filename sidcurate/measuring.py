"""What the pixels of pairs say, from the traces that ingest keeps beside the manifest: no raw is read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sidcurate import traces
from sidcurate.align import PairFacts
from sidcurate.align.estimates import Estimate
from sidcurate.isolation import Crew, Failure, map_isolated
from sidcurate.pairing import Match
from sidcurate.rows import Rows, arrow_schema
from sidcurate.schemas import SCHEMA_VERSION, Capture, Pair
from sidcurate.traces import Task

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
_NO_TRACE = "no trace is kept of one of the frames: they are not both Bayer, or it was deleted"


@dataclass(frozen=True)
class Known:
    """Pairs measured before: their rows, and which of them has the hashes of a short and a long frame."""

    rows: Rows[Pair]
    places: Mapping[tuple[str, str], int]

    @classmethod
    def nothing(cls) -> "Known":
        """Return that no pair was measured before."""
        return cls(Rows.of(Pair, ()), {})

    @classmethod
    def of(cls, pairs: Rows[Pair], captures: Rows[Capture]) -> "Known":
        """Return the measured pairs of a manifest whose two hashes are known."""
        hashes = dict(captures.facts("path", "sha256"))
        places: dict[tuple[str, str], int] = {}
        for place, (short, long, reason) in enumerate(pairs.facts("short_path", "long_path", "unmeasured_reason")):
            key = hashes.get(short), hashes.get(long)
            if reason is None and key[0] and key[1]:
                places[key[0], key[1]] = place
        return cls(pairs, places)


def measured(
    matches: Sequence[Match],
    captures: Iterable[Capture],
    directory: Path,
    known: Known,
    workers: Crew,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pa.Table:
    """Return the pairs as a table, with the facts that their pixels tell, null where they cannot tell.

    Args:
        matches: pairs of the captures.
        captures: captures by which the traces are found.
        directory: folder of the manifest.
        known: pairs measured before.
        workers: who measures.
        progress: called with the count of pairs measured and of pairs to measure.
    """
    hashes = {capture.path: capture.sha256 or "" for capture in captures}
    keys = [(hashes[match.short_path], hashes[match.long_path]) for match in matches]
    # Rows of what was known, and behind them of what is measured now; none where neither is.
    places = [known.places.get(key) for key in keys]
    fresh: list[dict[str, Any]] = []
    reasons = [None if place is not None else _why_unmeasured(key) for key, place in zip(keys, places, strict=True)]
    tasks = list(_tasks({row: key for row, key in enumerate(keys) if places[row] is None and all(key)}, directory))
    for done, (task, result) in enumerate(map_isolated(traces.measure, tasks, workers), start=1):
        places[task.row] = len(known.rows) + len(fresh)
        reasons[task.row] = result.reason if isinstance(result, Failure) else None
        fresh.append({} if isinstance(result, Failure) else as_fields(result))
        progress(done, len(tasks))
    return _table(matches, reasons, pa.array(places, pa.int64()), known.rows, fresh)


def _why_unmeasured(key: tuple[str, str]) -> str:
    return _NO_TRACE if all(key) else _NEVER_READ


def _table(
    matches: Sequence[Match],
    reasons: Sequence[str | None],
    places: pa.Array,
    known: Rows[Pair],
    fresh: Sequence[Mapping[str, Any]],
) -> pa.Table:
    """Return pairs column by column: of a million, one at a time is in Python's own words."""
    schema = arrow_schema(Pair)

    def column(name: str, kind: pa.DataType) -> pa.Array:
        if name == "schema_version":
            return pa.array([SCHEMA_VERSION] * len(matches), kind)
        if name == "unmeasured_reason":
            return pa.array(reasons, kind)
        if name in FACTS:
            both = [known.arrow(name), pa.array([facts.get(name) for facts in fresh], kind)]
            return pa.concat_arrays(both).take(places)
        return pa.array([getattr(match, name) for match in matches], kind)

    return pa.Table.from_arrays([column(field.name, field.type) for field in schema], schema=schema)


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


def _tasks(keys: Mapping[int, tuple[str, str]], directory: Path) -> Iterator[Task]:
    for row, hashes in keys.items():
        short, long = (traces.path(directory, sha256) for sha256 in hashes)
        if short.is_file() and long.is_file():
            yield Task(row, short, long)


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
