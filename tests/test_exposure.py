"""Exposure times and ratios are exact, and names state what they state."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidcurate.exposure import exposure_ratio, format_seconds, light, seconds_in_name, stops

times = st.fractions(min_value=Fraction(1, 8000), max_value=60)


def test_the_canonical_sid_ratio_is_exactly_300():
    assert exposure_ratio(Fraction(10), Fraction(1, 30)) == 300


def test_a_decimal_that_stands_for_a_third_is_not_rounded_to_it():
    assert exposure_ratio(Fraction(10), Fraction(333333, 10_000_000)) == Fraction(100_000_000, 333_333)
    assert float(exposure_ratio(Fraction(10), Fraction("0.033"))) == pytest.approx(303.03, abs=0.01)


@given(times, times)
def test_ratio_and_time_give_the_other_time_back(long_s, short_s):
    assert exposure_ratio(long_s, short_s) * short_s == long_s


@given(st.floats(min_value=1e-3, max_value=1e3))
def test_stops_are_powers_of_two(ratio):
    assert 2 ** stops(ratio) == pytest.approx(ratio)


def test_one_stop_of_aperture_time_or_iso_is_the_same_light():
    reference = light(1 / 50, 800, 4.0)
    assert light(1 / 25, 400, 4.0) == pytest.approx(reference)
    assert light(1 / 25, 800, 4.0 * 2**0.5) == pytest.approx(reference)


@pytest.mark.parametrize(
    ("stem", "seconds"),
    [
        ("00001_00_0.04s", Fraction(1, 25)),
        ("00001_00_10s", Fraction(10)),
        ("00017_02_0.033s", Fraction(33, 1000)),
        ("night_1-30s", Fraction(1, 30)),
        ("00001-01-10s", Fraction(10)),
        ("0.5S", Fraction(1, 2)),
        ("IMG_1234", None),
        ("_DSC2164", None),
        ("2shots", None),
        ("00001_00_0s", None),
        ("night_1-0s", None),
        ("night_1-010s", Fraction(1, 10)),
        ("", None),
    ],
)
def test_a_name_states_a_time_or_none(stem, seconds):
    assert seconds_in_name(stem) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (Fraction(1, 30), "1/30 s"),
        (Fraction(333333, 10_000_000), "1/30 s"),
        (Fraction(2, 5), "0.4 s"),
        (Fraction(1, 8000), "1/8000 s"),
        (0.00803, "1/125 s"),
        (0.25, "1/4 s"),
        (Fraction(2, 7), "0.2857 s"),
        (Fraction(1, 3), "0.3333 s"),
        (10.0, "10 s"),
    ],
)
def test_a_time_is_written_as_a_camera_shows_it(seconds, words):
    assert format_seconds(seconds) == words
