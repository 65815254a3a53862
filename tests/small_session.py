"""A small capture session on disk with its validated manifest: what the training tests start from."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from sidcurate import manifests
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Finding, Pair, Split
from sidcurate.source import Source
from sidcurate.synthetic.dng import DngTags, write_dng

BLACK, WHITE, RATIO = 64, 1023, 100


def write_session(
    folder: Path,
    splits: Sequence[Split] = ("train", "train", "val", "test"),
    *,
    cfa: str = "BGGR",
    size: tuple[int, int] = (50, 66),
    shorts: int = 1,
    findings: Sequence[Finding] = (),
    zeros: Sequence[tuple[float, ...] | None] | None = None,
) -> Manifest:
    """Write one scene a split, with one long and some short frames each, and return its manifest.

    The black level by CFA position differs by position, so that a wrong order shows. `zeros` are the zero errors that
    the pairs of each scene are said to tell.
    """
    raws = folder / "raws"
    raws.mkdir(parents=True)
    rng = np.random.default_rng(1)
    captures, pairs = [], []
    for number, split in enumerate(splits):
        light = rng.uniform(50, 900) * np.linspace(0.3, 1, size[1]) * np.linspace(0.5, 1, size[0])[:, None]
        long = _write(raws / f"{number:05d}_00_10s.dng", light + rng.normal(0, 1, size), Fraction(10), cfa)
        captures.append(long)
        for burst in range(shorts):
            name = f"{number:05d}_{burst:02d}_0.1s.dng"
            short = _write(raws / name, rng.poisson(light / RATIO), Fraction(1, 10), cfa)
            captures.append(short)
            pair = _pair(f"{number:05d}_{burst:02d}", burst, short, long, split)
            pairs.append(pair.model_copy(update={"zero_error_dn": zeros[number] if zeros else None}))
    directory = folder / "manifests" / "phone"
    manifests.save(directory, {Capture: captures, Pair: pairs}, source=Source(root=str(raws)))  # type: ignore[type-var]
    sums = dict(manifests.load(directory).sums)
    manifests.save(directory, {Finding: findings}, judged={"sums": sums})
    return manifests.load(directory)


def _write(path: Path, signal: np.ndarray, seconds: Fraction, cfa: str) -> Capture:
    positions = 4 if len(cfa) == 4 else 1  # An X-Trans sensor has one black for all.
    black = tuple(float(BLACK + position) for position in range(positions))
    offset = np.tile(np.reshape(black * (4 // positions), (2, 2)), np.array(signal.shape) // 2)
    mosaic = np.clip(signal + offset, 0, WHITE)
    tags = DngTags(cfa=cfa, black_level=black, white_level=WHITE, exposure_time_s=seconds, iso=800)
    write_dng(path, np.round(mosaic).astype(np.uint16), tags)
    return Capture(
        device="phone",
        path=path.name,
        sha256=manifests.sha256_of(path),
        size_bytes=path.stat().st_size,
        status="ok",
        height=signal.shape[0],
        width=signal.shape[1],
        camera_model=tags.model,
        iso=tags.iso,
        cfa=cfa,
        cfa_kind="bayer" if len(cfa) == 4 else "xtrans",
        black_level=black,
        white_level=(float(WHITE),) * positions,
    )


def _pair(pair_id: str, burst: int, short: Capture, long: Capture, split: Split) -> Pair:
    return Pair(
        device="phone",
        pair_id=pair_id,
        scene_id=pair_id[:5],
        burst_index=burst,
        short_path=short.path,
        long_path=long.path,
        reason="written together",
        exposure_ratio=float(RATIO),
        split=split,
    )
