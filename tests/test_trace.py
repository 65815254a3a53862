"""What a trace keeps of a mosaic, and how it is stored."""

import os
import zipfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidcurate.align import trace
from sidcurate.errors import IntegrityError, UsageError

BLACK, WHITE = (512.0,) * 4, (16383.0,) * 4


@pytest.fixture
def mosaic():
    rng = np.random.default_rng(0)
    return rng.normal(700, 15, (256, 320)).round().astype(np.uint16)


def measure(mosaic, cfa="RGGB", black=BLACK, white=WHITE):
    return trace.measure(mosaic, cfa, black, white)


@pytest.mark.parametrize("largest", [False, True])
def test_bins_are_the_means_of_each_cfa_position(mosaic, largest):
    if largest:
        mosaic = np.random.default_rng(1).integers(0, 65536, mosaic.shape, dtype=np.uint16) | np.uint16(0x8001)
    kept = measure(mosaic)
    for position, plane in enumerate(kept.bins_dn):
        row, column = divmod(position, 2)
        sites = mosaic[row::2, column::2].reshape(64, 2, 80, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(plane, sites, atol=kept.bin_dn / 2)


def test_rows_and_columns_beyond_the_last_bin_change_nothing(mosaic):
    kept, ragged = measure(mosaic), measure(np.pad(mosaic, ((0, 3), (0, 1)), constant_values=16383))
    np.testing.assert_array_equal(ragged.bins, kept.bins)
    np.testing.assert_array_equal(ragged.clipped, kept.clipped)


def test_a_larger_sensor_has_wider_bins_and_no_larger_trace(tmp_path):
    kept = measure(np.full((4000, 6000), 5000, np.uint16))
    trace.save(tmp_path / "trace.npz", kept)
    assert kept.bin_sites == 8
    assert (tmp_path / "trace.npz").stat().st_size < 1.7e6


def test_a_mean_is_kept_far_finer_than_its_noise():
    kept = measure(np.tile(np.array([[16383, 16382], [16380, 16381]], np.uint16), (1024, 1024)))
    assert kept.bin_dn <= 0.25
    np.testing.assert_allclose(kept.bins_dn[:, 0, 0], [16383, 16382, 16380, 16381], atol=0.125)


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_crops_are_the_mean_of_the_two_greens(mosaic, cfa):
    kept = measure(mosaic, cfa)
    (y, x), side = kept.crop_starts[6], kept.crops.shape[1]
    first, second = (mosaic[p // 2 :: 2, p % 2 :: 2].astype(float) for p, letter in enumerate(cfa) if letter == "G")
    np.testing.assert_array_equal(kept.crops_dn[6], ((first + second) / 2)[y : y + side, x : x + side])


def test_crops_reach_every_corner(mosaic):
    kept = measure(mosaic)
    np.testing.assert_array_equal(kept.crop_starts.min(axis=0), [0, 0])
    np.testing.assert_array_equal(kept.crop_starts.max(axis=0) + kept.crops.shape[1], [128, 160])


def test_a_bin_with_one_clipped_site_is_marked_and_no_other(mosaic):
    mosaic[41, 62] = 16383
    marked = np.argwhere(measure(mosaic).clipped_bins)
    np.testing.assert_array_equal(marked, [[2, 10, 15]])


def test_a_clip_below_the_declared_white_is_found_by_its_spike(mosaic):
    mosaic[:64, 0::2] = 3840
    clipped = measure(mosaic).clipped_bins
    assert clipped[[0, 2], :16].all()
    assert not clipped[[1, 3]].any()
    assert not clipped[:, 16:].any()


def test_without_a_declared_white_the_highest_codes_count_as_clipped(mosaic):
    mosaic[:8, :8] = 9000
    clipped = measure(mosaic, white=None).clipped_bins
    assert clipped[:, :2, :2].all()
    assert clipped.sum() == 4 * 4


@pytest.mark.parametrize("step", [1, 2, 4])
def test_the_step_of_the_codes_is_seen_through_an_odd_black(mosaic, step):
    assert measure(mosaic // step * step + 3).code_step == step


def test_sites_cut_off_at_zero_are_counted(mosaic):
    mosaic[:128] = 0
    assert measure(mosaic, black=None).zero_fraction == pytest.approx(0.5)


def test_a_stored_trace_comes_back_as_it_was(mosaic, tmp_path):
    kept = measure(mosaic, "GBRG", black=None)
    trace.save(tmp_path / "trace.npz", kept)
    again = trace.load(tmp_path / "trace.npz")
    assert (again.cfa, again.bin_sites, again.code_step) == ("GBRG", kept.bin_sites, kept.code_step)
    np.testing.assert_array_equal(again.bins_dn, kept.bins_dn)
    np.testing.assert_array_equal(again.crops_dn, kept.crops_dn)
    np.testing.assert_array_equal(again.black_dn, [np.nan] * 4)


def test_the_same_mosaic_gives_the_same_bytes_and_leaves_nothing_else(mosaic, tmp_path):
    for name in ("a.npz", "b.npz"):
        trace.save(tmp_path / name, measure(mosaic))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@pytest.mark.parametrize("harm", ["empty", "text", "cut", "other"])
def test_a_file_that_is_no_trace_is_named_with_what_to_do(mosaic, tmp_path, harm):
    path: Path = tmp_path / "trace.npz"
    trace.save(path, measure(mosaic))
    whole = path.read_bytes()
    if harm == "other":
        np.savez(path, bins=np.zeros(3))
    else:
        path.write_bytes({"empty": b"", "text": b"no trace", "cut": whole[: len(whole) // 2]}[harm])
    with pytest.raises(IntegrityError, match=r"trace\.npz is not a trace.*ingest again"):
        trace.load(path)


ZEROS = np.zeros(4)
CHANGES = {
    "another type": {"bins": np.zeros((4, 64, 80), np.float32)},
    "one dimension more": {"size": np.zeros((1, 2), np.int64)},
    "other bins": {"bins": np.zeros((4, 64, 81), np.uint16)},
    "no bins": {"bins": np.zeros((4, 0, 0), np.uint16), "clipped": np.zeros((4, 0, 0), np.uint8)},
    "fewer bits": {"clipped": np.zeros((4, 64, 9), np.uint8)},
    "other crops": {"crops": np.zeros((15, 32, 32), np.uint16)},
    "crops beyond the frame": {"crop_starts": np.full((16, 2), 1 << 40)},
    "crops before it": {"crop_starts": np.full((16, 2), -1)},
    "a size of nothing": {"size": np.zeros(2, np.int64)},
    "no phase": {"cfa": "RGBW"},
    "a number for a name": {"cfa": 5},
    "a bin of nothing": {"bin_sites": 0},
    "a bin of three": {"bin_sites": 3},
    "no unit": {"bin_dn": float("nan")},
    "a step of nothing": {"code_step": 0},
    "a share of ten": {"zero_fraction": 10.0},
    "black without end": {"black_dn": np.full(4, np.inf)},
    "one field more": {"more": ZEROS},
    "objects": {"black_dn": np.array([{}], object)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_trace_that_no_frame_has_is_refused(mosaic, tmp_path, change):
    path: Path = tmp_path / "trace.npz"
    np.savez(path, allow_pickle=True, **{**asdict(measure(mosaic)), **change})
    with pytest.raises(IntegrityError, match=r"trace\.npz is not a trace of this version \(.*ingest again"):
        trace.load(path)


LOOKS = pytest.mark.parametrize("look", [trace.load, trace.check])


@LOOKS
def test_an_archive_that_unfolds_to_more_than_it_is_is_not_unfolded(tmp_path, look):
    path: Path = tmp_path / "trace.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bins.npy", bytes(50_000_000))
    with pytest.raises(IntegrityError, match=r"trace\.npz is not a trace .*its members are packed"):
        look(path)
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(IntegrityError, match=r"at most \d+ are read"):
        look(path)


@LOOKS
def test_members_that_share_their_bytes_are_refused(mosaic, tmp_path, look):
    path: Path = tmp_path / "trace.npz"
    trace.save(path, measure(mosaic))
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist += archive.filelist * 3
        archive._didModify = True
    with pytest.raises(IntegrityError, match="its members are larger than it is"):
        look(path)


@LOOKS
def test_a_link_is_not_followed_and_a_pipe_not_waited_for(mosaic, tmp_path, look):
    path: Path = tmp_path / "trace.npz"
    trace.save(tmp_path / "outside.npz", measure(mosaic))
    path.symlink_to("outside.npz")
    with pytest.raises(IntegrityError, match="is a link, which may lead anywhere"):
        look(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match="is no file"):
        look(path)


HEADERS = [
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (%d, 4), }" % (1 << 61),
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (1 << 70,), }",
    b"{'descr': '<U%d', 'fortran_order': False, 'shape': (), }" % (1 << 29),
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (-1, 4), }",
    b"(" * 5000,
    b"'''",
    b"  x\n y",
    b"-" * 9000 + b"1",
    b"__import__('os').abort()",
]
often = settings(max_examples=100)


@often
@given(
    name=st.sampled_from(["cfa", "bins", "size", "x", "../x"]),
    header=st.one_of(st.sampled_from(HEADERS), st.binary(max_size=100), st.text(max_size=100).map(str.encode)),
)
def test_whatever_stands_in_the_header_of_an_array_is_refused_in_words(tmp_path, name, header):
    path: Path = tmp_path / "trace.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(IntegrityError, match=r"trace\.npz is not a trace"):
        trace.load(path)


@often
@given(share=st.floats(0, 1), byte=st.integers(1, 255))
def test_a_trace_with_a_changed_byte_is_itself_or_refused_in_words(tmp_path, share, byte):
    path: Path = tmp_path / "trace.npz"
    kept = measure(np.random.default_rng(1).integers(500, 900, (32, 48), dtype=np.uint16))
    trace.save(path, kept)
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= byte
    path.write_bytes(content)
    try:
        again = trace.load(path)
    except IntegrityError:
        return
    for field in fields(kept):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(kept, field.name))


def test_a_mosaic_that_is_not_bayer_or_too_small_is_refused(mosaic):
    with pytest.raises(UsageError, match="not a Bayer phase"):
        measure(mosaic, "RGBW")
    with pytest.raises(UsageError, match="too small"):
        measure(mosaic[:15])
