"""Noise and sharpness of one frame, against what was put in."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from sidcurate.align import detail, trace
from sidcurate.synthetic import scenes, sensor

BLACK, WHITE, SIDE = 512.0, 16383.0, 1024
READ_DN = 4.0


@cache
def scene(seed, blur_px):
    return scenes.blurred(scenes.dead_leaves(SIDE, SIDE, np.random.default_rng(seed)), blur_px)


def shot(*, seed=0, blur_px=1.0, median_dn=3.0, read_dn=READ_DN, row_dn=0.0, black=BLACK, step=1):
    """Return the trace of a scene at a median level, with Poisson light of one electron a DN, read and row noise."""
    rng = np.random.default_rng(seed)
    light = sensor.filtered(scene(seed, blur_px), "RGGB")[:SIDE, :SIDE]
    signal = rng.poisson(light * (median_dn / np.median(light))) + rng.normal(black, read_dn, light.shape)
    signal += rng.normal(0, row_dn, (SIDE, 1))
    codes = np.clip(np.rint(signal / step) * step, 0, WHITE).astype(np.uint16)
    return trace.measure(codes, "RGGB", (black,) * 4, (WHITE,) * 4)


@pytest.mark.parametrize("row_dn", [0.0, 3.0])
@pytest.mark.parametrize("median_dn", [3.0, 60.0])
def test_noise_is_that_of_readout_and_photons_at_its_level(median_dn, row_dn):
    found = [detail.noise(shot(seed=seed, median_dn=median_dn, row_dn=row_dn)) for seed in range(4)]
    told = [noise for noise in found if noise]
    assert len(told) >= 3
    for noise in told:
        true = (READ_DN**2 + noise.level_dn - BLACK) ** 0.5
        assert noise.value == pytest.approx(true, rel=0.08)
        assert abs(noise.value - true) < 4 * noise.se


def test_the_step_of_the_codes_is_not_noise():
    found = detail.noise(shot(step=4))
    assert found.value == pytest.approx((READ_DN**2 + found.level_dn - BLACK) ** 0.5, rel=0.08)


def test_detail_is_not_called_noise():
    """Texture as fine as the sites, far above the noise, leaves nothing flat."""
    assert detail.noise(shot(blur_px=0.0, median_dn=2000.0)) is None


def test_codes_coarser_than_the_noise_tell_nothing_of_it():
    assert detail.noise(shot(median_dn=1.0, read_dn=0.2)) is None


def test_noise_cut_off_at_zero_tells_nothing():
    assert detail.noise(shot(black=0.0)) is None


def test_a_clipped_frame_tells_nothing():
    clipped = trace.measure(np.full((SIDE, SIDE), int(WHITE), np.uint16), "RGGB", (BLACK,) * 4, (WHITE,) * 4)
    assert detail.noise(clipped) is None
    assert detail.sharpness(clipped) is None


@pytest.mark.parametrize("seed", range(3))
def test_sharpness_falls_with_every_blur_of_a_scene(seed):
    found = [detail.sharpness(shot(seed=seed, blur_px=blur_px, median_dn=500.0)) for blur_px in (1.0, 2.0, 6.0)]
    for sharper, softer in pairwise(found):
        assert sharper.value - softer.value > 3 * np.hypot(sharper.se, softer.se)
    assert found[-1].value < 0.5 * found[0].value


@pytest.mark.parametrize("seed", range(3))
def test_two_exposures_of_a_scene_are_equally_sharp(seed):
    short, long = (detail.sharpness(shot(seed=seed, median_dn=median_dn)) for median_dn in (9.0, 900.0))
    assert abs(long.value - short.value) < 4 * np.hypot(long.se, short.se)
    assert long.value == pytest.approx(short.value, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("blur_px", [0.0, 2.0])
def test_noise_does_not_sharpen(seed, blur_px):
    clean, noisy = (detail.sharpness(shot(seed=seed, blur_px=blur_px, read_dn=read)) for read in (0.5, 6.0))
    assert abs(noisy.value - clean.value) < 4 * np.hypot(noisy.se, clean.se)


def test_a_frame_of_noise_has_no_sharpness():
    codes = np.random.default_rng(0).normal(700, 15, (SIDE, SIDE)).round().astype(np.uint16)
    assert detail.sharpness(trace.measure(codes, "RGGB", (BLACK,) * 4, (WHITE,) * 4)) is None


@pytest.mark.parametrize("code", [0, 512, 700, 65535])
def test_a_frame_of_one_code_tells_nothing(code):
    found = trace.measure(np.full((SIDE, SIDE), code, np.uint16), "RGGB", (BLACK,) * 4, None)
    assert (detail.noise(found), detail.sharpness(found)) == (None, None)


def test_a_frame_too_small_for_coarse_detail_has_no_sharpness():
    codes = np.random.default_rng(0).normal(700, 15, (256, 256)).round().astype(np.uint16)
    assert detail.sharpness(trace.measure(codes, "RGGB", (BLACK,) * 4, (WHITE,) * 4)) is None
