"""The ratio policies: what a short is multiplied by."""

import math

import pytest

from sidtrain import amplification


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("exif", 303.03),
        ("name", 250.0),
        ("none", 1.0),
        ("fixed 100", 100.0),
        ("fixed 0.5", 0.5),
        ("cap 300", 300.0),
        ("cap 600", 303.03),
        ("random 100-300", 303.03),
    ],
)
def test_each_policy_gives_its_factor_for_a_whole_frame(text: str, factor: float) -> None:
    assert amplification.parse(text).ratio(exif=303.03, name=250.0) == factor


@pytest.mark.parametrize("text", ["exif", "cap 300", "random 1-2"])
def test_without_a_header_ratio_there_is_none(text: str) -> None:
    assert amplification.parse(text).ratio(exif=None, name=250.0) is None


def test_without_names_there_is_no_ratio_by_name_and_a_fixed_one_needs_neither() -> None:
    assert amplification.parse("name").ratio(exif=100.0, name=None) is None
    assert amplification.parse("fixed 60").ratio(exif=None, name=None) == 60


def test_a_random_ratio_lies_between_its_ends() -> None:
    policy = amplification.parse("random 100-300")
    assert [policy.ratio(None, None, place) for place in (0.0, 0.25, 1.0)] == [100, 150, 300]


def test_a_ratio_that_is_not_random_takes_no_draw() -> None:
    assert amplification.parse("exif").ratio(200.0, None, place=0.5) == 200


@pytest.mark.parametrize("text", ["", "cap", "cap -3", "cap 1e3", "fixed", "random 100", "EXIF", "exif 3", " none"])
def test_other_words_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="random A-B"):
        amplification.parse(text)


@pytest.mark.parametrize("text", ["exif", "name", "none", "fixed 60", "cap 300", "random 100-300"])
def test_the_side_car_says_each_policy_apart(text: str) -> None:
    others = {
        amplification.parse(other).words for other in ("exif", "name", "none", "fixed 60", "cap 300") if other != text
    }
    assert amplification.parse(text).words not in others
    assert all(number in amplification.parse(text).words for number in text.replace("-", " ").split()[1:])


@pytest.mark.parametrize(
    ("policy", "span"),
    [
        ("exif", (1, math.inf)),
        ("name", (1, math.inf)),
        ("none", (1, 1)),
        ("fixed 500", (500, 500)),
        ("cap 300", (1, 300)),
        ("cap 0.5", (0.5, 0.5)),
        ("random 50-200", (50, 200)),
    ],
)
def test_the_span_is_what_the_policy_makes(policy: str, span: tuple[float, float]) -> None:
    assert amplification.parse(policy).span == span
