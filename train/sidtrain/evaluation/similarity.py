"""The structural similarity of a tile of two pictures: every pass over its pixels, none of the definitions.

With s = x + y and d = x - y, and means and variances under a window, the similarity of Wang et al. is

    (1 - 2 mean(d)^2 / (mean(s)^2 + mean(d)^2 + 2 C1)) (1 - 2 var(d) / (var(s) + var(d) + 2 C2))

so that what two like pictures differ by is never the difference of two large numbers. The tile's own mean is taken off
first, because "mean of squares less square of mean" forgets in single precision what is small beside that mean. What is
left of that error is under 1e-6 in the mean over a picture, and 3e-6 where it is drawn, flat to the last bit.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

# Output pixels of a tile, whole blocks each way. Each computes the margin that it shares with its neighbors, a fifth of
# it, and its two buffers of some 0.7 MB still stay near the core.
ROWS, COLUMNS = 96, 128
# Lines that one product with a band matrix puts out, from no more than 26. BLAS does not split products so small over
# threads, whose start costs more than they do.
_BLOCK = 16
_CENTER_STEP = 16

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
        self._margin = window.margin
        taps = _of_sum_one(window.taps)
        self._band = _band(taps)
        self._mix = _color_band(channels, taps) if window.volume else None
        self._constants = np.array([[[2 * _C1]], [[2 * _C2 / window.variance_factor]]], np.float32)
        rows, columns, line = ROWS + window.margin, COLUMNS + window.margin, channels * ROWS
        self._moments = np.empty((4, rows, columns, channels), np.float32)
        self._centers = np.empty((2, 1, columns, channels), np.float32)
        self._turned = np.empty((4, columns * channels, ROWS), np.float32)
        # Each of the two large buffers is free again when the other one is filled.
        self._means = _start_of(self._moments, (4, COLUMNS, line))
        self._squares = _start_of(self._turned, (2, COLUMNS, line))

        self._row_blocks = _overlapping(self._moments.reshape(4, rows, -1), window.margin).mT
        self._turned_blocks = self._turned.reshape(4, -1, ROWS // _BLOCK, _BLOCK).swapaxes(1, 2)
        self._column_blocks = _overlapping(self._turned.reshape(4, columns, line), window.margin)
        self._mean_blocks = self._means.reshape(4, -1, _BLOCK, line)

    def similarity_sum(self, x: Float32[np.ndarray, "h w c"], y: Float32[np.ndarray, "h w c"]) -> float:
        """Return the sum of the similarity over the pixels whose window is inside the tile; x is clipped to 0..1."""
        centers = self._fill_moments(x, y)
        self._run_window()
        factors = self._factors(centers)
        height, width, channels = x.shape
        outside = factors[0].reshape(COLUMNS, channels, ROWS)
        outside[width - self._margin :] = 0
        outside[:, :, height - self._margin :] = 0
        return 4 * float(np.vecdot(*factors).sum(dtype=np.float64))

    def _fill_moments(
        self, x: Float32[np.ndarray, "h w c"], y: Float32[np.ndarray, "h w c"]
    ) -> Float32[np.ndarray, "2 c"]:
        """Fill in s, d and their squares, and return what was taken off s and d; beyond x and y, any number does."""
        height, width, _ = x.shape
        plain, squares = self._moments[:2], self._moments[2:]
        plain[:, height:] = 0
        plain[:, :, width:] = 0
        clipped = np.clip(x, 0, 1, out=squares[0, :height, :width])
        np.add(clipped, y, out=plain[0, :height, :width])
        np.subtract(clipped, y, out=plain[1, :height, :width])
        centers = np.asarray(plain[:, :height:_CENTER_STEP, :width:_CENTER_STEP].mean((1, 2)))
        if self._mix is not None:  # A window over the colors needs one for all of them.
            centers[:] = centers.mean(1, keepdims=True)
        self._centers[:] = centers[:, None, None]
        plain -= self._centers
        np.multiply(plain, plain, out=squares)
        return centers

    def _run_window(self) -> None:
        """Fill in the means under the window: of one column after the other, of each the rows of one color in turn.

        The first product turns the moments, so that both are of a band matrix and long lines.
        """
        np.matmul(self._row_blocks, self._band.T, out=self._turned_blocks)
        np.matmul(self._band, self._column_blocks, out=self._mean_blocks)
        if self._mix is not None:
            by_color = self._means.reshape(4, COLUMNS, len(self._mix), ROWS)
            by_color[:] = self._mix @ by_color

    def _factors(self, centers: Float32[np.ndarray, "2 c"]) -> Float32[np.ndarray, "2 W cH"]:
        """Return q - 1/2 for each of the two factors 1 - 2 q, in the place of the means."""
        plain, variances = self._means[:2], self._means[2:]
        np.multiply(plain, plain, out=self._squares)
        variances -= self._squares
        plain += np.repeat(centers, ROWS, axis=1)[:, None]
        plain *= plain
        large, small = self._means[::2], self._means[1::2]
        large += small
        large += self._constants
        small /= large
        small -= np.float32(0.5)
        return small


def _of_sum_one(taps: Float64[np.ndarray, "taps"]) -> Float32[np.ndarray, "taps"]:
    """Return taps in single precision whose sum is 1 to the last bit: a flat picture then has no variance."""
    parts = np.rint(taps * 2**24)
    parts[len(parts) // 2] += 2**24 - parts.sum()
    return np.asarray(parts / 2**24, np.float32)


def _band(taps: Float32[np.ndarray, "taps"]) -> Float32[np.ndarray, "block padded"]:
    """Return the matrix whose row i holds the taps from column i on."""
    band = np.zeros((_BLOCK, _BLOCK + len(taps) - 1), np.float32)
    for offset, tap in enumerate(taps):
        np.fill_diagonal(band[:, offset:], tap)
    return band


def _color_band(channels: int, taps: Float32[np.ndarray, "taps"]) -> Float32[np.ndarray, "c c"]:
    """Return the matrix that runs a window over the channels, the last one repeated beyond the edges."""
    weights = np.zeros((channels, channels), np.float32)
    for offset, tap in enumerate(taps, start=-(len(taps) // 2)):
        weights[np.arange(channels), np.clip(np.arange(channels) + offset, 0, channels - 1)] += tap
    return weights


def _start_of(buffer: Float32[np.ndarray, "..."], shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """Return a view of a buffer's first values."""
    return buffer.reshape(-1)[: math.prod(shape)].reshape(shape)


def _overlapping(images: Float32[np.ndarray, "4 n line"], margin: int) -> Float32[np.ndarray, "4 blocks padded line"]:
    """Return a view of blocks of lines that share the margin with the next one; slices would be a product a block."""
    _, count, line = images.shape
    image, step, value = images.strides
    shape = (4, (count - margin) // _BLOCK, _BLOCK + margin, line)
    return np.lib.stride_tricks.as_strided(images, shape, (image, _BLOCK * step, step, value), writeable=False)
