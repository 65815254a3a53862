"""Headers of every container become standard words with a source, and a sentinel is never a fact."""

import math
import struct
import time
from datetime import datetime
from fractions import Fraction

import exifread
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidcurate.ingest.reading import header_facts
from sidcurate.raws.containers import exif_tags
from sidcurate.raws.metadata import Metadata, header_at, rational, read_header, with_second_opinion
from sidcurate.raws.raw import LibrawReadings
from sidcurate.schemas import Capture
from sidcurate.synthetic.dng import DngTags, write_dng
from sidcurate.tables.rows import Rows, table_of
from tests.heads import (
    ASCII,
    DATE_TIME,
    DOUBLE,
    EXIF,
    EXPOSURE,
    F_NUMBER,
    FLOAT,
    FOCAL,
    IMAGE,
    ISO,
    LENS,
    LONG,
    ORIENTATION,
    ORIGINAL,
    RATIONAL,
    REI,
    SHORT,
    SHUTTER_SPEED,
    SOS,
    SUBSEC_ORIGINAL,
    UNIQUE_MODEL,
    box,
    cr3,
    raf,
    tiff,
)


@pytest.fixture
def header_of(tmp_path):
    def read(content: bytes) -> Metadata:
        path = tmp_path / "any.name"
        path.write_bytes(content)
        return read_header(path)

    return read


@pytest.mark.parametrize(
    "content",
    [
        tiff(IMAGE, EXIF),
        tiff(IMAGE | EXIF),
        cr3(IMAGE, EXIF),
        cr3(IMAGE, EXIF, wide=True),
        raf(IMAGE, EXIF),
    ],
    ids=["exif-ifd", "all-in-ifd0", "cr3", "cr3-64-bit-box", "raf"],
)
def test_every_container_gives_the_same_words_with_their_source(header_of, content):
    assert header_of(content) == Metadata(
        camera_make="Canon",
        camera_model="Canon EOS 90D",
        camera_serial="042",
        lens_model="EF 35mm",
        camera_source="exif",
        exposure_time_s=Fraction(1, 30),
        exposure_source="exif",
        iso=1600,
        iso_source="exif",
        f_number=2.8,
        f_number_source="exif",
        focal_length_mm=35.0,
        focal_length_source="exif",
        captured_at=datetime(2026, 3, 1, 21, 4, 5, 70_000),
        utc_offset_min=-510,
        captured_at_source="exif",
        orientation=8,
        orientation_source="exif",
    )


def test_a_written_dng_is_read_back(tmp_path):
    tags = DngTags(make="OnePlus", model="GM1903", exposure_time_s=Fraction(1, 25), f_number=Fraction(17, 10), iso=800)
    write_dng(tmp_path / "a.dng", np.zeros((8, 8), np.uint16), tags)
    header = read_header(tmp_path / "a.dng")
    assert (header.camera_make, header.camera_model) == ("OnePlus", "GM1903")
    assert (header.exposure_time_s, header.f_number, header.iso) == (Fraction(1, 25), 1.7, 800)


# Sentinels.


@pytest.mark.parametrize("written", [(0, 1), (0, 0), (1, 0), (0, 30), (0xFFFFFFFF, 1)])
def test_an_exposure_time_that_cannot_be_is_unknown_and_remembered_as_void(header_of, written):
    header = header_of(tiff(IMAGE, EXIF | {EXPOSURE: (RATIONAL, written)}))
    assert (header.exposure_time_s, header.exposure_source) == (None, None)
    assert header.voided == {"exposure_time_s"}
    assert header.iso == 1600


def test_an_absent_exposure_time_is_unknown_but_not_void(header_of):
    header = header_of(tiff(IMAGE, {ISO: (SHORT, 100)}))
    assert (header.exposure_time_s, header.voided) == (None, frozenset())


@pytest.mark.parametrize(
    ("stated", "iso"),
    [
        ({ISO: (SHORT, 800), REI: (LONG, 900)}, 800),
        ({ISO: (SHORT, 65535), REI: (LONG, 102400)}, 102400),
        ({ISO: (SHORT, 0), REI: (LONG, 640)}, 640),
        ({ISO: (SHORT, 65535), SOS: (LONG, 409600)}, 409600),
        ({REI: (LONG, 0), SOS: (LONG, 500)}, 500),
        ({ISO: (SHORT, 65535)}, None),
        ({ISO: (SHORT, 0)}, None),
        ({}, None),
    ],
)
def test_iso_falls_back_in_order_and_never_to_a_sentinel(header_of, stated, iso):
    header = header_of(tiff(IMAGE, {EXPOSURE: (RATIONAL, (1, 30))} | stated))
    assert (header.iso, header.iso_source) == (iso, "exif" if iso else None)


@pytest.mark.parametrize("stamp", [b"1970:01:01 00:00:00", b"0000:00:00 00:00:00", b"    :  :     :  :  ", b"", b"now"])
def test_a_capture_time_that_cannot_be_is_unknown(header_of, stamp):
    header = header_of(tiff(IMAGE, EXIF | {ORIGINAL: (ASCII, stamp)}))
    assert (header.captured_at, header.captured_at_source) == (None, None)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_outside_1_to_8_is_unknown(header_of, value):
    header = header_of(tiff(IMAGE | {ORIENTATION: (SHORT, value)}, EXIF))
    assert (header.orientation, header.orientation_source) == (None, None)


@pytest.mark.parametrize("lens", [b"", b"   ", b"----", b"\xff\xfe\xfd"])
def test_a_lens_without_a_name_is_unknown(header_of, lens):
    assert header_of(tiff(IMAGE, EXIF | {LENS: (ASCII, lens)})).lens_model is None


# Exposure and time.


def test_the_nominal_time_counts_not_the_apex_value(header_of):
    assert header_of(tiff(IMAGE, EXIF | {SHUTTER_SPEED: (RATIONAL, (5, 1))})).exposure_time_s == Fraction(1, 30)


def test_a_rounded_decimal_is_kept_exactly(header_of):
    header = header_of(tiff(IMAGE, EXIF | {EXPOSURE: (RATIONAL, (333333, 10_000_000))}))
    assert header.exposure_time_s == Fraction(333333, 10_000_000)


def test_a_time_written_as_a_float_is_read(header_of):
    assert header_of(tiff(IMAGE, EXIF | {EXPOSURE: (FLOAT, 0.04)})).exposure_time_s == Fraction(1, 25)
    assert header_of(tiff(IMAGE, EXIF | {EXPOSURE: (FLOAT, float("inf"))})).exposure_time_s is None


@pytest.mark.parametrize(("digits", "micros"), [(b"5", 500_000), (b"123", 123_000), (b"1234567", 123_456), (b"", 0)])
def test_sub_seconds_order_a_fast_bracket(header_of, digits, micros):
    header = header_of(tiff(IMAGE, EXIF | {SUBSEC_ORIGINAL: (ASCII, digits)}))
    assert header.captured_at == datetime(2026, 3, 1, 21, 4, 5, micros)


def test_the_file_time_serves_where_no_capture_time_is(header_of):
    header = header_of(tiff(IMAGE | {DATE_TIME: (ASCII, b"2026:03:01 10:00:00")}))
    assert header.captured_at == datetime(2026, 3, 1, 10)


def test_the_unique_model_of_a_dng_serves_where_no_model_is(header_of):
    assert header_of(tiff({UNIQUE_MODEL: (ASCII, b"Pocket Cinema")})).camera_model == "Pocket Cinema"


U32 = st.integers(0, 0xFFFFFFFF)
NUMBERS = st.one_of(
    st.tuples(st.just(SHORT), st.integers(0, 0xFFFF)),
    st.tuples(st.just(LONG), U32),
    st.tuples(st.just(RATIONAL), st.tuples(U32, U32)),
    st.tuples(st.just(FLOAT), st.floats(width=32)),
    st.tuples(st.just(DOUBLE), st.floats()),
)


@settings(max_examples=300)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys((EXPOSURE, F_NUMBER, ISO, REI, FOCAL, ORIENTATION), NUMBERS)))
def test_a_row_and_a_table_hold_whatever_numbers_a_header_states(exif):
    header = header_at(Reads(tiff(IMAGE, exif)))
    row = Capture(device="cam", path="a.dng", size_bytes=1, status="header", **header_facts(header))
    assert Rows.of(Capture, table_of(Capture, [row])).records() == [row]


# LibRaw as the second opinion.

READINGS = LibrawReadings(0.0015625000232830644, 102400.0, 2.799999952316284, 35.0, datetime(2026, 1, 1), 6)


def test_libraw_fills_what_the_header_lacks_under_its_own_name():
    filled = with_second_opinion(Metadata(), READINGS)
    assert (filled.exposure_time_s, filled.exposure_source) == (Fraction(1, 640), "libraw")
    assert (filled.iso, filled.iso_source) == (102400, "libraw")
    assert (filled.focal_length_mm, filled.captured_at, filled.orientation) == (35.0, datetime(2026, 1, 1), 6)
    assert filled.captured_at_source == filled.orientation_source == filled.f_number_source == "libraw"


def test_libraw_never_overrides_the_header(header_of):
    header = header_of(tiff(IMAGE, EXIF))
    assert with_second_opinion(header, READINGS) == header


def test_an_unknown_reading_fills_nothing():
    assert with_second_opinion(Metadata(), LibrawReadings()) == Metadata()


def test_one_second_from_libraw_is_no_opinion_on_a_void_tag(header_of):
    header = header_of(tiff(IMAGE, EXIF | {EXPOSURE: (RATIONAL, (1, 0)), F_NUMBER: (RATIONAL, (0, 1))}))
    filled = with_second_opinion(header, LibrawReadings(exposure_time_s=1.0, f_number=1.0))
    assert (filled.exposure_time_s, filled.f_number) == (None, None)
    assert with_second_opinion(header, LibrawReadings(exposure_time_s=0.5)).exposure_time_s == Fraction(1, 2)


def test_one_second_from_libraw_is_believed_where_there_is_no_tag():
    assert with_second_opinion(Metadata(), LibrawReadings(exposure_time_s=1.0)).exposure_time_s == 1


@pytest.mark.parametrize("time_s", [Fraction(1, 8000), Fraction(1, 3), Fraction(3, 10), Fraction(30), Fraction(13, 10)])
def test_a_single_precision_reading_becomes_the_time_it_stands_for(time_s):
    assert rational(float(np.float32(float(time_s)))) == time_s


# Foreign and damaged files.


@pytest.mark.parametrize("content", [b"", b"not a raw", b"\xff\xd8\xff\xe0junk", b"II*\0", bytes(4096)])
def test_a_foreign_file_says_nothing_and_why(header_of, content):
    header = header_of(content)
    assert header == Metadata(reason=header.reason)
    assert header.reason


@pytest.mark.parametrize("whole", [tiff(IMAGE, EXIF), cr3(IMAGE, EXIF), raf(IMAGE, EXIF)], ids=["tiff", "cr3", "raf"])
def test_a_damaged_header_neither_raises_nor_hangs(header_of, whole):
    rng = np.random.default_rng(0)
    start = time.monotonic()
    for _ in range(100):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(whole), 6)] = rng.integers(0, 256, 6)
        header = header_of(damaged.tobytes()[: rng.integers(1, len(whole) + 1)])
        assert header.exposure_time_s is None or header.exposure_time_s > 0
    assert time.monotonic() - start < 60


HOSTILE = {
    "a million boxes": cr3(IMAGE, EXIF)[:24] + box(b"free", b"") * 1_000_000,
    "a box of 2**64 bytes": cr3(IMAGE, EXIF)[:24] + b"\0\0\0\1free" + b"\xff" * 8,
    "boxes that stand still": cr3(IMAGE, EXIF)[:24] + b"\0\0\0\1free" + bytes(8),
    "segments without an end": raf(IMAGE, EXIF)[:148] + b"\xff\xd8" + b"\xff\xe0\0\2" * 1_000_000,
    "a text of 4 GB": tiff(IMAGE, EXIF | {LENS: (ASCII, b"x" * 400)}).replace(b"\x91\1\0\0", b"\xff\xff\xff\xff"),
    "65,535 entries": b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65_535),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_read_in_bounds(name):
    reads = Reads(HOSTILE[name])
    header = header_at(reads)
    assert header.lens_model is None
    assert (reads.count, reads.bytes) < (9000, 1 << 20)


class Reads:
    """Reads of some bytes, counted."""

    def __init__(self, content: bytes) -> None:
        self.content, self.count, self.bytes = content, 0, 0

    def __call__(self, start: int, count: int) -> bytes:
        self.count += 1
        found = self.content[start : start + count]
        self.bytes += len(found)
        return found


@pytest.mark.shared
@pytest.mark.parametrize("name", ["sony-a7r3/_DSC2164.ARW", "canon-6d-linear/canon_eos_6d_linear.dng"])
def test_of_a_real_raw_the_header_alone_is_read(shared, name):
    reads = Reads((shared / "raws" / name).read_bytes())
    assert header_at(reads).camera_model
    assert reads.bytes < 10_000


def test_one_damaged_tag_costs_no_other(header_of):
    whole = tiff(IMAGE, EXIF)
    lens = whole.index(struct.pack("<HHI", LENS, ASCII, len(EXIF[LENS][1]) + 1)) + 8
    header = header_of(whole[:lens] + b"\xff\xff\xff\x7f" + whole[lens + 4 :])
    assert (header.lens_model, header.exposure_time_s, header.reason) == (None, Fraction(1, 30), None)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "gone.dng")


# Real heads.

REAL = {
    "headers/CanonRaw.cr3": ("Canon", "Canon EOS M50", Fraction(1, 80), 12800, 3.5, 15.0),
    "headers/canon_r6.cr3": ("Canon", "Canon EOS R6", Fraction(1, 100), 25600, 2.8, 100.0),
    "headers/FujiFilm.raf": ("FUJIFILM", "FinePix S5Pro", Fraction(1, 250), 100, 8.0, 70.0),
    "headers/nikon_z9_iso65535.dng": ("NIKON CORPORATION", "NIKON Z 9", Fraction(30), 102400, 1.2, 85.0),
    "headers/CanonRaw.cr2": ("Canon", "Canon EOS 350D DIGITAL", Fraction(1, 15), 400, 8.0, 55.0),
    "headers/DNG.dng": ("Canon", "Canon EOS 350D DIGITAL", Fraction(1, 15), 400, 8.0, 55.0),
    "headers/Nikon.nef": ("NIKON CORPORATION", "NIKON D70", Fraction(1, 20), 200, 3.5, 18.0),
    "headers/PhaseOne.iiq": ("Leaf", "Credo 40", Fraction(1, 1250), 100, 5.6, 80.0),
    "headers/Panasonic.rw2": ("Panasonic", "DMC-LX3", Fraction(1, 250), None, 4.0, 5.1),
    "headers/sony_a7iii.ARW": ("SONY", "ILCE-7M3", Fraction(1, 400), 6400, None, None),
    "headers/CanonRaw.crw": (None,) * 6,
    "headers/Minolta.mrw": (None,) * 6,
    "headers/Sigma.x3f": (None,) * 6,
    "headers/KyoceraRaw.raw": (None,) * 6,
    "sony-a7r3/_DSC2164.ARW": ("SONY", "ILCE-7RM3", Fraction(1, 640), 3200, 6.3, 129.0),
    "canon-x4/colorchart.dng": ("Canon", "Canon EOS Kiss X4", None, None, None, None),
    "bmpcc/test.dng": (None, "Blackmagic Pocket Cinema Camera", None, None, None, None),
    "canon-g1/RAW_CANON_G1.CRW": (None,) * 6,
    "canon-6d-linear/canon_eos_6d_linear.dng": ("Canon", "Canon EOS 6D", Fraction(1, 60), 1000, 5.6, 65.0),
    "minimal-10bit/test_640x480.dng": (None,) * 6,
    "mcr/C00400_007f.dng": ("MICRON CORPORATION", "MT9M001", Fraction(1, 256), 100, 2.0, None),
    "mcr/C00400_2fff.dng": ("MICRON CORPORATION", "MT9M001", Fraction(3, 8), 100, 2.0, None),
    "variants/31_no_exif.dng": (None, "Anon", None, None, None, None),
    "variants/32_iso_65535_plus_rei.dng": ("SONY", "ILCE-7RM3", Fraction(1, 640), 102400, 6.3, 129.0),
    "variants/33_iso_zero_exposure_zero.dng": ("SONY", "ILCE-7RM3", None, None, None, 129.0),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_headers_say_what_they_are_known_to_say(shared, name):
    header = read_header(shared / "raws" / name)
    facts = (header.camera_make, header.camera_model, header.exposure_time_s, header.iso, header.f_number)
    assert (*facts, header.focal_length_mm) == REAL[name]


def as_exifread(path):
    """Return the tags that exifread finds under the names of ours, rationals as pairs of numbers."""
    with path.open("rb") as stream:
        found = exifread.process_file(stream, details=False, extract_thumbnail=False)
    tags = {}
    for name in ("Make", "Model", "ExposureTime", "FNumber", "ISOSpeedRatings", "FocalLength", "DateTimeOriginal"):
        if tag := found.get(f"EXIF {name}") or found.get(f"Image {name}"):
            values = tag.values
            tags[name] = values if isinstance(values, str) else [getattr(value, "numerator", value) for value in values]
            if name in ("ExposureTime", "FNumber", "FocalLength"):
                tags[name] = [(value.num, value.den) for value in values]
    return tags


def in_lowest_terms(value):
    if isinstance(value, str):
        return value.strip()
    return [tuple(part // math.gcd(*pair) for part in pair) if isinstance(pair, tuple) else pair for pair in value]


@pytest.mark.shared
def test_a_reader_of_others_finds_the_same_in_every_real_header(shared):
    compared = 0
    for path in sorted((shared / "raws").glob("*/*")):
        content = path.read_bytes()
        if content[:4] not in (b"II*\0", b"MM\0*") or path.name == "rggb_trunc_header.dng":
            continue
        tags, others = (
            exif_tags(lambda start, count, content=content: content[start : start + count]),
            as_exifread(path),
        )
        assert {name: in_lowest_terms(tags[name]) for name in others} == {
            name: in_lowest_terms(value) for name, value in others.items()
        }, path
        compared += len(others)
    assert compared > 150


@pytest.mark.shared
def test_a_real_cr3_has_body_lens_and_sub_seconds(shared):
    header = read_header(shared / "raws/headers/canon_r6.cr3")
    assert (header.camera_serial, header.lens_model) == ("072021007989", "EF100mm f/2.8L Macro IS USM")
    assert header.captured_at == datetime(2025, 9, 6, 20, 24, 47, 720_000)
    assert header.utc_offset_min == -480
