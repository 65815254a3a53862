"""PSNR and SSIM of float pictures, by name.

Both compare pictures of range 0..1, clipped before. SSIM depends on its window: every number travels with the name of
its variant. Both run over strips of rows, so that a 12 MP picture costs a few megabytes.
"""

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int, Shaped, UInt8

from sidcurate.errors import UsageError
from sidtrain.evaluation.similarity import COLUMNS, ROWS, Tiles, Window

SsimVariant = Literal["gaussian", "uniform7", "matlab"]
SSIM_VARIANTS: Final = get_args(SsimVariant)

_STRIP_ROWS = 16
# Of the SSIM. More would wait for Python's lock.
_THREADS = 2
# Luma of ITU-R BT.601, by which OpenCV turns R, G, B into gray.
_LUMA = (0.299, 0.587, 0.114)


def psnr_db(
    output: Float32[np.ndarray, "h w c"],
    target: Float32[np.ndarray, "h w c"],
    gains: Float64[np.ndarray, "c"] | None = None,
) -> float:
    """Return the peak signal-to-noise ratio in dB for a data range of 1; infinite where the two are equal.

    Args:
        output: picture; values outside 0..1 are clipped first.
        target: what it should be, in 0..1.
        gains: what each channel is multiplied by after the clip, and clipped again; see `color_gains`, `frame_gain`.

    Raises:
        UsageError: the two are not of one shape.
    """
    squares = 0.0
    factors = None if gains is None else np.tile(gains.astype(np.float32), (output.shape[1], 1))
    for shown, wanted in _clipped_strips(output, target):
        if factors is not None:
            shown *= factors
            np.minimum(shown, 1, out=shown)
        shown -= wanted
        shown *= shown
        squares += float(shown.sum(dtype=np.float64))
    return 10 * math.log10(output.size / squares) if squares else math.inf


def color_gains(output: Float32[np.ndarray, "h w c"], target: Float32[np.ndarray, "h w c"]) -> Float64[np.ndarray, "c"]:
    """Return the factor of each channel that brings a picture, clipped to 0..1, nearest to its target in squares.

    A black channel keeps its own factor of 1.

    Raises:
        UsageError: the two are not of one shape.
    """
    products, squares = np.zeros((2, output.shape[-1]))
    for shown, wanted in _clipped_strips(output, target):
        products += _channel_sums(shown * wanted)
        squares += _channel_sums(np.square(shown))
    return np.divide(products, squares, out=np.ones_like(products), where=squares > 0)


def frame_gain(output: Float32[np.ndarray, "h w p"], target: Float32[np.ndarray, "h w p"]) -> Float64[np.ndarray, "p"]:
    """Return the factor that brings planes, clipped to 0..1, nearest to their target in squares: once for each plane.

    It is the same for all. As in ELD, PMN and LED, values whose target is white do not count. Black planes keep 1.

    Raises:
        UsageError: the two are not of one shape.
    """
    product = square = 0.0
    for shown, wanted in _clipped_strips(output, target):
        shown = np.where(wanted < 1, shown, 0)
        product += float((shown * wanted).sum(dtype=np.float64))
        square += float(np.square(shown).sum(dtype=np.float64))
    return np.full(output.shape[-1], product / square if square else 1.0)


def _channel_sums(strip: Float32[np.ndarray, "r w c"]) -> Float64[np.ndarray, "c"]:
    """Return the sum of each channel; few rows lose nothing in single precision, and whole lines add up fastest."""
    return np.asarray(strip.sum(0).sum(0, dtype=np.float64))


def wrapped_psnr_db(output: UInt8[np.ndarray, "h w c"], target: UInt8[np.ndarray, "h w c"]) -> float:
    """Return what a script gets that subtracts and squares in 8 bits: both wrap at 256. No measure of a picture.

    Never below the true PSNR, and 27.9 dB for two pictures that have nothing in common. It is here to explain tables
    that were made with it.

    Raises:
        UsageError: the two are not of one shape.
    """
    _require_one_shape(output, target)
    squares = np.square(output - target).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / squares)) if squares else math.inf


def eight_bit(picture: Float32[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """Return a picture in 0..1, clipped, as it is written to an 8-bit file: rounded, halves up."""
    codes = np.clip(picture, 0, 1)
    codes *= 255
    codes += 0.5
    return np.asarray(codes.astype(np.uint8))


def gray(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 1"]:
    """Return the luma of an 8-bit picture by ITU-R BT.601, rounded. OpenCV's integers can differ by one code."""
    return np.asarray(np.rint(picture @ np.array(_LUMA))[..., None].astype(np.uint8))


def ssim(
    output: Float32[np.ndarray, "h w c"], target: Float32[np.ndarray, "h w c"], variant: SsimVariant = "gaussian"
) -> float:
    """Return the mean structural similarity over the pixels and the channels, to 1e-6; see `similarity`.

    Args:
        output: picture; values outside 0..1 are clipped first.
        target: what it should be, in 0..1.
        variant: "gaussian" is Wang's window (11 taps, sigma 1.5, population covariance) where it is wholly inside,
            scikit-image's `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`. "uniform7" is scikit-image's
            default, a flat 7x7 with sample covariance. "matlab" is Wang's window run over height, width and color as
            over a volume, the last pixel repeated beyond the edges: how MATLAB documents `ssim(A, ref)` of an array
            of three dimensions (DataFormat "SSS").

    Raises:
        UsageError: the two are not of one shape, or smaller than the window.
    """
    _require_one_shape(output, target)
    window = _window(variant)
    height, width, channels = output.shape
    beyond = window.margin // 2 if window.volume else 0
    rows, columns = (size + 2 * beyond - window.margin for size in (height, width))  # of the map of similarities
    if min(rows, columns) < 1:
        least = window.margin + 1
        raise UsageError(
            f"SSIM variant {variant!r} needs a picture of at least {least}x{least} px; this one is "
            f"{height}x{width}: evaluate larger frames"
        )

    def similarity_sum(tops: range) -> float:
        tiles, total = Tiles(window, channels), 0.0
        for top, left in itertools.product(tops, range(0, columns, COLUMNS)):
            down = _lines(top - beyond, min(ROWS, rows - top) + window.margin, height)
            across = _lines(left - beyond, min(COLUMNS, columns - left) + window.margin, width)
            total += tiles.similarity_sum(output[down][:, across], target[down][:, across])
        return total

    tops = range(0, rows, ROWS)
    with ThreadPoolExecutor(_THREADS) as pool:  # Each has its own rows, whatever the machine: so has the sum.
        total = sum(pool.map(similarity_sum, [tops[first::_THREADS] for first in range(_THREADS)]))
    return float(total / (rows * columns * channels))


def _lines(first: int, count: int, size: int) -> slice | Int[np.ndarray, "count"]:
    """Return so many lines of a picture, the last one repeated beyond its edges."""
    if first >= 0 and first + count <= size:
        return slice(first, first + count)
    return np.clip(np.arange(first, first + count), 0, size - 1)


def _window(variant: SsimVariant) -> Window:
    if variant == "uniform7":
        return Window(np.full(7, 1 / 7), variance_factor=49 / 48)
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    return Window(weights / weights.sum(), volume=variant == "matlab")


def _clipped_strips(
    output: Float32[np.ndarray, "h w c"], target: Float32[np.ndarray, "h w c"]
) -> Iterator[tuple[Float32[np.ndarray, "r w c"], Float32[np.ndarray, "r w c"]]]:
    _require_one_shape(output, target)
    for top in range(0, output.shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        yield np.clip(output[rows], 0, 1), target[rows]


def _require_one_shape(output: Shaped[np.ndarray, "..."], target: Shaped[np.ndarray, "..."]) -> None:
    if output.shape != target.shape or output.ndim != 3:
        raise UsageError(
            f"a picture of shape {output.shape} cannot be compared with a target of shape {target.shape}: both must be "
            "height x width x channels of one size"
        )
