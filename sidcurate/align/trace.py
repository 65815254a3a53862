"""What one reading of a raw keeps of its pixels, so that a pair can be judged later without reading the raw again.

Two things are kept, both anchored at the top left of the mosaic, so that two frames of one size match site by site:
the frame in bins, by CFA position (for ratio, zero, gain, motion and coarse shift), and crops of the green plane at
full resolution, spread over the frame (for the last part of a pixel, rotation and focus). Bins are wider on larger
sensors: a trace takes at most 1.7 MB whatever the size of the raw, and 1.1 MB at one megapixel.
"""

import math
import os
import sys
import zipfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8, UInt16, jaxtyped

from sidcurate.cfa import PHASE_OFFSETS, phase_offset
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.storage.durable import open_bounded, whole_file

_MOST_BINS = 1 << 17
_CROPS_A_SIDE = 4
_CROP_SIDE = 128
SMALLEST_SIDE_PX = 2 * _CROPS_A_SIDE * 2
# Close to white the response bends, and noise carries part of the sites of a clipped area below the clip itself.
_CLIPPED_FROM = 0.97
# So many sites on the highest code are a clip, whatever the header says; noise alone has far fewer.
_CLIP_SPIKE = 1e-3
_SAMPLED_ROW_PAIRS = 8
_CUT_SHARE = 0.005
_MOST_FILE_BYTES = 1 << 24  # ten times the largest


@dataclass(frozen=True)
class Trace:
    """What a frame keeps of its pixels; the planes are by CFA position, row by row, in DN with the black left in.

    Attributes:
        cfa: Bayer phase of the mosaic.
        size: height and width of the mosaic.
        bin_sites: side of a bin, in sites of one CFA position; it covers twice as many rows and columns of the mosaic.
        bins: means of the bins, in units of `bin_dn`.
        bin_dn: DN per unit of `bins`.
        clipped: one bit a bin, packed along the columns: a site of the bin is at, or within 3 % of, the clip.
        crops: mean of the two greens of each 2x2, at full resolution, in units of `crop_dn`.
        crop_dn: DN per unit of `crops`.
        crop_starts: first row and column of each crop, in 2x2 cells.
        black_dn: declared black by CFA position; NaN where nothing is declared.
        code_step: the step of the codes in use, 1 where every code is.
        zero_fraction: share of sites on code 0, below which the noise is cut off.
    """

    cfa: str
    size: Int64[np.ndarray, "2"]
    bin_sites: int
    bins: UInt16[np.ndarray, "4 hb wb"]
    bin_dn: float
    clipped: UInt8[np.ndarray, "4 hb wb8"]
    crops: UInt16[np.ndarray, "n c c"]
    crop_dn: float
    crop_starts: Int64[np.ndarray, "n 2"]
    black_dn: Float64[np.ndarray, "4"]
    code_step: int
    zero_fraction: float

    @property
    def greens(self) -> list[int]:
        """The CFA positions of the two greens."""
        return [position for position, letter in enumerate(self.cfa) if letter == "G"]

    @cached_property
    def bins_dn(self) -> Float32[np.ndarray, "4 hb wb"]:
        """Means of the bins in DN."""
        return self.bins * np.float32(self.bin_dn)

    @cached_property
    def crops_dn(self) -> Float32[np.ndarray, "n c c"]:
        """The green crops in DN."""
        return self.crops * np.float32(self.crop_dn)

    @cached_property
    def clipped_bins(self) -> Bool[np.ndarray, "4 hb wb"]:
        """Whether a bin holds a clipped site."""
        return np.unpackbits(self.clipped, axis=-1, count=self.bins.shape[-1]).view(bool)

    @cached_property
    def clipped_share(self) -> float:
        """Share of the green bins that are clipped."""
        return float(self.clipped_bins[self.greens].mean())

    @property
    def cut_quantile(self) -> float:
        """The quantile above which brightness is no texture: hot pixels and small lights, or whatever is clipped."""
        return 1 - max(_CUT_SHARE, self.clipped_share)


def measure(
    mosaic: UInt16[np.ndarray, "h w"], cfa: str, black: tuple[float, ...] | None, white: tuple[float, ...] | None
) -> Trace:
    """Return the trace of a mosaic.

    Args:
        mosaic: the codes, black left in.
        cfa: Bayer phase of the mosaic.
        black: declared black by CFA position, in DN.
        white: declared white by CFA position, in DN; without it the highest code in use counts as white.

    Raises:
        UsageError: the phase is not Bayer, or the mosaic has less than 16 rows or columns.
    """
    phase_offset(cfa)
    if min(mosaic.shape) < SMALLEST_SIDE_PX:
        raise UsageError(
            f"a mosaic of {mosaic.shape} sites is too small to be measured; give {SMALLEST_SIDE_PX} a side and more"
        )
    cells = mosaic[: len(mosaic) // 2 * 2, : mosaic.shape[1] // 2 * 2]
    side = _bin_sites(cells.size // 4)
    sample = _positions(cells, _SAMPLED_ROW_PAIRS)
    bins, bin_dn = _as_uint16(_bin_sums(cells, side), side * side)
    starts, crops = _green_crops(cells, cfa)
    green, crop_dn = _as_uint16(crops, 2)
    return Trace(
        cfa=cfa,
        size=np.array(mosaic.shape),
        bin_sites=side,
        bins=bins,
        bin_dn=bin_dn,
        clipped=np.packbits(_clipped(cells, side, _clip_from(sample, black, white)), axis=-1),
        crops=green,
        crop_dn=crop_dn,
        crop_starts=starts,
        black_dn=np.full(4, np.nan) if black is None else np.array(black, np.float64),
        code_step=_code_step(sample),
        zero_fraction=np.count_nonzero(sample == 0) / sample.size,
    )


def save(path: Path, trace: Trace) -> None:
    """Write a trace: the same trace gives the same bytes, and the file appears under its name only when complete."""
    with whole_file(path) as file:
        np.savez(file, allow_pickle=False, **asdict(trace))


def load(path: Path) -> Trace:
    """Return a trace that `save` wrote.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: the file is no trace, or of another version of this program.
    """
    try:
        with open_bounded(path, _MOST_FILE_BYTES) as stream:
            _check_members(stream)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as stored:
                kept = Trace(**{name: _scalar_or_array(stored[name]) for name in stored.files})
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy and zipfile leak the errors of their parsers, down to tokenize's
        raise _no_trace(path, error) from error
    if fault := _fault(kept):
        raise _no_trace(path, ValueError(fault))
    return kept


def check(path: Path) -> None:
    """Look at the directory of a trace's archive, and at none of its arrays.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: the file is none that `save` wrote.
    """
    try:
        with open_bounded(path, _MOST_FILE_BYTES) as stream:
            _check_members(stream)
    except (IntegrityError, ValueError, zipfile.BadZipFile) as error:
        raise _no_trace(path, error) from error


def _no_trace(path: Path, error: Exception) -> IntegrityError:
    words = str(error).removeprefix(f"{path} ") or type(error).__name__
    return IntegrityError(f"{path} is not a trace of this version ({words}); delete it and ingest again")


def _check_members(stream: BinaryIO) -> None:
    """Refuse an archive that could unfold to more than it is: `save` packs nothing."""
    size_bytes = os.fstat(stream.fileno()).st_size
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its members are packed")
    if sum(member.file_size for member in members) > size_bytes:
        raise ValueError("its members are larger than it is")


def _scalar_or_array(value: np.ndarray) -> Any:  # noqa: ANN401 - an array, or a number or text that was stored as one
    return value if value.ndim else value.item()


def _fault(kept: Trace) -> str | None:
    """Return what no trace that `measure` makes has."""
    with jaxtyped("context"):  # Dimensions of one name must agree, as the class declares them.
        for name, kind in get_type_hints(Trace).items():
            if not isinstance(getattr(kept, name), kind):
                return f"its {name} is {_described(getattr(kept, name))}"
    rows, columns = (int(side) // 2 for side in kept.size)
    side = kept.bin_sites
    crop_ends = kept.crop_starts + kept.crops.shape[1]
    within = {
        "size": min(kept.size) >= SMALLEST_SIDE_PX,
        "cfa": kept.cfa in PHASE_OFFSETS,
        "bin_sites": side >= 2 and side & (side - 1) == 0,
        "bins": kept.bins.size > 0 and kept.bins.shape[1:] == (rows // max(side, 1), columns // max(side, 1)),
        "clipped": kept.clipped.shape[2] == -(-kept.bins.shape[2] // 8),
        "crops": kept.crops.size > 0,
        "crop_starts": bool((kept.crop_starts >= 0).all() and (crop_ends <= (rows, columns)).all()),
        "units": 0 < kept.bin_dn < math.inf and 0 < kept.crop_dn < math.inf,
        "black_dn": not np.isinf(kept.black_dn).any(),
        "code_step": kept.code_step >= 1,
        "zero_fraction": 0 <= kept.zero_fraction <= 1,
    }
    return next((f"its {name} cannot be" for name, holds in within.items() if not holds), None)


def _described(value: Any) -> str:  # noqa: ANN401 - whatever stood in the file
    return f"{value.dtype} of {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _bin_sites(cells: int) -> int:
    """Return the side of a bin: the smallest power of two, from 2, that keeps the number of bins in bounds."""
    side = 2
    while cells > _MOST_BINS * side * side:
        side *= 2
    return side


def _positions(cells: UInt16[np.ndarray, "h w"], every: int) -> UInt16[np.ndarray, "4 n"]:
    """Return the codes by CFA position of one row pair in so many."""
    pairs = cells.reshape(len(cells) // 2, 2, -1, 2)[::every]
    return pairs.transpose(1, 3, 0, 2).reshape(4, -1)


def _by_position(rows: np.ndarray, side: int, columns: int) -> Float32[np.ndarray, "4 hb wb"]:
    """Return the sums along the columns of values already summed along the rows, (hb, 2, w), by CFA position."""
    parity = np.tile(np.eye(2, dtype=np.float32), (side, 1))
    sums = rows[..., : columns * 2 * side].reshape(-1, 2 * side) @ parity
    return sums.reshape(len(rows), 2, columns, 2).transpose(1, 3, 0, 2).reshape(4, len(rows), columns)


def _row_groups(cells: np.ndarray, side: int) -> np.ndarray:
    """Return a view (hb, side, 2, w): the rows by bin, row pair and parity."""
    count = len(cells) // (2 * side)
    return cells[: count * 2 * side].reshape(count, side, 2, -1)


def _bin_sums(cells: UInt16[np.ndarray, "h w"], side: int) -> Float32[np.ndarray, "4 hb wb"]:
    # Neighbors are read as one number of 32 bits and taken apart, a row of bins at a time, which stays in the cache.
    twins = _row_groups(np.ascontiguousarray(cells).view(np.uint32), side)
    by_column = np.empty((2, len(twins), *twins.shape[2:]), np.uint32)
    for row, group in enumerate(twins):
        halves = (group & 0xFFFF, group >> 16)
        for column, half in enumerate(halves if sys.byteorder == "little" else halves[::-1]):
            np.add.reduce(half, axis=0, out=by_column[column, row])
    columns = cells.shape[1] // (2 * side)
    # float32 holds the sums exactly: 65535 times 16 x 16 sites is below 2**24.
    sums = by_column[..., : columns * side].astype(np.float32).reshape(-1, side) @ np.ones(side, np.float32)
    return sums.reshape(2, len(twins), 2, columns).transpose(2, 0, 1, 3).reshape(4, len(twins), columns)


def _clipped(
    cells: UInt16[np.ndarray, "h w"], side: int, clip_from: Float64[np.ndarray, "4"]
) -> Bool[np.ndarray, "4 hb wb"]:
    threshold = np.tile(np.ceil(clip_from).astype(np.uint32).reshape(2, 2), cells.shape[1] // 2)
    groups = _row_groups(cells, side)
    columns = cells.shape[1] // (2 * side)
    if cells.max() < threshold.min():
        return np.zeros((4, len(groups), columns), bool)
    # The highest code of each column of a bin tells as much as all of them.
    high = np.maximum.reduce(groups, axis=1) >= threshold
    return _by_position(high.astype(np.float32), side, columns) > 0


def _clip_from(
    sample: UInt16[np.ndarray, "4 n"], black: tuple[float, ...] | None, white: tuple[float, ...] | None
) -> Float64[np.ndarray, "4"]:
    """Return the code by CFA position from which a site counts as clipped."""
    highest = sample.max(axis=1)
    at_top = np.array([np.count_nonzero(codes == top) for codes, top in zip(sample, highest, strict=True)])
    floor = sample.min(axis=1) if black is None else np.array(black)
    clips = at_top / sample.shape[1] > _CLIP_SPIKE
    top = highest if white is None else np.where(clips, np.minimum(highest, white), white)
    return np.asarray(floor + _CLIPPED_FROM * np.maximum(top - floor, 1.0))


def _code_step(sample: UInt16[np.ndarray, "4 n"]) -> int:
    """Return the largest power of two by which all codes differ; 1 for a frame of one code."""
    differing = int(np.bitwise_or.reduce(sample ^ sample[0, 0], axis=None))
    return differing & -differing or 1


def _green_crops(
    cells: UInt16[np.ndarray, "h w"], cfa: str
) -> tuple[Int64[np.ndarray, "n 2"], Float32[np.ndarray, "n c c"]]:
    """Return the first cells of the crops and the sums of the two greens in them."""
    shape = len(cells) // 2, cells.shape[1] // 2
    side = min(_CROP_SIDE, min(shape) // _CROPS_A_SIDE)
    along = [np.linspace(0, cells_along - side, _CROPS_A_SIDE).astype(np.int64) for cells_along in shape]
    starts = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 2)
    first, second = (divmod(position, 2) for position, letter in enumerate(cfa) if letter == "G")
    crops = np.empty((len(starts), side, side), np.float32)
    for crop, (y, x) in zip(crops, starts, strict=True):
        part = cells[2 * y : 2 * (y + side), 2 * x : 2 * (x + side)]
        np.add(part[first[0] :: 2, first[1] :: 2], part[second[0] :: 2, second[1] :: 2], out=crop, dtype=np.float32)
    return starts, crops


def _as_uint16(sums: Float32[np.ndarray, "..."], sites: int) -> tuple[UInt16[np.ndarray, "..."], float]:
    """Return sums over so many sites as the finest 16-bit integers that hold them, and their unit in DN.

    The unit is far below the noise of a mean, and rounding has no bias.
    """
    coarser = 1
    while float(sums.max(initial=0)) / coarser > np.iinfo(np.uint16).max:
        coarser *= 2
    return np.rint(sums / np.float32(coarser)).astype(np.uint16), coarser / sites
