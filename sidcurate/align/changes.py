"""Which part of the picture changed between two aligned frames of one light."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from sidcurate.align.blocks import BLOCK_BINS, Blocks
from sidcurate.align.estimates import Estimate
from sidcurate.align.fit import Line, least_noise_dn, line, pooled
from sidcurate.align.trace import Trace

# A change of content is larger than what uneven light or a lens does, and clear of the noise.
_CHANGED_SHARE = 0.1
_CHANGED_SE = 4.0
# A block whose noise hides less than this is told; the others may have changed unseen.
_TOLD_SHARE = 0.25
_FEWEST_TOLD = 0.2
_SD_OF_MEDIAN = 1.4826
_HOT_SE, _USUAL_SE = 5.0, 3.0
# Neighbors are judged together, so the edge of what changed is known to a quarter of a block either way.
_EDGE_BLOCKS = 0.25 / 3**0.5
# A fit bears a few changed blocks, and needs a few refits to be rid of a third of the frame.
_LEAST_MOVED = 0.005
_MOST_REFITS = 8
# Standard deviation of what is as likely anywhere between 0 and 1.
_SD_OF_UNKNOWN = 12**-0.5


@dataclass(frozen=True)
class _Surroundings:
    """Each block together with its neighbors, all positions at once: what the fit left, what it expected, the noise."""

    left: Float64[np.ndarray, "h w"]
    expected: Float64[np.ndarray, "h w"]
    noise: Float64[np.ndarray, "h w"]
    seen: Bool[np.ndarray, "h w"]


def still_line(short: Trace, pair: Blocks, level: Float64[np.ndarray, "4"]) -> Line | None:
    """Return the fit of what did not change between the frames; None where the blocks cannot determine one.

    Args:
        short: trace of the short frame.
        pair: blocks of both frames.
        level: DN by CFA position from which light and zeros are counted.
    """
    least_noise, still = least_noise_dn(short, of_sites=(BLOCK_BINS * short.bin_sites) ** 2), pair
    fitted = line(pair, level, least_noise)
    for _ in range(_MOST_REFITS):
        moved = None if fitted is None else changed(fitted, still.valid)
        if moved is None or moved.mean() < _LEAST_MOVED:
            break
        still = replace(still, valid=still.valid & ~moved)
        fitted = line(still, level, least_noise) or fitted
    return fitted


def changed(fitted: Line, valid: Bool[np.ndarray, "4 h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the blocks whose content is another in the short frame than in the long one."""
    around = _surroundings(fitted, valid)
    return np.asarray(around.seen & _differ(around.left, around, _CHANGED_SE))


def moved_fraction(fitted: Line, valid: Bool[np.ndarray, "4 h w"]) -> Estimate | None:
    """Return the share of the blocks whose content is another in the short frame than in the long one.

    What is found is too little: another content is alike by chance as often as two places of one frame are. The share
    stands in the middle between none of this and all of it (a factor of two at most); the standard error holds what
    remains open of it, and of the part that is too dark to tell, a quarter of a block along the edge of what changed,
    and what the share changes when the noise limit moves by one standard error.

    Returns:
        The share; None where the short frame is too dark to tell in most of the frame.
    """
    around = _surroundings(fitted, valid)
    told = around.seen & (_TOLD_SHARE * around.expected > _CHANGED_SE * around.noise)
    if told.sum() < _FEWEST_TOLD * told.size:
        return None
    limits = (_CHANGED_SE - 1, _CHANGED_SE, _CHANGED_SE + 1)
    wide, large, narrow = (told & _differ(around.left, around, limit) for limit in limits)
    count, seen = float(told.sum()), float(around.seen.sum())
    share = float(large.sum()) / count
    unseen = share * min(_alike(around, told) / max(1 - _alike(around, told), 0.5), 1.0)
    errors = (
        unseen * _SD_OF_UNKNOWN,
        2 * share * (1 - count / seen) * _SD_OF_UNKNOWN,
        _EDGE_BLOCKS * _edge(large) / count,
        float(wide.sum() - narrow.sum()) / 2 / count,
        1 / count,
    )
    return Estimate(min(share + unseen / 2, 1.0), float(np.hypot.reduce(errors)))


def _surroundings(fitted: Line, valid: Bool[np.ndarray, "4 h w"]) -> _Surroundings:
    weights = (valid & ~_hot(fitted)) / fitted.noise_dn**2
    total, left, expected = (
        pooled(np.asarray((weights * part).sum(axis=0))) for part in (np.ones(()), fitted.left_dn, fitted.expected_dn)
    )
    seen = pooled(np.asarray(valid.any(axis=0), np.float64)) > 0
    total = np.maximum(total, np.finfo(float).tiny)
    left, expected, noise = left / total, expected / total, total**-0.5
    # Row noise is shared by neighbors: together they have more noise than so many independent blocks.
    usual = fitted.used.any(axis=0) if fitted.used.any() else seen
    spread = float(np.median(np.abs(left[usual]) / noise[usual])) * _SD_OF_MEDIAN
    return _Surroundings(left, expected, noise * max(spread, 1.0), np.asarray(seen))


def _hot(fitted: Line) -> Bool[np.ndarray, "4 h w"]:
    """Return which blocks hold a hot pixel: they alone of the four positions stand out, where a change shows in all."""
    out = np.abs(fitted.left_dn) / fitted.noise_dn
    second, largest = np.sort(out, axis=0)[2:]
    return np.asarray((out == largest) & (out > _HOT_SE) & (second < _USUAL_SE))


def _differ(left: Float64[np.ndarray, "h w"], around: _Surroundings, least_se: float) -> Bool[np.ndarray, "h w"]:
    lighter = np.maximum(around.expected, around.expected + left)
    return np.asarray(np.abs(left) > np.maximum(_CHANGED_SHARE * lighter, least_se * around.noise))


def _alike(around: _Surroundings, told: Bool[np.ndarray, "h w"]) -> float:
    """Return how often the frame shows the same as half a frame away, within the limits of a change."""
    away = tuple(length // 2 for length in told.shape)
    there, told_there = (np.roll(plane, away, (0, 1)) for plane in (around.expected, told))
    both = told & told_there
    return float((both & ~_differ(there - around.expected, around, _CHANGED_SE)).sum() / max(both.sum(), 1))


def _edge(large: Bool[np.ndarray, "h w"]) -> int:
    """Return how many sides of blocks part what changed from what did not."""
    return int(sum((np.diff(large, axis=axis)).sum() for axis in (0, 1)))
