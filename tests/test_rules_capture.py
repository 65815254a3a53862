"""CAP rules: where each fires, where it must stay silent, where it cannot judge."""

import pytest
from factories import DEVICE, capture, fired, judge, judge_capture

from sidcurate.rules import Tables

FOUR = (1, 1, 1, 1)


def by_site(*values):
    return {"masked_black": tuple(float(value) for value in values)}


@pytest.mark.parametrize(
    ("code", "changes", "says"),
    [
        ("CAP101", {"status": "unreadable", "status_reason": "unexpected end of file"}, "unexpected end of file; if"),
        ("CAP101", {"status": "unreadable"}, "cannot be decoded; copy it again from the card"),
        ("CAP102", {"missing_fraction": 0.0051}, "0.51 % of the bytes of its pixels are missing, allowed 0.5 %"),
        ("CAP102", {"zero_tail_fraction": 0.02}, "2 % of the rows are zero down to the end"),
        ("CAP102", {"zero_tail_fraction": 0.02, "clipped_fraction": None}, "2 % of the rows are zero"),
        ("CAP102", {"repeated_row_fraction": 0.0051}, "0.51 % of the rows repeat the row two above"),
        ("CAP102", {"constant_row_fraction": 0.3, "clipped_fraction": 0.25}, "5 % of the rows hold one value"),
        (
            "CAP102",
            {"stray_zero_fraction": 0.003, "black_level": (2040.0, *[2048.0] * 3)},
            "where black is 2040",
        ),
        ("CAP104", {"cfa_kind": "linear", "cfa": None}, "mosaic: already demosaiced; set the camera"),
        ("CAP104", {"cfa_kind": "monochrome", "cfa": None}, "mosaic: a monochrome sensor; no network here"),
        ("CAP104", {"cfa_kind": "quad-bayer", "cfa": None}, "in 2x2 blocks of one color; set the camera to its binned"),
        ("CAP104", {"cfa_kind": "other", "cfa": "GMCY"}, "mosaic: another color filter array; no network here"),
        ("CAP104", {"cfa_kind": "other", "cfa": None, "cfa_reason": "Foveon"}, "mosaic: Foveon; no network here"),
        ("CAP105", {"libraw_exposure_time_s": 0.2}, "0.1 s in the header and 0.2 s for LibRaw, a factor of 2 apart"),
        ("CAP105", {"libraw_iso": 3200.0}, "ISO is 1600 in the header and 3200 for LibRaw, a factor of 2 apart"),
        (
            "CAP105",
            {"libraw_f_number": 4.0},
            "f-number is 2.8 in the header and 4 for LibRaw, 42.9 % apart",
        ),
        ("CAP111", {"time": None}, "the header has no exposure time"),
        (
            "CAP112",
            {"name_exposure_time_s": 0.04},
            "says 1/25 s, the header 1/10 s: a factor of 2.5 apart",
        ),
        ("CAP113", {"iso": None}, "the header has no ISO"),
        ("CAP121", {"black_level": None}, "has no black level, neither as a tag nor in masked pixels"),
        ("CAP121", {"black_level": None, "white_level": None, "clipped_fraction": None}, "has no black level"),
        ("CAP121", {"black_level": (20000.0,) * 4}, "20000 DN of R at row 0, column 0 is not below white 16383 DN"),
        ("CAP121", by_site(2048, 2048, 2056, 2048), "of G at row 1, column 0 say 2056 DN, the declared black is 2048"),
        (
            "CAP121",
            {"dn_p50": (2060, 2040, 2060, 2060)},
            "half of the sites of G at row 0, column 1 lie at or below",
        ),
        (
            "CAP121",
            {"dn_p1": (1700, 2030, 2030, 2030)},
            "1 % of the sites of R at row 0, column 0 lie at or below",
        ),
        ("CAP122", {"dn_max": (6000, 16600, 6000, 6000)}, "G at row 0, column 1 has data up to 16600 DN"),
        ("CAP122", {"clip_dn": (-1, 13000, -1, -1)}, "G at row 0, column 1 clips at 13000 DN, the declared white is"),
        ("CAP123", {"code_step": 4, "bits_observed": 12}, "have a step of 4 DN: 12 bits, declared 14"),
    ],
)
def test_a_fault_is_found_and_says_what_it_is_and_what_to_do(code, changes, says):
    (finding,) = judge_capture(code, **changes).findings
    assert finding.code == code
    assert finding.subject_kind == "capture"
    assert finding.subject_id == "short/00001_00_0.1s.dng"
    assert says in finding.message
    assert "; " in finding.message or ", find it" in finding.message


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("CAP102", {"repeated_row_fraction": 0.005, "constant_row_fraction": 0.005, "zero_tail_fraction": 0.005}),
        # Rows of a clipped sky are constant and repeat.
        ("CAP102", {"repeated_row_fraction": 0.6, "constant_row_fraction": 0.6, "clipped_fraction": 0.6}),
        ("CAP102", {"missing_fraction": 0.005}),
        ("CAP102", {"clipped_fraction": None}),
        ("CAP104", {"cfa_kind": "xtrans", "cfa": "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"}),
        # A list names a camera; whether it is that of most nobody has looked at.
        ("CAP106", {"status": "listed"}),
        ("CAP105", {"time": "4.967", "libraw_exposure_time_s": 5.040}),
        ("CAP105", {"libraw_iso": 1648.0}),
        ("CAP112", {"time": "1/30", "name_exposure_time_s": 0.033}),
        ("CAP112", {"time": "1", "name_exposure_time_s": 1.05}),
        # A bright frame is far above its black.
        ("CAP121", {"dn_p1": (9000,) * 4, "dn_p50": (12000,) * 4}),
        # The 1st percentile of the noisiest calibrated camera: 2.33 x 71 DN below black.
        ("CAP121", {"dn_p1": (1882,) * 4, "dn_p50": (2048,) * 4}),
        # The lossy curve of a Sony A7R III: the smallest value is 250 DN below black.
        ("CAP121", {"black_level": (512.0,) * 4, "dn_min": (262,) * 4, "dn_p1": (480,) * 4, "dn_p50": (560,) * 4}),
        ("CAP121", by_site(2052, 2048, 2048, 2044)),
        # One code is the least that a 10-bit frame can tell, and half of it is rounding.
        (
            "CAP121",
            {
                "black_level": (64.0,) * 4,
                "white_level": (1023.0,) * 4,
                "masked_black": (64.5,) * 4,
                "dn_p1": (61,) * 4,
                "dn_p50": (64,) * 4,
            },
        ),
        ("CAP122", {"dn_max": (16383,) * 4, "clip_dn": (16383,) * 4}),
        ("CAP122", {"clip_dn": (15700,) * 4, "dn_max": (15720,) * 4}),
        # A short frame uses few codes, a lossy curve has coarse steps in the bright only.
        ("CAP123", {"distinct_codes": (9, 11, 11, 8)}),
        ("CAP123", {"distinct_codes": (1801,) * 4, "code_step": 1}),
    ],
)
def test_what_cameras_do_is_no_fault(code, changes):
    judgement = judge_capture(code, **changes)
    assert fired(judgement) == []
    assert judgement.checked == {code: 1}
    assert judgement.skipped == {}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("CAP102", {"repeated_row_fraction": None}),
        ("CAP102", {"repeated_row_fraction": 0.1, "clipped_fraction": None}),
        ("CAP103", {"sha256": None}),
        ("CAP104", {"cfa_kind": None}),
        ("CAP105", {}),
        ("CAP105", {"exposure_source": "libraw", "libraw_exposure_time_s": 7.0}),
        ("CAP105", {"exposure_source": "override", "libraw_exposure_time_s": 7.0}),
        ("CAP106", {"camera_make": None, "camera_model": None, "camera_serial": None, "width": None}),
        ("CAP112", {}),
        ("CAP112", {"name_exposure_time_s": 0.1, "exposure_source": "name"}),
        ("CAP112", {"name_exposure_time_s": 0.4, "exposure_source": "override"}),
        ("CAP121", {"width": None, "black_level": None}),
        ("CAP121", {"dn_p1": None}),
        ("CAP121", {"dn_p50": (1, 2)}),
        ("CAP122", {"white_level": None}),
        ("CAP123", {"code_step": None}),
        ("CAP123", {"code_step": 2, "bits_observed": 13, "distinct_codes": (15, 3, 3, 15)}),
    ],
)
def test_a_missing_fact_is_skipped_and_never_passed(code, changes):
    judgement = judge_capture(code, **changes)
    assert fired(judgement) == []
    assert judgement.checked[code] == 0
    assert sum(judgement.skipped[code].values()) == 1


def test_an_unreadable_file_makes_one_finding():
    row = capture(
        status="unreadable",
        status_reason="no decoder for JPEG XL",
        time=None,
        iso=None,
        black_level=None,
        cfa_kind=None,
    )
    judgement = judge(Tables(DEVICE, [row]), "CAP101", "CAP102", "CAP104", "CAP111", "CAP113", "CAP121", "CAP122")
    assert fired(judgement) == ["CAP101"]
    assert "no decoder for JPEG XL" in judgement.findings[0].message
    assert judgement.skipped["CAP111"] == {"needs CAP101": 1}


def test_a_copy_names_its_original():
    rows = [capture(path) for path in ("b.dng", "a.dng", "c.dng")]
    copies = [row.model_copy(update={"sha256": "f" * 64}) for row in rows[:2]]
    (finding,) = judge(Tables(DEVICE, [*copies, rows[2]]), "CAP103").findings
    assert (finding.subject_id, finding.paths, finding.severity) == ("b.dng", ("a.dng", "b.dng"), "warning")


def test_the_minority_is_foreign_and_unknown_is_not_another():
    own = [capture(f"{number}.dng") for number in range(3)]
    foreign = capture("phone.dng", camera_make="OnePlus", camera_model="7", camera_serial=None, width=4000)
    unknown = capture("unknown.dng", camera_serial=None, camera_make=None)
    (finding,) = judge(Tables(DEVICE, [*own, foreign, unknown]), "CAP106").findings
    assert finding.subject_id == "phone.dng"
    assert "make OnePlus (1 capture), most of this device have Canon (3)" in finding.message


def test_another_sensor_size_of_the_same_body_is_foreign_too():
    rows = [capture(f"{number}.dng") for number in range(3)]
    (finding,) = judge(Tables(DEVICE, [*rows, capture("crop.dng", width=400)]), "CAP106").findings
    assert "sensor size 400x480 (1 capture), most of this device have 640x480 (3)" in finding.message


def test_a_tie_of_bodies_names_both():
    rows = [capture("a.dng", camera_serial="1"), capture("b.dng", camera_serial="2")]
    judgement = judge(Tables(DEVICE, rows), "CAP106")
    assert fired(judgement) == ["CAP106", "CAP106"]
    assert all("1 and 2 have 1 each" in finding.message for finding in judgement.findings)


def test_each_reading_that_differs_is_told():
    judgement = judge_capture("CAP105", libraw_exposure_time_s=0.2, libraw_iso=1600.0, libraw_f_number=5.6)
    assert [finding.measured for finding in judgement.findings] == pytest.approx([1.0, 1.0])


def test_a_black_error_is_told_as_what_amplification_makes_of_it():
    changes = {"black_level": (2056.0,) * 4, "white_level": (15000.0,) * 4, **by_site(2048, 2048, 2048, 2048)}
    (finding,) = judge_capture("CAP121", **changes).findings
    assert "R at row 0, column 0 say 2048 DN, the declared black is 2056" in finding.message
    assert "at ratio 300 that is 18.5 % of the white range" in finding.message
    assert finding.limit_low < 2056 < finding.limit_high


def test_random_codes_are_damage_and_a_few_above_white_are_not():
    assert fired(judge_capture("CAP102", impossible_fraction=0.0011)) == ["CAP102"]
    assert fired(judge_capture("CAP102", impossible_fraction=0.001)) == []
    assert fired(judge_capture("CAP102", impossible_fraction=None)) == []
    message = judge_capture("CAP102", impossible_fraction=0.006).findings[0].message
    assert "0.6 % of the sites hold codes of 32768 and more, where white is 16383" in message


def test_zeros_far_below_black_are_missing_data_and_a_cut_off_file_is_called_one():
    (finding,) = judge_capture("CAP102", stray_zero_fraction=0.003).findings
    assert finding.message.startswith("0.3 % of the sites are 0, where black is 2048 and next to nothing lies between")
    assert fired(judge_capture("CAP102", stray_zero_fraction=0.001)) == []
    (finding,) = judge_capture("CAP102", stray_zero_fraction=0.2, zero_tail_fraction=0.2).findings
    assert "zero down to the end" in finding.message
