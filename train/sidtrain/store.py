"""The store: raws decoded once, on disk, for training and evaluation. No torch.

A short frame is kept as its packed planes, a long frame as LibRaw's 16-bit rendering, both as memory-mapped `.npy`
files. A file's name is a hash of the raw's content and of the settings that made it: a changed raw or setting makes a
new file and leaves the others alone.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt16

from sidcurate import cfa, manifests, raw
from sidcurate.durable import sweep, whole_file
from sidcurate.errors import IntegrityError, MissingResourceError, UnreadableRawError, UsageError
from sidcurate.isolation import Failure, crew, map_isolated
from sidcurate.schemas import Capture, Pair

_FORMAT = 1  # raise it when the same raw and settings give other bytes


@dataclass(frozen=True)
class StoreSettings:
    """What the content of a store depends on, besides the raws.

    Attributes:
        adjust_maximum_thr: LibRaw's threshold in the rendering of the targets, see the recipe.
    """

    adjust_maximum_thr: float


@dataclass(frozen=True)
class Entry:
    """One pair, ready to be cut: nothing is read from the disk before a pixel is asked for.

    Attributes:
        pair: the pair of the manifest.
        planes: packed short frame R, G, B, G in DN, memory-mapped.
        black: black level of the short frame by plane, in DN.
        white: white level of the short frame by plane, in DN.
        target: LibRaw's rendering of the long frame, cropped with the same phase, memory-mapped.
    """

    pair: Pair
    planes: UInt16[np.ndarray, "4 h w"]
    black: Float32[np.ndarray, "4"]
    white: Float32[np.ndarray, "4"]
    target: UInt16[np.ndarray, "h2 w2 3"]


@dataclass(frozen=True)
class _Job:
    """One frame to decode, small enough to send to a worker."""

    raw: Path
    sha256: str
    cfa: str
    shape: tuple[int, int]  # packed
    rendering: StoreSettings | None  # None: keep the packed planes
    path: Path

    @property
    def size_bytes(self) -> int:
        """Bytes of the pixels: four planes of 16 bit, or three colors at each of four sites."""
        return 2 * self.shape[0] * self.shape[1] * (12 if self.rendering else 4)


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
        UsageError: a capture is no Bayer frame or has no levels, or the two of a pair differ in size.
        MissingResourceError: the disk has not enough space for what is missing; nothing was written.
        IntegrityError: a raw is not the one that was ingested (SET305).
        UnreadableRawError: a raw is gone (SET304) or cannot be decoded.
    """
    frames = [_frames(pair, captures, raw_root, store, settings) for pair in pairs]
    missing = {job.path: job for both in frames for job in both if not job.path.exists()}
    sweep(store)
    _require_space(store, sum(job.size_bytes for job in missing.values()))
    progress(0, len(missing))
    with crew(jobs) as workers:
        for done, (job, outcome) in enumerate(map_isolated(_decode, missing.values(), workers), start=1):
            if isinstance(outcome, Failure):
                raise UnreadableRawError(f"{job.raw}: {outcome.reason}; ingest the folder again to leave this pair out")
            progress(done, len(missing))
    return [_entry(pair, captures[pair.short_path], *both) for pair, both in zip(pairs, frames, strict=True)]


def missing_bytes(
    pairs: Sequence[Pair], captures: Mapping[str, Capture], raw_root: Path, store: Path, settings: StoreSettings
) -> int:
    """Return the bytes that `build` would write."""
    jobs = {job.path: job for pair in pairs for job in _frames(pair, captures, raw_root, store, settings)}
    return sum(job.size_bytes for job in jobs.values() if not job.path.exists())


def _frames(
    pair: Pair, captures: Mapping[str, Capture], raw_root: Path, store: Path, settings: StoreSettings
) -> tuple[_Job, _Job]:
    short = _job(captures[pair.short_path], raw_root, store, None)
    long = _job(captures[pair.long_path], raw_root, store, settings)
    if (short.shape, short.cfa) != (long.shape, long.cfa):
        raise UsageError(
            f"{pair.pair_id}: the short frame is {short.cfa} of {short.shape} packed px, the long one {long.cfa} of "
            f"{long.shape}; PAIR206 must not be ignored for training"
        )
    return short, long


def _job(capture: Capture, raw_root: Path, store: Path, rendering: StoreSettings | None) -> _Job:
    if capture.cfa_kind != "bayer" or capture.cfa is None or capture.sha256 is None:
        raise UsageError(
            f"{capture.path}: its color filter array is {capture.cfa_kind or 'unknown'}, the network takes "
            "Bayer frames only; take it out of the folder and ingest again"
        )
    what = {"raw": capture.sha256, "cfa": capture.cfa, "rendering": asdict(rendering) if rendering else None}
    key = hashlib.sha256(json.dumps({"format": _FORMAT, **what}, sort_keys=True).encode()).hexdigest()
    top, left = cfa.phase_offset(capture.cfa)
    return _Job(
        raw=raw_root / capture.path,
        sha256=capture.sha256,
        cfa=capture.cfa,
        shape=(((capture.height or 0) - top) // 2, ((capture.width or 0) - left) // 2),
        rendering=rendering,
        path=store / f"{key}.{'target' if rendering else 'planes'}.npy",
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
        image = raw.render(job.raw, adjust_maximum_thr=job.rendering.adjust_maximum_thr)
        _write(job.path, np.ascontiguousarray(cfa.crop_to_rggb(image, job.cfa)))
        return
    mosaic = raw.read(job.raw).mosaic
    if mosaic is None:
        raise UnreadableRawError(f"{job.raw} has several values a pixel now; run `sidcurate ingest` again")
    _write(job.path, cfa.pack(mosaic, job.cfa))


def _write(path: Path, array: UInt16[np.ndarray, "..."]) -> None:
    with whole_file(path) as stream:
        np.save(stream, array)


def _entry(pair: Pair, short: Capture, planes: _Job, target: _Job) -> Entry:
    if short.black_level is None or short.white_level is None:
        raise UsageError(f"{short.path}: its black or white level is unknown; CAP121 must not be ignored for training")
    return Entry(
        pair=pair,
        planes=_opened(planes.path),
        black=np.asarray(cfa.by_plane(short.black_level, planes.cfa), np.float32),
        white=np.asarray(cfa.by_plane(short.white_level, planes.cfa), np.float32),
        target=_opened(target.path),
    )


def _opened(path: Path) -> UInt16[np.ndarray, "..."]:
    try:
        array: UInt16[np.ndarray, ...] = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise IntegrityError(f"{path} is damaged ({error}); delete it and run again") from error
    return array
