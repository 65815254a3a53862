"""Where one frame lies on another, coarsely, and whether both show the same: correlation of their bins.

The place is found by a correlation that is not normalized by frequency, with outliers cut first: hot pixels and fixed
pattern, which both frames of a body share, otherwise hold the peak at no shift. Whether both show the same is then
judged wave by wave, each wave counting once: a fence fills few waves with most of the power, and would otherwise
decide alone. What is clipped is left out of both: a sky that both frames share is no likeness.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64, Int64

from sidcurate.align.estimates import Estimate

_LONGEST_SHARE = 0.25
_TAPER_SHARE = 1 / 16
# Waves longer than a sixth of the frame are left out: lamps, vignetting, a lifted black.
_SLOWEST_CYCLES = 6
# A peak that is this much of the highest cannot be told from it where the picture repeats itself.
_RIVAL_SHARE = 0.95
_RIVAL_SE = 3.0
_PEAK_REACH = 2
# Darkest and brightest bins, which are hot pixels, dead lines and small lights rather than texture.
_OUTLIERS = 0.005
_CLIPPED_REACH = 2
# Waves of 8 bins and longer bear the half bin, and the part of a degree, by which the place may still be off.
_FASTEST_CYCLES_A_BIN = 1 / 8
# Noise turns the phase of a wave that it is half as high as by 30 degrees at most.
_LEAST_WAVE = 2.0
_FEWEST_WAVES = 30
_LEAST_SPREAD = 0.1
_LEAST_KEPT = 0.01
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
        correlation: mean cosine of the phase by which the waves of the two frames differ at that place, of those waves
            that stand clear of the noise; None where hardly any does.
        content: what the long frame shows, over its noise: ratio of standard deviations.
        ambiguous: noise alone may have chosen among several places.
    """

    shift_bins: Float64[np.ndarray, "2"]
    signal: float
    correlation: Estimate | None
    content: float
    ambiguous: bool


def match(
    short: Float32[np.ndarray, "2 h w"], long: Float32[np.ndarray, "2 h w"], clipped_share: float
) -> Match | None:
    """Return where the long frame matches the short one best.

    Args:
        short: bins of the two greens, whose noise is independent.
        long: the same of the long frame.
        clipped_share: share of the long frame's bins that are clipped; as many of the brightest are left out in both.

    Returns:
        The match; None where one frame is blank.
    """
    size = short.shape[1:]
    slow = _slow_waves(size)
    s1, s2, l1, l2 = (_spectrum(plane, clipped_share, slow) for plane in (*short, *long))
    s_mean, l_mean = (s1 + s2) / 2, (l1 + l2) / 2
    s_power, l_power = _dot(s1, s2, size), _dot(l1, l2, size)
    noise_power = _noise_power(s1 - s2)
    noise = _total(np.abs(l_mean) ** 2 * noise_power, size) ** 0.5 / (size[0] * size[1])
    if noise == 0 or l_power <= 0:
        return None
    product = l_mean * s_mean.conj()
    place, height, ambiguous = _best_place(np.fft.fftshift(np.fft.irfft2(product, s=size)), noise)
    l_noise = max(_dot(l1 - l2, l1 - l2, size) / 4, _LEAST_NOISE_SHARE * l_power)
    promised = np.abs(l_mean) ** 2 * max(s_power / l_power, 0.0)
    return Match(
        shift_bins=place,
        signal=height / noise,
        content=(l_power / l_noise) ** 0.5,
        ambiguous=ambiguous,
        correlation=_correlation(product, promised > _LEAST_WAVE**2 * noise_power, place, size),
    )


def _correlation(
    product: Spectrum, clear: Bool[np.ndarray, "h w2"], place: Float64[np.ndarray, "2"], size: tuple[int, ...]
) -> Estimate | None:
    """Return the mean cosine of the phases that are left once the place is taken out, over the clear waves.

    Two scenes have phases that know nothing of each other: the mean of n cosines is then 0, to 1 / sqrt(2 n).
    """
    fy, fx = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    told = clear & (np.hypot(fy, fx) <= _FASTEST_CYCLES_A_BIN) & (product != 0)
    count = int(told.sum())
    if count < _FEWEST_WAVES:
        return None
    turned = product[told] * np.exp(2j * np.pi * (fy * place[0] + fx * place[1]))[told]
    cosines = turned.real / np.abs(turned)
    return Estimate(float(cosines.mean()), float(max(cosines.std(), _LEAST_SPREAD) / count**0.5))


def _spectrum(plane: Plane, clipped_share: float, slow: Power) -> Spectrum:
    """Return the spectrum of a plane: outliers cut, the clipped filled in, edges tapered, slow waves removed."""
    if clipped_share > _OUTLIERS:
        plane = _filled(plane, plane >= np.quantile(plane[::2, ::2], 1 - clipped_share), slow)
    cut = np.clip(plane, *np.quantile(plane[::2, ::2], (_OUTLIERS, 1 - _OUTLIERS)))
    cut = cut - cut.mean()
    for axis, length in enumerate(plane.shape):
        cut *= np.expand_dims(_taper(length), 1 - axis)
    return np.asarray(np.fft.rfft2(cut) * (1 - slow))


def _slow_waves(size: tuple[int, ...]) -> Power:
    """Return the share of each wave that counts as slow."""
    fy, fx = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    slowest = _SLOWEST_CYCLES / max(size)
    return np.asarray(np.exp(-(fy**2 + fx**2) / slowest**2), np.float32)


def _filled(plane: Plane, clipped: Bool[np.ndarray, "h w"], slow: Power) -> Plane:
    """Return the plane with what is clipped, and its brim, replaced by the slow waves of the rest."""
    kept = ~_widened(clipped)
    mean = float(plane[kept].mean()) if kept.any() else 0.0
    values, weights = (
        np.fft.irfft2(np.fft.rfft2(part) * slow, s=plane.shape) for part in (np.where(kept, plane - mean, 0), kept)
    )
    smooth = mean + values / np.maximum(weights, _LEAST_KEPT)
    return np.asarray(np.where(kept, plane, smooth), np.float32)


def _widened(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    for axis, length in enumerate(mask.shape):
        padded = np.pad(mask, [(_CLIPPED_REACH * (axis == other),) * 2 for other in (0, 1)])
        shifted = (np.take(padded, np.arange(length) + by, axis) for by in range(2 * _CLIPPED_REACH + 1))
        mask = np.logical_or.reduce(list(shifted))
    return mask


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
