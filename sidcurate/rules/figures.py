"""Figures in rules: compared exactly, so that a value at a limit passes, and written as a person writes them."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache, reduce
from operator import or_
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidcurate.tables.columns import Column, Where

# Far more than a few operations on floats can be off, as a share of what they compute.
_ROUNDING = 1e-9


@lru_cache(maxsize=4096)
def exact(value: float) -> Fraction:
    """Return a number as the decimal that was written: 0.03 is 3/100, not the nearest binary number."""
    return Fraction(repr(value))


def relative_difference(first: float, second: float) -> Fraction:
    """Return how far the larger of two positive numbers lies above the smaller, as a share of the smaller."""
    return exact(max(first, second)) / exact(min(first, second)) - 1


def unknown(*facts: "Column") -> "Where":
    """Return the rows of which at least one of some facts is unknown."""
    return reduce(or_, (fact.unknown for fact in facts))


def outside(values: "Column", low: Fraction | None, high: Fraction, exactly: Callable[[int], Fraction]) -> "Where":
    """Return the rows whose value lies outside limits, exactly: floats decide only where they are clear of these.

    Args:
        values: the values as floats, at most a few roundings off.
        low: the lower limit; None for none.
        high: the upper limit.
        exactly: returns the exact value of a row.
    """
    ends = [float(end) for end in (low, high) if end is not None]
    beyond = (values < ends[0]) | (values > ends[-1]) if len(ends) > 1 else values > ends[0]
    close = reduce(or_, (abs(values - end) <= _ROUNDING * (1 + abs(end)) for end in ends))
    for row in close.nonzero()[0].tolist():
        beyond[row] = exactly(row) > high or (low is not None and exactly(row) < low)
    return beyond


def differ_by_more(first: "Column", second: "Column", limit: float) -> "Where":
    """Return the rows in which two positive numbers have a larger relative difference than is allowed."""
    return outside(first.apart(second), None, exact(limit), lambda row: relative_difference(first[row], second[row]))


def percent(share: float | Fraction) -> str:
    """Return a share in percent, with three digits at most.

    >>> percent(0.005), percent(0.19163), percent(Fraction(3, 100))
    ('0.5 %', '19.2 %', '3 %')
    """
    return f"{100 * float(share):.3g} %"


def apart(difference: Fraction) -> str:
    """Return a relative difference in words.

    >>> apart(Fraction(1, 10)), apart(Fraction(2))
    ('10 % apart', 'a factor of 3 apart')
    """
    return f"a factor of {float(difference + 1):.3g} apart" if difference >= 1 else f"{percent(difference)} apart"


def uncertain(value: float, se: float) -> str:
    """Return a measured value with its standard error, both to the first digit that the error has.

    >>> uncertain(83.21, 0.953), uncertain(250.04, 1.2), uncertain(-0.02, 0.1), uncertain(0.5, 0)
    ('83.2 ± 1.0', '250 ± 1', '0.0 ± 0.1', '0.5 ± 0')
    """
    if se <= 0:
        return f"{value:.3g} ± 0"
    digits = decimals(se)
    return f"{value:z.{digits}f} ± {se:.{digits}f}"


def decimals(se: float) -> int:
    """Return the decimals up to the first digit of a positive standard error."""
    return max(0, -math.floor(math.log10(se)))


def levels_in_words(values: Sequence[float]) -> str:
    """Return levels by CFA position, in DN; what all positions share is told once.

    >>> levels_in_words((2048.0,) * 4), levels_in_words((512.0, 513.5, 512.0, 512.0))
    ('2048', '512/513.5/512/512')
    """
    return "/".join(f"{value:g}" for value in (values if len(set(values)) > 1 else values[:1]))


def site_name(cfa: str | None, position: int) -> str:
    """Return which sites a CFA position is, "the frame" where there is no 2x2.

    >>> site_name("GBRG", 2), site_name(None, 0)
    ('R at row 1, column 0', 'the frame')
    """
    if cfa is None or len(cfa) != 4:
        return "the frame"
    return f"{cfa[position]} at row {position // 2}, column {position % 2}"
