"""Histogram facts are exact; spikes, steps and damaged rows are told from honest pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sidcurate.raws import levels
from sidcurate.schemas import Capture

SHARES = {"dn_min": 0, "dn_p0_1": 0.1, "dn_p1": 1, "dn_p50": 50, "dn_p99": 99, "dn_p99_9": 99.9, "dn_max": 100}


def exposed(seed: int, electrons: float = 400, shape: tuple[int, int] = (256, 320), zero: int = 512) -> np.ndarray:
    """A textured mosaic with photon and read noise, far from clipping."""
    rng = np.random.default_rng(seed)
    light = electrons * rng.gamma(1.5, 1.0, shape)
    return np.clip(rng.poisson(light) + rng.normal(zero, 3, shape), 0, 16383).round().astype(np.uint16)


def measured(mosaic: np.ndarray, white: float | None = 16383, bits: int | None = 14) -> levels.Levels:
    return levels.measure(mosaic, None if white is None else (white,) * 4, bits)


@settings(max_examples=50)
@given(hnp.arrays(np.uint16, st.tuples(st.integers(4, 41), st.integers(4, 41))))
def test_percentiles_are_the_inverse_of_the_empirical_distribution(mosaic):
    found = measured(mosaic)
    for position in range(4):
        site = mosaic[position // 2 :: 2, position % 2 :: 2]
        for name, share in SHARES.items():
            expected = np.percentile(site, share, method="inverted_cdf")
            assert getattr(found, name)[position] == expected, name


@settings(max_examples=50)
@given(hnp.arrays(np.uint16, st.tuples(st.integers(4, 41), st.integers(4, 41))), st.integers(1, 65535))
def test_counts_means_and_clipping_equal_the_plain_formulas(mosaic, white):
    found = measured(mosaic, white)
    sites = [mosaic[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    assert found.distinct_codes == tuple(np.unique(site).size for site in sites)
    assert found.dn_mean == pytest.approx([site.mean() for site in sites])
    assert found.clipped_by_cfa == pytest.approx([(site >= white).mean() for site in sites])
    assert found.clipped_fraction == pytest.approx((mosaic >= white).mean())


def test_the_histogram_covers_all_of_uint16():
    counts = levels.histogram(np.array([[0, 65535], [16628, 65535]], np.uint16))
    assert (counts[0], counts[16628], counts[65535], counts.sum()) == (1, 1, 2, 4)


def test_a_tall_image_is_counted_in_strips_without_loss():
    mosaic = exposed(0, shape=(1001, 33))
    np.testing.assert_array_equal(levels.histogram(mosaic), np.bincount(mosaic.ravel(), minlength=65536))


def test_the_measured_facts_are_those_of_the_schema():
    fields = list(Capture.model_fields)
    declared = fields[fields.index("bits_observed") : fields.index("constant_row_fraction") + 1]
    assert set(vars(measured(exposed(0)))) == set(declared) - {"masked_black"}


def test_a_mosaic_without_2x2_is_measured_as_a_whole():
    mosaic = exposed(1)
    found = levels.measure(mosaic, (16383.0,), 14, "xtrans")
    assert len(found.dn_max) == len(found.clipped_by_cfa) == 1
    assert found.dn_max[0] == mosaic.max()


def test_an_unknown_white_leaves_clipping_unknown():
    found = measured(exposed(2), white=None, bits=None)
    assert (found.clipped_fraction, found.clipped_by_cfa, found.bits_observed) == (None, None, None)


def test_odd_sizes_are_measured_to_the_last_site():
    mosaic = np.full((509, 511), 600, np.uint16)
    mosaic[-1, -1] = 900  # The last site of an odd frame belongs to position 0.
    assert measured(mosaic).dn_max == (900, 600, 600, 600)


# Clipping.


def test_channels_that_clip_at_different_codes_are_told_apart():
    mosaic = exposed(3, electrons=2500)
    mosaic[0::2, 1::2].clip(max=3840, out=mosaic[0::2, 1::2])
    mosaic[1::2, 0::2].clip(max=3840, out=mosaic[1::2, 0::2])
    mosaic.clip(max=4095, out=mosaic)
    assert measured(mosaic, 3840, 12).clip_dn == (4095, 3840, 3840, 4095)


def test_a_few_sites_above_the_spike_do_not_hide_it():
    mosaic = exposed(4, electrons=2500).clip(max=15000)
    mosaic[::64, ::64] = 15900 + np.arange(20).reshape(4, 5)
    assert measured(mosaic).clip_dn[0] == 15000


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("electrons", [0.3, 5, 400])
def test_a_frame_that_does_not_clip_shows_no_spike(seed, electrons):
    assert measured(exposed(seed, electrons)).clip_dn == (-1, -1, -1, -1)


def test_coarse_codes_alone_are_no_spike():
    assert measured(exposed(5) >> 6 << 6).clip_dn == (-1, -1, -1, -1)
    assert measured(np.full((64, 64), 512, np.uint16)).clip_dn == (-1, -1, -1, -1)


# Bits.


@pytest.mark.parametrize("offset", [0, 1, 2])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_twelve_bits_in_a_fourteen_bit_frame_show_as_a_step_with_any_offset(offset, lost):
    found = measured(((exposed(6, 2000) >> lost) << lost) + np.uint16(offset))
    assert (found.code_step, found.bits_observed) == (2**lost, 14 - lost)


def test_channels_may_have_different_offsets():
    mosaic = exposed(7, 2000) >> 2 << 2
    mosaic[0::2, 0::2] += 1
    mosaic[1::2, 1::2] += 3
    assert measured(mosaic).code_step == 4


def test_a_dark_short_frame_cannot_tell_its_bits():
    dark = exposed(8, electrons=0.5) >> 2 << 2
    assert (measured(dark).code_step, measured(dark).bits_observed) == (None, None)


def test_the_growing_steps_of_a_lossy_curve_are_no_lost_bits():
    mosaic = exposed(9, 2500)
    shift = np.digitize(mosaic, [1000, 2000, 4000]) + 1
    assert measured((mosaic >> shift << shift).astype(np.uint16)).code_step is None


def test_observed_bits_stay_positive_when_the_data_dwarf_the_declared_white():
    assert measured((exposed(10, 2000) >> 4) << 8, white=15, bits=4).bits_observed == 1


# Damage.


def test_a_whole_picture_has_no_faulty_rows():
    found = measured(exposed(11))
    assert (found.zero_tail_fraction, found.repeated_row_fraction, found.constant_row_fraction) == (0, 0, 0)


def test_a_zero_tail_is_measured_and_is_not_called_repeated():
    mosaic = exposed(12, shape=(200, 100))
    mosaic[150:] = 0
    found = measured(mosaic)
    assert found.zero_tail_fraction == pytest.approx(0.25)
    assert (found.repeated_row_fraction, found.constant_row_fraction) == (0, 0.25)


@pytest.mark.parametrize(("black", "start"), [(64, 0), (64, 37 * 100 + 11), (2048, 100 * 100)])
def test_a_run_of_zeros_far_below_black_is_missing_data_wherever_it_stands(black, start):
    mosaic = np.random.default_rng(1).normal(black + 20, 6, (200, 100)).round().astype(np.uint16)
    whole = levels.measure(mosaic, (1023.0,) * 4, 10, black_level=(float(black),) * 4)
    mosaic.reshape(-1)[start : start + 50] = 0
    spoiled = levels.measure(mosaic, (1023.0,) * 4, 10, black_level=(float(black),) * 4)
    assert (whole.stray_zero_fraction, spoiled.stray_zero_fraction) == (0, 50 / mosaic.size)


def test_noise_that_is_cut_off_at_zero_is_no_missing_data():
    noisy = np.random.default_rng(2).normal(20, 20, (200, 100)).round().clip(0).astype(np.uint16)
    assert (noisy == 0).mean() > 0.1
    assert levels.measure(noisy, (1023.0,) * 4, 10, black_level=(20.0,) * 4).stray_zero_fraction == 0
    assert levels.measure(noisy, (1023.0,) * 4, 10, black_level=(0.0,) * 4).stray_zero_fraction is None
    assert levels.measure(noisy, (1023.0,) * 4, 10).stray_zero_fraction is None


def test_an_all_zero_picture_is_all_tail():
    found = measured(np.zeros((64, 64), np.uint16))
    assert (found.zero_tail_fraction, found.constant_row_fraction) == (1, 1)


def test_repeated_rows_are_counted():
    mosaic = exposed(13, shape=(200, 100))
    mosaic[100:] = np.tile(mosaic[98:100], (50, 1))
    assert measured(mosaic).repeated_row_fraction == pytest.approx(0.5)


def test_rows_that_differ_in_their_last_site_are_not_repeated():
    mosaic = np.tile(exposed(14, shape=(2, 101)), (20, 1))
    mosaic[:, -1] = np.arange(40)
    assert measured(mosaic).repeated_row_fraction == 0


def test_rows_with_one_value_a_column_parity_are_constant():
    mosaic = exposed(15, shape=(100, 100))
    mosaic[50:, 0::2], mosaic[50:, 1::2] = 7, 9
    assert measured(mosaic).constant_row_fraction == pytest.approx(0.5)


@pytest.mark.shared
def test_no_frame_of_the_real_sessions_reads_as_faulty(shared):
    from sidcurate.raws import raw

    for path in sorted((shared / "sessions").rglob("*.dng"))[::6]:
        frame = raw.read(path)
        sensor = frame.sensor
        found = levels.measure(frame.mosaic, sensor.white_level, sensor.bits_declared, black_level=sensor.black_level)
        assert found.stray_zero_fraction == 0, path
        assert found.bits_observed in (None, frame.sensor.bits_declared), path
        assert found.repeated_row_fraction == found.constant_row_fraction == found.zero_tail_fraction == 0, path
        spikes = {code for code in found.clip_dn if code != -1}
        assert all(code >= max(frame.sensor.white_level) for code in spikes), path


@pytest.mark.parametrize("white", [1023.0, 4095.0, 16383.0])
def test_random_bytes_show_as_codes_that_no_converter_gives(white):
    rng = np.random.default_rng(0)
    mosaic = rng.integers(0, int(white), (200, 200)).astype(np.uint16)
    assert levels.measure(mosaic, (white,) * 4, 14).impossible_fraction == 0
    mosaic[100:110] = rng.integers(0, 65536, (10, 200))
    assert levels.measure(mosaic, (white,) * 4, 14).impossible_fraction == pytest.approx(0.025, rel=0.1)
    assert levels.measure(mosaic, (51080.0,) * 4, 16).impossible_fraction is None
