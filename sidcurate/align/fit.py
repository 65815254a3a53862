"""The light of a pair: short = zero + long / ratio, fitted over blocks after the long frame is laid on the short one.

The fit is robust (Tukey's biweight), weighted by the noise that it finds itself, and lets the gain slope across the
frame. Its standard errors are those of a jackknife over lines of blocks, by rows and by columns, because row and column
noise move whole lines together.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64

from sidcurate.align.blocks import Blocks
from sidcurate.align.estimates import Estimate
from sidcurate.align.trace import Trace

_FEWEST_BLOCKS = 60
_ROUNDS, _FLAT_ROUNDS = 6, 3
_FLAT_VALUES = 5
# Tukey's constant: 95 % efficient on Gaussian noise.
_OUTLIER_SE = 4.685
_SD_OF_MEDIAN = 1.4826
_NOISE_GROUPS = 8
_BRIGHT_QUANTILE = 0.9
_SMALLEST_DN = 1e-6
_SINGULAR = 1e9
_BENT_SE = 3.0
# Noise of a site, in code steps, from which the mean of many codes is that of the light.
_LEAST_DITHER = 0.5
CODE_ERROR_STEPS = math.exp(-2 * (math.pi * _LEAST_DITHER) ** 2) / math.pi
"""Largest error, in code steps, of the mean of many codes under such noise (Widrow 1956)."""

_DIFFERENT_SE = 3.0
_ROUNDING_VARIANCE = 1 / 12

NormalEquations: TypeAlias = tuple[Float64[np.ndarray, "*l k k"], Float64[np.ndarray, "*l k"]]


@dataclass(frozen=True)
class Line:
    """The fit of a pair.

    Attributes:
        values: zero by CFA position (DN above the declared black), gain (short DN per long DN) at the center of the
            frame, and its change from there to the lower and to the right edge.
        covariance: of the values.
        bend: change of the gain from dark to the brightest tenth of the long frame, or to its mean where most of it is
            black, as a share of the gain.
        bent_by: what a bend changes in the values, where there is one beyond three standard errors: where the light is
            not linear, a line's values are uncertain by as much.
        expected_dn: the light of each block in the short frame that the long one promises.
        left_dn: what the fit leaves of each block.
        noise_dn: standard deviation of each block from noise.
        light_spread: how far from its middle the light lies that tells the gain, root mean square, over that of a frame
            evenly lit; the geometric mean of both axes, which a band of the frame has more of than a spot.
        used: which blocks counted.
        dithered: whether enough blocks have noise that covers the code steps; else codes, not light, make the values.
    """

    values: Float64[np.ndarray, "7"]
    covariance: Float64[np.ndarray, "7 7"]
    bend: Estimate
    bent_by: Float64[np.ndarray, "7"]
    expected_dn: Float64[np.ndarray, "4 h w"]
    left_dn: Float64[np.ndarray, "4 h w"]
    noise_dn: Float64[np.ndarray, "4 h w"]
    light_spread: float
    used: Bool[np.ndarray, "4 h w"]
    dithered: bool

    @property
    def gain(self) -> Estimate:
        """Short DN per long DN at the center of the frame, if the light is linear."""
        return Estimate(float(self.values[4]), float(self.covariance[4, 4]) ** 0.5)

    @property
    def errors(self) -> Float64[np.ndarray, "7"]:
        """Standard errors of the values, a bend of the light included."""
        return np.asarray(np.hypot(np.sqrt(np.diag(self.covariance)), self.bent_by))

    @property
    def gain_departure(self) -> Estimate:
        """Change of the gain from edge to edge along its steepest direction, as a share of the gain."""
        slope = self.values[5:]
        steepest = slope / max(float(np.hypot(*slope)), np.finfo(float).tiny)
        per_gain = 2 / self.values[4]
        se = float(steepest @ self.covariance[5:, 5:] @ steepest) ** 0.5
        return Estimate(float(slope @ steepest) * per_gain, se * per_gain)


def line(pair: Blocks, black: Float64[np.ndarray, "4"], least_noise: float) -> Line | None:
    """Return the fit of a pair; None where its blocks cannot determine one.

    Args:
        pair: the blocks.
        black: DN by CFA position from which light and zeros are counted.
        least_noise: noise of a block below which codes, not light, make its mean. Such blocks, the darkest, do not
            count where enough others are left.
    """
    if not _are_enough(pair.valid):
        return None
    shape = pair.valid.shape
    short, long = ((plane - black[:, None, None]).reshape(-1) for plane in (pair.short, pair.long))
    valid = pair.valid.reshape(-1)
    bent_at = float(max(np.quantile(long[valid], _BRIGHT_QUANTILE), long[valid].mean()))
    if bent_at <= 0:
        return None
    design, around = (_design(pair, light, bent_at) for light in (long, _surroundings(long.reshape(shape), pair.valid)))
    fitted = _fitted(design[:-1], around[:-1], short, long, valid, least_noise)
    if fitted is None:
        return None
    noise, weights = fitted
    plain, careful = (_lines(design, instrument, short, weights, shape) for instrument in (design, around))
    lines = careful if _differ(plain, careful) else plain
    straight, bent = (_solved(lines[0], columns) for columns in (7, 8))
    if straight is None or bent is None or straight[4] <= 0:
        return None
    values: Float64[np.ndarray, " k"] = straight
    covariance, bent_covariance = (_jackknife(lines, columns) for columns in (7, 8))
    bend = Estimate(float(bent[-1] / values[4]), float(bent_covariance[-1, -1] ** 0.5 / values[4]))
    bent_by = (bent[:-1] - values) * (abs(bend.value) > _BENT_SE * bend.se)
    expected = values[4:] @ design[4:-1]
    return Line(
        values=values,
        covariance=covariance,
        bend=bend,
        bent_by=bent_by,
        expected_dn=expected.reshape(shape),
        left_dn=(short - values @ design[:-1]).reshape(shape),
        noise_dn=noise.reshape(shape),
        light_spread=_light_spread(pair, long, weights),
        used=weights.reshape(shape) > 0,
        dithered=_are_enough(_brighter_than_quiet(long, noise, valid, least_noise)),
    )


def _light_spread(pair: Blocks, long: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]) -> float:
    told = (weights * long**2).reshape(pair.valid.shape)
    spreads = []
    for along in (pair.y, pair.x):
        middle = float((told * along).sum() / told.sum())
        spreads.append(math.sqrt(float((told * (along - middle) ** 2).sum() / told.sum() / (along**2).mean())))
    return math.prod(spreads) ** 0.5


def least_noise_dn(trace: Trace, of_sites: int) -> float:
    """Return the noise of a mean of sites, rounding to codes included, below which codes and not light make it."""
    return float(trace.code_step * ((_LEAST_DITHER**2 + _ROUNDING_VARIANCE) / of_sites) ** 0.5)


def _design(pair: Blocks, long: Float64[np.ndarray, " n"], bent_at: float) -> Float64[np.ndarray, "8 n"]:
    """Return what the values are multiplied by: a zero for each position, light, light by place, light squared."""
    y, x = (np.broadcast_to(along, pair.valid.shape).reshape(-1) for along in (pair.y, pair.x))
    zeros = np.repeat(np.eye(4), long.size // 4, axis=1)
    return np.vstack([zeros, long, long * y, long * x, long * long / bent_at])


def _surroundings(long: Float64[np.ndarray, "4 h w"], valid: Bool[np.ndarray, "4 h w"]) -> Float64[np.ndarray, " n"]:
    """Return the light around each block, itself included: the mean of the valid ones."""
    sums, counts = pooled(long * valid), pooled(valid.astype(np.float64))
    return np.asarray(sums / np.maximum(counts, 1)).reshape(-1)


def pooled(planes: Float64[np.ndarray, "*n h w"]) -> Float64[np.ndarray, "*n h w"]:
    """Return the sums over each block and its neighbors; beyond the edges nothing."""
    sums = planes.copy()
    sums[..., 1:, :] += planes[..., :-1, :]
    sums[..., :-1, :] += planes[..., 1:, :]
    pools = sums.copy()
    pools[..., 1:] += sums[..., :-1]
    pools[..., :-1] += sums[..., 1:]
    return pools


def _fitted(
    design: Float64[np.ndarray, "k n"],
    around: Float64[np.ndarray, "k n"],
    short: Float64[np.ndarray, " n"],
    long: Float64[np.ndarray, " n"],
    valid: Bool[np.ndarray, " n"],
    least_noise: float,
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]] | None:
    """Return the noise of each block, and its weight, after rounds of fitting and judging what is left."""
    by_light = np.flatnonzero(valid)[np.argsort(long[valid])]
    groups = by_light[: len(by_light) // _NOISE_GROUPS * _NOISE_GROUPS].reshape(_NOISE_GROUPS, -1)
    levels = long[groups].mean(axis=1)
    noise = np.sqrt(np.maximum(long, max(float(np.median(long[valid])), 1.0)))
    kept, told = np.ones_like(short), valid
    for turn in range(_ROUNDS):
        weights = told * kept / noise**2
        # A gain that may slope from the start would follow what moved at one side.
        count = _FLAT_VALUES if turn < _FLAT_ROUNDS else len(design)
        solved = _solution(*_normal(design[:count], around[:count], short, weights))
        if solved is None:
            return None
        values: Float64[np.ndarray, " k"] = solved
        left = np.abs(short - values @ design[:count])
        typical = np.median(left[groups], axis=1) * _SD_OF_MEDIAN
        noise = np.maximum(np.interp(long, levels, typical), _SMALLEST_DN)
        dithered = _brighter_than_quiet(long, noise, valid, least_noise)
        told = dithered if _are_enough(dithered) else valid
        share = left / (_OUTLIER_SE * noise)
        # A first round may be far off: it is only tempered, so that no good block is lost for ever.
        kept = np.maximum(1 - share * share, 0) ** 2 if turn else 1 / np.maximum(3 * share, 1)
    return noise, weights


def _brighter_than_quiet(
    long: Float64[np.ndarray, " n"],
    noise: Float64[np.ndarray, " n"],
    valid: Bool[np.ndarray, " n"],
    least_noise: float,
) -> Bool[np.ndarray, " n"]:
    """Return which valid blocks are brighter than all that have too little noise.

    Noise grows with the light. Where codes make the means of dark blocks, the fit leaves more of them than their noise.
    """
    quiet = long[valid & (noise < least_noise)]
    return np.asarray(valid & (long > quiet.max(initial=-np.inf)))


def _are_enough(told: Bool[np.ndarray, "4 *n"]) -> bool:
    """Tell whether each CFA position has blocks enough."""
    return bool(told.reshape(4, -1).sum(axis=1).min() >= _FEWEST_BLOCKS)


def _lines(
    design: Float64[np.ndarray, "k n"],
    around: Float64[np.ndarray, "k n"],
    short: Float64[np.ndarray, " n"],
    weights: Float64[np.ndarray, " n"],
    shape: tuple[int, ...],
) -> list[NormalEquations]:
    """Return the normal equations of each row of blocks, and of each column of blocks."""
    return [_normal(*(_in_lines(array, shape, axis) for array in (design, around, short, weights))) for axis in (1, 2)]


def _differ(plain: list[NormalEquations], careful: list[NormalEquations]) -> bool:
    """Tell whether the gains of two fits differ by more than chance (Hausman 1978).

    Where they do not, the blocks' own light is no less true than that around them, and the plain fit errs less.
    """
    gains = [[_left_out(m[:, :7, :7], right[:, :7])[:, 4] for m, right in lines] for lines in (plain, careful)]
    changes = [there - here for here, there in zip(*gains, strict=True)]
    se = max(float((len(change) - 1) * change.var()) ** 0.5 for change in changes)
    return bool(abs(changes[0].mean()) > _DIFFERENT_SE * se)


def _normal(
    design: Float64[np.ndarray, "*l k n"],
    around: Float64[np.ndarray, "*l k n"],
    short: Float64[np.ndarray, "*l n"],
    weights: Float64[np.ndarray, "*l n"],
) -> NormalEquations:
    """Return the normal equations, of one set of blocks or of many: nothing left may follow the light around.

    The light of a block itself is uncertain where light crosses its edges: by a part of a bin that a shift leaves, or
    by a focus that differs. Such an error of the regressor would flatten the line; its surroundings, as an instrument
    (Reiersol 1941), keep what is lost to a neighbor.
    """
    scaled = around * weights[..., None, :]
    return scaled @ design.swapaxes(-1, -2), (scaled @ short[..., None])[..., 0]


def _solved(lines: NormalEquations, columns: int) -> Float64[np.ndarray, " k"] | None:
    matrix, right = (side.sum(axis=0) for side in lines)
    return _solution(matrix[:columns, :columns], right[:columns])


def _solution(matrix: Float64[np.ndarray, "k k"], right: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"] | None:
    """Return what solves normal equations; None where the blocks do not determine every value."""
    scale = np.sqrt(np.abs(np.diag(matrix)))
    if not scale.all() or np.linalg.cond(matrix / np.outer(scale, scale)) > _SINGULAR:
        return None
    return np.asarray(np.linalg.solve(matrix, right))


def _jackknife(lines: list[NormalEquations], columns: int) -> Float64[np.ndarray, "k k"]:
    """Return the covariance from leaving out one line of blocks at a time; the larger of rows' and columns' errors.

    Args:
        lines: normal equations of each row of blocks, and of each column of blocks.
        columns: how many columns of the design count.
    """
    by_rows, by_columns = (_spread(_left_out(m[:, :columns, :columns], right[:, :columns])) for m, right in lines)
    if not (np.isfinite(by_rows) & np.isfinite(by_columns)).all():
        return np.full(by_rows.shape, np.inf)
    variances = np.maximum(np.stack([np.diag(by_rows), np.diag(by_columns)]), np.finfo(float).tiny)
    larger = np.sqrt(variances.max(axis=0) / variances[0])
    return np.asarray(by_rows * larger[:, None] * larger)


def _left_out(matrices: Float64[np.ndarray, "l k k"], rights: Float64[np.ndarray, "l k"]) -> Float64[np.ndarray, "l k"]:
    """Return the values without one line at a time."""
    try:
        return np.asarray(
            np.linalg.solve(matrices.sum(axis=0) - matrices, (rights.sum(axis=0) - rights)[..., None])[..., 0]
        )
    except np.linalg.LinAlgError:
        # A line that alone determines a value leaves nothing to tell its error from.
        return np.full(rights.shape, np.nan)


def _spread(without: Float64[np.ndarray, "l k"]) -> Float64[np.ndarray, "k k"]:
    spread = without - without.mean(axis=0)
    return np.asarray((len(without) - 1) / len(without) * spread.T @ spread)


def _in_lines(array: Float64[np.ndarray, "*k n"], shape: tuple[int, ...], axis: int) -> Float64[np.ndarray, "l *k m"]:
    grid = np.moveaxis(array.reshape(*array.shape[:-1], *shape), axis - len(shape), 0)
    return grid.reshape(len(grid), *array.shape[:-1], -1)
