"""PAIR rules: where each fires, where it must stay silent, where it cannot judge."""

import pytest
from factories import fired, judge, judge_pair, scene, session

from sidcurate.errors import IntegrityError
from sidcurate.rules import Limits, Tables


@pytest.mark.parametrize(
    ("short_s", "passes"),
    [
        ("1/10", True),
        ("1/30", True),
        ("0.033", True),  # 303.03, as SID's names have it
        ("10/309", True),
        ("100/3091", False),  # 309.1
        ("10/97", True),
        ("1000/9699", False),  # 96.99
        ("0.0333333", True),
        ("0.3", False),
        ("1/1000", False),
    ],
)
def test_the_ratio_is_judged_exactly_at_both_ends(short_s, passes):
    assert (fired(judge_pair("PAIR201", short={"time": short_s})) == []) == passes


@pytest.mark.parametrize(
    ("short_s", "long_s", "message"),
    [
        (
            "0.3",
            "10",
            "exposure ratio 33.33× (10 s / 0.3 s), allowed 100-300× (±3 %); "
            "shoot the short frame at 1/10 s or shorter, down to 1/30 s",
        ),
        (
            "1/1000",
            "10",
            "exposure ratio 10,000× (10 s / 1/1000 s), allowed 100-300× (±3 %); "
            "shoot the short frame at 1/30 s or longer, up to 1/10 s",
        ),
        (
            "1/100",
            "10",
            "exposure ratio 1,000× (10 s / 1/100 s), allowed 100-300× (±3 %); "
            "shoot the short frame at 1/30 s or longer, up to 1/10 s",
        ),
        (
            "1/1000",
            "1/100",
            "exposure ratio 10× (1/100 s / 1/1000 s), allowed 100-300× (±3 %); "
            "no camera has a time that much shorter: shoot the long frame at 1/80 s or longer",
        ),
        (
            "1/1000",
            "1/80",
            "exposure ratio 12.5× (1/80 s / 1/1000 s), allowed 100-300× (±3 %); shoot the short frame at 1/8000 s",
        ),
    ],
)
def test_the_message_names_a_shutter_time_that_fits(short_s, long_s, message):
    (finding,) = judge_pair("PAIR201", short={"time": short_s}, long={"time": long_s}).findings
    assert finding.message == message


def test_a_narrow_range_without_a_shutter_time_names_the_exact_one():
    limits = Limits(exposure_ratio_low=123, exposure_ratio_high=123, exposure_ratio_tolerance=0)
    (finding,) = judge_pair("PAIR201", short={"time": "1"}, limits=limits).findings
    assert finding.message.endswith("; shoot the short frame at 0.0813 s")


def test_the_ratio_comes_from_the_captures_and_not_from_the_pairing():
    dark, bright, row = scene(1, short={"time": "1/4"})
    tables = session((dark, bright, row.model_copy(update={"exposure_ratio": 100.0})))
    assert fired(judge(tables, "PAIR201")) == ["PAIR201"]


@pytest.mark.parametrize(
    ("code", "long"),
    [
        ("PAIR202", {"iso": 800}),
        ("PAIR203", {"f_number": 4.0}),
        ("PAIR204", {"focal_length_mm": 50.6}),
        ("PAIR205", {"camera_serial": "9999"}),
        ("PAIR205", {"camera_model": "Canon EOS R6"}),
        ("PAIR205", {"lens_model": "EF 85mm"}),
        ("PAIR206", {"width": 480, "height": 640}),
        ("PAIR206", {"orientation": 6}),
        ("PAIR206", {"cfa": "BGGR"}),
        ("PAIR207", {"black_level": (2048.0, 2048.0, 2049.0, 2048.0)}),
        ("PAIR207", {"white_level": (15000.0,) * 4}),
        ("PAIR207", {"bits_declared": 12}),
    ],
)
def test_a_difference_between_the_frames_is_found(code, long):
    (finding,) = judge_pair(code, long=long).findings
    assert (finding.code, finding.subject_kind, finding.subject_id) == (code, "pair", "00001_00")
    assert finding.paths == ("short/00001_00_0.1s.dng", "long/00001_00_10s.dng")


def test_levels_are_told_as_a_person_writes_them():
    (finding,) = judge_pair("PAIR207", long={"black_level": (2050.0, 2048.0, 2048.0, 2050.0)}).findings
    assert "black level 2048 (short), 2050/2048/2048/2050 (long)" in finding.message
    assert (finding.measured, finding.limit_high) == (2, 0.5)


@pytest.mark.parametrize(
    ("code", "long"),
    [
        ("PAIR202", {}),
        ("PAIR203", {}),
        ("PAIR204", {"focal_length_mm": 50.5}),
        ("PAIR205", {"lens_model": None, "camera_serial": None}),
        ("PAIR206", {"orientation": None}),
        ("PAIR207", {"black_level": (2048.5,) * 4}),
    ],
)
def test_equal_or_unknown_is_no_difference(code, long):
    judgement = judge_pair(code, long=long)
    assert fired(judgement) == []
    assert judgement.checked == {code: 1}


UNKNOWN_BODY = {"camera_make": None, "camera_model": None, "camera_serial": None, "lens_model": None}
UNKNOWN_GEOMETRY = {"width": None, "height": None, "cfa": None, "orientation": None}


@pytest.mark.parametrize(
    ("code", "long", "reason"),
    [
        ("PAIR201", {"time": None}, "needs CAP111"),
        ("PAIR202", {"iso": None}, "needs CAP113"),
        ("PAIR203", {"f_number": None}, "an aperture is unknown"),
        ("PAIR204", {"focal_length_mm": None}, "a focal length is unknown"),
        ("PAIR205", UNKNOWN_BODY, "nothing is known of the bodies"),
        ("PAIR206", {"cfa_kind": None, **UNKNOWN_GEOMETRY}, "needs CAP104"),
        ("PAIR207", {"black_level": None}, "needs CAP121"),
        ("PAIR207", {"orientation": 6}, "needs PAIR206"),
    ],
)
def test_a_pair_is_skipped_where_a_capture_lacks_the_fact(code, long, reason):
    judgement = judge_pair(code, long=long)
    assert fired(judgement) == []
    assert judgement.skipped == {code: {reason: 1}}


@pytest.mark.parametrize(("code", "fact"), [("PAIR201", "time"), ("PAIR202", "iso"), ("PAIR207", "black_level")])
def test_a_pair_is_skipped_too_where_the_rule_it_requires_is_ignored(code, fact):
    required = {"PAIR201": "CAP111", "PAIR202": "CAP113", "PAIR207": "CAP121"}[code]
    judgement = judge(session(scene(1, long={fact: None})), code, ignore={required: "known from the log book"})
    assert fired(judgement) == []
    assert list(judgement.skipped[code].values()) == [1]


def test_a_pair_of_an_unknown_capture_is_a_damaged_manifest():
    dark, bright, row = scene(1)
    with pytest.raises(IntegrityError, match=r"pair 00001_00 .* names 'long/00001_00_10s.dng'"):
        judge(Tables("canon90d", [dark], [row]))
    assert bright.path == row.long_path


def test_a_difference_is_told_in_a_photographer_s_words():
    (finding,) = judge_pair("PAIR206", short={"cfa": "BGGR"}).findings
    assert "the same geometry: color filters BGGR (short), RGGB (long)" in finding.message
