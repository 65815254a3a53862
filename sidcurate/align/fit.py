"""The light of a pair: short = zero + long / ratio, fitted over blocks after the long frame is laid on the short one.

The fit is robust (Tukey's biweight), weighted by the noise that it finds itself, and lets the gain slope across the
frame. Its standard errors are those of a jackknife over lines of blocks, by rows and by columns, because row and column
noise move whole lines together.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from sidcurate.align.estimates import Estimate
from sidcurate.align.trace import Trace

BLOCK_BINS = 4
"""Side of a block, in bins."""

_FEWEST_BLOCKS = 60
_ROUNDS = 4
# Tukey's constant: 95 % efficient on Gaussian noise.
_OUTLIER_SE = 4.685
_SD_OF_MEDIAN = 1.4826
_NOISE_GROUPS = 8
_BRIGHT_QUANTILE = 0.9
_SMALLEST_DN = 1e-6
_SINGULAR = 1e9
_SLIGHT = 1e-3
_BENT_SE = 3.0
LEAST_DITHER = 0.5
"""Noise of a site, in code steps, from which the mean of many codes is that of the light: it then errs by up to
exp(-2 (pi noise)^2) / pi steps (Widrow 1956), 0.23 % of one."""

_ROUNDING_VARIANCE = 1 / 12

Corners: TypeAlias = tuple[Float64[np.ndarray, "H W"], Float64[np.ndarray, "H W"]]
"""Rows and columns of the corners of all blocks, in bins of the long frame."""

NormalEquations: TypeAlias = tuple[Float64[np.ndarray, "*l k k"], Float64[np.ndarray, "*l k"]]


@dataclass(frozen=True)
class Blocks:
    """Blocks of both frames by CFA position, the long one displaced onto the short; black is left in.

    Attributes:
        short: block means of the short frame, in DN.
        long: block means of the long frame at the same place of the picture, in DN.
        valid: in view in both frames, nothing clipped.
        y: place of the block, -1 at the top to 1 at the bottom.
        x: place of the block, -1 at the left to 1 at the right.
    """

    short: Float32[np.ndarray, "4 h w"]
    long: Float64[np.ndarray, "4 h w"]
    valid: Bool[np.ndarray, "4 h w"]
    y: Float64[np.ndarray, "h 1"]
    x: Float64[np.ndarray, "1 w"]


def blocks(short: Trace, long: Trace, displacement: Float64[np.ndarray, "3"]) -> Blocks:
    """Return the blocks of a pair; `displacement` is that of the long picture: down, right (px), clockwise (radian)."""
    shape = tuple(length // BLOCK_BINS for length in short.bins.shape[1:])
    corners = _displaced_corners(short, shape, displacement)
    long_clipped = long.clipped_bins
    clipped = _area_sums(long_clipped, corners) > _SLIGHT if long_clipped.any() else np.zeros((4, *shape), bool)
    return Blocks(
        short=_block_means(short.bins_dn, shape),
        long=_area_sums(long.bins_dn, corners) / BLOCK_BINS**2,
        valid=_in_view(corners, long.bins.shape[1:]) & ~clipped & (_block_means(short.clipped_bins, shape) == 0),
        y=np.linspace(-1, 1, 2 * shape[0] + 1)[1::2, None],
        x=np.linspace(-1, 1, 2 * shape[1] + 1)[None, 1::2],
    )


def _in_view(corners: Corners, size: tuple[int, ...]) -> Bool[np.ndarray, "a b"]:
    """Return which displaced blocks lie wholly in the long frame."""
    inside = np.ones(corners[0].shape, bool)
    for along, length in zip(corners, size, strict=True):
        inside &= (along >= 0) & (along <= length)
    return inside[1:, 1:] & inside[:-1, 1:] & inside[1:, :-1] & inside[:-1, :-1]


def _block_means(planes: np.ndarray, shape: tuple[int, ...]) -> Float32[np.ndarray, "4 h w"]:
    tall, wide = shape
    whole = planes[:, : tall * BLOCK_BINS, : wide * BLOCK_BINS]
    return np.asarray(whole.reshape(-1, tall, BLOCK_BINS, wide, BLOCK_BINS).mean(axis=(2, 4), dtype=np.float32))


def _displaced_corners(trace: Trace, shape: tuple[int, ...], displacement: Float64[np.ndarray, "3"]) -> Corners:
    """Return where the corners of the short frame's blocks lie in the long frame, in bins."""
    y, x = (np.arange(length + 1) * float(BLOCK_BINS) for length in shape)
    pitch, (center_y, center_x) = 2.0 * trace.bin_sites, trace.size / 2
    down, right, turn = displacement
    rows = y[:, None] + (down + turn * (x[None] * pitch - center_x)) / pitch
    columns = x[None] + (right - turn * (y[:, None] * pitch - center_y)) / pitch
    return rows, columns


def _area_sums(
    planes: Float32[np.ndarray, "n h w"] | Bool[np.ndarray, "n h w"], corners: Corners
) -> Float64[np.ndarray, "n a b"]:
    """Return sums of planes over displaced blocks, parts of a bin by area, outside the frame nothing.

    The running sum of a plane, interpolated at the corners of a block, is exact for bins of constant light.
    """
    table = np.zeros((len(planes), planes.shape[1] + 1, planes.shape[2] + 1))
    inner = table[:, 1:, 1:]
    np.cumsum(planes, axis=2, out=inner)
    np.cumsum(inner, axis=1, out=inner)
    (top, part_y), (left, part_x) = (
        _whole_and_part(np.clip(along, 0, length), length)
        for along, length in zip(corners, planes.shape[1:], strict=True)
    )
    upper = table[:, top, left] * (1 - part_x) + table[:, top, left + 1] * part_x
    lower = table[:, top + 1, left] * (1 - part_x) + table[:, top + 1, left + 1] * part_x
    at = upper * (1 - part_y) + lower * part_y
    return np.asarray(at[:, 1:, 1:] - at[:, :-1, 1:] - at[:, 1:, :-1] + at[:, :-1, :-1])


def _whole_and_part(
    place: Float64[np.ndarray, "H W"], length: int
) -> tuple[Int64[np.ndarray, "H W"], Float64[np.ndarray, "H W"]]:
    whole = np.minimum(place.astype(np.int64), length - 1)
    return whole, place - whole


@dataclass(frozen=True)
class Line:
    """The fit of a pair.

    Attributes:
        values: zero by CFA position (DN above the declared black), gain (short DN per long DN) at the center of the
            frame, and its change from there to the lower and to the right edge.
        covariance: of the values.
        bend: change of the gain from dark to the brightest tenth of the long frame, as a share of the gain.
        bent_by: what a bend changes in the values, where there is one beyond three standard errors: where the light is
            not linear, a line's values are uncertain by as much.
        expected_dn: the light of each block in the short frame that the long one promises.
        left_dn: what the fit leaves of each block.
        noise_dn: standard deviation of each block from noise.
        dithered: whether enough blocks have noise that covers the code steps; else codes, not light, make the values.
    """

    values: Float64[np.ndarray, "7"]
    covariance: Float64[np.ndarray, "7 7"]
    bend: Estimate
    bent_by: Float64[np.ndarray, "7"]
    expected_dn: Float64[np.ndarray, "4 h w"]
    left_dn: Float64[np.ndarray, "4 h w"]
    noise_dn: Float64[np.ndarray, "4 h w"]
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


def line(pair: Blocks, black: Float64[np.ndarray, "4"], least_noise_dn: float = 0.0) -> Line | None:
    """Return the fit of a pair; None where its blocks cannot determine one.

    Args:
        pair: the blocks.
        black: DN by CFA position from which light and zeros are counted.
        least_noise_dn: noise of a block below which codes, not light, make its mean. Such blocks, the darkest, do not
            count where enough others are left.
    """
    if not _are_enough(pair.valid):
        return None
    shape = pair.valid.shape
    short, long = ((plane - black[:, None, None]).reshape(-1) for plane in (pair.short, pair.long))
    valid = pair.valid.reshape(-1)
    design = _design(pair, long, bent_at=float(np.quantile(long[valid], _BRIGHT_QUANTILE)))
    fitted = _fitted(design[:, :-1], short, long, valid, least_noise_dn)
    if fitted is None:
        return None
    values, noise, weights = fitted
    lines = [_normal(*(_in_lines(array, shape, axis) for array in (design, short, weights))) for axis in (1, 2)]
    covariance, bent_covariance = (_jackknife(lines, columns) for columns in (7, 8))
    bent = _solution(*(side.sum(axis=0) for side in lines[0]))
    if bent is None:
        return None
    bend = Estimate(float(bent[-1] / values[4]), float(bent_covariance[-1, -1] ** 0.5 / abs(values[4])))
    bent_by = (bent[:-1] - values) * (abs(bend.value) > _BENT_SE * bend.se)
    expected = design[:, 4:-1] @ values[4:]
    return Line(
        values=values,
        covariance=covariance,
        bend=bend,
        bent_by=bent_by,
        expected_dn=expected.reshape(shape),
        left_dn=(short - design[:, :-1] @ values).reshape(shape),
        noise_dn=noise.reshape(shape),
        dithered=_are_enough(_brighter_than_quiet(long, noise, valid, least_noise_dn)),
    )


def block_noise_dn(trace: Trace, site_noise_dn: float) -> float:
    """Return the noise of a block whose sites have this noise each, rounding to codes added."""
    variance = site_noise_dn**2 + _ROUNDING_VARIANCE * trace.code_step**2
    return float(variance**0.5 / (BLOCK_BINS * trace.bin_sites))


def _design(pair: Blocks, long: Float64[np.ndarray, " n"], bent_at: float) -> Float64[np.ndarray, "n 8"]:
    """Return the columns: a zero for each position, light, light times place down and across, light squared."""
    y, x = (np.broadcast_to(along, pair.valid.shape).reshape(-1) for along in (pair.y, pair.x))
    zeros = np.repeat(np.eye(4), long.size // 4, axis=0)
    return np.column_stack([zeros, long, long * y, long * x, long * long / bent_at])


def _fitted(
    design: Float64[np.ndarray, "n k"],
    short: Float64[np.ndarray, " n"],
    long: Float64[np.ndarray, " n"],
    valid: Bool[np.ndarray, " n"],
    least_noise: float,
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]] | None:
    """Return the values, the noise of each block, and its weight, after rounds of fitting and judging what is left."""
    by_light = np.flatnonzero(valid)[np.argsort(long[valid])]
    groups = np.array_split(by_light, _NOISE_GROUPS)
    noise = np.sqrt(np.maximum(long, max(float(np.median(long[valid])), 1.0)))
    kept, told = np.ones_like(short), valid
    for turn in range(_ROUNDS):
        weights = told * kept / noise**2
        solved = _solution(*_normal(design, short, weights))
        if solved is None:
            return None
        values: Float64[np.ndarray, " k"] = solved
        left = np.abs(short - design @ values)
        noise = _noise(left, long, groups)
        dithered = _brighter_than_quiet(long, noise, valid, least_noise)
        told = dithered if _are_enough(dithered) else valid
        share = left / (_OUTLIER_SE * noise)
        # A first round may be far off: it is only tempered, so that no good block is lost for ever.
        kept = np.maximum(1 - share * share, 0) ** 2 if turn else 1 / np.maximum(3 * share, 1)
    return values, noise, weights


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


def _noise(
    left: Float64[np.ndarray, " n"], long: Float64[np.ndarray, " n"], groups: list[Int64[np.ndarray, " m"]]
) -> Float64[np.ndarray, " n"]:
    """Return the standard deviation of each block, from blocks of like light."""
    level = [long[group].mean() for group in groups]
    typical = [np.median(left[group]) * _SD_OF_MEDIAN for group in groups]
    return np.asarray(np.maximum(np.interp(long, level, typical), _SMALLEST_DN))


def _normal(
    design: Float64[np.ndarray, "*l n k"], short: Float64[np.ndarray, "*l n"], weights: Float64[np.ndarray, "*l n"]
) -> NormalEquations:
    """Return the normal equations, of one set of blocks or of many."""
    scaled = (design * weights[..., None]).swapaxes(-1, -2)
    return scaled @ design, (scaled @ short[..., None])[..., 0]


def _solution(matrix: Float64[np.ndarray, "k k"], right: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"] | None:
    """Return what solves normal equations; None where the blocks do not determine every value."""
    scale = np.sqrt(np.diag(matrix))
    if not scale.all() or np.linalg.cond(matrix / np.outer(scale, scale)) > _SINGULAR:
        return None
    return np.asarray(np.linalg.solve(matrix, right))


def _jackknife(lines: list[NormalEquations], columns: int) -> Float64[np.ndarray, "k k"]:
    """Return the covariance from leaving out one line of blocks at a time; the larger of rows' and columns' errors.

    Args:
        lines: normal equations of each row of blocks, and of each column of blocks.
        columns: how many columns of the design count.
    """
    by_rows, by_columns = (_left_out(m[:, :columns, :columns], right[:, :columns]) for m, right in lines)
    if not (np.isfinite(by_rows) & np.isfinite(by_columns)).all():
        return np.full(by_rows.shape, np.inf)
    variances = np.maximum(np.stack([np.diag(by_rows), np.diag(by_columns)]), np.finfo(float).tiny)
    larger = np.sqrt(variances.max(axis=0) / variances[0])
    return np.asarray(by_rows * larger[:, None] * larger)


def _left_out(matrices: Float64[np.ndarray, "l k k"], rights: Float64[np.ndarray, "l k"]) -> Float64[np.ndarray, "k k"]:
    try:
        without = np.linalg.solve(matrices.sum(axis=0) - matrices, (rights.sum(axis=0) - rights)[..., None])[..., 0]
    except np.linalg.LinAlgError:
        # A line that alone determines a value leaves nothing to tell its error from.
        return np.full(matrices.shape[1:], np.inf)
    spread = without - without.mean(axis=0)
    return np.asarray((len(without) - 1) / len(without) * spread.T @ spread)


def _in_lines(array: Float64[np.ndarray, "n *k"], shape: tuple[int, ...], axis: int) -> Float64[np.ndarray, "l m *k"]:
    grid = np.moveaxis(array.reshape(*shape, *array.shape[1:]), axis, 0)
    return grid.reshape(len(grid), -1, *array.shape[1:])
