"""What the pixels of pairs say, from the traces that ingest keeps beside the manifest: no raw is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidcurate.align import PairFacts, measure_pair, trace
from sidcurate.align.estimates import Estimate
from sidcurate.durable import sweep
from sidcurate.isolation import Crew, Failure, map_isolated
from sidcurate.schemas import Capture, Pair

_FOLDER = "traces"
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

_NEVER_READ = {"unmeasured_reason": "nobody has read the pixels of both its frames; `sidcurate ingest` does"}
_NO_TRACE = {"unmeasured_reason": "no trace is kept of one of the frames: they are not both Bayer, or it was deleted"}


@dataclass(frozen=True)
class _Task:
    pair_id: str
    short: Path
    long: Path


def trace_path(directory: Path, sha256: str) -> Path:
    """Return where the trace of a raw is kept: under the hash of the raw, so that it can always be made again."""
    return directory / _FOLDER / f"{sha256}.npz"


def sweep_traces(directory: Path) -> None:
    """Remove what an ingest that died has left half-written beside the traces."""
    sweep(directory / _FOLDER)


def measured(
    pairs: Sequence[Pair],
    captures: Sequence[Capture],
    directory: Path,
    known: Mapping[tuple[str, str], Pair],
    workers: Crew,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Pair]:
    """Return the pairs with the facts that their pixels tell, None where they cannot tell.

    Args:
        pairs: pairs of the captures.
        captures: captures by which the traces are found.
        directory: folder of the manifest.
        known: pairs measured before, by the hashes of their short and long frame.
        workers: who measures.
        progress: called with the count of pairs measured and of pairs to measure.
    """
    hashes = {capture.path: capture.sha256 or "" for capture in captures}
    keys = {pair.pair_id: (hashes[pair.short_path], hashes[pair.long_path]) for pair in pairs}
    facts: dict[str, dict[str, Any]] = {}
    tasks = list(_tasks({name: key for name, key in keys.items() if all(key) and key not in known}, directory))
    for done, (task, result) in enumerate(map_isolated(_measure, tasks, workers), start=1):
        facts[task.pair_id] = {"unmeasured_reason": result.reason} if isinstance(result, Failure) else as_fields(result)
        progress(done, len(tasks))
    kept = ((pair, known.get(keys[pair.pair_id])) for pair in pairs)
    reasons = {name: _NO_TRACE if all(key) else _NEVER_READ for name, key in keys.items()}
    return [
        pair.model_copy(update=_kept(old) if old else facts.get(pair.pair_id, reasons[pair.pair_id]))
        for pair, old in kept
    ]


def by_hashes(pairs: Sequence[Pair], captures: Sequence[Capture]) -> dict[tuple[str, str], Pair]:
    """Return the measured pairs by the hashes of their short and long frame, where both are known."""
    hashes = {capture.path: capture.sha256 for capture in captures}
    found = {(hashes.get(pair.short_path), hashes.get(pair.long_path)): pair for pair in pairs}
    return {
        (short, long): pair
        for (short, long), pair in found.items()
        if short and long and pair.unmeasured_reason is None
    }


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


def _tasks(keys: Mapping[str, tuple[str, str]], directory: Path) -> Iterator[_Task]:
    for pair_id, hashes in keys.items():
        short, long = (trace_path(directory, sha256) for sha256 in hashes)
        if short.is_file() and long.is_file():
            yield _Task(pair_id, short, long)


def _measure(task: _Task) -> PairFacts:
    return measure_pair(trace.load(task.short), trace.load(task.long))


def _kept(pair: Pair) -> dict[str, Any]:
    return {name: getattr(pair, name) for name in FACTS}


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
