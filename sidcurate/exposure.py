"""Exact arithmetic of exposure: times as rationals, ratios, stops, and the light that a setting promises."""

import math
import re
from fractions import Fraction
from typing import Any, Protocol, Self, TypeVar


class _Arithmetic(Protocol):
    """What can be multiplied, divided and squared."""

    def __mul__(self, other: Any, /) -> Self: ...  # noqa: ANN401 - by anything that it can be
    def __truediv__(self, other: Any, /) -> Self: ...  # noqa: ANN401
    def __pow__(self, power: int, /) -> Self: ...


Number = TypeVar("Number", bound=_Arithmetic)

# The fraction form must stand alone ("1-30s"): in "00001-01-10s" the digits before the dash are a burst index.
_SECONDS = re.compile(r"(?:(?<![^_])1-(?P<per>\d+)|(?<![\d.])(?P<value>\d+(?:\.\d+)?))s(?![a-z0-9])", re.IGNORECASE)


def exposure_ratio(long_s: Fraction, short_s: Fraction) -> Fraction:
    """Return t_long / t_short, exactly.

    Args:
        long_s: exposure time of the long frame in seconds.
        short_s: exposure time of the short frame in seconds, positive.

    >>> exposure_ratio(Fraction(10), Fraction(1, 30))
    Fraction(300, 1)
    """
    return long_s / short_s


def stops(ratio: float) -> float:
    """Return a ratio of light in stops (EV, base 2).

    >>> stops(8)
    3.0
    """
    return math.log2(ratio)


def light(time_s: Number, iso: Number, f_number: Number) -> Number:
    """Return t·ISO/N², proportional to the raw signal that the settings promise for one scene; also of whole columns.

    >>> light(1 / 30, 800, 2)
    6.666666666666667
    """
    return time_s * iso / f_number**2


def seconds_in_name(stem: str) -> Fraction | None:
    """Return the exposure time in seconds that a SID-style file name states, None where it states none.

    SID writes decimals ("00001_00_0.04s"); "1-30s" is read as 1/30 s, because a slash cannot stand in a name.

    >>> seconds_in_name("00001_00_0.04s")
    Fraction(1, 25)
    >>> seconds_in_name("night_1-30s"), seconds_in_name("00001_00_10s")
    (Fraction(1, 30), Fraction(10, 1))
    >>> seconds_in_name("IMG_1234") is None
    True
    """
    found = list(_SECONDS.finditer(stem))
    if not found:
        return None
    per, value = found[-1]["per"], found[-1]["value"]
    stated = Fraction(value or per)
    if not stated:
        return None
    return stated if value else 1 / stated


def format_seconds(time_s: Fraction | float) -> str:
    """Return a time as a camera shows it: "1/30 s", "0.4 s", "10 s".

    >>> format_seconds(Fraction(1, 30)), format_seconds(Fraction(333333, 10000000)), format_seconds(10.0)
    ('1/30 s', '1/30 s', '10 s')
    """
    value = float(time_s)
    if 0 < value < 0.3 and abs(1 / value - round(1 / value)) < 0.01 / value:
        return f"1/{round(1 / value)} s"
    return f"{value:.4g} s"
