"""Where one frame lies on another, coarsely, and whether both show the same: correlation of their bins.

The correlation is not normalized by frequency and bright outliers are cut first: hot pixels and fixed pattern, which
both frames of a body share, otherwise hold the peak at no shift.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex64, Float32, Float64, Int64

from sidcurate.align.estimates import Estimate

_LONGEST_SHARE = 0.25
_TAPER_SHARE = 1 / 16
# Waves longer than a sixth of the frame are left out: lamps, vignetting, a lifted black.
_SLOWEST_CYCLES = 6
# A peak that is this much of the highest cannot be told from it where the picture repeats itself.
_RIVAL_SHARE = 0.95
_RIVAL_SE = 3.0
_SHOWN_SE = 3.0
_PEAK_REACH = 2
_LEAST_NOISE_SHARE = 1e-12

Plane = Float32[np.ndarray, "h w"]
Spectrum = Complex64[np.ndarray, "h w2"]
Power = Float32[np.ndarray, "h w2"]


@dataclass(frozen=True)
class Match:
    """The best match of two frames by correlation.

    Attributes:
        shift_bins: place of the long frame's picture less that of the short's, (down, right).
        signal: height of the peak over its standard error from noise alone; chance gives 3 to 5 at the best of all
            places.
        correlation: correlation of what both frames show, their noise removed; None where the short shows nothing.
        content: what the long frame shows, over its noise: ratio of standard deviations.
        ambiguous: noise alone may have chosen among several places.
    """

    shift_bins: Float64[np.ndarray, "2"]
    signal: float
    correlation: Estimate | None
    content: float
    ambiguous: bool


def match(short: Float32[np.ndarray, "2 h w"], long: Float32[np.ndarray, "2 h w"], cut_quantile: float) -> Match | None:
    """Return where the long frame matches the short one best.

    Args:
        short: bins of the two greens, whose noise is independent.
        long: the same of the long frame.
        cut_quantile: what is brighter is cut, in both frames.

    Returns:
        The match; None where one frame is blank.
    """
    s1, s2, l1, l2 = (_spectrum(plane, cut_quantile) for plane in (*short, *long))
    s_mean, l_mean = (s1 + s2) / 2, (l1 + l2) / 2
    size = short.shape[1:]
    s_power, l_power = _dot(s1, s2, size), _dot(l1, l2, size)
    noise_power = _noise_power(s1 - s2)
    noise = _total(np.abs(l_mean) ** 2 * noise_power, size) ** 0.5 / (size[0] * size[1])
    if noise == 0 or l_power <= 0:
        return None
    surface = np.fft.fftshift(np.fft.irfft2(l_mean * s_mean.conj(), s=size))
    place, height, ambiguous = _best_place(surface, noise)
    l_noise = max(_dot(l1 - l2, l1 - l2, size) / 4, _LEAST_NOISE_SHARE * l_power)
    # What the two greens of the short have in common is light: their noises are independent.
    s_power_se = 2 * _total(noise_power, size) / (size[0] * size[1]) ** 1.5
    return Match(
        shift_bins=place,
        signal=height / noise,
        content=(l_power / l_noise) ** 0.5,
        ambiguous=ambiguous,
        correlation=_correlation(height, noise, Estimate(s_power, s_power_se), l_power),
    )


def _correlation(height: float, noise: float, s_power: Estimate, l_power: float) -> Estimate | None:
    if s_power.value < _SHOWN_SE * s_power.se:
        return None
    full = (s_power.value * l_power) ** 0.5
    value = height / full
    return Estimate(value, noise / full).widened(value * s_power.se / s_power.value / 2)


def _spectrum(plane: Plane, cut_quantile: float) -> Spectrum:
    """Return the spectrum of a plane, its bright outliers cut, its edges tapered, its slowest waves removed."""
    cut = np.minimum(plane, np.quantile(plane[::2, ::2], cut_quantile))
    cut = cut - cut.mean()
    for axis, length in enumerate(plane.shape):
        cut *= np.expand_dims(_taper(length), 1 - axis)
    fy, fx = np.fft.fftfreq(plane.shape[0])[:, None], np.fft.rfftfreq(plane.shape[1])
    slowest = _SLOWEST_CYCLES / max(plane.shape)
    keep = 1 - np.exp(-(fy**2 + fx**2) / slowest**2)
    return np.asarray(np.fft.rfft2(cut) * keep.astype(np.float32))


def _taper(length: int) -> Float32[np.ndarray, " n"]:
    ramp = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5) / (_TAPER_SHARE * length)
    return np.asarray(np.sin(np.pi / 2 * np.minimum(ramp, 1)) ** 2, np.float32)


def _dot(a: Spectrum, b: Spectrum, size: tuple[int, ...]) -> float:
    """Return the sum over the plane of the product of two planes."""
    return _total((a * b.conj()).real, size) / (size[0] * size[1])


def _total(power: Power, size: tuple[int, ...]) -> float:
    """Return the sum over the whole spectrum of what is given for its half."""
    columns = power.sum(axis=0, dtype=np.float64)
    alone = columns[0] + (columns[-1] if size[1] % 2 == 0 else 0)
    return float(2 * columns.sum() - alone)


def _noise_power(difference: Spectrum) -> Power:
    """Return the noise power, by frequency, of the mean of two planes from their difference.

    Medians along rows and columns of the spectrum leave out texture, of which the two planes see different sites and
    which fills few frequencies, and keep row and column noise, which fill whole lines.
    """
    power = np.abs(difference) ** 2 / 4
    by_row, by_column = (np.median(power, axis=axis, keepdims=True) for axis in (1, 0))
    return np.asarray(np.maximum(by_row, by_column) / math.log(2), np.float32)


def _best_place(surface: Plane, noise: float) -> tuple[Float64[np.ndarray, "2"], float, bool]:
    """Return the place of the peak from the center, its height, and whether noise may have chosen it.

    Where the picture repeats itself, several peaks are as high as the highest: the nearest to no shift is taken.
    """
    center = np.array(surface.shape) // 2
    reach = np.maximum((np.array(surface.shape) * _LONGEST_SHARE).astype(int), 2)
    window = surface[tuple(slice(c - r, c + r + 1) for c, r in zip(center, reach, strict=True))]
    peaks = _local_maxima(window)
    heights = window[tuple(peaks.T)]
    highest = float(heights.max())
    rivals = (heights > highest - _RIVAL_SE * 2**0.5 * noise) | (heights > _RIVAL_SHARE * highest)
    repeats = heights > _RIVAL_SHARE * highest
    from_center = peaks - reach
    chosen = np.flatnonzero(rivals)[np.argmin((from_center[rivals] ** 2).sum(axis=1))]
    return from_center[chosen].astype(np.float64), float(heights[chosen]), bool((rivals & ~repeats).any())


def _local_maxima(window: Plane) -> Int64[np.ndarray, "n 2"]:
    """Return the places that nothing within `_PEAK_REACH` exceeds; noise alone splits no peak in two."""
    highest = window
    for axis, length in enumerate(window.shape):
        padded = np.pad(highest, [(_PEAK_REACH * (axis == other),) * 2 for other in (0, 1)], mode="edge")
        shifted = [np.take(padded, np.arange(length) + by, axis) for by in range(2 * _PEAK_REACH + 1)]
        highest = np.maximum.reduce(shifted)
    return np.argwhere(window == highest)
