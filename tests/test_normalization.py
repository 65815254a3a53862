"""The levels policies: declared, measured where the pair tells, or overridden."""

import pytest

from sidcurate.errors import UsageError
from sidcurate.schemas import Capture, CfaKind, Pair
from sidtrain.normalization import Levels, LevelsPolicy, Zero, alone, levels, median_zeros

BLACK, WHITE = (64.0, 65.0, 66.0, 67.0), (1023.0,) * 4


def short(
    black: tuple[float, ...] | None = BLACK, white: tuple[float, ...] | None = WHITE, **changes: object
) -> Capture:
    kind: CfaKind = "xtrans" if black and len(black) == 1 else "bayer"
    facts = {
        "device": "phone",
        "path": "short.dng",
        "size_bytes": 1,
        "status": "ok",
        "camera_model": "Phone 7",
        "iso": 800,
        "cfa": "BGGR",
        "cfa_kind": kind,
        "black_level": black,
        "white_level": white,
    }
    return Capture(**{**facts, **changes})  # type: ignore[arg-type]


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


def told(path: str, *zero: float) -> Pair:
    return pair(zero or None).model_copy(update={"short_path": path})


def test_the_zero_of_a_body_is_the_median_over_its_pairs_by_iso_and_over_all() -> None:
    captures = {
        "a": short(),
        "b": short(),
        "c": short(iso=1600),
        "other": short(camera_model="Phone 8"),
        "nobody": short(camera_model=None),
    }
    pairs = [
        told("a", 1.0, 2.0, 3.0, 4.0),
        told("b", 3.0, 2.0, 1.0, 0.0),
        told("c", 9.0, 9.0, 9.0, 9.0),
        told("b"),
        told("other", 7.0, 7.0, 7.0, 7.0),
        told("nobody", 5.0, 5.0, 5.0, 5.0),
    ]
    found = {(zero.camera_model, zero.iso): (zero.zero_error_dn, zero.pairs) for zero in median_zeros(pairs, captures)}
    assert found == {
        ("Phone 7", 800): ((2.0, 2.0, 2.0, 2.0), 2),
        ("Phone 7", 1600): ((9.0,) * 4, 1),
        ("Phone 7", None): ((3.0, 2.0, 3.0, 4.0), 3),
        ("Phone 8", 800): ((7.0,) * 4, 1),
        ("Phone 8", None): ((7.0,) * 4, 1),
    }


def known(iso: int | None, error: float, **changes: object) -> Zero:
    facts = {"camera_model": "Phone 7", "cfa": "BGGR", "iso": iso, "zero_error_dn": (error,) * 4, "pairs": 1}
    return Zero(**{**facts, **changes})  # type: ignore[arg-type]


ZEROS = (known(800, 1.0), known(None, 2.0), known(3200, 50.0), known(800, 90.0, camera_model="Phone 8"))


@pytest.mark.parametrize(
    ("changes", "moved", "source"),
    [
        ({}, 1.0, "device"),
        ({"iso": 400}, 2.0, "device"),
        ({"iso": None}, 2.0, "device"),
        ({"camera_model": "Phone 9"}, 0.0, "declared"),
        ({"camera_model": None}, 0.0, "declared"),
        ({"cfa": "RGGB"}, 0.0, "declared"),
    ],
)
def test_a_frame_without_a_partner_has_what_its_body_is_known_for(
    changes: dict[str, object], moved: float, source: str
) -> None:
    policy = LevelsPolicy("measured").without_partner(ZEROS)
    frame = short(**changes)
    found = alone("one.dng", frame, policy, frame.camera_model, frame.iso)
    assert (found.black, found.source) == (tuple(level + moved for level in BLACK), source)


def test_a_pair_is_not_asked_for_its_zero_where_the_short_stands_alone() -> None:
    policy = LevelsPolicy("measured").without_partner(ZEROS[:1])
    assert levels(pair((30.0,) * 4), short(), policy).black == (65.0, 66.0, 67.0, 68.0)
    assert levels(pair((30.0,) * 4), short(), LevelsPolicy("measured").without_partner(())).source == "declared"


def test_other_policies_do_not_care_for_known_zeros() -> None:
    for policy in (LevelsPolicy(), LevelsPolicy("override", (1.0,), None)):
        assert policy.without_partner(ZEROS) == policy


def test_a_known_zero_that_leaves_no_room_is_refused() -> None:
    policy = LevelsPolicy("measured").without_partner([known(800, 2000.0)])
    with pytest.raises(UsageError, match=r"one.dng: its device black 2064.*not below white"):
        alone("one.dng", short(), policy, "Phone 7", 800)
