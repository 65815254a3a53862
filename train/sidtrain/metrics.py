"""PSNR and SSIM of float pictures, by name.

Both compare pictures of range 0..1, clipped before. SSIM depends on its window: every number travels with the name of
its variant. Both run over strips of rows, so that a 12 MP picture costs a few megabytes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int, Shaped, UInt8

from sidcurate.errors import UsageError

SsimVariant = Literal["gaussian", "uniform7", "matlab"]
SSIM_VARIANTS: Final = get_args(SsimVariant)

# Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", section III-C.
_C1, _C2 = 0.01**2, 0.03**2
_STRIP_ROWS, _STRIP_COLUMNS, _BLOCK_COLUMNS = 16, 480, 48
# Luma of ITU-R BT.601, by which OpenCV turns R, G, B into gray.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class _Window:
    """A separable window of odd length, and what the variance under it is multiplied by.

    `volume` runs it over the colors too, as if they were a third side, and repeats the last pixel beyond every edge;
    otherwise only pixels count whose whole window is inside.
    """

    taps: Float64[np.ndarray, "taps"]
    variance_factor: float
    volume: bool = False


def psnr_db(
    output: Float32[np.ndarray, "h w c"],
    target: Float32[np.ndarray, "h w c"],
    gains: Float64[np.ndarray, "c"] | None = None,
) -> float:
    """Return the peak signal-to-noise ratio in dB for a data range of 1; infinite where the two are equal.

    Args:
        output: picture; values outside 0..1 are clipped first.
        target: what it should be, in 0..1.
        gains: what each channel is multiplied by after the clip, and clipped again; see `color_gains`.

    Raises:
        UsageError: the two are not of one shape.
    """
    squares = 0.0
    for shown, wanted in _clipped_strips(output, target):
        fitted = shown if gains is None else np.minimum(shown * gains.astype(np.float32), 1)
        squares += float(np.square(fitted - wanted).sum(dtype=np.float64))
    return 10 * math.log10(output.size / squares) if squares else math.inf


def color_gains(output: Float32[np.ndarray, "h w c"], target: Float32[np.ndarray, "h w c"]) -> Float64[np.ndarray, "c"]:
    """Return the factor of each channel that brings a picture, clipped to 0..1, nearest to its target in squares.

    A black channel keeps its own factor of 1.

    Raises:
        UsageError: the two are not of one shape.
    """
    products, squares = np.zeros((2, output.shape[-1]))
    for shown, wanted in _clipped_strips(output, target):
        products += (shown * wanted).sum((0, 1), dtype=np.float64)
        squares += np.square(shown).sum((0, 1), dtype=np.float64)
    return np.divide(products, squares, out=np.ones_like(products), where=squares > 0)


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
    """Return the mean structural similarity over the pixels and the channels.

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
    margin = len(window.taps) - 1
    beyond = margin // 2 if window.volume else 0
    height, width, channels = output.shape
    if min(height, width) + 2 * beyond <= margin:
        raise UsageError(
            f"SSIM variant {variant!r} needs a picture of at least {margin + 1}x{margin + 1} px; this one is "
            f"{height}x{width}: evaluate larger frames"
        )
    rows, columns = height + 2 * beyond - margin, width + 2 * beyond - margin  # of the map of similarities
    strips = _Strips(window)
    total = 0.0
    for top in range(0, rows, _STRIP_ROWS):
        down = _lines(top - beyond, min(_STRIP_ROWS, rows - top) + margin, height)
        for left in range(0, columns, _STRIP_COLUMNS):
            across = _lines(left - beyond, min(_STRIP_COLUMNS, columns - left) + margin, width)
            total += strips.similarity_sum(output[down][:, across], target[down][:, across])
    return float(total / (rows * columns * channels))


def _lines(first: int, count: int, size: int) -> slice | Int[np.ndarray, "count"]:
    """Return so many lines of a picture, the last one repeated beyond its edges."""
    if first >= 0 and first + count <= size:
        return slice(first, first + count)
    return np.clip(np.arange(first, first + count), 0, size - 1)


def _window(variant: SsimVariant) -> _Window:
    if variant == "uniform7":
        return _Window(np.full(7, 1 / 7), variance_factor=49 / 48)
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    return _Window(weights / weights.sum(), variance_factor=1.0, volume=variant == "matlab")


class _Strips:
    """SSIM of strips of a picture. The buffers are kept: fresh ones cost three times the arithmetic in page faults.

    In single precision "mean of squares less square of mean" is wrong by 1e-5 where a picture is flat and bright: the
    sums are double. A product with a band matrix does more arithmetic than shifted sums and is twice as fast, because
    BLAS reads each value once; the strips fit the cache, and BLAS does not split so small ones over threads.
    """

    def __init__(self, window: _Window) -> None:
        self._window, self._margin = window, len(window.taps) - 1
        self._rows, self._columns = _band(_STRIP_ROWS, window.taps), _band(_BLOCK_COLUMNS, window.taps).T.copy()
        self._moments = np.empty((4, _STRIP_ROWS + self._margin, _STRIP_COLUMNS + self._margin))
        self._vertical = np.empty((4, _STRIP_ROWS, _STRIP_COLUMNS + self._margin))
        self._means = np.empty((4, _STRIP_ROWS, _STRIP_COLUMNS))
        self._product = np.empty((_STRIP_ROWS, _STRIP_COLUMNS))

    def similarity_sum(self, x: Float32[np.ndarray, "h w c"], y: Float32[np.ndarray, "h w c"]) -> float:
        """Return the sum of the similarity over the pixels whose window is inside the strip; x is clipped to 0..1."""
        channels = range(x.shape[-1])
        means = (self._means_of(x[..., channel], y[..., channel]) for channel in channels)
        if self._window.volume:
            stacked = np.stack([of_channel.copy() for of_channel in means])
            volume = np.tensordot(_across(len(channels), self._window.taps), stacked, 1)
            means = (volume[channel] for channel in channels)
        return sum(self._similarity_sum(of_channel) for of_channel in means)

    def _means_of(self, x: Float32[np.ndarray, "h w"], y: Float32[np.ndarray, "h w"]) -> Float64[np.ndarray, "4 H W"]:
        """Return the means under the window of x, y, the sum of their squares and their product, in a buffer."""
        moments = self._moments[:, : x.shape[0], : x.shape[1]]
        np.clip(x, 0, 1, out=moments[0])
        moments[1] = y
        np.multiply(moments[0], moments[0], out=moments[2])
        np.multiply(moments[1], moments[1], out=moments[3])
        moments[2] += moments[3]
        np.multiply(moments[0], moments[1], out=moments[3])
        return self._windowed(moments)

    def _windowed(self, images: Float64[np.ndarray, "4 h w"]) -> Float64[np.ndarray, "4 H W"]:
        """Return the weighted means under the window, where it is wholly inside."""
        height, width = images.shape[1] - self._margin, images.shape[2] - self._margin
        vertical, means = self._vertical[:, :height, : images.shape[2]], self._means[:, :height, :width]
        np.matmul(self._rows[:height, : images.shape[1]], images, out=vertical)
        for left in range(0, width, _BLOCK_COLUMNS):
            size = min(_BLOCK_COLUMNS, width - left)
            block = vertical[..., left : left + size + self._margin]
            np.matmul(block, self._columns[: size + self._margin, :size], out=means[..., left : left + size])
        return means

    def _similarity_sum(self, means: Float64[np.ndarray, "4 H W"]) -> float:
        x, y, variances, covariance = means
        product = np.multiply(x, y, out=self._product[: x.shape[0], : x.shape[1]])
        squares = np.add(np.square(x, out=x), np.square(y, out=y), out=x)
        variances -= squares
        covariance -= product
        # (2 product + C1)(2 covariance + C2) / ((squares + C1)(variances + C2)), in place.
        for term, factor, constant in (
            (product, 2.0, _C1),
            (covariance, 2 * self._window.variance_factor, _C2),
            (squares, 1.0, _C1),
            (variances, self._window.variance_factor, _C2),
        ):
            term *= factor
            term += constant
        product *= covariance
        squares *= variances
        return float(np.divide(product, squares, out=product).sum())


def _band(size: int, taps: Float64[np.ndarray, "taps"]) -> Float64[np.ndarray, "size padded"]:
    """Return the matrix whose row i holds the taps from column i on."""
    band = np.zeros((size, size + len(taps) - 1))
    for offset, tap in enumerate(taps):
        np.fill_diagonal(band[:, offset:], tap)
    return band


def _across(channels: int, taps: Float64[np.ndarray, "taps"]) -> Float64[np.ndarray, "c c"]:
    """Return the matrix that runs a window over the channels, the last one repeated beyond the edges."""
    weights = np.zeros((channels, channels))
    for offset, tap in enumerate(taps, start=-(len(taps) // 2)):
        weights[np.arange(channels), np.clip(np.arange(channels) + offset, 0, channels - 1)] += tap
    return weights


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
