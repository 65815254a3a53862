"""The noise and the sharpness of one frame: what neighboring sites share is detail, what they do not is noise.

Both are measured on the green crops of a trace, so that no pass over the mosaic is added.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from sidcurate.align.estimates import Estimate
from sidcurate.align.spectra import Waves, shared_power
from sidcurate.align.trace import Trace

_BLOCK = 16
_DARKEST = 1 / 8
_FEWEST_BLOCKS = 8
# What a second difference down of one across makes of the variance, and of how alike neighbors are: the squares of
# 1, -2, 1, and of its products with itself moved along (6, -4, 1), along both axes.
_OF_VARIANCE = 6**2
_ALIKE = ((6**2 + 2 * 4**2 + 2 * 1**2) / 6**2) ** 2
# Of the normal distribution: the lower quartile, and the standard error of a sample's.
_QUARTILE, _QUARTILE_SE = -0.6745, 1.36
# Below half a step the codes hide the noise; above it they add their own twelfth.
_LEAST_STEPS = 0.5
_MOST_CUT_OFF = 1e-2
_MOST_UNSURE = 0.1
# Cycles a 2x2 cell. Finer detail would alias between even and odd columns, coarser has too few waves in a tile.
_FINE, _COARSE = (0.08, 0.16), (0.04, 0.08)
_TILE, _FEWEST_TILES = 64, 4
# Lamps would have most of the power, and are clipped in the longer of two exposures: in both, what is brighter than the
# rest is cut to one level.
_LIGHTS, _MOST_LIGHTS = 0.05, 0.5
# Of two exposures of one scene, seen without any noise.
_MODEL_ERROR = 0.01
_TELLING_SE = 6.0


class Noise(NamedTuple):
    """Standard deviation from green site to green site, its standard error, and the level where it is so, in DN."""

    value: float
    se: float
    level_dn: float


def noise(trace: Trace) -> Noise | None:
    """Return the noise in the darkest parts of a frame.

    It is that of photons, readout and fixed pattern together; what whole rows share is left out. It grows with the
    light, so the level of the sites measured goes with it, the black left in.
    The blocks with the least variance have the least detail in them, and noise alone scatters as its chance says: what
    the others have beyond that is taken as the error.

    Returns:
        None where the frame cannot tell: fine detail is everywhere, or the codes are coarser than the noise or cut it.
    """
    blocks = _tiles(trace.crops_dn, _BLOCK)[_usable(trace)]
    levels = blocks.mean(axis=(1, 2))
    dark = np.argsort(levels, kind="stable")[: int(_DARKEST * len(blocks))]
    if len(dark) < _FEWEST_BLOCKS:
        return None
    # The mean of two greens has half the variance of one.
    variances = 2 / _OF_VARIANCE * (_second_differences(blocks[dark]) ** 2).mean(axis=(1, 2), dtype=np.float64)
    variance = _without_detail(variances)
    if variance.value < (_LEAST_STEPS * trace.code_step) ** 2:
        return None
    sigma = math.sqrt(variance.value - trace.code_step**2 / 12)
    se = variance.se / (2 * sigma)
    measured = levels[dark][variances <= np.median(variances)]
    return Noise(sigma, se, float(np.median(measured))) if se < _MOST_UNSURE * sigma else None


def sharpness(trace: Trace) -> Estimate | None:
    """Return the contrast of fine detail over that of detail twice as coarse: the softer the frame, the smaller.

    It is about 1 where the power of the detail falls with the square of its frequency, as in natural scenes through an
    ideal lens. Scenes differ as much as lenses: it compares frames of one scene.

    Returns:
        The ratio of contrasts; None where the frame cannot tell: most of it is clipped, or the detail is within the
        noise, or it has less than 512 rows or columns.
    """
    lights = max(_LIGHTS, 2 * trace.clipped_share)
    tiles = _tiles(trace.crops_dn, _TILE)
    if len(tiles) < _FEWEST_TILES or lights > _MOST_LIGHTS:
        return None
    tiles = np.minimum(tiles, np.quantile(tiles, 1 - lights))
    tiles -= tiles.mean(axis=(1, 2), keepdims=True)
    fine, coarse = _powers(tiles, _FINE, _COARSE)
    if coarse.value <= _TELLING_SE * coarse.se:  # Both are 0 where all is one code.
        return None
    ratio = max(fine.value, 0.0) / coarse.value
    se = math.hypot(fine.se, ratio * coarse.se) / coarse.value
    # The root of a ratio near 0 is as well known as the root of its error.
    contrast = Estimate(math.sqrt(ratio), se / (2 * math.sqrt(max(ratio, se / 4))))
    return contrast.widened(_MODEL_ERROR * contrast.value) if contrast.se < _MOST_UNSURE else None


def _without_detail(variances: Float64[np.ndarray, " n"]) -> Estimate:
    chance = math.sqrt(2 * _ALIKE) / (_BLOCK - 2)
    quartile, middle = np.quantile(variances, (0.25, 0.5))
    least = float(quartile) / (1 + _QUARTILE * chance)
    return Estimate(least, _QUARTILE_SE * chance * least / math.sqrt(len(variances))).widened(float(middle) - least)


def _powers(tiles: Float32[np.ndarray, "n t t"], *bands: tuple[float, float]) -> Iterator[Estimate]:
    """Yield the shared power in each band, in that of a power of 1 over the square of the frequency."""
    waves = Waves(_TILE, _TILE, (min(map(min, bands)), max(map(max, bands))))
    even, odd = waves.halves(tiles)
    squares = (waves.cycles**2).sum(axis=0)
    for low, high in bands:
        inside = (squares >= low**2) & (squares <= high**2)
        power = shared_power(even[:, inside], odd[:, inside]) / (1 / squares[inside]).sum()
        yield Estimate(float(power.real.sum()), float(np.linalg.norm(power.imag)))


def _tiles(crops: Float32[np.ndarray, "n c c"], side: int) -> Float32[np.ndarray, "m s s"]:
    """Return the crops in square parts; what does not fill one is left out."""
    count = crops.shape[1] // side
    whole = crops[:, : count * side, : count * side].reshape(len(crops), count, side, count, side)
    return whole.transpose(0, 1, 3, 2, 4).reshape(len(crops) * count**2, side, side)


def _second_differences(blocks: Float32[np.ndarray, "m b b"]) -> Float32[np.ndarray, "m d d"]:
    """Return the second difference down of that across: 0 for slopes, and for whatever whole rows share."""
    down = blocks[:, :-2] - 2 * blocks[:, 1:-1] + blocks[:, 2:]
    return np.asarray(down[..., :-2] - 2 * down[..., 1:-1] + down[..., 2:])


def _usable(trace: Trace) -> Bool[np.ndarray, " m"]:
    """Return which blocks are neither clipped nor cut off at 0."""
    clipped = _tiles(_clipped_cells(trace).astype(np.float32), _BLOCK).any(axis=(1, 2))
    cut = (_tiles(trace.crops_dn, _BLOCK) == 0).mean(axis=(1, 2)) > _MOST_CUT_OFF
    return np.asarray(~clipped & ~cut)


def _clipped_cells(trace: Trace) -> Bool[np.ndarray, "n c c"]:
    """Return which cells of the crops lie in a bin with a clipped green site."""
    bins = np.asarray(trace.clipped_bins[trace.greens].any(axis=0))
    along = trace.crop_starts[:, :, None] + np.arange(trace.crops.shape[1])
    y, x = (np.minimum(along[:, axis] // trace.bin_sites, bins.shape[axis] - 1) for axis in (0, 1))
    return np.asarray(bins[y[:, :, None], x[:, None, :]])
