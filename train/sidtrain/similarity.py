"""The structural similarity of a tile of two pictures: every pass over its pixels, none of the definitions.

With s = x + y and d = x - y, and means and variances under a window, the similarity of Wang et al. is

    (1 - 2 mean(d)^2 / (mean(s)^2 + mean(d)^2 + 2 C1)) (1 - 2 var(d) / (var(s) + var(d) + 2 C2))

so that what two like pictures differ by is never the difference of two large numbers. The tile's own mean is taken off
first, because "mean of squares less square of mean" forgets in single precision what is small beside that mean. What is
left of that error is under 1e-6 in the mean over a picture, and 3e-6 where it is drawn, flat to the last bit.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

# Output pixels of a tile. A band matrix of 16 lines multiplies each value with no more than 26 taps, and the buffers of
# a tile fit the cache. BLAS does not split products so small over threads, whose start costs more than they do.
ROWS, COLUMNS = 16, 384
_BLOCK_COLUMNS = 16
_CENTER_STEP = 5

# Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", section III-C.
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class Window:
    """A separable window of odd length, and what the variance under it is multiplied by.

    `volume` runs it over the colors too, as if they were a third side, and repeats the last pixel beyond every edge;
    otherwise only pixels count whose whole window is inside.
    """

    taps: Float64[np.ndarray, "taps"]
    variance_factor: float = 1.0
    volume: bool = False

    @property
    def margin(self) -> int:
        """Lines that a picture loses where its window must be inside."""
        return len(self.taps) - 1


class Tiles:
    """Sums of the similarity over tiles of up to `ROWS` x `COLUMNS` pixels, in buffers that are kept.

    Fresh buffers cost more in page faults than the arithmetic. A product with a band matrix does more arithmetic than
    shifted sums and is faster, because BLAS reads each value once. One thread only may use an instance.
    """

    def __init__(self, window: Window, channels: int) -> None:
        self._window, self._channels = window, channels
        taps = _of_sum_one(window.taps)
        self._across, self._down = _band(_BLOCK_COLUMNS, taps), _band(ROWS, taps).T.copy()
        self._mix = _color_band(channels, taps) if window.volume else None
        rows, columns = ROWS + window.margin, COLUMNS + window.margin
        self._moments = np.empty(4 * rows * columns * channels, np.float32)
        self._vertical = np.empty(4 * ROWS * columns * channels, np.float32)
        self._means = np.empty(4 * ROWS * COLUMNS * channels, np.float32)
        self._squares = np.empty(ROWS * COLUMNS * channels, np.float32)

    def similarity_sum(self, x: Float32[np.ndarray, "h w c"], y: Float32[np.ndarray, "h w c"]) -> float:
        """Return the sum of the similarity over the pixels whose window is inside the tile; x is clipped to 0..1."""
        moments, centers = self._moments_of(x, y)
        return self._sum(self._windowed(moments), centers)

    def _moments_of(
        self, x: Float32[np.ndarray, "h w c"], y: Float32[np.ndarray, "h w c"]
    ) -> tuple[Float32[np.ndarray, "4 h w c"], Float32[np.ndarray, "2 c"]]:
        """Return s, d and their squares, in a buffer, and what was taken off s and d, by channel."""
        moments = self._moments[: 4 * x.size].reshape(4, *x.shape)
        plain, squares = moments[:2], moments[2:]
        clipped = np.clip(x, 0, 1, out=squares[0])
        np.add(clipped, y, out=plain[0])
        np.subtract(clipped, y, out=plain[1])
        centers = plain[:, ::_CENTER_STEP, ::_CENTER_STEP].mean((1, 2))
        if self._mix is not None:  # A window over the colors needs one for all of them.
            centers[:] = centers.mean(1, keepdims=True)
        for image, center in zip(plain, centers, strict=True):
            rows = image.reshape(len(image), -1)
            rows -= np.tile(center, x.shape[1])
        np.multiply(plain, plain, out=squares)
        return moments, centers

    def _windowed(self, images: Float32[np.ndarray, "4 h w c"]) -> Float32[np.ndarray, "4 W cH"]:
        """Return the means under the window, where it is wholly inside, column by column.

        The first product turns the images, so that both are of a band matrix and long rows.
        """
        _, height, width, channels = images.shape
        rows, columns = height - self._window.margin, width - self._window.margin
        line = channels * rows
        turned = self._vertical[: 4 * width * line].reshape(4, width * channels, rows)
        np.matmul(images.reshape(4, height, -1).mT, self._down[:height, :rows], out=turned)
        turned = turned.reshape(4, width, line)
        means = self._means[: 4 * columns * line].reshape(4, columns, line)
        whole = columns // _BLOCK_COLUMNS * _BLOCK_COLUMNS
        blocks = _overlapping(turned, whole // _BLOCK_COLUMNS, self._window.margin)
        np.matmul(self._across, blocks, out=means[:, :whole].reshape(4, -1, _BLOCK_COLUMNS, line))
        rest = columns - whole
        if rest:
            band = self._across[:rest, : rest + self._window.margin]
            np.matmul(band, turned[:, whole:], out=means[:, whole:])
        return means if self._mix is None else _mixed(self._mix, means)

    def _sum(self, means: Float32[np.ndarray, "4 W cH"], centers: Float32[np.ndarray, "2 c"]) -> float:
        """Return the sum of the similarity, computed in place; both factors are of the form 1 - 2 q."""
        s, d, s_variance, d_variance = means
        squares = self._squares[: s.size].reshape(s.shape)
        for mean, variance in ((s, s_variance), (d, d_variance)):
            np.multiply(mean, mean, out=squares)
            variance -= squares
        for mean, center in ((s, centers[0]), (d, centers[1])):
            mean += np.repeat(center, s.shape[1] // self._channels)
            mean *= mean
        for large, small, constant in ((s, d, _C1), (s_variance, d_variance, _C2 / self._window.variance_factor)):
            large += small
            large += np.float32(2 * constant)
            small /= large
            small -= np.float32(0.5)
        d *= d_variance
        return 4 * float(d.sum(dtype=np.float64))


def _of_sum_one(taps: Float64[np.ndarray, "taps"]) -> Float32[np.ndarray, "taps"]:
    """Return taps in single precision whose sum is 1 to the last bit: a flat picture then has no variance."""
    parts = np.rint(taps * 2**24)
    parts[len(parts) // 2] += 2**24 - parts.sum()
    return np.asarray(parts / 2**24, np.float32)


def _band(size: int, taps: Float32[np.ndarray, "taps"]) -> Float32[np.ndarray, "size padded"]:
    """Return the matrix whose row i holds the taps from column i on."""
    band = np.zeros((size, size + len(taps) - 1), np.float32)
    for offset, tap in enumerate(taps):
        np.fill_diagonal(band[:, offset:], tap)
    return band


def _color_band(channels: int, taps: Float32[np.ndarray, "taps"]) -> Float32[np.ndarray, "c c"]:
    """Return the matrix that runs a window over the channels, the last one repeated beyond the edges."""
    weights = np.zeros((channels, channels), np.float32)
    for offset, tap in enumerate(taps, start=-(len(taps) // 2)):
        weights[np.arange(channels), np.clip(np.arange(channels) + offset, 0, channels - 1)] += tap
    return weights


def _mixed(band: Float32[np.ndarray, "c c"], means: Float32[np.ndarray, "4 W cH"]) -> Float32[np.ndarray, "4 W cH"]:
    by_color = means.reshape(*means.shape[:2], len(band), -1)
    return np.asarray((band @ by_color).reshape(means.shape))


def _overlapping(
    images: Float32[np.ndarray, "4 w line"], count: int, margin: int
) -> Float32[np.ndarray, "4 count block line"]:
    """Return a view of blocks that share the margin with the next one; slices would be a product a block."""
    image, column, value = images.strides
    strides = (image, _BLOCK_COLUMNS * column, column, value)
    shape = (4, count, _BLOCK_COLUMNS + margin, images.shape[2])
    return np.lib.stride_tricks.as_strided(images, shape, strides, writeable=False)
