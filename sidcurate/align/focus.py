"""Whether two aligned frames are equally sharp: the transfer from the long frame's fine detail to the short's."""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from sidcurate.align.estimates import Estimate, jackknifed_ratio
from sidcurate.align.motion import Motion
from sidcurate.align.trace import Trace

# Cycles a 2x2 cell: coarser detail survives a defocus, finer detail is lost in the noise of the short frame.
_BAND = (0.06, 0.12)
_SMALLEST_SIDE = 32
# What is finer than the band counts as noise by its even and odd columns, seen without any noise.
_MODEL_ERROR = 0.02
# Nine medians are six standard deviations.
_OUTLIER_MEDIANS = 9


def focus_ratio(short: Trace, long: Trace, motion: Motion, gain: float) -> Estimate | None:
    """Return Re(S L*) / |L|^2 over the gain, in the band of fine detail: 1 where both are equally sharp.

    Above 1 the long frame is the softer one, below 1 the short. Noise of either frame averages out.

    Args:
        short: trace of the short frame.
        long: trace of the long frame.
        motion: displacement of the long frame's picture.
        gain: short DN per long DN.

    Returns:
        The ratio; None where the frames overlap too little.
    """
    side = short.crops.shape[1]
    cells = motion.at(long.crop_starts * 2 + side, long.size) / 2
    whole = np.rint(cells).astype(np.int64)
    margin = np.abs(whole).max(axis=0)
    if side - 2 * margin.max() < _SMALLEST_SIDE:
        return None
    here = _windows(short, np.broadcast_to(margin, whole.shape), side - 2 * margin)
    there = _windows(long, margin + whole, side - 2 * margin)
    telling = _without_outliers(here, there, gain, long.cut_quantile)
    crossed, fine = _powers(_around_mean(here, telling), _around_mean(there, telling), cells - whole)
    ratio = jackknifed_ratio(crossed, gain * fine)
    return ratio and ratio.widened(_MODEL_ERROR)


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
    sample = left[:, ::3][dark[:, ::3]]
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
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return, in the band of fine detail, the power that both frames share, and the long frame's own, by crop.

    The long frame's even and odd columns show the same detail with noises of their own: what they share is detail.
    `ahead` is how far the long frame's window still has to move, by a part of a cell.
    """
    tall, wide = here.shape[1], here.shape[2] // 2 * 2
    hann = np.multiply.outer(*(np.hanning(length + 2)[1:-1].astype(np.float32) for length in (tall, wide)))
    frequencies = np.stack(np.meshgrid(np.fft.fftfreq(tall), np.fft.rfftfreq(wide // 2) / 2, indexing="ij"))
    radius = np.hypot(*frequencies)
    band = (radius >= _BAND[0]) & (radius <= _BAND[1])
    halves = (plane[:, :, first:wide:2] * hann[:, first::2] for plane in (here, there) for first in (0, 1))
    short, short_odd, long, long_odd = (np.fft.rfft2(half)[:, band] for half in halves)
    one_right = np.exp(-2j * np.pi * frequencies[1, band])
    turned = np.exp(2j * np.pi * (ahead @ frequencies[:, band]))
    shared = (short + short_odd * one_right) * ((long + long_odd * one_right) * turned).conj()
    return shared.real.sum(axis=1), 4 * (long * (long_odd * one_right).conj()).real.sum(axis=1)
