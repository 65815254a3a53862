"""Captures -> Pairs: which frames show the same scene, which of them is the long one, and why.

Folders, SID-style names and time gaps say which frames belong together. ISO, aperture, focal length and body do not:
a difference there is for the rules to judge.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sidcurate.csvfile import read_csv
from sidcurate.errors import UsageError
from sidcurate.exposure import exposure_ratio, format_seconds, light
from sidcurate.pairs.grouping import Scene, in_order, role_of, scene_name, scenes, sid_name
from sidcurate.schemas import SCHEMA_VERSION, Capture, Pair, Split
from sidcurate.source import DEFAULT_SCENE_GAP_S, ToldPair


class Match(NamedTuple):
    """What pairing says of a pair, under the names of `Pair`: a million of these fit where records would not."""

    device: str
    pair_id: str
    scene_id: str
    burst_index: int
    short_path: str
    long_path: str
    reason: str
    exposure_ratio: float | None
    split: Split | None = None
    schema_version: int = SCHEMA_VERSION

    def record(self) -> Pair:
        """Return the pair as a record, of whose pixels nothing is known."""
        return Pair(**self._asdict())


class Leftover(NamedTuple):
    """A capture that is in no pair, and why, under the names of `Unpaired`."""

    device: str
    path: str
    reason: str
    scene_id: str | None = None
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Pairing:
    """All pairs, and every other capture with the reason why it is in none."""

    pairs: list[Match]
    unpaired: list[Leftover]


def pair(
    captures: Sequence[Capture],
    scene_gap_s: float = DEFAULT_SCENE_GAP_S,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pairing:
    """Return the pairs that folders, names and times tell.

    Args:
        captures: rows of one manifest.
        scene_gap_s: seconds between the end of a frame and the start of the next that part two scenes.
        progress: called with the count of captures whose scene is done, and of all.
    """
    pairs: list[Match] = []
    unreadable = [capture for capture in captures if capture.status == "unreadable"]
    unpaired = [_unpaired(capture, "its pixels could not be read") for capture in unreadable]
    readable = [capture for capture in captures if capture.status != "unreadable"]
    alone: list[Scene] = []
    done = 0
    progress(done, len(readable))  # To tell the scenes of many captures takes its time.
    for scene in _with_unique_ids(scenes(readable, scene_gap_s)):
        if len(scene.captures) == 1:
            alone.append(scene)
        else:
            found, left = _pair_scene(scene)
            pairs += found
            unpaired += left
        done += len(scene.captures)
        progress(done, len(readable))
    unpaired += _alone(alone, captures, scene_gap_s)
    return Pairing(sorted(pairs, key=lambda row: row.pair_id), sorted(unpaired, key=lambda row: row.path))


def _with_unique_ids(found: Iterable[Scene]) -> Iterator[Scene]:
    """Yield scenes whose names differ: the folders "a/b" and "a-b" would give two scenes one name."""
    seen: Counter[str] = Counter()
    for scene in found:
        seen[scene.scene_id] += 1
        count = seen[scene.scene_id]
        yield scene if count == 1 else replace(scene, scene_id=f"{scene.scene_id}~{count}")


def pair_as_told(captures: Sequence[Capture], told: Sequence[ToldPair], by: str = "the CSV of pairs") -> Pairing:
    """Return the pairs that `by` tells and no others.

    Raises:
        UsageError: what `check_told` refuses.
    """
    by_path = {capture.path: capture for capture in captures}
    check_told(told, by_path, by)
    longs = {row.scene_id: row.long for row in told}
    shorts: dict[str, list[Capture]] = {}
    for row in told:
        shorts.setdefault(row.scene_id, []).append(by_path[row.short])
    pairs = [
        row
        for scene_id, of_scene in sorted(shorts.items())
        for row in _pairs(scene_id, of_scene, by_path[longs[scene_id]], f"{by} says so")
    ]
    named = {path for row in told for path in (row.short, row.long)}
    return Pairing(pairs, [_unpaired(c, f"not named in {by}") for c in captures if c.path not in named])


def check_told(told: Sequence[ToldPair], paths: Container[str], by: str = "the CSV of pairs") -> None:
    """Refuse rows that cannot be pairs of these captures.

    Raises:
        UsageError: a row names an unknown capture or the same frame twice, a row stands twice, a scene has two long
            frames, or a frame stands in two scenes.
    """
    longs = {row.scene_id: row.long for row in told}
    scene_of: dict[str, str] = {}
    seen: set[ToldPair] = set()
    for number, row in enumerate(told, start=1):
        problem = _why_no_pair(row, paths, longs, scene_of)
        if row in seen:
            problem = "it stands there twice"
        if problem:
            raise UsageError(f"row {number} of {by}: {problem} (`sidcurate pair` without --pairs forgets a kept CSV)")
        seen.add(row)


def _why_no_pair(
    row: ToldPair, paths: Container[str], longs: Mapping[str, str], scene_of: dict[str, str]
) -> str | None:
    """Say what is wrong with a row; note the scene of its frames in `scene_of`."""
    for path in (row.short, row.long):
        if path not in paths:
            return f"{path!r} is no capture of this manifest; paths are relative to the ingested folder"
        if scene_of.setdefault(path, row.scene_id) != row.scene_id:
            return f"{path!r} stands in scene {scene_of[path]} too; in two scenes it could be trained and tested on"
    if row.short == row.long:
        return "short and long are the same file"
    if row.long != longs[row.scene_id]:
        return f"scene {row.scene_id} has two long frames; give each long frame a scene_id of its own"
    return None


def read_told_pairs(path: Path) -> list[ToldPair]:
    """Return the rows of a CSV with the columns short, long and, if wanted, scene_id (by default the long's name).

    Raises:
        UsageError: the file cannot be read or a column is missing.
    """
    rows = read_csv(path, ("short", "long"), also=" (and, if wanted, scene_id)")
    return [
        ToldPair(
            short=row["short"],
            long=row["long"],
            scene_id=scene_name(row.get("scene_id") or row["long"].rpartition(".")[0] or row["long"]),
        )
        for _, row in rows
    ]


def _alone(found: Sequence[Scene], captures: Sequence[Capture], scene_gap_s: float) -> Iterator[Leftover]:
    """Yield the one frame of each scene, with the names of those of its scene that could not be read."""
    lost = _unreadable_beside(captures, scene_gap_s) if found else {}
    for scene in found:
        (capture,) = scene.captures
        names = lost.get(capture.path, ())
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        but = f"but for {names[0]}{others}, which could not be read" if names else f"({scene.why})"
        yield _unpaired(capture, f"alone in its scene {but}", scene.scene_id)


def _unreadable_beside(captures: Sequence[Capture], scene_gap_s: float) -> Mapping[str, Sequence[str]]:
    """Return the names of the unreadable frames of each capture's scene, as far as names and times tell them."""
    told = [each for each in captures if each.status != "unreadable" or each.captured_at or sid_name(each)]
    if all(each.status != "unreadable" for each in told):
        return {}
    beside = {}
    for scene in scenes(told, scene_gap_s):
        names = sorted(PurePosixPath(each.path).name for each in scene.captures if each.status == "unreadable")
        beside.update({each.path: names for each in scene.captures if names})
    return beside


def _pair_scene(scene: Scene) -> tuple[list[Match], list[Leftover]]:
    long = _long_frame(scene.captures)
    if long is None:
        reason = "no frame of its scene has an exposure time: none can be the long one"
        return [], [_unpaired(capture, reason, scene.scene_id) for capture in scene.captures]
    rest = sorted((capture for capture in scene.captures if capture is not long), key=in_order)
    has_shorter = any(_is_shorter(capture, long) for capture in rest)
    shorts, unpaired = [], []
    for capture in rest:
        reason_against = _why_not_short(capture, long, has_shorter=has_shorter)
        if reason_against:
            unpaired.append(_unpaired(capture, reason_against, scene.scene_id))
        else:
            shorts.append(capture)
    longest = f"{format_seconds(long.exposure_time_s or 0)} is the longest of its {len(scene.captures)} exposures"
    return _pairs(scene.scene_id, shorts, long, f"{scene.why}; {longest}"), unpaired


def _why_not_short(capture: Capture, long: Capture, *, has_shorter: bool) -> str | None:
    """Say why a frame is not a short of its scene; None when it is one.

    Two frames of equal exposure are still a pair when the scene has nothing shorter: its ratio of 1 is for the rules.
    """
    role = role_of(capture)
    if capture.exposure_time_s is None and role != "short":
        return "its exposure time is unknown: it may be a short or a long frame"
    if role == "long" or (has_shorter and role is None and not _is_shorter(capture, long)):
        return f"a spare long frame: {PurePosixPath(long.path).name} is the long one of its scene"
    return None


def _long_frame(captures: Sequence[Capture]) -> Capture | None:
    """Return the longest exposure; among equals the one that promises most light, then the first."""
    in_long_folder = [capture for capture in captures if role_of(capture) == "long"]
    candidates = [c for c in in_long_folder or captures if c.exposure_time_s and role_of(c) != "short"]
    return min(candidates, key=lambda c: (-(c.exposure_time_s or 0), -_promised_light(c), in_order(c)), default=None)


def _pairs(scene_id: str, shorts: Sequence[Capture], long: Capture, reason: str) -> list[Match]:
    bursts = _burst_indices(shorts)
    return [
        Match(
            device=short.device,
            pair_id=name,
            scene_id=scene_id,
            burst_index=burst,
            short_path=short.path,
            long_path=long.path,
            reason=reason,
            exposure_ratio=_ratio(short, long),
        )
        for short, burst, name in zip(shorts, bursts, _pair_ids(scene_id, shorts, bursts), strict=True)
    ]


def _burst_indices(shorts: Sequence[Capture]) -> list[int]:
    """Return SID's burst number where the name has one, else the count of earlier shorts of the same exposure."""
    seen: Counter[float | None] = Counter()
    indices = []
    for short in shorts:
        match = sid_name(short)
        indices.append(int(match["burst"]) if match else seen[short.exposure_time_s])
        seen[short.exposure_time_s] += 1
    return indices


def _pair_ids(scene_id: str, shorts: Sequence[Capture], bursts: Sequence[int]) -> list[str]:
    """Return `scene_burst`, made unique by the exposure (SID has a burst at each), then by a running number."""
    ids = [f"{scene_id}_{burst:02d}" for burst in bursts]
    shared = {name for name, count in Counter(ids).items() if count > 1}
    ids = [
        f"{name}_{short.exposure_time_s:.4g}s" if name in shared and short.exposure_time_s else name
        for name, short in zip(ids, shorts, strict=True)
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(ids):
        seen[name] += 1
        ids[index] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return ids


def _unpaired(capture: Capture, reason: str, scene_id: str | None = None) -> Leftover:
    return Leftover(capture.device, capture.path, reason, scene_id)


def _ratio(short: Capture, long: Capture) -> float | None:
    if not (short.exposure_num and short.exposure_den and long.exposure_num and long.exposure_den):
        return None
    return float(
        exposure_ratio(Fraction(long.exposure_num, long.exposure_den), Fraction(short.exposure_num, short.exposure_den))
    )


def _is_shorter(capture: Capture, long: Capture) -> bool:
    return bool(capture.exposure_time_s and long.exposure_time_s and capture.exposure_time_s < long.exposure_time_s)


def _promised_light(capture: Capture) -> float:
    return light(capture.exposure_time_s or 0.0, capture.iso or 1, capture.f_number or 1.0)
