"""What the pixels say of black, white, bits, clipping and damage: exact integers from one histogram a CFA position."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt16

from sidcurate.schemas import CfaKind

Histogram = Int64[np.ndarray, "65536"]
Ints = tuple[int, ...]

_CODES = 65536  # All of uint16: a smaller table would be overrun by curves that end above the declared white.
_ROWS_AT_ONCE = 8  # Indices have 64 bits; so many rows of them stay in the cache.
_ONE = np.int64(1)  # Of the type of the counts: numpy adds anything else the long way.
_PER_MILLE = (0, 1, 10, 500, 990, 999, 1000)
# A spike needs this many lower codes to be judged by, must stand so many of their standard deviations above their mean,
# and hold this share of the sites, a lamp and not a few hot pixels.
_NEIGHBORS, _DEVIATIONS, _SPIKE_SITES, _SPIKE_SHARE = 16, 6.0, 16, 1e-5
_CURVE_CODES = 32  # So many codes share a factor of two by chance once in 2^31 frames.
_PROBED_COLUMNS = 32
# A pile of sites at 0 is the cut end of the noise where codes near 0 hold this share of it and more.
_NEAR_ZERO_SHARE = 0.01
_LEAST_BLACK_DN = 16


@dataclass(frozen=True)
class Levels:
    """Measured facts of one mosaic, under the names and units of `schemas.Capture`.

    Tuples go by CFA position: four values for Bayer, one for a mosaic without a 2x2.
    """

    bits_observed: int | None
    code_step: int | None
    distinct_codes: Ints
    dn_min: Ints
    dn_p0_1: Ints
    dn_p1: Ints
    dn_p50: Ints
    dn_p99: Ints
    dn_p99_9: Ints
    dn_max: Ints
    dn_mean: tuple[float, ...]
    clip_dn: Ints
    clipped_fraction: float | None
    clipped_by_cfa: tuple[float, ...] | None
    impossible_fraction: float | None
    stray_zero_fraction: float | None
    zero_tail_fraction: float
    repeated_row_fraction: float
    constant_row_fraction: float


def measure(
    mosaic: UInt16[np.ndarray, "h w"],
    white_level: tuple[float, ...] | None,
    bits_declared: int | None,
    cfa_kind: CfaKind = "bayer",
    black_level: tuple[float, ...] | None = None,
) -> Levels:
    """Return the measured facts of a mosaic.

    Args:
        mosaic: undemosaiced sites of the visible area in DN.
        white_level: declared white in DN, one value or one a CFA position; None leaves clipping unknown.
        bits_declared: declared bits; None leaves the observed bits unknown.
        cfa_kind: Bayer mosaics are measured by CFA position, all others as a whole.
        black_level: declared black in DN, one value or one a CFA position; None leaves stray zeros unknown.
    """
    histograms = _histograms(mosaic, 2 if cfa_kind == "bayer" else 1)
    dn_min, p0_1, p1, p50, p99, p99_9, dn_max = zip(*(order_statistics(each) for each in histograms), strict=True)
    by_cfa, clipped = _clipped(histograms, white_level)
    step = code_step(histograms, bits_declared)
    repeated, constant = _row_faults(mosaic)
    return Levels(
        bits_observed=max(1, bits_declared + 1 - step.bit_length()) if bits_declared and step else None,
        code_step=step,
        distinct_codes=tuple(int(np.count_nonzero(each)) for each in histograms),
        dn_min=dn_min,
        dn_p0_1=p0_1,
        dn_p1=p1,
        dn_p50=p50,
        dn_p99=p99,
        dn_p99_9=p99_9,
        dn_max=dn_max,
        dn_mean=tuple(float(each @ np.arange(_CODES) / each.sum()) for each in histograms),
        clip_dn=tuple(clip_code(each) for each in histograms),
        clipped_fraction=clipped,
        clipped_by_cfa=by_cfa,
        impossible_fraction=_impossible_fraction(histograms, white_level),
        stray_zero_fraction=_stray_zero_fraction(histograms, black_level),
        zero_tail_fraction=_zero_tail_fraction(mosaic),
        repeated_row_fraction=repeated,
        constant_row_fraction=constant,
    )


def histogram(sites: UInt16[np.ndarray, "h w"]) -> Histogram:
    """Return the count of each of the 65536 codes."""
    return _histograms(sites, 1)[0]


def _histograms(mosaic: UInt16[np.ndarray, "h w"], period: int) -> list[Histogram]:
    """Return the histogram of each position of a repeating square, row by row; memory is passed over once."""
    counts = [np.zeros(_CODES, np.int64) for _ in range(period * period)]
    buffer = np.empty((_ROWS_AT_ONCE, mosaic.shape[1]), np.int64)
    for top in range(0, len(mosaic), period * _ROWS_AT_ONCE):
        for row in range(period):
            strip = mosaic[top + row : top + period * _ROWS_AT_ONCE : period]
            codes = buffer[: len(strip)]
            codes[...] = strip
            for column in range(period):
                # Faster than bincount, which looks for the least and the largest first and makes a table each time.
                np.add.at(counts[row * period + column], codes[:, column::period].reshape(-1), _ONE)
    return counts


def order_statistics(counts: Histogram) -> Ints:
    """Return minimum, 0.1, 1, 50, 99 and 99.9 percentile and maximum of the sites that a histogram counts.

    A percentile is the smallest code that at least that share of the sites do not exceed (the inverse of the empirical
    distribution; numpy's method "inverted_cdf"), so that it is always a code in use.
    """
    cumulated = np.cumsum(counts)
    ranks = [max(1, -(-int(cumulated[-1]) * share // 1000)) for share in _PER_MILLE]
    return tuple(int(code) for code in np.searchsorted(cumulated, ranks))


def clip_code(counts: Histogram) -> int:
    """Return the code at which a channel clips, -1 where it shows no spike.

    Clipping piles sites up at one code: more than all sites above it together (defects and the tail of a lossy curve),
    and more than the codes in use just below it promise. A top end that is spread over several codes is no spike.
    """
    codes = np.flatnonzero(counts)
    if codes.size <= _NEIGHBORS:
        return -1
    used = counts[codes]
    here = used[_NEIGHBORS:]
    above = here[::-1].cumsum()[::-1] - here
    enough = max(_SPIKE_SITES, _SPIKE_SHARE * used.sum())
    high = np.flatnonzero((here > above) & (here >= enough))
    below = np.lib.stride_tricks.sliding_window_view(used[:-1], _NEIGHBORS)[high]
    scatter = np.maximum(below.std(axis=1), np.sqrt(below.mean(axis=1)))  # At least that of Poisson counts.
    spikes = high[here[high] > below.mean(axis=1) + _DEVIATIONS * scatter]
    return int(codes[_NEIGHBORS:][spikes[-1]]) if spikes.size else -1


def code_step(histograms: list[Histogram], bits_declared: int | None) -> int | None:
    """Return the largest power of two that divides the distance of any two codes in use of a channel.

    None where the pixels cannot tell: in a frame with fewer codes than the square root of its declared range, and under
    a lossy curve, whose steps grow with the level, so that its upper codes share a larger one.
    """
    codes = [np.flatnonzero(each) for each in histograms]
    if max(map(len, codes)) ** 2 < 2 ** (bits_declared or 16):
        return None
    step = min(_common_step(each) for each in codes if len(each) > 1)
    uppers = [each[-(len(each) // 4) :] for each in codes]
    curved = any(len(upper) >= _CURVE_CODES and _common_step(upper) > step for upper in uppers)
    return None if curved else step


def _common_step(codes: Int64[np.ndarray, "codes"]) -> int:
    divisor = int(np.gcd.reduce(np.diff(codes)))
    return divisor & -divisor


def _clipped(
    histograms: list[Histogram], white_level: tuple[float, ...] | None
) -> tuple[tuple[float, ...] | None, float | None]:
    """Return the share of sites at or above white by CFA position and as a whole."""
    if white_level is None:
        return None, None
    whites = np.ceil(np.broadcast_to(white_level, len(histograms))).astype(int)
    clipped = [int(counts[white:].sum()) for counts, white in zip(histograms, whites, strict=True)]
    sizes = [int(counts.sum()) for counts in histograms]
    return tuple(part / size for part, size in zip(clipped, sizes, strict=True)), sum(clipped) / sum(sizes)


def _impossible_fraction(histograms: list[Histogram], white_level: tuple[float, ...] | None) -> float | None:
    """Return the share of sites that no converter gives: more than a bit above any white of 14 bits.

    None for a white of more bits. A white tag that is wrong by one or two bits does not reach so far.
    """
    if white_level is None or max(white_level) >= _CODES // 4:
        return None
    counts = np.sum(histograms, axis=0)
    return float(counts[_CODES // 2 :].sum() / counts.sum())


def _stray_zero_fraction(histograms: list[Histogram], black_level: tuple[float, ...] | None) -> float | None:
    """Return the share of sites that are 0 while hardly any other lies below half of black: data is missing there.

    None where black is not known to stand clear of 0: then a zero may be the darkest light.
    """
    if black_level is None or min(black_level) < _LEAST_BLACK_DN:
        return None
    counts = np.sum(histograms, axis=0)
    near = counts[1 : int(min(black_level)) // 2].sum()
    return float(counts[0] / counts.sum()) if near < _NEAR_ZERO_SHARE * counts[0] else 0.0


def _zero_tail_fraction(mosaic: UInt16[np.ndarray, "h w"]) -> float:
    filled = next((row + 1 for row in reversed(range(len(mosaic))) if mosaic[row].any()), 0)
    return 1.0 - filled / len(mosaic)


def _row_faults(mosaic: UInt16[np.ndarray, "h w"]) -> tuple[float, float]:
    """Return the share of rows that repeat the row two above, and of rows with one value a CFA column.

    Two above is the next row with the same filters. A constant row is not counted as repeated: black stays black.
    """
    constant = _rows_equal(mosaic[:, 2:], mosaic[:, :-2])
    repeated = np.zeros_like(constant)
    repeated[2:] = _rows_equal(mosaic[2:], mosaic[:-2]) & ~constant[2:]
    return float(repeated.mean()), float(constant.mean())


def _rows_equal(first: UInt16[np.ndarray, "h w"], second: UInt16[np.ndarray, "h w"]) -> Bool[np.ndarray, "h"]:
    """Tell for each row whether it is the same in both; few rows need a look beyond their first columns."""
    equal = np.all(first[:, :_PROBED_COLUMNS] == second[:, :_PROBED_COLUMNS], axis=1)
    equal[equal] = np.all(first[equal] == second[equal], axis=1)
    return np.asarray(equal)
