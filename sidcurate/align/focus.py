"""Whether two aligned frames are equally sharp: the transfer of fine detail from one to the other, both ways."""

import math

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from sidcurate.align.blocks import BLOCK_BINS
from sidcurate.align.estimates import Estimate, jackknifed_ratio
from sidcurate.align.fit import Line
from sidcurate.align.motion import Motion
from sidcurate.align.spectra import Waves, shared_power
from sidcurate.align.trace import Trace

# Cycles a 2x2 cell: coarser detail survives a defocus, finer detail is lost in the noise of the short frame.
_BAND = (0.06, 0.12)
_SMALLEST_SIDE = 32
# What is finer than the band counts as noise by its even and odd columns, seen without any noise.
_MODEL_ERROR = 0.02
# Where one part of the frame has most of the detail, the others say nothing of its error.
_LARGEST_PART = 0.5
# Neither frame can hold more of the other's detail than the other has, but for the error of the gain.
_MOST_OF_ANOTHER = 1.2
# An error of more cannot tell a defocus that halves the fine detail from none.
_MOST_OPEN = 0.2
_CONFIDENT_SE = 3.0
# The short frame has the more noise: it is divided by only where it clearly has the more detail.
_SHARPER_SE = 2.0
_LEAST_DETAIL = 1e-3
# So many crops tell an error.
_FEWEST_CROPS = 4
_USED_SHARE = 0.7
# Nine medians are six standard deviations.
_OUTLIER_MEDIANS = 9


def focus_ratio(short: Trace, long: Trace, motion: Motion, fitted: Line) -> Estimate | None:
    """Return the fine detail of the short frame over that of the long one: 1 where both are equally sharp.

    Re(S L*) / |L|^2 over the gain is how much of the long frame's detail the short one has, Re(S L*) / |S|^2 times the
    gain the reverse. The softer frame of the two has little detail to divide by, so the sharper one is divided by.
    Noise of either frame averages out.

    Args:
        short: trace of the short frame.
        long: trace of the long frame.
        motion: displacement of the long frame's picture.
        fitted: the light of the pair.

    Returns:
        The ratio; None where the frames overlap too little, or show too little fine detail to tell.
    """
    gain, side = fitted.gain.value, short.crops.shape[1]
    cells = motion.at(long.crop_starts * 2 + side, long.size) / 2
    whole = np.rint(cells).astype(np.int64)
    margin = np.abs(whole).max(axis=0)
    if side - 2 * margin.max() < _SMALLEST_SIDE:
        return None
    here = _windows(short, np.broadcast_to(margin, whole.shape), side - 2 * margin)
    there = _windows(long, margin + whole, side - 2 * margin)
    telling = _without_outliers(here, there, gain, long.cut_quantile)
    told = _crops_used(short, fitted)
    if told.sum() < _FEWEST_CROPS:
        return None
    here, there, telling, ahead = here[told], there[told], telling[told], (cells - whole)[told]
    return _compared(*_powers(_around_mean(here, telling), _around_mean(there, telling), ahead), gain)


def _crops_used(short: Trace, fitted: Line) -> Bool[np.ndarray, " n"]:
    """Return which crops lie where the fit could use most blocks: no change, nothing clipped, more than codes."""
    used = np.asarray(fitted.used.any(axis=0))
    cells_a_block = BLOCK_BINS * short.bin_sites
    side = -(-short.crops.shape[1] // cells_a_block)
    parts = (used[y : y + side, x : x + side] for y, x in short.crop_starts // cells_a_block)
    return np.array([bool(part.size and part.mean() > _USED_SHARE) for part in parts])


def _compared(
    shared: Float64[np.ndarray, " n"],
    fine: Float64[np.ndarray, " n"],
    fine_short: Float64[np.ndarray, " n"],
    gain: float,
) -> Estimate | None:
    """Return the ratio of fine detail from the powers of each crop: shared, the long frame's, the short frame's."""
    of_long, of_short = jackknifed_ratio(shared, gain * fine), jackknifed_ratio(gain * shared, fine_short)
    if of_long and of_short and min(of_long.value, of_short.value) > _MOST_OF_ANOTHER:
        return None
    more = fine_short - gain**2 * fine
    short_is_sharper = more.sum() > _SHARPER_SE * (more.size * more.var()) ** 0.5
    ratio = (of_short and _inverse(of_short)) if short_is_sharper else of_long
    sharper = fine_short if short_is_sharper else fine
    if ratio is None or sharper.max() > _LARGEST_PART * sharper.sum():
        return None
    ratio = ratio.widened(_MODEL_ERROR)
    return None if _is_open(ratio) else ratio._replace(value=max(ratio.value, 0.0))


def _inverse(estimate: Estimate) -> Estimate:
    """Return one over an estimate; its error is that of the lower end, and 0 is taken to be one error above 0."""
    value = max(estimate.value, estimate.se)
    lowest = 1 / (value + _CONFIDENT_SE * estimate.se)
    return Estimate(1 / value, (1 / value - lowest) / _CONFIDENT_SE)


def _is_open(ratio: Estimate) -> bool:
    """Tell whether the ratio may be 1, and may as well be far from it."""
    return abs(ratio.value - 1) < _CONFIDENT_SE * ratio.se and ratio.se > _MOST_OPEN * ratio.value


def blur_px(ratio: Estimate) -> float:
    """Return the Gaussian blur of the softer frame, px of the mosaic, that makes a ratio of fine detail."""
    cycles_a_px = sum(_BAND) / 2 / 2
    apart = abs(math.log(max(ratio.value, _LEAST_DETAIL)))
    return math.sqrt(apart / 2) / (math.pi * cycles_a_px)


def _windows(
    trace: Trace, starts: Int64[np.ndarray, "n 2"], shape: Int64[np.ndarray, "2"]
) -> Float32[np.ndarray, "n h w"]:
    crops = zip(trace.crops_dn, starts, strict=True)
    return np.stack([crop[y : y + shape[0], x : x + shape[1]] for crop, (y, x) in crops])


def _without_outliers(
    here: Float32[np.ndarray, "n h w"], there: Float32[np.ndarray, "n h w"], gain: float, cut_quantile: float
) -> Bool[np.ndarray, "n h w"]:
    """Return which samples are neither lights nor hot pixels. One mask for both frames leaves their ratio as it is."""
    dark = there < np.quantile(there[:, ::3, ::3], cut_quantile)
    left = here - np.float32(gain) * there
    sample = left[:, ::3, ::3][dark[:, ::3, ::3]]
    middle = np.median(sample) if sample.size else np.float32(0)
    spread = np.median(np.abs(sample - middle)) if sample.size else np.float32(0)
    return np.asarray(dark & (np.abs(left - middle) < _OUTLIER_MEDIANS * spread))


def _around_mean(
    planes: Float32[np.ndarray, "n h w"], telling: Bool[np.ndarray, "n h w"]
) -> Float32[np.ndarray, "n h w"]:
    """Return planes less the mean of what tells, crop by crop; the rest is 0."""
    kept = planes * telling
    means = kept.sum(axis=(1, 2)) / np.maximum(telling.sum(axis=(1, 2)), 1)
    return np.asarray(kept - telling * means[:, None, None].astype(np.float32))


def _powers(
    here: Float32[np.ndarray, "n h w"], there: Float32[np.ndarray, "n h w"], ahead: Float64[np.ndarray, "n 2"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return, in the band of fine detail, the power that both frames share, the long frame's and the short's, by crop.

    `ahead` is how far the long frame's window still has to move, by a part of a cell.
    """
    waves = Waves(here.shape[1], here.shape[2] // 2 * 2, _BAND)
    short, long = waves.halves(here), waves.halves(there)
    turned = np.exp(2j * np.pi * (ahead @ waves.cycles))
    shared = (short[0] + short[1]) * ((long[0] + long[1]) * turned).conj()
    return shared.real.sum(axis=1), shared_power(*long).real, shared_power(*short).real
