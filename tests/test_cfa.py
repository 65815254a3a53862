"""Phases, packing, and the names of color filter arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidcurate import cfa
from sidcurate.errors import UsageError

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
phases = st.sampled_from(PHASES)
sides = st.integers(min_value=4, max_value=11)


def painted(letters: str, height: int, width: int) -> np.ndarray:
    """A mosaic whose values name the filter: 0 red, 1 green on a red row, 2 blue, 3 green on a blue row."""
    names = np.array(list(letters)).reshape(2, 2)
    values = np.empty((2, 2), np.uint16)
    for row in (0, 1):
        green = 1 if "R" in names[row] else 3
        for column in (0, 1):
            values[row, column] = {"R": 0, "B": 2, "G": green}[names[row, column]]
    return np.tile(values, (height // 2 + 1, width // 2 + 1))[:height, :width]


@given(phases, sides, sides)
def test_planes_are_red_green_blue_green_whatever_the_phase_and_size(letters, height, width):
    planes = cfa.pack(painted(letters, height, width), letters)
    assert [set(plane.ravel().tolist()) for plane in planes] == [{0}, {1}, {2}, {3}]


@given(phases, sides, sides)
def test_unpack_gives_the_cropped_mosaic_back(letters, height, width):
    mosaic = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    np.testing.assert_array_equal(cfa.unpack(cfa.pack(mosaic, letters)), cfa.crop_to_rggb(mosaic, letters))


@given(phases, sides, sides)
def test_mosaic_and_target_are_cropped_alike(letters, height, width):
    mosaic = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    target = np.repeat(mosaic[..., None], 3, axis=2)
    np.testing.assert_array_equal(cfa.crop_to_rggb(target, letters)[..., 0], cfa.crop_to_rggb(mosaic, letters))


@given(phases)
def test_values_by_position_follow_the_planes(letters):
    mosaic = painted(letters, 8, 8)
    by_position = tuple(int(site[0, 0]) for site in cfa.sites(mosaic))
    assert cfa.by_plane(by_position, letters) == (0, 1, 2, 3)


def test_packing_another_phase_by_position_would_swap_the_colors():
    mosaic = painted("BGGR", 8, 8)
    by_position = [int(site[0, 0]) for site in cfa.sites(mosaic)]
    assert by_position == [2, 3, 1, 0]
    assert cfa.pack(mosaic, "BGGR")[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_mosaic_that_is_not_bayer_cannot_be_packed():
    with pytest.raises(UsageError, match="GMYC"):
        cfa.pack(np.zeros((4, 4), np.uint16), "GMYC")


XTRANS = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"


@pytest.mark.parametrize(
    ("letters", "kind"),
    [
        *((phase, "bayer") for phase in PHASES),
        ("RRGGRRGGGGBBGGBB", "quad-bayer"),
        ("RGGRGBBGGBBGRGGR", "quad-bayer"),
        ("RRGG", "quad-bayer"),
        (XTRANS, "xtrans"),
        ("GMYC", "other"),
        ("RGWB", "other"),
        ("WRGBRWBGGBWRBGRW", "other"),
        ("RGGR", "other"),
        ("RBGG", "other"),
        ("RGBGRGBGRGBGRGBG", "other"),
    ],
)
def test_letters_tell_the_kind(letters, kind):
    assert cfa.kind_of(letters) == kind


def test_a_quad_bayer_pattern_is_known_wherever_it_starts():
    pattern = np.array(list("GGRRGGRRBBGGBBGG")).reshape(4, 4)
    rolled = {"".join(np.roll(pattern, start, (0, 1)).ravel()) for start in np.ndindex(4, 4)}
    assert len(rolled) == 16
    assert {cfa.kind_of(letters) for letters in rolled} == {"quad-bayer"}


@pytest.mark.parametrize(
    ("kind", "letters", "word"),
    [
        ("other", "GMYC", "CMYG"),
        ("other", "WRGBRWBGGBWRBGRW", "RGBW"),
        ("other", "RGBG", "irregular"),
        ("other", "CYCY", "unknown"),
        ("other", None, "Foveon"),
        ("xtrans", XTRANS, "X-Trans"),
        ("quad-bayer", "RRGG", "quad-Bayer"),
        ("linear", None, "demosaiced"),
        ("monochrome", None, "monochrome"),
    ],
)
def test_every_kind_but_bayer_is_named_in_words(kind, letters, word):
    assert word in cfa.why_not_bayer(kind, letters)


def test_bayer_needs_no_words():
    assert cfa.why_not_bayer("bayer", "RGGB") is None
