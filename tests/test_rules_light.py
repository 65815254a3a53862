"""PAIR211 to PAIR213, PAIR231 and PAIR232: where each fires, is silent, or cannot judge, and what it says."""

import pytest
from factories import fired, judge, judge_pair, judge_pixels, scene, session

from sidcurate.rules import Limits
from sidcurate.rules.light import UNTOLD

PIXEL_RULES = {"PAIR211", "PAIR212", "PAIR213", "PAIR221", "PAIR222", "PAIR223", "PAIR224", "PAIR232"}
ALL_NULL = dict.fromkeys(
    (
        *("signal", "correlation", "correlation_se", "shift_px", "shift_se_px", "measured_ratio", "measured_ratio_se"),
        *("zero_error_dn", "zero_error_se_dn", "gain_departure", "gain_departure_se", "nonlinearity"),
        *("nonlinearity_se", "moved_fraction", "moved_se", "focus_ratio", "focus_se"),
    )
)


def test_clean_pixels_pass_every_rule_and_every_rule_judges_them():
    judgement = judge_pixels()
    assert fired(judgement) == []
    assert judgement.skipped == {}
    assert all(judgement.checked[code] == 1 for code in PIXEL_RULES)


def test_pixels_that_tell_nothing_are_no_pass():
    judgement = judge_pixels(**ALL_NULL)
    assert fired(judgement) == []
    assert judgement.skipped["PAIR232"] == {UNTOLD: 1}
    assert set(judgement.skipped) == PIXEL_RULES
    assert all(judgement.checked[code] == 0 for code in PIXEL_RULES)


def test_pixels_that_were_never_measured_are_not_said_to_tell_nothing():
    lost = dict(ALL_NULL, unmeasured_reason="no trace is kept")
    tables = session(scene(1, **lost), scene(2, **(lost | {"unmeasured_reason": "the reader crashed"})), scene(3))
    judgement = judge(tables, "PAIR232")
    assert judgement.skipped == {"PAIR232": {"no trace is kept": 1, "the reader crashed": 1}}
    assert judgement.checked == {"PAIR232": 1}


FAULTS = {
    "PAIR232": {"signal": 2.0},
    "PAIR223": {"correlation": 0.05},
    "PAIR221": {"shift_px": 6.0},
    "PAIR213": {"gain_departure": 0.3},
    "PAIR211": {"measured_ratio": 66.0},
    "PAIR212": {"zero_error_dn": (8.0,) * 4},
    "PAIR222": {"moved_fraction": 0.1},
    "PAIR224": {"focus_ratio": 2.5},
}


@pytest.mark.parametrize(("code", "pixels"), FAULTS.items())
def test_one_fault_fires_one_rule(code, pixels):
    assert fired(judge_pixels(**pixels)) == [code]


@pytest.mark.parametrize(
    ("fault", "silenced"),
    [
        ("PAIR232", PIXEL_RULES - {"PAIR232"}),
        ("PAIR223", PIXEL_RULES - {"PAIR232", "PAIR223"}),
        ("PAIR221", {"PAIR222", "PAIR224"}),
        ("PAIR213", {"PAIR211", "PAIR212", "PAIR222"}),
    ],
)
def test_a_fault_silences_what_it_spoils_and_nothing_else(fault, silenced):
    everything_wrong = {name: value for code in silenced for name, value in FAULTS[code].items()}
    judgement = judge_pixels(**everything_wrong, **FAULTS[fault])
    assert fired(judgement) == [fault]
    assert set(judgement.skipped) == silenced


def test_frames_of_different_geometry_are_not_compared_by_their_pixels():
    judgement = judge_pixels(long={"orientation": 6}, signal=0.0)
    assert fired(judgement) == ["PAIR206"]
    assert judgement.skipped["PAIR232"] == {"needs PAIR206": 1}


HALVES = Limits(light_error=0.125, zero_error_warned=0.0625, zero_error=0.125, gain_departure=0.125)
"""Limits that binary numbers hold exactly, so that "at the limit" means it."""


@pytest.mark.parametrize(
    ("code", "at_limit", "beyond"),
    [
        ("PAIR232", {"signal": 6.0}, {"signal": 5.99}),
        (
            "PAIR211",
            {"measured_ratio": 114.0, "measured_ratio_se": 0.5},
            {"measured_ratio": 114.1, "measured_ratio_se": 0.5},
        ),
        (
            "PAIR211",
            {"measured_ratio": 100 / 1.125 - 1.5, "measured_ratio_se": 0.5},
            {"measured_ratio": 100 / 1.125 - 1.6, "measured_ratio_se": 0.5},
        ),
        ("PAIR212", {"zero_error_dn": (7.0,) * 4, "zero_error_se_dn": (1.0,) * 4}, {"zero_error_dn": (-7.5,) * 4}),
        (
            "PAIR213",
            {"gain_departure": 0.5, "gain_departure_se": 0.125},
            {"gain_departure": -0.13, "gain_departure_se": 0.0},
        ),
        ("PAIR213", {"nonlinearity": 0.125, "nonlinearity_se": 0.0}, {"nonlinearity": -0.2, "nonlinearity_se": 0.02}),
    ],
)
def test_a_limit_is_exceeded_beyond_three_standard_errors_only(code, at_limit, beyond):
    levels = {"short": {"black_level": (512.0,) * 4, "white_level": (6912.0,) * 4}}  # 64 DN amplified are 1 %
    assert fired(judge_pair(code, limits=HALVES, **levels, **at_limit)) == []
    assert fired(judge_pair(code, limits=HALVES, **levels, **beyond)) == [code]


def test_how_many_standard_errors_count_can_be_set():
    pixels = {"measured_ratio": 120.0, "measured_ratio_se": 4.0}
    assert fired(judge_pair("PAIR211", **pixels)) == []
    assert fired(judge_pair("PAIR211", limits=Limits(confidence_se=1.5), **pixels)) == ["PAIR211"]


def test_a_short_without_signal_asks_for_the_lens_cap():
    (finding,) = judge_pair("PAIR232", signal=-0.31).findings
    assert finding.message.startswith(
        "nothing of the long frame shows in the short one: its likeness is -0.3 standard errors above noise, 6 are "
        "needed. Was the lens cap on?"
    )
    assert (finding.measured, finding.limit_low, finding.unit) == (-0.31, 6.0, "standard errors")


@pytest.mark.parametrize(
    ("ratio", "se", "words"),
    [
        (
            33.21,
            0.4,
            "the settings promise 100×, the light says 33.2 ± 0.4×, allowed 89.29-112×: "
            "the short frame is 3.01 times brighter than its settings say. Auto ISO",
        ),
        (150.4, 1.2, "the light says 150 ± 1×, allowed 89.29-112×: the short frame is 50.4 % darker than"),
    ],
)
def test_light_that_contradicts_the_settings_is_told_with_its_size_and_side(ratio, se, words):
    (finding,) = judge_pair("PAIR211", measured_ratio=ratio, measured_ratio_se=se).findings
    assert words in finding.message
    assert finding.measured == ratio
    assert finding.limit_low == pytest.approx(100 / 1.12)
    assert finding.limit_high == pytest.approx(112)


@pytest.mark.parametrize(
    ("short", "long", "promised"),
    [
        ({}, {"iso": 800}, 50),
        ({"f_number": 2.0}, {"f_number": 4.0}, 25),
        ({"iso": None}, {"iso": 800}, 100),
        ({"f_number": None}, {}, 100),
        ({"time": "1/30"}, {}, 300),
    ],
)
def test_the_settings_promise_by_time_iso_and_aperture_where_both_tell_them(short, long, promised):
    settings = {"short": short, "long": long}
    assert fired(judge_pair("PAIR211", measured_ratio=float(promised), **settings)) == []
    assert fired(judge_pair("PAIR211", measured_ratio=promised * 1.5, **settings)) == ["PAIR211"]


@pytest.mark.parametrize(
    ("code", "pixels", "reason"),
    [
        ("PAIR211", {"measured_ratio": None}, UNTOLD),
        ("PAIR211", {"measured_ratio_se": None}, UNTOLD),
        ("PAIR211", {"measured_ratio": 0.0}, UNTOLD),
        ("PAIR211", {"measured_ratio": -5.0}, UNTOLD),
        ("PAIR211", {"short": {"time": None}}, "needs CAP111"),
        ("PAIR212", {"zero_error_dn": None}, UNTOLD),
        ("PAIR212", {"zero_error_se_dn": None}, "levels or exposure ratio are unknown"),
        ("PAIR212", {"exposure_ratio": None}, "levels or exposure ratio are unknown"),
        ("PAIR212", {"zero_error_dn": (9.0,), "zero_error_se_dn": (0.1,)}, "levels or exposure ratio are unknown"),
        ("PAIR212", {"short": {"black_level": None}}, "needs CAP121"),
        ("PAIR213", {"gain_departure": None, "nonlinearity_se": None}, UNTOLD),
        ("PAIR231", {"long": {"clipped_by_cfa": None}}, "the clipped share is unknown"),
        ("PAIR231", {"long": {"white_level": None}}, "needs CAP122"),
    ],
)
def test_a_pair_is_skipped_where_a_fact_is_missing(code, pixels, reason):
    judgement = judge_pair(code, **pixels)
    assert fired(judgement) == []
    assert judgement.skipped == {code: {reason: 1}}


def test_an_unknown_time_is_said_where_its_rule_is_ignored():
    tables = session(scene(1, short={"time": None}, measured_ratio=50.0, measured_ratio_se=0.1))
    ignore = dict.fromkeys(("CAP111", "PAIR213"), "judged elsewhere")
    judgement = judge(tables, "PAIR211", ignore=ignore)
    assert judgement.skipped == {"PAIR211": {"an exposure time is unknown": 1}}


def test_a_black_at_white_is_skipped_where_its_rule_is_ignored():
    tables = session(
        scene(1, short={"white_level": (2048.0,) * 4}, zero_error_dn=(9.0,) * 4, zero_error_se_dn=(0.1,) * 4)
    )
    judgement = judge(tables, "PAIR212", ignore=dict.fromkeys(("CAP121", "PAIR213"), "judged elsewhere"))
    assert judgement.skipped == {"PAIR212": {"levels or exposure ratio are unknown": 1}}


@pytest.mark.parametrize(
    ("zeros", "severity", "words"),
    [
        (
            (0.1, 0.2, -6.0, 0.0),
            "warning",
            "the true zero of G at row 1, column 0 is 6.00 ± 0.05 DN below the declared black 2048: 4.19 ± 0.03 % of "
            "the white range after amplification, allowed 3 %; no re-shoot cures that: train with the measured zero, "
            "as the recipe `device` does",
        ),
        (
            (20.0, 0.2, -6.0, 0.0),
            "error",
            "the true zero of R at row 0, column 0 is 20.00 ± 0.05 DN above the declared black 2048: 13.95 ± 0.03 % of "
            "the white range after amplification, allowed 10 %; find the black with a lens-cap frame",
        ),
    ],
)
def test_a_wrong_zero_is_a_warning_or_an_error_and_names_the_worst_site(zeros, severity, words):
    (finding,) = judge_pair("PAIR212", zero_error_dn=zeros).findings
    assert finding.severity == severity
    assert words in finding.message
    assert finding.limit_high == {"warning": 0.03, "error": 0.10}[severity]


def test_a_wrong_zero_between_the_limits_by_its_error_is_a_warning():
    (finding,) = judge_pair("PAIR212", zero_error_dn=(15.0,) * 4, zero_error_se_dn=(1.0,) * 4).findings
    assert finding.measured > 0.10
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (
            {"gain_departure": -0.298, "gain_departure_se": 0.005},
            "by 29.8 ± 0.5 % from one side of the frame to the other",
        ),
        ({"nonlinearity": -0.3, "nonlinearity_se": 0.03}, "by 30 ± 3 % from the dark to the bright parts"),
        (
            {"gain_departure": 0.4, "gain_departure_se": 0.1, "nonlinearity": 0.25, "nonlinearity_se": 0.01},
            "by 25 ± 1 % from the dark to the bright parts",
        ),
        ({"gain_departure": None, "nonlinearity": 0.3}, "by 30.0 ± 0.5 % from the dark to the bright parts"),
    ],
)
def test_changed_light_says_how_it_changed_by_the_surer_of_two_facts(pixels, words):
    (finding,) = judge_pair("PAIR213", **pixels).findings
    assert words in finding.message
    assert "allowed 15 %; shoot the pair again in steady light" in finding.message
    assert ("if its highlights clip" in finding.message) == ("dark to the bright" in words)


@pytest.mark.parametrize(
    ("long", "words"),
    [
        ({"clipped_by_cfa": (0.0, 0.01, 0.12, 0.0)}, "12 % of the sites of G at row 1, column 0 are at white"),
        ({"clipped_by_cfa": (0.12,), "cfa": None}, "12 % of the sites of the frame are at white"),
    ],
)
def test_a_clipped_long_frame_is_a_warning_that_names_the_channel(long, words):
    (finding,) = judge_pair("PAIR231", long=long).findings
    assert words in finding.message
    assert "allowed 5 %" in finding.message
    assert finding.severity == "warning"


def test_a_long_frame_clipped_at_the_limit_passes():
    assert fired(judge_pair("PAIR231", long={"clipped_by_cfa": (0.05,) * 4})) == []


def test_a_correlation_that_may_be_of_one_scene_or_of_two_is_not_judged():
    judgement = judge_pixels(correlation=0.25, correlation_se=0.03)
    assert fired(judgement) == []
    assert "PAIR223" in judgement.skipped
