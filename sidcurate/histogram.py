"""How many pairs have which exposure ratio: counted in bins on a log axis, and laid out as a drawing."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sidcurate.counted import counted

BINS_PER_DECADE = 8


@dataclass(frozen=True)
class Bin:
    """Pairs whose exposure ratio is in [low, high)."""

    low: float
    high: float
    pairs: int


def histogram(ratios: Sequence[float]) -> list[Bin]:
    """Return the counts of ratios in bins of equal width on a log axis, from the first that is used to the last."""
    counts = Counter(math.floor(BINS_PER_DECADE * math.log10(ratio)) for ratio in ratios)
    steps = range(min(counts), max(counts) + 1) if counts else ()
    return [Bin(10 ** (step / BINS_PER_DECADE), 10 ** ((step + 1) / BINS_PER_DECADE), counts[step]) for step in steps]


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram, in the units of the drawing, with its words."""

    x: float
    width: float
    height: float
    title: str
    inside: bool


@dataclass(frozen=True)
class Chart:
    """The histogram of ratios, laid out on a log axis."""

    width: int
    height: int
    band_x: float
    band_width: float
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    most: int


def chart(bins: Sequence[Bin], low: float, high: float, width: int = 640, height: int = 150) -> Chart | None:
    """Return the histogram of ratios as a drawing; None without ratios.

    Args:
        bins: the counts.
        low: smallest ratio that was asked for.
        high: largest ratio that was asked for.
        width: of the drawing, in its own units.
        height: of the highest bar.
    """
    if not bins:
        return None
    first = math.floor(math.log10(min(bins[0].low, low / 2)))
    last = math.ceil(math.log10(max(bins[-1].high, high * 2)))

    def x(ratio: float) -> float:
        return round(width * (math.log10(ratio) - first) / (last - first), 2)

    most = max(row.pairs for row in bins)
    bars = tuple(
        Bar(
            x=x(row.low),
            width=x(row.high) - x(row.low),
            height=round(height * row.pairs / most, 2),
            title=f"{counted(row.pairs, 'pair')} from {row.low:.4g}× to {row.high:.4g}×",
            inside=row.high > low and row.low < high,
        )
        for row in bins
        if row.pairs
    )
    ticks = {float(f"{digit}e{power}") for power in range(first, last) for digit in (1, 3)} | {10.0**last}
    labels = tuple((x(value), f"{value:g}") for value in sorted(ticks))
    band = x(low)
    return Chart(width, height, band, round(x(high) - band, 2), bars, labels, most)
