"""PSNR and SSIM of float pictures, by name.

Both compare pictures of range 0..1, clipped before. SSIM depends on its window: every number travels with the name of
its variant. It runs over strips of rows, so that a 12 MP picture costs a few megabytes.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from sidcurate.errors import UsageError

SsimVariant = Literal["gaussian", "uniform7"]
SSIM_VARIANTS: Final = get_args(SsimVariant)

# Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", section III-C.
_C1, _C2 = 0.01**2, 0.03**2
_STRIP_ROWS, _STRIP_COLUMNS, _BLOCK_COLUMNS = 16, 480, 48


@dataclass(frozen=True)
class _Window:
    """A separable window of odd length, and what the variance under it is multiplied by."""

    taps: Float64[np.ndarray, "taps"]
    variance_factor: float


def psnr_db(output: Float32[np.ndarray, "h w c"], target: Float32[np.ndarray, "h w c"]) -> float:
    """Return the peak signal-to-noise ratio in dB for a data range of 1; infinite where the two are equal.

    Args:
        output: picture; values outside 0..1 are clipped first.
        target: what it should be, in 0..1.

    Raises:
        UsageError: the two are not of one shape.
    """
    _require_one_shape(output, target)
    squares = 0.0
    for top in range(0, output.shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        difference = np.clip(output[rows], 0, 1) - target[rows]
        squares += float(np.square(difference).sum(dtype=np.float64))
    return 10 * math.log10(output.size / squares) if squares else math.inf


def ssim(
    output: Float32[np.ndarray, "h w c"], target: Float32[np.ndarray, "h w c"], variant: SsimVariant = "gaussian"
) -> float:
    """Return the mean structural similarity over the pixels whose whole window is inside, and over the channels.

    Args:
        output: picture; values outside 0..1 are clipped first.
        target: what it should be, in 0..1.
        variant: "gaussian" is Wang's window (11 taps, sigma 1.5, population covariance), scikit-image's
            `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`. "uniform7" is scikit-image's default, a
            flat 7x7 with sample covariance.

    Raises:
        UsageError: the two are not of one shape, or smaller than the window.
    """
    _require_one_shape(output, target)
    window = _window(variant)
    margin = len(window.taps) - 1
    height, width, channels = output.shape
    if min(height, width) <= margin:
        raise UsageError(
            f"SSIM variant {variant!r} needs a picture of at least {margin + 1}x{margin + 1} px; this one is "
            f"{height}x{width}: evaluate larger frames"
        )
    strips = _Strips(window)
    total = 0.0
    for top in range(0, height - margin, _STRIP_ROWS):
        for left in range(0, width - margin, _STRIP_COLUMNS):
            strip = slice(top, top + _STRIP_ROWS + margin), slice(left, left + _STRIP_COLUMNS + margin)
            for channel in range(channels):
                total += strips.similarity_sum(output[*strip, channel], target[*strip, channel])
    return float(total / ((height - margin) * (width - margin) * channels))


def _window(variant: SsimVariant) -> _Window:
    if variant == "uniform7":
        return _Window(np.full(7, 1 / 7), variance_factor=49 / 48)
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    return _Window(weights / weights.sum(), variance_factor=1.0)


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

    def similarity_sum(self, x: Float32[np.ndarray, "h w"], y: Float32[np.ndarray, "h w"]) -> float:
        """Return the sum of the similarity over the pixels whose window is inside the strip; x is clipped to 0..1."""
        moments = self._moments[:, : x.shape[0], : x.shape[1]]
        np.clip(x, 0, 1, out=moments[0])
        moments[1] = y
        np.multiply(moments[0], moments[0], out=moments[2])
        np.multiply(moments[1], moments[1], out=moments[3])
        moments[2] += moments[3]
        np.multiply(moments[0], moments[1], out=moments[3])
        return self._similarity_sum(self._windowed(moments))

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


def _require_one_shape(output: Shaped[np.ndarray, "..."], target: Shaped[np.ndarray, "..."]) -> None:
    if output.shape != target.shape or output.ndim != 3:
        raise UsageError(
            f"a picture of shape {output.shape} cannot be compared with a target of shape {target.shape}: both must be "
            "height x width x channels of one size"
        )
