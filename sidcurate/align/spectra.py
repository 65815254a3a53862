"""Waves of detail in windows of the green plane, seen twice: by the even and by the odd columns.

Both show the same detail with noises of their own: what they share is detail. Only row noise is in both, in waves that
run straight down, which are left out.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Complex64, Complex128, Float32, Float64

# Cycles across a window that row noise, widened by the taper, stays below.
_STEEPEST = 2.0


@dataclass(frozen=True)
class Waves:
    """Which waves are looked at: their cycles a 2x2 cell are in a band.

    Attributes:
        height: of the windows, in cells.
        width: of the windows, in cells, even.
        band: lowest and highest cycles a cell.
    """

    height: int
    width: int
    band: tuple[float, float]

    @cached_property
    def _grid(self) -> Float64[np.ndarray, "2 h w4"]:
        along = np.fft.fftfreq(self.height), np.fft.rfftfreq(self.width // 2) / 2
        return np.stack(np.meshgrid(*along, indexing="ij"))

    @cached_property
    def chosen(self) -> Bool[np.ndarray, "h w4"]:
        """Which waves of a half's transform are meant."""
        radius, (low, high) = np.hypot(*self._grid), self.band
        return np.asarray((radius >= low) & (radius <= high) & (self._grid[1] > _STEEPEST / self.width))

    @cached_property
    def cycles(self) -> Float64[np.ndarray, "2 k"]:
        """Cycles a cell down and to the right, of each wave."""
        return self._grid[:, self.chosen]

    def halves(self, planes: Float32[np.ndarray, "n h w"]) -> tuple[Complex64[np.ndarray, "n k"], ...]:
        """Return the waves of the even and of the odd columns, both as seen from the first column."""
        wide = self.width
        taper = np.multiply.outer(*(np.hanning(side + 2)[1:-1].astype(np.float32) for side in (self.height, wide)))
        even, odd = (np.fft.rfft2(planes[:, :, first:wide:2] * taper[:, first::2])[:, self.chosen] for first in (0, 1))
        return even, odd * np.exp(-2j * np.pi * self.cycles[1])


def shared_power(even: Complex64[np.ndarray, "n k"], odd: Complex64[np.ndarray, "n k"]) -> Complex128[np.ndarray, " n"]:
    """Return the power of the detail that both halves of a window show, as the real part.

    Noise averages out; the imaginary part shows how much of it has not, for detail has none.
    """
    return np.asarray(4 * (even * odd.conj()).sum(axis=1, dtype=np.complex128))
