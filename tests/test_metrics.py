import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sidcurate.errors import UsageError
from sidtrain import metrics

# What scikit-image calls our variants.
ORACLE = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform7": {},
}


def oracle_ssim(output, target, variant):
    pictures = (np.clip(output, 0, 1).astype(np.float64), target.astype(np.float64))
    return structural_similarity(*pictures, channel_axis=-1, data_range=1, **ORACLE[variant])


def structured(height, width, seed=0):
    """Smooth shapes with flat black and flat white areas, where sums of squares cancel worst."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.random((height, width, 3)), (6, 6, 0))
    return np.clip(0.5 + 12 * (smooth - smooth.mean()), 0, 1).astype(np.float32)


def noisy(target, sigma=0.05, seed=1):
    noise = np.random.default_rng(seed).normal(0, sigma, target.shape)
    return (target + noise).astype(np.float32)


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
@pytest.mark.parametrize("shape", [(11, 11), (12, 200), (131, 97), (97, 58), (26, 49), (64, 106)])
def test_ssim_is_that_of_scikit_image_at_any_size(variant, shape):
    target = structured(*shape)
    assert metrics.ssim(noisy(target), target, variant) == pytest.approx(
        oracle_ssim(noisy(target), target, variant), abs=1e-9
    )


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
@pytest.mark.parametrize("sigma", [0.002, 0.02, 0.5])
def test_ssim_is_that_of_scikit_image_on_flat_bright_areas(variant, sigma):
    target = np.full((80, 120, 3), 0.9, np.float32)
    target[:, 60:] = 0.1
    assert metrics.ssim(noisy(target, sigma), target, variant) == pytest.approx(
        oracle_ssim(noisy(target, sigma), target, variant), abs=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(11, 70), st.integers(11, 70), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_ssim_is_that_of_scikit_image_on_random_pictures(height, width, channels, seed):
    output, target = np.random.default_rng(seed).random((2, height, width, channels), dtype=np.float32)
    for variant in metrics.SSIM_VARIANTS:
        assert metrics.ssim(output, target, variant) == pytest.approx(oracle_ssim(output, target, variant), abs=1e-9)


def test_the_variants_of_ssim_differ():
    target = structured(60, 60)
    values = {metrics.ssim(noisy(target), target, variant) for variant in metrics.SSIM_VARIANTS}
    assert len({round(value, 3) for value in values}) == len(metrics.SSIM_VARIANTS)


def test_psnr_is_that_of_scikit_image_after_the_clip():
    target = structured(133, 71)
    output = noisy(target, sigma=0.3)
    expected = peak_signal_noise_ratio(
        target.astype(np.float64), np.clip(output, 0, 1).astype(np.float64), data_range=1
    )
    assert metrics.psnr_db(output, target) == pytest.approx(expected, abs=1e-5)


def test_psnr_of_random_pictures_is_that_of_float_arithmetic():
    # Two independent uniform variables differ by 1/6 in the mean of squares; wrapped uint8 would give 27.9 dB.
    output, target = np.random.default_rng(0).random((2, 400, 400, 3), dtype=np.float32)
    assert metrics.psnr_db(output, target) == pytest.approx(10 * math.log10(6), abs=0.05)


def test_equal_pictures_have_infinite_psnr_and_an_ssim_of_one():
    target = structured(40, 40)
    assert metrics.psnr_db(target, target) == math.inf
    for variant in metrics.SSIM_VARIANTS:
        assert metrics.ssim(target, target, variant) == pytest.approx(1, abs=1e-12)


def test_a_picture_smaller_than_the_window_is_refused():
    small = np.zeros((10, 30, 3), np.float32)
    with pytest.raises(UsageError, match="at least 11x11 px; this one is 10x30"):
        metrics.ssim(small, small)


@pytest.mark.parametrize("metric", [metrics.psnr_db, metrics.ssim])
def test_pictures_of_two_sizes_are_refused(metric):
    with pytest.raises(UsageError, match=r"\(20, 20, 3\) .* \(20, 22, 3\)"):
        metric(np.zeros((20, 20, 3), np.float32), np.zeros((20, 22, 3), np.float32))


def test_ssim_needs_a_few_megabytes_whatever_the_size():
    output, target = np.random.default_rng(0).random((2, 1500, 2000, 3), dtype=np.float32)
    tracemalloc.start()
    metrics.ssim(output, target)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6 < output.nbytes
