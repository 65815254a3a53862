"""PAIR221 to PAIR224: where each fires, is silent, or cannot judge, and what it says."""

import pytest
from factories import fired, judge_pair

from sidcurate.rules import Limits
from sidcurate.rules.light import UNTOLD

HALVES = Limits(correlation=0.25, shift_px=1.0, moved_share=0.125, focus_factor=2.0)
"""Limits that binary numbers hold exactly, so that "at the limit" means it."""


@pytest.mark.parametrize(
    ("code", "at_limit", "beyond"),
    [
        ("PAIR223", {"correlation": 0.0625, "correlation_se": 0.0625}, {"correlation": 0.06, "correlation_se": 0.0625}),
        ("PAIR223", {"correlation": 0.25, "correlation_se": 0.0}, {"correlation": -0.9, "correlation_se": 0.0}),
        ("PAIR221", {"shift_px": 1.75, "shift_se_px": 0.25}, {"shift_px": 1.8, "shift_se_px": 0.25}),
        ("PAIR221", {"shift_px": 1.0, "shift_se_px": 0.0}, {"shift_px": 1.01, "shift_se_px": 0.0}),
        ("PAIR222", {"moved_fraction": 0.5, "moved_se": 0.125}, {"moved_fraction": 0.51, "moved_se": 0.125}),
        ("PAIR224", {"focus_ratio": 2.75, "focus_se": 0.25}, {"focus_ratio": 2.8, "focus_se": 0.25}),
        ("PAIR224", {"focus_ratio": 0.125, "focus_se": 0.125}, {"focus_ratio": 0.1, "focus_se": 0.125}),
        ("PAIR224", {"focus_ratio": 0.5, "focus_se": 0.0}, {"focus_ratio": 0.0, "focus_se": 0.0}),
        ("PAIR224", {"focus_ratio": 1.0, "focus_se": 0.0}, {"focus_ratio": -0.1, "focus_se": 0.01}),
    ],
)
def test_a_limit_is_exceeded_beyond_three_standard_errors_only(code, at_limit, beyond):
    assert fired(judge_pair(code, limits=HALVES, **at_limit)) == []
    assert fired(judge_pair(code, limits=HALVES, **beyond)) == [code]


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("PAIR221", "shift_px"),
        ("PAIR221", "shift_se_px"),
        ("PAIR222", "moved_fraction"),
        ("PAIR222", "moved_se"),
        ("PAIR224", "focus_ratio"),
        ("PAIR224", "focus_se"),
    ],
)
def test_a_pair_is_skipped_where_the_pixels_cannot_tell(code, fact):
    judgement = judge_pair(code, **{fact: None})
    assert fired(judgement) == []
    assert judgement.skipped == {code: {UNTOLD: 1}}


def test_a_dark_pair_without_a_correlation_passes_when_its_signal_aligned_it():
    assert judge_pair("PAIR223", correlation=None, correlation_se=None).skipped == {}
    untold = judge_pair("PAIR223", correlation=None, correlation_se=None, shift_px=None, shift_se_px=None)
    assert untold.skipped == {"PAIR223": {UNTOLD: 1}}


def test_another_scene_is_told_by_its_correlation():
    (finding,) = judge_pair("PAIR223", correlation=0.043, correlation_se=0.012).findings
    assert finding.message == (
        "the frames show different things: their correlation is 0.04 ± 0.01, 0.3 is the least for one scene; correct "
        "the pairing with `sidcurate pair --pairs`, or shoot the pair again"
    )
    assert (finding.measured, finding.limit_low) == (0.043, 0.3)


@pytest.mark.parametrize(
    ("pixels", "where"),
    [
        ({"shift_y_px": -3.6, "shift_x_px": 5.91}, " (3.6 px up, 5.9 px right)"),
        ({"shift_y_px": 3.6, "shift_x_px": -5.9}, " (3.6 px down, 5.9 px left)"),
        ({"shift_y_px": 6.9, "shift_x_px": 0.02}, " (6.9 px down)"),
        ({"shift_y_px": None, "shift_x_px": 6.9}, " (6.9 px right)"),
        (
            {"shift_y_px": 0.0, "shift_x_px": -0.04, "rotation_deg": 0.412},
            " (0.41° clockwise)",
        ),
        ({"shift_y_px": 2.0, "shift_x_px": None, "rotation_deg": -0.1}, " (2.0 px down, 0.10° counterclockwise)"),
        ({"shift_y_px": None, "shift_x_px": None, "rotation_deg": None}, ""),
    ],
)
def test_a_shift_is_told_in_the_words_of_the_picture(pixels, where):
    (finding,) = judge_pair("PAIR221", shift_px=6.92, shift_se_px=0.03, **pixels).findings
    assert finding.message == (
        f"the long frame lies off the short one by up to 6.92 ± 0.03 px{where}, allowed 1 px; shoot again with a "
        "remote release, the tripod untouched"
    )


def test_what_moved_is_a_warning_with_its_share():
    (finding,) = judge_pair("PAIR222", moved_fraction=0.098, moved_se=0.004).findings
    assert finding.message.startswith("9.8 ± 0.4 % of the picture changed between the frames, allowed 2 %;")
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (
            2.5,
            "the long frame is the softer one: the short frame has 2.50 ± 0.03 times the fine detail of the long one",
        ),
        (0.3, "the short frame is the softer one: the short frame has 0.30 ± 0.03 times the fine detail"),
    ],
)
def test_a_change_of_focus_names_the_softer_frame(ratio, words):
    (finding,) = judge_pair("PAIR224", focus_ratio=ratio, limits=HALVES).findings
    assert words in finding.message
    assert "allowed 0.5-2; focus by hand" in finding.message
    assert finding.severity == "warning"
    assert (finding.limit_low, finding.limit_high) == (0.5, 2)


@pytest.mark.parametrize(("ratio", "softer"), [(1.3, "long"), (0.7, "short")])
def test_a_slight_change_of_focus_names_the_softer_frame_too(ratio, softer):
    (finding,) = judge_pair("PAIR224", focus_ratio=ratio, focus_se=0.01).findings
    assert finding.message.startswith(f"the {softer} frame is the softer one")
