"""Mosaic and sensor facts of a raw, on small written DNGs and on the real files that taught each lesson."""

import faulthandler
import multiprocessing
import os
import resource
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sidcurate import tiff
from sidcurate.errors import UnreadableRawError
from sidcurate.raws import levels, metadata, raw
from sidcurate.raws.dng import sensor_tags
from sidcurate.synthetic.dng import DngTags, write_dng, write_stored
from sidcurate.tiff import BYTE, LONG, SHORT, SRATIONAL
from tests.benchmarks.codings import CODINGS

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
XTRANS = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"
STRIP_OFFSETS, STRIP_BYTES, COMPRESSION = 273, 279, 259
CFA_IMAGE, BLACK_REPEAT, BLACK, BLACK_DELTA_V, WHITE, ACTIVE_AREA = 32803, 50713, 50714, 50716, 50717, 50829


def noise(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(500, 4000, (height, width), dtype=np.uint16)


def bare_dng(path, mosaic, cfa="RGGB", *more):
    """Write a DNG with a CFA and the tags given, for what `write_dng` cannot say; a tag given twice counts as last."""
    side = round(len(cfa) ** 0.5)
    height, width = mosaic.shape
    entries = [
        *(tiff.numbers(code, LONG, value) for code, value in ((256, width), (257, height), (278, height))),
        *(tiff.numbers(code, SHORT, value) for code, value in ((258, 16), (259, 1), (262, CFA_IMAGE), (277, 1))),
        tiff.numbers(STRIP_BYTES, LONG, mosaic.nbytes),
        *(tiff.text(code, "Bare") for code in (271, 272)),
        tiff.numbers(33421, SHORT, side, side),
        tiff.numbers(33422, BYTE, *("RGBCMYW".index(letter) for letter in cfa)),
        tiff.numbers(50706, BYTE, 1, 4, 0, 0),
        *more,
    ]
    by_code = {entry.code: entry for entry in entries}
    strips = by_code[STRIP_BYTES].length
    by_code[STRIP_OFFSETS] = tiff.numbers(STRIP_OFFSETS, LONG, *[0] * strips)
    pixels_at = tiff.HEADER_BYTES + len(tiff.directory(by_code.values(), tiff.HEADER_BYTES))
    by_code[STRIP_OFFSETS] = tiff.numbers(STRIP_OFFSETS, LONG, *[pixels_at] * strips)
    directory = tiff.directory(by_code.values(), tiff.HEADER_BYTES)
    path.write_bytes(tiff.header() + directory + mosaic.astype("<u2").tobytes())
    return path


@pytest.fixture
def written(tmp_path):
    def write(image: np.ndarray, **tags) -> raw.RawFrame:
        write_dng(tmp_path / "frame.dng", image, DngTags(**tags))
        return raw.read(tmp_path / "frame.dng")

    return write


# Mosaic.


@pytest.mark.parametrize("cfa", PHASES)
@pytest.mark.parametrize("shape", [(96, 128), (509, 511)])
def test_the_mosaic_is_the_written_one_in_every_phase_and_size(written, cfa, shape):
    mosaic = noise(*shape)
    frame = written(mosaic, cfa=cfa)
    np.testing.assert_array_equal(frame.mosaic, mosaic)
    assert (frame.sensor.cfa, frame.sensor.cfa_kind, frame.sensor.cfa_reason) == (cfa, "bayer", None)
    assert (frame.sensor.height, frame.sensor.width) == shape


@pytest.mark.parametrize("coding", CODINGS)
def test_the_mosaic_is_the_written_one_in_every_coding(tmp_path, coding):
    mosaic = noise(300, 400)
    write_stored(tmp_path / "a.dng", mosaic.shape, CODINGS[coding](mosaic), DngTags())
    np.testing.assert_array_equal(raw.read(tmp_path / "a.dng").mosaic, mosaic)


def test_the_mosaic_outlives_the_reader(written):
    frame = written(noise())
    assert frame.mosaic.base is None
    assert frame.mosaic.flags.writeable


@pytest.mark.parametrize("origin", [(0, 0), (1, 1), (2, 3), (3, 4)])
def test_letters_and_blacks_belong_to_the_visible_origin_even_with_odd_margins(tmp_path, origin):
    mosaic = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 600
    area = (*origin, 64, 64)
    blacks = tiff.numbers(BLACK_REPEAT, SHORT, 2, 2), tiff.numbers(BLACK, SHORT, 501, 502, 503, 504)
    path = bare_dng(tmp_path / "a.dng", mosaic, "RGGB", *blacks, tiff.numbers(ACTIVE_AREA, LONG, *area))
    frame = raw.read(path)
    top, left = divmod(int(frame.mosaic[0, 0]) - 600, 64)
    row, column = (top - origin[0]) % 2, (left - origin[1]) % 2
    pattern = np.roll(np.array(list("RGGB")).reshape(2, 2), (-row, -column), (0, 1))
    assert frame.sensor.cfa == "".join(pattern.ravel())
    black = np.roll(np.array([[501, 502], [503, 504]]), (-row, -column), (0, 1))
    assert frame.sensor.black_level == tuple(black.ravel())


# Kinds.


@pytest.mark.parametrize(
    ("cfa", "kind", "word"),
    [
        ("RRGGRRGGGGBBGGBB", "quad-bayer", "quad-Bayer"),
        (XTRANS, "xtrans", "X-Trans"),
        ("RGWB", "other", "RGBW"),
        ("WRGBRWBGGBWRBGRW", "other", "RGBW"),
        ("GMCY", "other", "CMYG"),
    ],
)
def test_an_array_that_is_not_bayer_is_named(tmp_path, cfa, kind, word):
    levels_ = tiff.numbers(BLACK, SHORT, 64), tiff.numbers(WHITE, LONG, 1023)
    frame = raw.read(bare_dng(tmp_path / "a.dng", noise(), cfa, *levels_))
    assert (frame.sensor.cfa_kind, frame.sensor.cfa) == (kind, cfa)
    assert word in frame.sensor.cfa_reason
    assert (frame.sensor.black_level, frame.sensor.white_level) == ((64.0,), (1023.0,))


def test_a_linear_dng_has_no_mosaic(written):
    frame = written(np.stack([noise()] * 3, axis=-1), cfa=None)
    assert (frame.mosaic, frame.sensor.cfa, frame.sensor.cfa_kind) == (None, None, "linear")
    assert "demosaiced" in frame.sensor.cfa_reason
    assert (frame.sensor.width, frame.sensor.height) == (128, 96)


# Levels and color.


@pytest.mark.parametrize("cfa", PHASES)
def test_four_blacks_stay_at_their_positions(written, cfa):
    sensor = written(noise(), cfa=cfa, black_level=(508.0, 510.0, 514.0, 520.0)).sensor
    assert (sensor.black_level, sensor.black_source) == ((508.0, 510.0, 514.0, 520.0), "exif")


def test_a_fractional_black_keeps_its_fraction(written):
    assert written(noise(), black_level=(511.5,)).sensor.black_level == (511.5,) * 4


def test_a_stated_black_of_zero_is_zero(written):
    sensor = written(noise(), black_level=(0.0,)).sensor
    assert (sensor.black_level, sensor.black_source) == ((0.0,) * 4, "exif")


def test_missing_black_and_white_are_unknown(written):
    sensor = written(noise(), black_level=None, white_level=None).sensor
    assert (sensor.black_level, sensor.black_source) == (None, None)
    assert (sensor.white_level, sensor.white_source, sensor.bits_declared) == (None, None, None)


def test_a_black_with_deltas_by_row_is_left_to_libraw(tmp_path):
    delta = tiff.rationals(BLACK_DELTA_V, [Fraction(8)] * 96, SRATIONAL)
    frame = raw.read(bare_dng(tmp_path / "a.dng", noise(), "RGGB", tiff.numbers(BLACK, SHORT, 500), delta))
    assert (frame.sensor.black_level, frame.sensor.black_source) == ((508.0,) * 4, "libraw")


@pytest.mark.parametrize(
    ("white", "bits"), [(1023, 10), (1024, 11), (15360, 14), (16383, 14), (16384, 15), (65535, 16)]
)
def test_declared_bits_follow_the_white_level_not_the_container(written, white, bits):
    sensor = written(noise(), white_level=white).sensor
    assert (sensor.white_level, sensor.white_source, sensor.bits_declared) == ((float(white),) * 4, "exif", bits)


def test_white_balance_is_relative_to_green(written):
    sensor = written(noise(), as_shot_neutral=(0.5, 1.0, 0.8)).sensor
    assert sensor.white_balance == pytest.approx((2.0, 1.0, 1.25))


def test_the_color_matrix_keeps_white_white(written):
    matrix = np.reshape(written(noise()).sensor.color_matrix, (3, 3))
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)


def margined(tmp_path, margin: np.ndarray, picture: np.ndarray) -> raw.Sensor:
    """A DNG whose first columns are a margin."""
    area = (0, margin.shape[1], *np.hstack([margin, picture]).shape)
    tags = tiff.numbers(BLACK, SHORT, 520), tiff.numbers(ACTIVE_AREA, LONG, *area)
    whole = np.hstack([margin, picture]).astype(np.uint16)
    return raw.read(bare_dng(tmp_path / "m.dng", whole, "RGGB", *tags)).sensor


def test_masked_pixels_give_their_median_by_position(tmp_path):
    rng = np.random.default_rng(1)
    margin = rng.normal(512, 4, (200, 40)).round()
    margin[1::2, 1::2] += 6
    masked = margined(tmp_path, margin, rng.normal(900, 60, (200, 200))).masked_black
    np.testing.assert_allclose(masked, (512, 512, 512, 518), atol=1)


def test_a_lit_or_filled_margin_is_not_taken_for_black(tmp_path):
    rng = np.random.default_rng(2)
    picture = rng.normal(900, 60, (200, 200))
    assert margined(tmp_path, rng.normal(880, 60, (200, 40)), picture).masked_black is None
    assert margined(tmp_path, np.zeros((200, 40)), picture).masked_black is None
    gradient = np.linspace(520, 600, 200)[:, None] + rng.normal(0, 4, (200, 40))
    assert margined(tmp_path, gradient, picture + 2000).masked_black is None


def test_a_frame_without_margins_knows_no_masked_black(written):
    assert written(noise()).sensor.masked_black is None


# LibRaw's readings.


def test_libraw_reads_the_settings_that_were_written(written):
    exposure, aperture = Fraction(1, 640), Fraction(63, 10)
    frame = written(noise(), exposure_time_s=exposure, f_number=aperture, iso=3200, focal_length_mm=Fraction(129))
    readings = frame.readings
    assert metadata.rational(readings.exposure_time_s) == exposure
    assert (readings.iso, readings.focal_length_mm) == (3200.0, 129.0)
    assert readings.f_number == pytest.approx(6.3)


def test_what_libraw_does_not_know_is_none(written):
    assert written(noise()).readings == raw.LibrawReadings()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_libraw_reads_the_orientation_in_exif_terms(written, orientation):
    assert written(noise(), orientation=orientation).readings.orientation == orientation


# Rendering.


@pytest.fixture
def portrait(tmp_path):
    write_dng(tmp_path / "p.dng", noise(), DngTags(orientation=6))
    return tmp_path / "p.dng"


def test_a_portrait_frame_is_rendered_as_its_mosaic_lies(portrait):
    image = raw.render(portrait, adjust_maximum_thr=0.75).image
    assert (image.shape, image.dtype) == ((96, 128, 3), np.uint16)


def test_a_bright_corner_of_the_mosaic_is_bright_in_the_rendering(tmp_path):
    mosaic = np.full((64, 96), 600, np.uint16)
    mosaic[:16, :16] = 8000
    write_dng(tmp_path / "a.dng", mosaic, DngTags(orientation=6))
    image = raw.render(tmp_path / "a.dng", adjust_maximum_thr=0.0).image
    assert image[4:12, 4:12, 1].min() > 10 * image[32:, 32:, 1].max()


def test_a_given_mosaic_is_rendered_instead_of_the_file_s_own(portrait):
    own = raw.render(portrait, adjust_maximum_thr=0.0).image
    np.testing.assert_array_equal(raw.render(portrait, noise(), adjust_maximum_thr=0.0).image, own)
    assert raw.render(portrait, np.full((96, 128), 512, np.uint16), adjust_maximum_thr=0.0).image.max() == 0


def test_a_given_white_balance_replaces_the_camera_s(portrait):
    camera = raw.read(portrait).sensor.white_balance
    own = raw.render(portrait, adjust_maximum_thr=0.0).image
    np.testing.assert_array_equal(raw.render(portrait, adjust_maximum_thr=0.0, white_balance=camera).image, own)
    neutral = raw.render(portrait, adjust_maximum_thr=0.0, white_balance=(1.0, 1.0, 1.0)).image
    assert neutral[..., 0].mean() < own[..., 0].mean()


def test_the_maximum_of_the_picture_moves_the_scale_only_above_the_threshold(tmp_path):
    mosaic = noise()
    mosaic[40, 40] = 14000  # One hot pixel at 85 % of white.
    write_dng(tmp_path / "hot.dng", mosaic, DngTags())
    fixed = raw.render(tmp_path / "hot.dng", adjust_maximum_thr=0.0).image.mean()
    assert raw.render(tmp_path / "hot.dng", adjust_maximum_thr=0.75).image.mean() > 1.02 * fixed


@pytest.mark.parametrize("share", [0.3, 0.74, 0.7499, 0.75, 0.7501, 0.76, 0.9, 0.9999, 1.0])
@pytest.mark.parametrize("black", [(64,) * 4, (64, 65, 66, 67), (70, 64.5, 66, 64)])
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_it_is_said_of_a_rendering_whether_its_maximum_became_white(tmp_path, share, black, cfa):
    """The peak stands on the first site, whose black is the first."""
    mosaic = np.random.default_rng(0).integers(64, 300, (64, 80)).astype(np.uint16)
    mosaic[20, 30] = black[0] + round(share * (1023 - 64))
    write_dng(tmp_path / "a.dng", np.minimum(mosaic, 1023), DngTags(cfa=cfa, black_level=black, white_level=1023))
    never = raw.render(tmp_path / "a.dng", adjust_maximum_thr=0.0)
    assert not never.maximum_adjusted
    for threshold in (0.5, 0.75, 1.0):
        found = raw.render(tmp_path / "a.dng", adjust_maximum_thr=threshold)
        assert found.maximum_adjusted == (not np.array_equal(found.image, never.image))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["sony-a7r3/_DSC2164.ARW", "variants/03_bggr.dng", "variants/09_black_fraction.dng"])
def test_it_is_said_of_real_raws_too(shared, name):
    never, sids = (raw.render(shared / "raws" / name, adjust_maximum_thr=threshold) for threshold in (0.0, 0.75))
    assert sids.maximum_adjusted == (not np.array_equal(sids.image, never.image))
    assert sids.white_balance == raw.read(shared / "raws" / name).sensor.white_balance


def test_a_mosaic_of_another_size_is_refused(portrait):
    with pytest.raises(UnreadableRawError, match=r"64x64.*128x96"):
        raw.render(portrait, np.zeros((64, 64), np.uint16), adjust_maximum_thr=0.0)


def test_rendering_an_undecodable_file_gives_the_reader_s_reason(tmp_path):
    (tmp_path / "a.dng").write_bytes(b"\0 not a raw")
    with pytest.raises(UnreadableRawError, match=r"a\.dng.*LibRaw says"):
        raw.render(tmp_path / "a.dng", adjust_maximum_thr=0.0)


# Refusals.


def test_a_truncated_file_keeps_the_first_error_not_the_later_out_of_order(portrait):
    portrait.write_bytes(portrait.read_bytes()[:12000])
    with pytest.raises(
        UnreadableRawError, match=r"p\.dng cannot be decoded: the file ends early: .*Input/output error.*copy it"
    ):
        raw.read(portrait)


@pytest.mark.parametrize(
    ("compression", "sizes", "whole"),
    [(7, (1000, 1000, 1000), 96), (7, (1000, 1000, 99999), 64), (7, (1000, 99999, 1), 32), (1, (1, 1, 99999), 96)],
)
def test_rows_that_a_compressed_dng_does_not_hold_are_known(tmp_path, compression, sizes, whole):
    strips = [tiff.numbers(278, LONG, 32), tiff.numbers(STRIP_BYTES, LONG, *sizes)]
    path = bare_dng(tmp_path / "a.dng", noise(), "RGGB", tiff.numbers(COMPRESSION, SHORT, compression), *strips)
    tags = sensor_tags(path.read_bytes())
    assert tags.whole_rows == whole
    there = sum(min(size, 96 * 128 * 2) for size in sizes)
    assert tags.extent.missing_fraction == pytest.approx(1 - there / sum(sizes))


@pytest.mark.parametrize(("content", "word"), [(b"", "empty"), (b"text", "is text"), (b"\0text", "LibRaw says")])
def test_a_foreign_file_is_refused_with_a_reason(tmp_path, content, word):
    (tmp_path / "a.NEF").write_bytes(content)
    with pytest.raises(UnreadableRawError, match=word):
        raw.read(tmp_path / "a.NEF")


def test_a_missing_file_is_refused_with_a_reason(tmp_path):
    with pytest.raises(UnreadableRawError, match="No such file"):
        raw.read(tmp_path / "a.NEF")


def outcome_with(extra_bytes: int, content: bytes) -> str:
    """Say how a decode ends in a process that may take so much more memory."""
    pid = os.fork()
    if not pid:
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra_bytes, resource.RLIM_INFINITY))
        try:
            raw.decode(content, "a.dng")
        except MemoryError:
            os._exit(1)
        except UnreadableRawError:
            os._exit(2)
        os._exit(0)
    return {0: "read", 1: "no memory", 2: "refused"}.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "died")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory in use is read from /proc")
def test_too_little_memory_is_never_called_a_fault_of_the_file(tmp_path):
    write_dng(tmp_path / "a.dng", noise(1500, 2000), DngTags())
    content = (tmp_path / "a.dng").read_bytes()
    # In a process of its own: in this one earlier tests have left memory that would do.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        outcomes = set(pool.starmap(outcome_with, [(extra << 20, content) for extra in range(1, 41, 3)], chunksize=99))
    assert outcomes <= {"read", "no memory", "died"}
    assert outcomes >= {"read", "no memory"}


@pytest.mark.parametrize(("compression", "codec"), [(52546, "JPEG XL"), (9, "GoPro VC-5")])
def test_a_codec_that_libraw_lacks_is_named(tmp_path, compression, codec):
    path = bare_dng(tmp_path / "a.dng", noise(), "RGGB", tiff.numbers(COMPRESSION, SHORT, compression))
    with pytest.raises(UnreadableRawError, match=f"{codec}.*lossless JPEG"):
        raw.read(path)


def test_sensor_tags_of_damaged_and_foreign_files_are_none(portrait, tmp_path):
    whole = np.frombuffer(portrait.read_bytes(), np.uint8)
    rng = np.random.default_rng(3)
    path = tmp_path / "damaged.dng"
    for _ in range(200):
        damaged = whole.copy()
        damaged[rng.integers(0, 600, 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        sensor_tags(path.read_bytes())
    path.write_bytes(b"")
    assert sensor_tags(path.read_bytes()) is None


def test_a_length_beyond_the_end_of_the_file_takes_no_memory(tmp_path):
    path = bare_dng(tmp_path / "a.dng", noise(), "RGGB", tiff.rationals(BLACK, [Fraction(500)] * 4))
    content = path.read_bytes()
    at = content.index(struct.pack("<HHI", BLACK, 5, 4))
    path.write_bytes(content[: at + 4] + b"\xff" * 4 + content[at + 8 :])
    tracemalloc.start()
    tags = sensor_tags(path.read_bytes())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tags is None
    assert peak < 2**20


# Real files.


def measured(frame: raw.RawFrame) -> levels.Levels:
    sensor = frame.sensor
    return levels.measure(frame.mosaic, sensor.white_level, sensor.bits_declared, sensor.cfa_kind)


@pytest.mark.shared
def test_the_sony_frame_has_a_lossy_curve_data_above_white_and_a_lit_margin(shared):
    frame = raw.read(shared / "raws/sony-a7r3/_DSC2164.ARW")
    sensor, found = frame.sensor, measured(frame)
    assert (sensor.cfa, sensor.width, sensor.height, sensor.bits_declared) == ("RGGB", 5184, 3464, 14)
    assert (sensor.black_level, sensor.black_source) == ((512.0,) * 4, "libraw")
    assert (sensor.white_level, sensor.white_source) == ((16383.0,) * 4, "libraw")
    assert sensor.masked_black is None
    assert (min(found.dn_min), max(found.dn_max)) == (262, 16628)
    assert np.unique(frame.mosaic).size == 1801
    assert (found.code_step, found.bits_observed) == (None, None)
    assert found.clip_dn[3] == 16372
    assert found.repeated_row_fraction == found.zero_tail_fraction == 0


@pytest.mark.shared
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
def test_a_truncated_sony_frame_decodes_without_error_and_its_rows_tell(shared, tmp_path, kept):
    content = (shared / "raws/sony-a7r3/_DSC2164.ARW").read_bytes()
    (tmp_path / "t.ARW").write_bytes(content[: int(len(content) * kept)])
    frame = raw.read(tmp_path / "t.ARW")
    assert frame.missing_fraction == pytest.approx(1 - kept, abs=0.03)
    found = measured(frame)
    assert found.repeated_row_fraction == pytest.approx(1 - kept, abs=0.03)
    assert found.repeated_row_fraction > 0.02


def padded(path):
    """The bytes of a head without its pixels, and so many more that it could have some."""
    return path.read_bytes() + bytes(1 << 18)


@pytest.mark.shared
def test_a_truncated_dng_decodes_to_zeros_not_to_an_older_picture_and_the_tail_tells(shared):
    """LibRaw decodes the tiles that are there and leaves the rest of its memory as it was."""
    frame = raw.decode(padded(shared / "raws/headers/DNG.dng"), "DNG.dng")
    found = measured(frame)
    assert (found.zero_tail_fraction, found.constant_row_fraction) == (1, 1)
    assert frame.missing_fraction == pytest.approx(1 - 1 / 140), "one tile of 14 x 10 is listed"


@pytest.mark.shared
def test_the_canon_x4_black_tag_contradicts_its_masked_pixels(shared):
    frame = raw.read(shared / "raws/canon-x4/colorchart.dng")
    assert frame.sensor.black_level == (2056.0,) * 4
    np.testing.assert_allclose(frame.sensor.masked_black, 2048, atol=2)
    assert (frame.sensor.white_level, frame.sensor.bits_declared) == ((15000.0,) * 4, 14)
    header = metadata.read_header(shared / "raws/canon-x4/colorchart.dng")
    assert frame.readings.exposure_time_s == 1.0  # LibRaw's word for a zeroed tag.
    filled = metadata.with_second_opinion(header, frame.readings)
    assert (filled.exposure_time_s, filled.iso, filled.f_number, filled.captured_at) == (None, None, None, None)


@pytest.mark.shared
def test_the_linearized_cinema_dng_has_sixteen_bits_whatever_its_tag_says(shared):
    frame = raw.read(shared / "raws/bmpcc/test.dng")
    assert (frame.sensor.cfa, frame.sensor.bits_declared) == ("GBRG", 16)
    assert (frame.sensor.black_level, frame.sensor.white_level) == ((256.0,) * 4, (51080.0,) * 4)
    assert frame.mosaic.max() == 22473


@pytest.mark.shared
def test_the_cmyg_frame_is_named_and_libraw_alone_knows_its_settings(shared):
    path = shared / "raws/canon-g1/RAW_CANON_G1.CRW"
    frame = raw.read(path)
    assert (frame.sensor.cfa_kind, frame.sensor.white_balance) == ("other", None)
    assert "CMYG" in frame.sensor.cfa_reason
    filled = metadata.with_second_opinion(metadata.read_header(path), frame.readings)
    assert (filled.exposure_time_s, filled.exposure_source) == (8, "libraw")
    assert (filled.iso, filled.iso_source) == (200, "libraw")
    assert len(measured(frame).dn_max) == 1


@pytest.mark.shared
def test_the_panasonic_header_gets_its_iso_from_libraw(shared):
    path = shared / "raws/headers/Panasonic.rw2"
    readings = raw.decode(padded(path), path.name).readings
    filled = metadata.with_second_opinion(metadata.read_header(path), readings)
    assert (filled.iso, filled.iso_source, filled.exposure_source) == (80, "libraw", "exif")


@pytest.mark.shared
def test_the_real_linear_dng_is_demosaiced(shared):
    frame = raw.read(shared / "raws/canon-6d-linear/canon_eos_6d_linear.dng")
    assert (frame.mosaic, frame.sensor.cfa_kind) == (None, "linear")


@pytest.mark.shared
def test_the_dng_without_metadata_has_a_mosaic_and_nothing_else(shared):
    frame = raw.read(shared / "raws/minimal-10bit/test_640x480.dng")
    sensor = frame.sensor
    assert (sensor.cfa, sensor.width, sensor.height, sensor.bits_declared) == ("GBRG", 640, 480, 10)
    assert (sensor.black_level, sensor.white_balance, frame.readings) == (None, None, raw.LibrawReadings())
    assert measured(frame).clip_dn == (-1, 1023, 1023, -1)


@pytest.mark.shared
def test_the_real_bracket_brightens_with_its_exposure(shared):
    frames = sorted((shared / "raws/mcr").glob("*.dng"))
    assert len(frames) == 8
    read = [raw.read(path) for path in frames]
    assert {(f.sensor.cfa, f.sensor.width, f.sensor.height, f.sensor.bits_declared) for f in read} == {
        ("RGGB", 1280, 1024, 8)
    }
    means = [frame.mosaic.mean() for frame in read]
    assert means == sorted(means)
    assert {measured(frame).bits_observed for frame in read} == {8}


VARIANTS = {
    "00_rggb": ("bayer", "RGGB", (512.0,) * 4),
    "01_grbg": ("bayer", "GRBG", (512.0,) * 4),
    "02_gbrg": ("bayer", "GBRG", (512.0,) * 4),
    "03_bggr": ("bayer", "BGGR", (512.0,) * 4),
    "04_odd_size_511x509": ("bayer", "RGGB", (512.0,) * 4),
    "07_black_per_channel_2x2": ("bayer", "RGGB", (508.0, 510.0, 514.0, 520.0)),
    "08_no_black_no_white": ("bayer", "RGGB", None),
    "09_black_fraction": ("bayer", "RGGB", (511.5,) * 4),
    "23_monochrome_linearraw": ("monochrome", None, (512.0,)),
    "24_linear_rgb": ("linear", None, (512.0,)),
    "30_orientation6": ("bayer", "RGGB", (512.0,) * 4),
    "31_no_exif": ("bayer", "RGGB", (512.0,) * 4),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_what_its_name_says(shared, name):
    frame = raw.read(shared / f"raws/variants/{name}.dng")
    assert (frame.sensor.cfa_kind, frame.sensor.cfa, frame.sensor.black_level) == VARIANTS[name]
    if name.startswith("04"):
        assert frame.mosaic.shape == (509, 511)
    if frame.sensor.cfa_kind == "bayer":
        assert measured(frame).code_step is None  # Crops of the lossy Sony frame.


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "broken/empty.CR2",
        "broken/text.NEF",
        "broken/jpeg_named.CR2",
        "broken/rggb_trunc_half.dng",
        "broken/rggb_trunc_header.dng",
        "variants/22_monochrome_blackiszero.dng",
        "headers/CanonRaw.cr3",
        "headers/DNG.dng",
        "headers/Panasonic.rw2",
        "headers/CanonRaw.crw",
        "headers/SigmaDP2.x3f",
    ],
)
def test_real_files_that_cannot_be_decoded_are_refused_with_a_reason(shared, name):
    with pytest.raises(UnreadableRawError, match=r"cannot be decoded: .+; (copy|convert)"):
        raw.read(shared / "raws" / name)


@pytest.mark.shared
def test_a_jpeg_xl_dng_is_refused_by_name(shared):
    with pytest.raises(UnreadableRawError, match="JPEG XL"):
        raw.read(shared / "raws/headers/nikon_z9_iso65535.dng")


@pytest.mark.shared
def test_a_raw_without_extension_is_read(shared):
    assert raw.read(shared / "raws/broken/UPPER no ext").sensor.cfa == "RGGB"
