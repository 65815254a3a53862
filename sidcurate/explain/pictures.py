"""What a person looks at to believe the verdict on a pair: its fit, its shift and what moved, as arrays to be drawn.

All comes from the record of the pair and from the traces of its two frames; in place of a picture that cannot be made
stands the reason.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Complex128, Float32, Float64

from sidcurate.align import trace
from sidcurate.align.blocks import BLOCK_BINS, Blocks, blocks
from sidcurate.align.changes import still_line
from sidcurate.align.facts import level_dn
from sidcurate.align.fit import Line
from sidcurate.align.trace import Trace
from sidcurate.errors import IntegrityError
from sidcurate.pairs import traces
from sidcurate.rules import Limits
from sidcurate.rules.views import PairView
from sidcurate.schemas import Capture, Pair

_SURFACE_POINTS = 81
_LEAST_SPAN_PX = 6.0
_SPAN_OVER_SHIFT = 1.5
# Cycles a sample: slopes of the picture are strong up to here, finer ones are mostly noise.
_FINEST = 0.12
# Crops displaced by more than this share of their side show too little of the same; the bins show the whole frame.
_CROP_REACH = 0.25
_SHOWN = (0.003, 0.997)


@dataclass(frozen=True)
class FitPicture:
    """Block means of short against long, in DN above black as `level_dn` has it, the long frame laid on the short one.

    Attributes:
        long_dn: block means of the long frame.
        short_dn: block means of the short frame.
        fitted: zero in DN and ratio of the fitted line; None where the light could not be told.
        nominal: ratio of the nominal exposure times; None where one is unknown.
    """

    long_dn: Float64[np.ndarray, " n"]
    short_dn: Float64[np.ndarray, " n"]
    fitted: tuple[float, float] | None
    nominal: float | None

    @property
    def window(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of what is worth drawing, in DN: all but a few blocks, and both lines."""
        left, right = np.quantile(self.long_dn, _SHOWN).tolist()
        bottom, top = np.quantile(self.short_dn, _SHOWN).tolist()
        ends = [right / self.nominal] if self.nominal else []
        ends += [self.fitted[0] + right / self.fitted[1]] if self.fitted else []
        return min(left, 0), max(right, 1), min(bottom, 0), max(top, *ends, 1)

    @property
    def lines(self) -> dict[str, tuple[float, float]]:
        """Zero and slope of the lines that there are, by name."""
        lines = {"fitted": (self.fitted[0], 1 / self.fitted[1])} if self.fitted else {}
        return lines | ({"nominal": (0.0, 1 / self.nominal)} if self.nominal else {})


@dataclass(frozen=True)
class ShiftPicture:
    """Correlation of the slopes of the two frames, by displacement of the long one.

    Attributes:
        surface: correlation as a share of its highest value, from -span to +span down and to the right.
        span_px: displacement at the edges, in px of the mosaic.
        peak: measured displacement at the center of the frame, down and right; None where it could not be told.
        limit_px: largest displacement that is allowed.
    """

    surface: Float64[np.ndarray, "m m"]
    span_px: float
    peak: tuple[float, float] | None
    limit_px: float


@dataclass(frozen=True)
class MovedPicture:
    """How far each block of the short frame is from what the long one promises.

    Attributes:
        departure_se: in standard errors of the block, positive where the short frame is brighter; NaN where a frame is
            clipped or does not show the place.
        block_px: side of a block, in px of the mosaic.
        shown_from_se: standard errors from which a departure counts as more than noise.
    """

    departure_se: Float64[np.ndarray, "h w"]
    block_px: int
    shown_from_se: float


@dataclass(frozen=True)
class Pictures:
    """The three pictures of a pair, or why there is none."""

    fit: FitPicture | str
    shift: ShiftPicture | str
    moved: MovedPicture | str


def pictures(directory: Path, view: PairView, limits: Limits) -> Pictures:
    """Return the pictures of a pair.

    Args:
        directory: folder of the manifest, in which the traces are kept.
        view: the pair and its captures.
        limits: what the rules allow.
    """
    kept = _traces(directory, view)
    if isinstance(kept, str):
        return Pictures(kept, kept, kept)
    short, long = kept
    pair = blocks(short, long, _displacement(view.pair))
    at_black = level_dn(short, pair)
    fitted = still_line(short, pair, at_black) if _laid(view.pair) else None
    return Pictures(
        fit=_fit(pair, at_black, fitted, view.pair),
        shift=_shift(short, long, view.pair, limits),
        moved=_moved(pair, fitted, short.bin_sites, limits)
        if fitted and view.pair.moved_fraction is not None
        else "the pixels cannot tell what moved",
    )


def _traces(directory: Path, view: PairView) -> tuple[Trace, Trace] | str:
    """Return the traces of both frames, or why they cannot be laid on each other."""
    for capture in (view.short, view.long):
        if not capture.sha256 or not traces.path(directory, capture.sha256).is_file():
            return f"the trace of {capture.path} is not kept; `sidcurate ingest` makes it again from the raw"
    try:
        short, long = (_load(directory, capture) for capture in (view.short, view.long))
    except IntegrityError as error:
        return str(error)
    if short.cfa != long.cfa or (short.size != long.size).any():
        return "frames of different geometry cannot be laid on each other"
    return short, long


def _load(directory: Path, capture: Capture) -> Trace:
    return trace.load(traces.path(directory, capture.sha256 or ""))


def _laid(pair: Pair) -> bool:
    """Return whether the frames were found to show one scene, so that one could be laid on the other."""
    return any(fact is not None for fact in (pair.measured_ratio, pair.nonlinearity, pair.moved_fraction))


def _displacement(pair: Pair) -> Float64[np.ndarray, "3"]:
    return np.array([pair.shift_y_px or 0, pair.shift_x_px or 0, math.radians(pair.rotation_deg or 0)])


def _fit(pair: Blocks, black: Float64[np.ndarray, "4"], fitted: Line | None, facts: Pair) -> FitPicture | str:
    if not pair.valid.any():
        return "no block is in view and unclipped in both frames"
    long, short = ((plane - black[:, None, None])[pair.valid] for plane in (pair.long, pair.short))
    zero_and_ratio = None
    if fitted is not None and facts.measured_ratio is not None:
        zero_and_ratio = float(fitted.values[:4].mean()), facts.measured_ratio
    return FitPicture(long, short, zero_and_ratio, facts.exposure_ratio)


def _moved(pair: Blocks, fitted: Line, bin_sites: int, limits: Limits) -> MovedPicture:
    weights = pair.valid / fitted.noise_dn**2
    total = weights.sum(axis=0)
    departure = (weights * fitted.left_dn).sum(axis=0) / np.sqrt(np.where(total > 0, total, np.nan))
    return MovedPicture(departure, 2 * BLOCK_BINS * bin_sites, limits.confidence_se)


def _shift(short: Trace, long: Trace, pair: Pair, limits: Limits) -> ShiftPicture | str:
    down, right = pair.shift_y_px, pair.shift_x_px
    peak = None if down is None or right is None else (down, right)
    span = max(_LEAST_SPAN_PX, _SPAN_OVER_SHIFT * max(map(abs, peak or (0,))))
    in_crops = span < _CROP_REACH * 2 * short.crops.shape[1]
    pitch = 2.0 if in_crops else 2.0 * short.bin_sites
    here, there = (_cut(t.crops_dn if in_crops else t.bins_dn[t.greens], t.cut_quantile) for t in (short, long))
    surface = _correlation(here, there, np.linspace(-span, span, _SURFACE_POINTS) / pitch)
    if surface.max() <= 0:
        return "the frames have nothing in common that could be shifted"
    return ShiftPicture(surface / surface.max(), span, peak, limits.shift_px)


def _cut(planes: Float32[np.ndarray, "n h w"], quantile: float) -> Float32[np.ndarray, "n h w"]:
    return np.asarray(np.minimum(planes, np.quantile(planes[:, ::3, ::3], quantile)))


def _correlation(
    short: Float32[np.ndarray, "n h w"], long: Float32[np.ndarray, "n h w"], places: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, "m m"]:
    """Return the correlation of slopes, all planes together, at displacements in samples down and to the right."""
    down, right = (np.fft.fftfreq(length) for length in short.shape[1:])
    squared = down[:, None] ** 2 + right**2
    shared = (_spectra(long) * _spectra(short).conj()).sum(axis=0) * squared * np.exp(-squared / _FINEST**2)
    turns = [np.exp(2j * np.pi * np.outer(places, frequencies)) for frequencies in (down, right)]
    return np.asarray((turns[0] @ shared @ turns[1].T).real)


def _spectra(planes: Float32[np.ndarray, "n h w"]) -> Complex128[np.ndarray, "n h w"]:
    window = np.multiply.outer(*(np.hanning(length + 2)[1:-1] for length in planes.shape[1:]))
    return np.asarray(np.fft.fft2((planes - planes.mean(axis=(1, 2), keepdims=True)) * window))
