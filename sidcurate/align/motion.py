"""How one frame lies on another, to a small part of a pixel: least squares on the green crops.

The method is that of Lucas and Kanade (1981), for a translation and a small rotation, with weights from what the fit
leaves: the noise that grows with the light, and outliers such as hot pixels and what moved. Standard errors are those
of a jackknife over tiles of the frame.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from sidcurate.align.estimates import Estimate
from sidcurate.align.match import Match
from sidcurate.align.trace import Trace

_TILES_A_SIDE = 4
_OUTLIER_SE = 3.0
_SMOOTHED_AWAY = 2
_FEWEST_SAMPLES = 8
_SAMPLED = 5
_LEAST_TEXTURE = 0.5
# What slopes miss within a sample, at the center and at the nearest edges, seen without any noise.
_MODEL_ERROR_PX = 0.02
_SINGULAR = 1e6
# Median square of unit Gaussian noise.
_MEDIAN_SQUARE = 0.455
_SMALLEST_VARIANCE = np.float32(1e-6)


@dataclass(frozen=True)
class Motion:
    """Displacement of the long frame's picture: down, right (px of the mosaic) and clockwise (radian).

    What the picture has no texture to tell is 0, with an infinite error.
    """

    values: Float64[np.ndarray, "3"]
    covariance: Float64[np.ndarray, "3 3"]

    def widened(self, error_px: float) -> "Motion":
        """Return the same displacement with another, independent error of both axes added to its own."""
        return Motion(self.values, self.covariance + np.diag([error_px**2, error_px**2, 0]))

    def at(self, places: Float64[np.ndarray, "n 2"], size: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "n 2"]:
        """Return the displacement (down, right) at places of a frame of this size."""
        return np.asarray(self._by_place(places, size) @ self.values)

    @property
    def facts(self) -> list[Estimate | None]:
        """Each value with its standard error; None for what cannot be told."""
        errors = np.sqrt(np.diag(self.covariance))
        pairs = zip(self.values.tolist(), errors.tolist(), strict=True)
        return [Estimate(value, se) if math.isfinite(se) else None for value, se in pairs]

    def largest(self, size: Int64[np.ndarray, "2"]) -> Estimate | None:
        """Return the largest displacement in a frame of this size, which a corner has, along all that can be told."""
        told = np.isfinite(np.diag(self.covariance))
        if not told.any():
            return None
        corners = self._by_place(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * size, size)[..., told]
        moves = corners @ self.values[told]
        lengths = np.hypot(*moves.T)
        worst = int(lengths.argmax())
        along = moves[worst] / max(float(lengths[worst]), np.finfo(float).tiny) @ corners[worst]
        return Estimate(float(lengths[worst]), float(along @ self.covariance[np.ix_(told, told)] @ along) ** 0.5)

    @staticmethod
    def _by_place(places: Float64[np.ndarray, "n 2"], size: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "n 2 3"]:
        """Return what each value does to the displacement at each place."""
        y, x = (places - size / 2).T
        one, none = np.ones_like(y), np.zeros_like(y)
        return np.stack([np.stack([one, none, x], -1), np.stack([none, one, -y], -1)], axis=1)


def motion(short: Trace, long: Trace, found: Match) -> Motion | None:
    """Return how the long frame's picture is displaced, refined from a coarse match.

    Args:
        short: trace of the short frame.
        long: trace of the long frame.
        found: their coarse match.

    Returns:
        The displacement; None where the frames have no texture to tell.
    """
    pitch = 2.0 * short.bin_sites
    start = np.array([*(found.shift_bins * pitch), 0.0])
    binned = [_prepared(*_tiles(trace.bins_dn[trace.greens].mean(axis=0)), trace) for trace in (short, long)]
    center = short.size / 2
    coarse = _refined(binned[0], binned[1], pitch, center, _Guess(start, None), rounds=2)
    if coarse is None:
        return None
    crops = [_prepared(trace.crops_dn, trace.crop_starts, trace) for trace in (short, long)]
    fine = _refined(crops[0], crops[1], 2.0, center, coarse[0], rounds=1)
    return fine and _told(Motion(fine[0].values, _jackknife(*fine[1:])), _texture_share(long), long.size)


def _texture_share(trace: Trace) -> Float64[np.ndarray, "2"]:
    """Return how much of the slopes (down, right) within tiles is texture and not noise: what both greens share."""
    tiles = [_prepared(*_tiles(plane), trace).planes for plane in trace.bins_dn[trace.greens]]
    shares = []
    for axis in (1, 2):
        slopes = [np.diff(planes, axis=axis) for planes in tiles]
        first, second = (slope - slope.mean(axis=(1, 2), keepdims=True) for slope in slopes)
        both = float(((first + second) ** 2).sum()) / 4
        shares.append(float((first * second).sum()) / max(both, np.finfo(float).tiny))
    return np.array(shares)


def _told(found: Motion, texture_share: Float64[np.ndarray, "2"], size: Int64[np.ndarray, "2"]) -> Motion:
    """Return the motion with infinite errors, and no displacement, along what has no texture to tell it by."""
    told = texture_share > _LEAST_TEXTURE
    told = np.append(told, told.all())
    model_error = _MODEL_ERROR_PX * np.array([1, 1, 2 / size.min()])
    covariance = found.covariance + np.diag(model_error**2)
    covariance[~told], covariance[:, ~told] = 0, 0
    covariance[~told, ~told] = np.inf
    return Motion(np.where(told, found.values, 0), covariance)


@dataclass(frozen=True)
class _Tiles:
    """Parts of a frame, smoothed, the first row and column of each, and where nothing too bright is near."""

    planes: Float32[np.ndarray, "n a b"]
    starts: Int64[np.ndarray, "n 2"]
    telling: Bool[np.ndarray, "n a b"]


def _tiles(plane: Float32[np.ndarray, "h w"]) -> tuple[Float32[np.ndarray, "n a b"], Int64[np.ndarray, "n 2"]]:
    """Return the tiles of a plane and the first row and column of each."""
    tall, wide = (length // _TILES_A_SIDE for length in plane.shape)
    whole = plane[: tall * _TILES_A_SIDE, : wide * _TILES_A_SIDE]
    planes = whole.reshape(_TILES_A_SIDE, tall, _TILES_A_SIDE, wide).swapaxes(1, 2).reshape(-1, tall, wide)
    starts = np.stack(np.meshgrid(*(np.arange(_TILES_A_SIDE) * side for side in (tall, wide)), indexing="ij"), -1)
    return planes, starts.reshape(-1, 2)


@dataclass(frozen=True)
class _Guess:
    """The displacement as known so far, and the gain: short DN per long DN, None before the first fit."""

    values: Float64[np.ndarray, "3"]
    gain: float | None


def _refined(
    short: _Tiles, long: _Tiles, pitch: float, center: Float64[np.ndarray, "2"], guess: _Guess, rounds: int
) -> tuple[_Guess, Float64[np.ndarray, "n 4 4"], Float64[np.ndarray, "n 4"]] | None:
    """Return a better guess, and the normal equations of each tile from which its error follows."""
    for _ in range(rounds):
        parts = [
            _normal_equations(here, there, telling, (at + 0.5) * pitch - center, pitch, guess)
            for here, there, telling, at in zip(short.planes, long.planes, long.telling, short.starts, strict=True)
        ]
        seen = [part for part in parts if part is not None]
        if len(seen) < _TILES_A_SIDE:
            return None
        matrices, rights = (np.array(side) for side in zip(*seen, strict=True))
        step = _steps(matrices.sum(axis=0), rights.sum(axis=0))
        if step is None:
            return None
        guess = _Guess(guess.values + step[1:], float(step[0]))
    return guess, matrices, rights


def _prepared(planes: Float32[np.ndarray, "n a b"], starts: Int64[np.ndarray, "n 2"], trace: Trace) -> _Tiles:
    ceiling = np.quantile(planes[:, ::3, ::3], trace.cut_quantile)
    smooth = _with_neighbors(np.minimum(planes, ceiling), np.add) / np.float32(4 ** (2 * _SMOOTHED_AWAY))
    return _Tiles(smooth, starts + _SMOOTHED_AWAY, ~_with_neighbors(planes >= ceiling, np.logical_or))


def _with_neighbors(planes: np.ndarray, combined: np.ufunc) -> np.ndarray:
    """Return samples combined with their neighbors, over and over, two samples less at each edge.

    Sums so become those of a binomial filter, after which slopes hold over a sample.
    """
    for _ in range(2 * _SMOOTHED_AWAY):
        planes = combined(planes[:, 1:], planes[:, :-1])
        planes = combined(planes[:, :, 1:], planes[:, :, :-1])
    return planes


def _normal_equations(
    short: Float32[np.ndarray, "a b"],
    long: Float32[np.ndarray, "a b"],
    telling: Bool[np.ndarray, "a b"],
    origin: Float64[np.ndarray, "2"],
    pitch: float,
    guess: _Guess,
) -> tuple[Float64[np.ndarray, "4 4"], Float64[np.ndarray, "4"]] | None:
    """Return the normal equations of one tile for gain, and gain times the change of each value.

    `telling` says which samples of the long frame count; `origin` is the place of the tile's first sample, from the
    center of the frame.
    """
    if min(short.shape) < _FEWEST_SAMPLES:
        return None
    y = (origin[0] + pitch * np.arange(short.shape[0], dtype=np.float32))[:, None].astype(np.float32)
    x = (origin[1] + pitch * np.arange(short.shape[1], dtype=np.float32))[None].astype(np.float32)
    down, right, turn = guess.values
    whole = np.rint((np.array([down + turn * x.mean(), right - turn * y.mean()])) / pitch).astype(int)
    here, there = zip(*(_overlap(size, by) for size, by in zip(short.shape, whole, strict=True)), strict=True)
    if min(part.stop - part.start for part in here) < _FEWEST_SAMPLES:
        return None
    s, moved, y, x = short[here][1:-1, 1:-1], long[there], y[here[0]][1:-1], x[:, here[1]][:, 1:-1]
    slope_y = (moved[2:, 1:-1] - moved[:-2, 1:-1]) / np.float32(2 * pitch)
    slope_x = (moved[1:-1, 2:] - moved[1:-1, :-2]) / np.float32(2 * pitch)
    part_y = (down - whole[0] * pitch + turn * x).astype(np.float32)
    part_x = (right - whole[1] * pitch - turn * y).astype(np.float32)
    warped = moved[1:-1, 1:-1] + part_y * slope_y + part_x * slope_x
    told = telling[there][1:-1, 1:-1].ravel()
    if _SAMPLED * np.count_nonzero(told[::_SAMPLED]) < _FEWEST_SAMPLES**2:
        return None
    columns = np.stack([warped, slope_y, slope_x, slope_y * x - slope_x * y]).reshape(4, -1)
    return _weighted_sums(columns, s.ravel(), told.astype(np.float32), guess.gain)


def _overlap(size: int, by: int) -> tuple[slice, slice]:
    """Return the part of a side that stays in view when it moves, and where that part then is."""
    return slice(max(-by, 0), size - max(by, 0)), slice(max(by, 0), size - max(-by, 0))


def _weighted_sums(
    columns: Float32[np.ndarray, "4 n"],
    short: Float32[np.ndarray, " n"],
    weights: Float32[np.ndarray, " n"],
    gain: float | None,
) -> tuple[Float64[np.ndarray, "4 4"], Float64[np.ndarray, "4"]]:
    if gain is not None:
        weights = weights * _weights(short - np.float32(gain) * columns[0], columns[0], weights)
    total = weights.sum()
    columns = columns - (columns @ weights / total)[:, None]
    short = short - short @ weights / total
    weighted = columns * weights
    return (weighted @ columns.T).astype(np.float64), (weighted @ short).astype(np.float64)


def _weights(
    left: Float32[np.ndarray, " n"], long: Float32[np.ndarray, " n"], told: Float32[np.ndarray, " n"]
) -> Float32[np.ndarray, " n"]:
    """Return weights from what the fit leaves: the noise grows with the light, and outliers count little."""
    count = told.sum()
    sample = left[::_SAMPLED][told[::_SAMPLED] > 0]
    middle = np.median(sample)
    squares = (left - middle) ** 2
    typical = np.median((sample - middle) ** 2) / np.float32(_MEDIAN_SQUARE)
    capped = np.minimum(squares, np.float32(_OUTLIER_SE**2) * typical) * told
    light = (long - long @ told / count) * told
    growth = np.maximum(capped @ light / (light @ light + _SMALLEST_VARIANCE), 0)
    mean = capped.sum() / count
    variance = np.maximum(mean + growth * light, mean / 4) + _SMALLEST_VARIANCE
    return np.asarray(1 / (variance + squares / _OUTLIER_SE**2))


def _steps(
    matrix: Float64[np.ndarray, "*n 4 4"], right: Float64[np.ndarray, "*n 4"]
) -> Float64[np.ndarray, "*n 4"] | None:
    """Return the gain and the change of each value, of one set of normal equations or of many.

    None where they do not determine all, or one frame is dark where the other is bright.
    """
    scale = np.sqrt(np.einsum("...ii->...i", matrix))
    if not np.all(scale > 0):
        return None
    unit = matrix / (scale[..., :, None] * scale[..., None, :])
    if np.linalg.cond(unit).max() > _SINGULAR:
        return None
    solved = np.linalg.solve(unit, (right / scale)[..., None])[..., 0] / scale
    if not np.all(solved[..., 0] > 0):
        return None
    solved[..., 1:] /= solved[..., :1]
    return np.asarray(solved)


def _jackknife(
    matrices: Float64[np.ndarray, "n 4 4"], rights: Float64[np.ndarray, "n 4"]
) -> Float64[np.ndarray, "3 3"]:
    without = _steps(matrices.sum(axis=0) - matrices, rights.sum(axis=0) - rights)
    if without is None:
        return np.full((3, 3), np.inf)
    spread = without[:, 1:] - without[:, 1:].mean(axis=0)
    return np.asarray((len(without) - 1) / len(without) * spread.T @ spread)
