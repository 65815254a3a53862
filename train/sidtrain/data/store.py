"""The store: raws decoded once, on disk, for training and evaluation. No torch.

A short frame is kept as its packed planes, a long frame as LibRaw's 16-bit rendering or, for a network from raw to raw,
as its packed planes too; all as memory-mapped entries (see `sidcurate.storage`). A name is a hash of the raw's content
and of the settings and the LibRaw that made it: where one of them changes a new entry is made, and the others are left
alone. A build that was killed goes on with what it left.
"""

import math
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt16

from sidcurate import cfa, files
from sidcurate.cfa import Layout, Packing
from sidcurate.errors import MissingResourceError, UnreadableRawError, UsageError
from sidcurate.isolation import Failure, crew, map_isolated
from sidcurate.raws import raw
from sidcurate.schemas import Capture, CfaKind, Pair
from sidcurate.storage import entries
from sidcurate.storage.durable import sweep
from sidcurate.storage.entries import EntryRecord, RenderingRecord
from sidtrain import normalization
from sidtrain.architectures import Target
from sidtrain.normalization import DECLARED, LevelsPolicy, LevelsSource, PlaneLevels

_FORMAT = 3  # raise it when the same raw, settings and LibRaw give other bytes
_AROUND_BYTES = 4096  # header of the array and the record beside it, at most


Opened = Mapping[Path, tuple[UInt16[np.ndarray, "..."], EntryRecord]]


@dataclass(frozen=True)
class StoreSettings:
    """What the entries depend on, besides the raws: see the recipe.

    Attributes:
        adjust_maximum_thr: LibRaw's threshold in the rendering of the targets.
        white_balance: multipliers for R, G, B of all targets; None: the camera's of each long frame.
        packing: how the mosaic becomes planes.
        cfa_kind: the arrays that are accepted.
        crop: height and width in px of the top left part that is used, at most; costs no decoding.
        levels: black and white of the entries; costs no decoding.
        target: whether the long frames are rendered, or packed as the shorts are.
    """

    adjust_maximum_thr: float
    white_balance: tuple[float, ...] | None = None
    packing: Packing = "by-phase"
    cfa_kind: CfaKind = "bayer"
    crop: tuple[int, int] | None = None
    levels: LevelsPolicy = DECLARED
    target: Target = "rendered"


@dataclass(frozen=True)
class Entry:
    """One pair, ready to be cut: nothing is read from the disk before a pixel is asked for.

    Attributes:
        pair: the pair of the manifest.
        planes: packed short frame in DN, 4 planes for Bayer, 9 for X-Trans, memory-mapped.
        black: black level of the short frame by plane, in DN.
        white: white level of the short frame by plane, in DN.
        target: LibRaw's rendering of the long frame, or its packed planes side by side, cropped with the same phase,
            memory-mapped.
        levels: where black and white come from.
        name_ratio: exposure ratio of the two file names; None where they state none.
        rendering: what the target depended on; None for planes, and for a target that no store made.
        target_levels: black and white of the target by plane, in DN; None for a rendering, whose black is code 0 and
            whose white is the last.
    """

    pair: Pair
    planes: UInt16[np.ndarray, "p h w"]
    black: Float32[np.ndarray, "p"]
    white: Float32[np.ndarray, "p"]
    target: UInt16[np.ndarray, "hs ws c"]
    levels: LevelsSource = "declared"
    name_ratio: float | None = None
    rendering: RenderingRecord | None = None
    target_levels: PlaneLevels | None = None

    @property
    def enlargement(self) -> int:
        """Target px along a side of a packed px: of a rendering 2 for Bayer and 3 for X-Trans, 1 of planes."""
        return len(self.target) // int(self.planes.shape[1])


@dataclass(frozen=True)
class _Rendering:
    """How a target is rendered."""

    adjust_maximum_thr: float
    white_balance: tuple[float, ...] | None


@dataclass(frozen=True)
class _Job:
    """One frame to decode, small enough to send to a worker."""

    root: Path
    capture: Capture
    layout: Layout
    packed: tuple[int, int]
    rendering: _Rendering | None  # None: keep the packed planes
    made_from: Mapping[str, Any]
    path: Path

    @property
    def done(self) -> bool:
        return entries.is_complete(self.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the array: a plane after the other, or three colors at each site."""
        height, width = self.packed
        side = self.layout.side
        return (side * height, side * width, 3) if self.rendering else (self.layout.planes, height, width)

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk: 16 bit for each value, and what is around them."""
        return 2 * math.prod(self.shape) + _AROUND_BYTES


def build(
    pairs: Sequence[Pair],
    captures: Mapping[str, Capture],
    raw_root: Path,
    store: Path,
    settings: StoreSettings,
    jobs: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Entry]:
    """Return the entries of the pairs, in their order, after decoding what the store does not hold yet.

    Args:
        pairs: pairs of a manifest.
        captures: captures of that manifest by path.
        raw_root: folder that the captures' paths are relative to.
        store: folder of the store, made if it is missing.
        settings: what the targets are, and what they are rendered with.
        jobs: worker processes; one a core by default.
        progress: called with the count of decoded frames and of frames to decode.

    Raises:
        UsageError: a capture has another array than the settings accept or no levels, or the two of a pair differ in
            size.
        MissingResourceError: the disk has not enough space for what is missing; nothing was written.
        IntegrityError: a raw is not the one that was ingested (SET305).
        UnreadableRawError: a raw is gone (SET304) or cannot be decoded.
    """
    frames = [_frames(pair, captures, raw_root, store, settings) for pair in pairs]
    # The long frame of a pair first: it takes ten times as long, and nobody helps the worker that ends with one.
    missing = {job.path: job for both in frames for job in reversed(both) if not job.done}
    sweep(store)
    _require_space(store, sum(job.size_bytes for job in missing.values()))
    progress(0, len(missing))
    with crew(jobs) as workers:
        for done, (job, outcome) in enumerate(map_isolated(_decode, missing.values(), workers), start=1):
            if isinstance(outcome, Failure):
                raise UnreadableRawError(
                    f"{job.root / job.capture.path}: {outcome.reason}; ingest the folder again to leave this pair out"
                )
            progress(done, len(missing))
    opened = _opened({job.path: job.shape for both in frames for job in both})
    return [_entry(pair, captures, settings, *both, opened) for pair, both in zip(pairs, frames, strict=True)]


def missing_bytes(
    pairs: Sequence[Pair], captures: Mapping[str, Capture], raw_root: Path, store: Path, settings: StoreSettings
) -> int:
    """Return the bytes that `build` would write."""
    jobs = {job.path: job for pair in pairs for job in _frames(pair, captures, raw_root, store, settings)}
    return sum(job.size_bytes for job in jobs.values() if not job.done)


def _frames(
    pair: Pair, captures: Mapping[str, Capture], raw_root: Path, store: Path, settings: StoreSettings
) -> tuple[_Job, _Job]:
    how = _Rendering(settings.adjust_maximum_thr, settings.white_balance)
    rendering = how if settings.target == "rendered" else None
    short = _job(captures[pair.short_path], raw_root, store, settings, None)
    long = _job(captures[pair.long_path], raw_root, store, settings, rendering)
    if (short.packed, short.layout) != (long.packed, long.layout):
        raise UsageError(
            f"{pair.pair_id}: the short frame is {captures[pair.short_path].cfa} of {short.packed} packed px, the long "
            f"one {captures[pair.long_path].cfa} of {long.packed}; PAIR206 must not be ignored for training"
        )
    # Levels that an entry could not have are refused here: before hours of decoding, not after them.
    normalization.levels(pair, short.capture, settings.levels)
    if rendering is None:
        normalization.of_target(long.capture, settings.levels)
    return short, long


def _job(capture: Capture, raw_root: Path, store: Path, settings: StoreSettings, rendering: _Rendering | None) -> _Job:
    if capture.cfa_kind != settings.cfa_kind or capture.cfa is None or capture.sha256 is None:
        raise _unfit(capture, settings.cfa_kind)
    layout = cfa.layout(capture.cfa, settings.packing)
    made_from = {
        "format": _FORMAT,
        "libraw": raw.LIBRAW,
        "raw": capture.sha256,
        "cfa": capture.cfa,
        "packing": settings.packing,
        "rendering": asdict(rendering) if rendering else None,
    }
    return _Job(
        root=raw_root,
        capture=capture,
        layout=layout,
        packed=layout.packed(capture.height or 0, capture.width or 0),
        rendering=rendering,
        made_from=made_from,
        path=store / f"{entries.key(made_from)}.{'target' if rendering else 'planes'}.npy",
    )


def _unfit(capture: Capture, accepted: CfaKind) -> UsageError:
    kind = capture.cfa_kind or "unknown"
    cure = {
        "bayer": "train it with a recipe whose architecture takes Bayer mosaics, such as device",
        "xtrans": 'train it with --recipe sid-fuji, or one of your own that says architecture = "xtrans"',
    }.get(kind, "take it out of the folder and ingest again")
    return UsageError(
        f"{capture.path}: its color filter array is {kind}, the recipe's network takes {accepted} frames only; {cure}"
    )


def _require_space(store: Path, needed: int) -> None:
    store.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(store).free
    if needed > free:
        raise MissingResourceError(
            f"the store needs {needed / 1e6:,.0f} MB in {store}, where {free / 1e6:,.0f} MB are free; "
            "make room or give another folder with --store"
        )


def _decode(job: _Job) -> None:
    """Decode one frame into its entry; runs in a worker."""
    content, name = files.content(job.root, job.capture), Path(job.capture.path).name
    if job.rendering:
        rendering = raw.rendered(content, name, **asdict(job.rendering))
        record = RenderingRecord(white_balance=rendering.white_balance, maximum_adjusted=rendering.maximum_adjusted)
        entries.write(job.path, job.layout.crop(rendering.image), job.made_from, record)
        return
    mosaic = raw.decode(content, name).mosaic
    if mosaic is None:
        raise UnreadableRawError(f"{job.capture.path} has several values a pixel now; run `sidcurate ingest` again")
    entries.write(job.path, job.layout.pack(mosaic), job.made_from, None)


def _opened(shapes: Mapping[Path, tuple[int, ...]]) -> Opened:
    """Map each file once, whatever the number of pairs that share it.

    Raises:
        MissingResourceError: the system lets this process open no more files.
        SidcurateError: what `entries.read` raises.
    """
    _permit_more_files(len(shapes))
    try:
        return {path: entries.read(path, shape) for path, shape in shapes.items()}
    except OSError as error:
        if error.errno not in entries.NO_MORE_FILES:
            raise
        raise MissingResourceError(
            f"the store has {len(shapes)} files for these pairs, and the system lets this process open no more "
            f"({error.strerror}): raise its limit by so many (`ulimit -Hn`, or the limits of the job), or take fewer "
            "scenes"
        ) from error


def _permit_more_files(count: int) -> None:
    """Raise the number of files that this process may open, as far as the system allows.

    Each mapped file counts as open: SID's training set has 2,000, and a shell allows 1,024 unless it is asked.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = soft + count
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _entry(
    pair: Pair,
    captures: Mapping[str, Capture],
    settings: StoreSettings,
    planes: _Job,
    target: _Job,
    opened: Opened,
) -> Entry:
    short, long = captures[pair.short_path], captures[pair.long_path]
    levels = normalization.levels(pair, short, settings.levels)
    layout = planes.layout
    black, white = levels.by_plane(layout)
    height, width = planes.packed
    if settings.crop:
        height, width = map(min, planes.packed, layout.packed(*settings.crop))
    packed, _ = opened[planes.path]
    wanted, record = opened[target.path]
    is_raw = target.rendering is None
    enlargement = 1 if is_raw else layout.side
    image = wanted.transpose(1, 2, 0) if is_raw else wanted
    return Entry(
        pair=pair,
        planes=packed[:, :height, :width],
        black=black,
        white=white,
        target=image[: enlargement * height, : enlargement * width],
        levels=levels.source,
        name_ratio=_name_ratio(short, long),
        rendering=record.rendering,
        target_levels=normalization.of_target(long, settings.levels).by_plane(layout) if is_raw else None,
    )


def _name_ratio(short: Capture, long: Capture) -> float | None:
    if short.name_exposure_time_s is None or long.name_exposure_time_s is None:
        return None
    return long.name_exposure_time_s / short.name_exposure_time_s
