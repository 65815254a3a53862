"""A pair in blocks: the means of both frames by CFA position, after the long frame is laid on the short one."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from sidcurate.align.trace import Trace

BLOCK_BINS = 4
"""Side of a block, in bins."""

_SLIGHT = 1e-3

Corners: TypeAlias = tuple[Float64[np.ndarray, "H W"], Float64[np.ndarray, "H W"]]
"""Rows and columns of the corners of all blocks, in bins of the long frame."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of both frames by CFA position, the long one displaced onto the short; black is left in.

    Attributes:
        short: block means of the short frame, in DN.
        long: block means of the long frame at the same place of the picture, in DN.
        valid: in view in both frames, nothing clipped.
        y: place of the block, -1 at the top to 1 at the bottom.
        x: place of the block, -1 at the left to 1 at the right.
    """

    short: Float32[np.ndarray, "4 h w"]
    long: Float64[np.ndarray, "4 h w"]
    valid: Bool[np.ndarray, "4 h w"]
    y: Float64[np.ndarray, "h 1"]
    x: Float64[np.ndarray, "1 w"]


def blocks(short: Trace, long: Trace, displacement: Float64[np.ndarray, "3"]) -> Blocks:
    """Return the blocks of a pair; `displacement` is that of the long picture: down, right (px), clockwise (radian)."""
    shape = tuple(length // BLOCK_BINS for length in short.bins.shape[1:])
    corners = _displaced_corners(short, shape, displacement)
    long_clipped = long.clipped_bins
    clipped = _area_sums(long_clipped, corners) > _SLIGHT if long_clipped.any() else np.zeros((4, *shape), bool)
    return Blocks(
        short=_block_means(short.bins_dn, shape),
        long=_area_sums(long.bins_dn, corners) / BLOCK_BINS**2,
        valid=_in_view(corners, long.bins.shape[1:]) & ~clipped & (_block_means(short.clipped_bins, shape) == 0),
        y=np.linspace(-1, 1, 2 * shape[0] + 1)[1::2, None],
        x=np.linspace(-1, 1, 2 * shape[1] + 1)[None, 1::2],
    )


def _in_view(corners: Corners, size: tuple[int, ...]) -> Bool[np.ndarray, "a b"]:
    """Return which displaced blocks lie wholly in the long frame."""
    inside = np.ones(corners[0].shape, bool)
    for along, length in zip(corners, size, strict=True):
        inside &= (along >= 0) & (along <= length)
    return inside[1:, 1:] & inside[:-1, 1:] & inside[1:, :-1] & inside[:-1, :-1]


def _block_means(planes: np.ndarray, shape: tuple[int, ...]) -> Float32[np.ndarray, "4 h w"]:
    tall, wide = shape
    whole = planes[:, : tall * BLOCK_BINS, : wide * BLOCK_BINS].reshape(-1, tall, BLOCK_BINS, wide * BLOCK_BINS)
    rows = np.add.reduce(whole, axis=2, dtype=np.float32).reshape(-1, tall, wide, BLOCK_BINS)
    return np.asarray(rows @ np.full(BLOCK_BINS, BLOCK_BINS**-2, np.float32))


def _displaced_corners(trace: Trace, shape: tuple[int, ...], displacement: Float64[np.ndarray, "3"]) -> Corners:
    """Return where the corners of the short frame's blocks lie in the long frame, in bins."""
    y, x = (np.arange(length + 1) * float(BLOCK_BINS) for length in shape)
    pitch, (center_y, center_x) = 2.0 * trace.bin_sites, trace.size / 2
    down, right, turn = displacement
    rows = y[:, None] + (down + turn * (x[None] * pitch - center_x)) / pitch
    columns = x[None] + (right - turn * (y[:, None] * pitch - center_y)) / pitch
    return rows, columns


def _area_sums(
    planes: Float32[np.ndarray, "n h w"] | Bool[np.ndarray, "n h w"], corners: Corners
) -> Float64[np.ndarray, "n a b"]:
    """Return sums of planes over displaced blocks, parts of a bin by area, outside the frame nothing.

    The running sum of a plane, interpolated at the corners of a block, is exact for bins of constant light.
    """
    table = np.zeros((len(planes), planes.shape[1] + 1, planes.shape[2] + 1))
    inner = table[:, 1:, 1:]
    np.cumsum(planes, axis=2, out=inner)
    np.cumsum(inner, axis=1, out=inner)
    (top, part_y), (left, part_x) = (
        _whole_and_part(np.clip(along, 0, length), length)
        for along, length in zip(corners, planes.shape[1:], strict=True)
    )
    upper = table[:, top, left] * (1 - part_x) + table[:, top, left + 1] * part_x
    lower = table[:, top + 1, left] * (1 - part_x) + table[:, top + 1, left + 1] * part_x
    at = upper * (1 - part_y) + lower * part_y
    return np.asarray(at[:, 1:, 1:] - at[:, :-1, 1:] - at[:, 1:, :-1] + at[:, :-1, :-1])


def _whole_and_part(
    place: Float64[np.ndarray, "H W"], length: int
) -> tuple[Int64[np.ndarray, "H W"], Float64[np.ndarray, "H W"]]:
    whole = np.minimum(place.astype(np.int64), length - 1)
    return whole, place - whole
