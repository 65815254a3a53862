"""The levels policies: declared, measured where the pair tells, or overridden."""

import pytest

from sidcurate.errors import UsageError
from sidcurate.schemas import Capture, CfaKind, Pair
from sidtrain.normalization import Levels, LevelsPolicy, alone, levels

BLACK, WHITE = (64.0, 65.0, 66.0, 67.0), (1023.0,) * 4


def short(black: tuple[float, ...] | None = BLACK, white: tuple[float, ...] | None = WHITE) -> Capture:
    kind: CfaKind = "xtrans" if black and len(black) == 1 else "bayer"
    return Capture(
        device="phone",
        path="short.dng",
        size_bytes=1,
        status="ok",
        cfa_kind=kind,
        black_level=black,
        white_level=white,
    )


def pair(zero: tuple[float, ...] | None = None) -> Pair:
    return Pair(
        device="phone",
        pair_id="00001_00",
        scene_id="00001",
        burst_index=0,
        short_path="short.dng",
        long_path="long.dng",
        reason="made here",
        zero_error_dn=zero,
    )


def test_declared_levels_are_those_of_the_file_whatever_the_pair_says() -> None:
    assert levels(pair((1.0, 2.0, 3.0, 4.0)), short(), LevelsPolicy()) == Levels(BLACK, WHITE, "declared")


def test_the_measured_zero_moves_the_black_of_each_position_and_leaves_white() -> None:
    found = levels(pair((1.0, -0.5, 0.25, 0.0)), short(), LevelsPolicy("measured"))
    assert found == Levels((65.0, 64.5, 66.25, 67.0), WHITE, "measured")


def test_a_pair_that_does_not_tell_keeps_the_declared_black_and_says_so() -> None:
    assert levels(pair(), short(), LevelsPolicy("measured")) == Levels(BLACK, WHITE, "declared")


def test_a_zero_of_other_positions_than_the_black_is_not_used() -> None:
    found = levels(pair((1.0, 1.0, 1.0, 1.0)), short((1024.0,), (16383.0,)), LevelsPolicy("measured"))
    assert found == Levels((1024.0,), (16383.0,), "declared")


@pytest.mark.parametrize(
    ("policy", "black", "white"),
    [
        (LevelsPolicy("override", (400.0,), None), (400.0,) * 4, WHITE),
        (LevelsPolicy("override", None, 8), BLACK, (255.0,) * 4),
        (LevelsPolicy("override", (1.0, 2.0, 3.0, 4.0), 14), (1.0, 2.0, 3.0, 4.0), (16383.0,) * 4),
        (LevelsPolicy("override", (0.0,), None), (0.0,) * 4, WHITE),
    ],
)
def test_an_override_replaces_what_it_names(
    policy: LevelsPolicy, black: tuple[float, ...], white: tuple[float, ...]
) -> None:
    assert levels(pair((9.0,) * 4), short(), policy) == Levels(black, white, "override")


@pytest.mark.parametrize("black", [(1.0, 2.0), (1.0, 2.0, 3.0)])
def test_an_override_of_another_count_is_refused(black: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"short.dng has 4 CFA positions"):
        levels(pair(), short(), LevelsPolicy("override", black, None))


@pytest.mark.parametrize("policy", [LevelsPolicy("override", (512.0,), 8), LevelsPolicy("override", (1023.0,), None)])
def test_a_black_that_leaves_no_room_below_white_is_refused(policy: LevelsPolicy) -> None:
    with pytest.raises(UsageError, match=r"short.dng.*not below white"):
        levels(pair(), short(), policy)


@pytest.mark.parametrize(("black", "white"), [(None, WHITE), (BLACK, None)])
def test_unknown_levels_are_refused(black: tuple[float, ...] | None, white: tuple[float, ...] | None) -> None:
    with pytest.raises(UsageError, match="CAP121"):
        levels(pair(), short(black, white), LevelsPolicy("measured"))


def test_an_override_of_both_needs_no_declared_levels() -> None:
    found = levels(pair(), short(None, None), LevelsPolicy("override", (400.0,), 14))
    assert found == Levels((400.0,), (16383.0,), "override")


def test_a_frame_without_a_partner_has_no_measured_levels() -> None:
    assert alone("one.dng", short(), LevelsPolicy("measured")) == Levels(BLACK, WHITE, "declared")
    assert alone("one.dng", short(), LevelsPolicy("override", (1.0,), None)) == Levels((1.0,) * 4, WHITE, "override")
    with pytest.raises(UsageError, match=r"one\.dng: its black or white level is unknown"):
        alone("one.dng", short(black=None), LevelsPolicy("measured"))
