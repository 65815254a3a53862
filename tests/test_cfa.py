"""Phases, packing, and the names of color filter arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidcurate import cfa
from sidcurate.errors import UsageError

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
XTRANS = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"
SID_XTRANS = "RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB"
REST = ((1, 0), (1, 1), (2, 0), (2, 1))  # the greens beside the colored row and column of a block
XTRANS_PHASES = sorted(
    {"".join(np.roll(np.reshape(list(XTRANS), (6, 6)), shift, (0, 1)).ravel()) for shift in np.ndindex(6, 6)}
)
phases = st.sampled_from(PHASES)
arrays = st.sampled_from((*PHASES, *XTRANS_PHASES))
sides = st.integers(min_value=4, max_value=23)


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
    planes = cfa.layout(letters).pack(painted(letters, height, width))
    assert [set(plane.ravel().tolist()) for plane in planes] == [{0}, {1}, {2}, {3}]


@given(arrays, sides, sides)
def test_unpack_gives_the_cropped_mosaic_back(letters, height, width):
    mosaic = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    layout = cfa.layout(letters)
    np.testing.assert_array_equal(layout.unpack(layout.pack(mosaic)), layout.crop(mosaic))


@given(arrays, sides, sides)
def test_mosaic_and_target_are_cropped_alike(letters, height, width):
    mosaic = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    target = np.repeat(mosaic[..., None], 3, axis=2)
    layout = cfa.layout(letters)
    np.testing.assert_array_equal(layout.crop(target)[..., 0], layout.crop(mosaic))
    assert layout.crop(mosaic).shape == tuple(layout.side * size for size in layout.packed(height, width))


@given(phases)
def test_values_by_position_follow_the_planes(letters):
    mosaic = painted(letters, 8, 8)
    by_position = tuple(int(site[0, 0]) for site in cfa.sites(mosaic))
    assert cfa.layout(letters).by_plane(by_position) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("letters", "planes"),
    [("RGGB", [0, 1, 2, 3]), ("BGGR", [2, 3, 0, 1]), ("GRBG", [1, 0, 3, 2]), ("GBRG", [3, 2, 1, 0])],
)
def test_by_position_each_phase_but_rggb_puts_other_colors_into_the_planes(letters, planes):
    naive, mosaic = cfa.layout(letters, "by-position"), painted(letters, 7, 9)
    assert naive.pack(mosaic)[:, 0, 0].tolist() == planes
    np.testing.assert_array_equal(naive.crop(mosaic), mosaic[:6, :8])
    by_position = tuple(int(site[0, 0]) for site in cfa.sites(mosaic))
    assert naive.by_plane(by_position) == tuple(planes)  # Each site keeps its own level: only the names are wrong.


def test_a_mosaic_that_is_neither_bayer_nor_xtrans_cannot_be_packed():
    with pytest.raises(UsageError, match="GMYC"):
        cfa.layout("GMYC")


@given(st.sampled_from(XTRANS_PHASES), st.integers(min_value=12, max_value=40), st.integers(min_value=12, max_value=40))
def test_xtrans_planes_are_of_one_color_each_whatever_the_phase(letters, height, width):
    colors = np.array(list(letters)).reshape(6, 6)
    mosaic = np.tile(colors, (height // 6 + 1, width // 6 + 1))[:height, :width]
    planes = cfa.layout(letters).pack(mosaic)
    assert ["".join(set(plane.ravel().tolist())) for plane in planes] == list(cfa.PLANE_COLORS[9])


def test_an_xtrans_mosaic_is_packed_as_sid_packs_it():
    """Row and column of the site that each plane takes, block by block, as the published program has them."""
    mosaic = np.arange(24 * 18).reshape(24, 18)
    planes = cfa.layout(SID_XTRANS).pack(mosaic)
    first = {
        0: [(0, 0), (0, 4), (3, 1), (3, 3)],
        1: [(0, 2), (0, 5), (3, 2), (3, 5)],
        2: [(0, 1), (0, 3), (3, 0), (3, 4)],
        3: [(1, 2), (2, 5), (5, 2), (4, 5)],
        4: [(2, 2), (1, 5), (4, 2), (5, 5)],
        **{5 + place: [(r, c), (r, c + 3), (r + 3, c), (r + 3, c + 3)] for place, (r, c) in enumerate(REST)},
    }
    assert planes.shape == (9, 8, 6)
    for plane, sites in first.items():
        for (row, column), (down, right) in zip(sites, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
            np.testing.assert_array_equal(planes[plane, down::2, right::2], mosaic[row::6, column::6])


@pytest.mark.parametrize(("height", "width"), [(23, 29), (24, 24), (6, 11)])
def test_an_xtrans_mosaic_is_cut_to_multiples_of_six(height, width):
    layout = cfa.layout(SID_XTRANS)
    assert layout.packed(height, width) == (height // 6 * 2, width // 6 * 2)
    assert layout.pack(np.zeros((height, width), np.uint16)).shape == (9, height // 6 * 2, width // 6 * 2)


def test_one_level_is_that_of_all_planes():
    assert cfa.layout(SID_XTRANS).by_plane((1024.0,)) == (1024.0,) * 9
    assert cfa.layout("GBRG").by_plane((64.0,)) == (64.0,) * 4


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
