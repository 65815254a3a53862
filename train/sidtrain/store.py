"""The store: raws decoded once, on disk, for training and evaluation. No torch.

A short frame is kept as its packed planes, a long frame as LibRaw's 16-bit rendering, both as memory-mapped `.npy`
files. A file's name is a hash of the raw's content and of the settings that made it: a changed raw or setting makes a
new file and leaves the others alone. Beside each rendering a record says what it depended on. Each file appears whole,
the record before its pixels: a build that was killed goes on with what it left.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt16
from pydantic import BaseModel, ConfigDict, ValidationError

from sidcurate import cfa, manifests, raw
from sidcurate.cfa import Layout, Packing
from sidcurate.durable import sweep, whole_file, write_whole
from sidcurate.errors import IntegrityError, MissingResourceError, UnreadableRawError, UsageError
from sidcurate.isolation import Failure, crew, map_isolated
from sidcurate.schemas import Capture, CfaKind, Floats, Pair, described
from sidtrain import normalization
from sidtrain.normalization import DECLARED, LevelsPolicy, LevelsSource

_FORMAT = 2  # raise it when the same raw and settings give other bytes
_AROUND_BYTES = 4096  # header of the array and the record beside it, at most


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
    """

    adjust_maximum_thr: float
    white_balance: tuple[float, ...] | None = None
    packing: Packing = "by-phase"
    cfa_kind: CfaKind = "bayer"
    crop: tuple[int, int] | None = None
    levels: LevelsPolicy = DECLARED


class RenderingRecord(BaseModel):
    """What is kept beside the rendering of a long frame."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    white_balance: Floats | None = described("Multipliers for R, G, B with G = 1; null: LibRaw chose its own.")
    maximum_adjusted: bool = described("Whether LibRaw took the maximum of the picture itself for white.")


@dataclass(frozen=True)
class Entry:
    """One pair, ready to be cut: nothing is read from the disk before a pixel is asked for.

    Attributes:
        pair: the pair of the manifest.
        planes: packed short frame in DN, 4 planes for Bayer, 9 for X-Trans, memory-mapped.
        black: black level of the short frame by plane, in DN.
        white: white level of the short frame by plane, in DN.
        target: LibRaw's rendering of the long frame, cropped with the same phase, memory-mapped.
        levels: where black and white come from.
        name_ratio: exposure ratio of the two file names; None where they state none.
        rendering: what the target depended on; None for a target that no store made.
    """

    pair: Pair
    planes: UInt16[np.ndarray, "p h w"]
    black: Float32[np.ndarray, "p"]
    white: Float32[np.ndarray, "p"]
    target: UInt16[np.ndarray, "hs ws 3"]
    levels: LevelsSource = "declared"
    name_ratio: float | None = None
    rendering: RenderingRecord | None = None

    @property
    def sites(self) -> int:
        """Mosaic sites along a side of a packed px: 2 for Bayer, 3 for X-Trans."""
        return len(self.target) // int(self.planes.shape[1])


@dataclass(frozen=True)
class _Rendering:
    """How a target is rendered."""

    adjust_maximum_thr: float
    white_balance: tuple[float, ...] | None


@dataclass(frozen=True)
class _Job:
    """One frame to decode, small enough to send to a worker."""

    raw: Path
    sha256: str
    layout: Layout
    shape: tuple[int, int]  # packed
    rendering: _Rendering | None  # None: keep the packed planes
    path: Path

    @property
    def record(self) -> Path:
        """File beside a target."""
        return self.path.with_suffix(".json")

    @property
    def done(self) -> bool:
        return self.path.exists() and (self.rendering is None or self.record.exists())

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk: 16 bit for each plane, or for three colors at each site, and what is around them."""
        values = 3 * self.layout.side**2 if self.rendering else self.layout.planes
        return 2 * self.shape[0] * self.shape[1] * values + _AROUND_BYTES


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
        settings: what the targets are rendered with.
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
    missing = {job.path: job for both in frames for job in both if not job.done}
    sweep(store)
    _require_space(store, sum(job.size_bytes for job in missing.values()))
    progress(0, len(missing))
    with crew(jobs) as workers:
        for done, (job, outcome) in enumerate(map_isolated(_decode, missing.values(), workers), start=1):
            if isinstance(outcome, Failure):
                raise UnreadableRawError(f"{job.raw}: {outcome.reason}; ingest the folder again to leave this pair out")
            progress(done, len(missing))
    return [_entry(pair, captures, settings, *both) for pair, both in zip(pairs, frames, strict=True)]


def missing_bytes(
    pairs: Sequence[Pair], captures: Mapping[str, Capture], raw_root: Path, store: Path, settings: StoreSettings
) -> int:
    """Return the bytes that `build` would write."""
    jobs = {job.path: job for pair in pairs for job in _frames(pair, captures, raw_root, store, settings)}
    return sum(job.size_bytes for job in jobs.values() if not job.done)


def _frames(
    pair: Pair, captures: Mapping[str, Capture], raw_root: Path, store: Path, settings: StoreSettings
) -> tuple[_Job, _Job]:
    rendering = _Rendering(settings.adjust_maximum_thr, settings.white_balance)
    short = _job(captures[pair.short_path], raw_root, store, settings, None)
    long = _job(captures[pair.long_path], raw_root, store, settings, rendering)
    if (short.shape, short.layout) != (long.shape, long.layout):
        raise UsageError(
            f"{pair.pair_id}: the short frame is {captures[pair.short_path].cfa} of {short.shape} packed px, the long "
            f"one {captures[pair.long_path].cfa} of {long.shape}; PAIR206 must not be ignored for training"
        )
    return short, long


def _job(capture: Capture, raw_root: Path, store: Path, settings: StoreSettings, rendering: _Rendering | None) -> _Job:
    if capture.cfa_kind != settings.cfa_kind or capture.cfa is None or capture.sha256 is None:
        raise _unfit(capture, settings.cfa_kind)
    layout = cfa.layout(capture.cfa, settings.packing)
    how = asdict(rendering) if rendering else None
    what = {"raw": capture.sha256, "cfa": capture.cfa, "packing": settings.packing, "rendering": how}
    key = hashlib.sha256(json.dumps({"format": _FORMAT, **what}, sort_keys=True).encode()).hexdigest()
    return _Job(
        raw=raw_root / capture.path,
        sha256=capture.sha256,
        layout=layout,
        shape=layout.packed(capture.height or 0, capture.width or 0),
        rendering=rendering,
        path=store / f"{key}.{'target' if rendering else 'planes'}.npy",
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
            f"the store needs {needed / 1e9:.2f} GB in {store}, where {free / 1e9:.2f} GB are free; "
            "make room or give another folder with --store"
        )


def _decode(job: _Job) -> None:
    """Decode one frame into its file; runs in a worker."""
    if not job.raw.is_file():
        raise UnreadableRawError(f"SET304 {job.raw} is not there; put it back or run `sidcurate ingest` again")
    if manifests.sha256_of(job.raw) != job.sha256:
        raise IntegrityError(
            f"SET305 {job.raw} has changed since it was ingested (its SHA-256 is another one); "
            "run `sidcurate ingest` again"
        )
    if job.rendering:
        rendering = raw.render(job.raw, **asdict(job.rendering))
        record = RenderingRecord(white_balance=rendering.white_balance, maximum_adjusted=rendering.maximum_adjusted)
        write_whole(job.record, record.model_dump_json().encode())
        _write(job.path, np.ascontiguousarray(job.layout.crop(rendering.image)))
        return
    mosaic = raw.read(job.raw).mosaic
    if mosaic is None:
        raise UnreadableRawError(f"{job.raw} has several values a pixel now; run `sidcurate ingest` again")
    _write(job.path, job.layout.pack(mosaic))


def _write(path: Path, array: UInt16[np.ndarray, "..."]) -> None:
    with whole_file(path) as stream:
        np.save(stream, array)


def _entry(pair: Pair, captures: Mapping[str, Capture], settings: StoreSettings, planes: _Job, target: _Job) -> Entry:
    short, long = captures[pair.short_path], captures[pair.long_path]
    levels = normalization.levels(pair, short, settings.levels)
    layout = planes.layout
    black, white = levels.by_plane(layout)
    height, width = planes.shape
    if settings.crop:
        height, width = map(min, planes.shape, layout.packed(*settings.crop))
    return Entry(
        pair=pair,
        planes=_opened(planes.path)[:, :height, :width],
        black=black,
        white=white,
        target=_opened(target.path)[: layout.side * height, : layout.side * width],
        levels=levels.source,
        name_ratio=_name_ratio(short, long),
        rendering=_record(target.record),
    )


def _name_ratio(short: Capture, long: Capture) -> float | None:
    if short.name_exposure_time_s is None or long.name_exposure_time_s is None:
        return None
    return long.name_exposure_time_s / short.name_exposure_time_s


def _opened(path: Path) -> UInt16[np.ndarray, "..."]:
    try:
        array: UInt16[np.ndarray, ...] = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise _damaged(path, error) from error
    return array


def _record(path: Path) -> RenderingRecord:
    try:
        return RenderingRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _damaged(path, error.errors()[0]["msg"]) from error


def _damaged(path: Path, error: Exception | str) -> IntegrityError:
    return IntegrityError(f"{path} is damaged ({error}); delete it and run again")
