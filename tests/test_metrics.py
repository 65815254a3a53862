import math
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sidcurate.errors import UsageError
from sidtrain.evaluation import metrics, similarity

# What scikit-image calls our variants.
ORACLE = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform7": {},
}


def oracle_ssim(output, target, variant):
    pictures = (np.clip(output, 0, 1).astype(np.float64), target.astype(np.float64))
    if variant == "matlab":
        return volume_ssim(*pictures)
    return structural_similarity(*pictures, channel_axis=-1, data_range=1, **ORACLE[variant])


def volume_ssim(x, y):
    """The definition, written out: a Gaussian over a volume whose edges are repeated."""
    mean = partial(gaussian_filter, sigma=1.5, radius=5, mode="nearest")
    x_mean, y_mean = mean(x), mean(y)
    luminance = (2 * x_mean * y_mean + 1e-4) / (x_mean**2 + y_mean**2 + 1e-4)
    covariance = mean(x * y) - x_mean * y_mean
    variances = mean(x * x) - x_mean**2 + mean(y * y) - y_mean**2
    return (luminance * (2 * covariance + 9e-4) / (variances + 9e-4)).mean()


PROMISED = 1e-6


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
def test_ssim_is_that_of_its_oracle_at_any_size(variant, shape):
    target = structured(*shape)
    assert metrics.ssim(noisy(target), target, variant) == pytest.approx(
        oracle_ssim(noisy(target), target, variant), abs=PROMISED
    )


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
@pytest.mark.parametrize("sigma", [0.002, 0.02, 0.5])
def test_ssim_is_that_of_its_oracle_on_flat_bright_areas(variant, sigma):
    target = np.full((80, 120, 3), 0.9, np.float32)
    target[:, 60:] = 0.1
    assert metrics.ssim(noisy(target, sigma), target, variant) == pytest.approx(
        oracle_ssim(noisy(target, sigma), target, variant), abs=PROMISED
    )


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
@pytest.mark.parametrize("cast", [(1, 1, 1), (0.2, 1, 0.7)])
def test_ssim_of_a_drawing_is_that_of_its_oracle_though_all_its_rounding_errors_are_alike(variant, cast):
    target = np.full((200, 500, 3), 0.9, np.float32)
    target[:, 210:] = 0.1
    output = np.float32(0.9) * target * np.float32(cast)
    assert metrics.ssim(output, target, variant) == pytest.approx(oracle_ssim(output, target, variant), abs=3e-6)


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
@pytest.mark.parametrize("level", [0.02, 0.5, 0.98])
def test_ssim_of_a_nearly_flat_picture_loses_nothing_to_its_brightness(variant, level):
    flat = np.full((150, 160, 3), level, np.float32)
    stripes = np.float32(0.03) * (np.arange(160) // 3 % 2)[:, None].astype(np.float32)
    for output, target in ((noisy(flat, 0.03), flat), (flat - stripes, flat - np.roll(stripes, 2, axis=0))):
        target = np.clip(target, 0, 1)
        assert metrics.ssim(output, target, variant) == pytest.approx(
            oracle_ssim(output, target, variant), abs=PROMISED / 3
        )


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
def test_ssim_takes_double_precision_too_and_pictures_that_no_copy_made_dense(variant):
    target = structured(150, 160)
    output = noisy(target)
    expected = oracle_ssim(output, target, variant)
    assert metrics.ssim(output.astype(np.float64), target.astype(np.float64), variant) == pytest.approx(
        expected, abs=PROMISED
    )
    assert metrics.ssim(output[::-1, ::-1], target[::-1, ::-1], variant) == pytest.approx(expected, abs=PROMISED)


def test_a_tile_at_the_edge_knows_nothing_of_the_tile_before():
    window = metrics._window("gaussian")
    used, fresh = similarity.Tiles(window, 3), similarity.Tiles(window, 3)
    broken = np.full((similarity.ROWS + 10, similarity.COLUMNS + 10, 3), np.nan, np.float32)
    assert math.isnan(used.similarity_sum(broken, broken))
    target = structured(47, 53)
    assert used.similarity_sum(noisy(target), target) == fresh.similarity_sum(noisy(target), target)


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
def test_ssim_is_that_of_its_oracle_where_tiles_meet(variant):
    rows, columns = similarity.ROWS, similarity.COLUMNS
    for height, width in (
        (rows + 11, columns + 11),
        (40, columns + 10),
        (rows + 10, 40),
        (2 * rows + 50, columns + 75),
    ):
        target = structured(height, width)
        expected = oracle_ssim(noisy(target), target, variant)
        assert metrics.ssim(noisy(target), target, variant) == pytest.approx(expected, abs=PROMISED)


def test_ssim_is_the_same_to_the_last_bit_whichever_thread_is_first():
    target = structured(300, 500)
    assert len({metrics.ssim(noisy(target), target) for _ in range(10)}) == 1


@settings(max_examples=25)
@given(st.integers(11, 70), st.integers(11, 70), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_ssim_is_that_of_its_oracle_on_random_pictures(height, width, channels, seed):
    output, target = np.random.default_rng(seed).random((2, height, width, channels), dtype=np.float32)
    for variant in metrics.SSIM_VARIANTS:
        assert metrics.ssim(output, target, variant) == pytest.approx(
            oracle_ssim(output, target, variant), abs=PROMISED
        )


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


def test_random_pictures_score_what_they_deserve_in_float_and_a_good_mark_in_wrapped_bytes():
    # Two independent uniform variables differ by 1/6 in the mean of squares. In bytes any difference is as likely as
    # any other, and its square, of which the lowest 8 bits are left, is about 105 on average.
    output, target = np.random.default_rng(0).random((2, 400, 400, 3), dtype=np.float32)
    assert metrics.psnr_db(output, target) == pytest.approx(10 * math.log10(6), abs=0.05)
    wrapped = metrics.wrapped_psnr_db(metrics.eight_bit(output), metrics.eight_bit(target))
    differences = np.arange(256)
    assert wrapped == pytest.approx(10 * math.log10(255**2 / (differences**2 % 256).mean()), abs=0.02)
    assert wrapped == pytest.approx(27.9, abs=0.05)


def test_the_wrapped_figure_is_never_below_the_true_one():
    target = structured(50, 60)
    for sigma in (0.002, 0.02, 0.2, 0.6):
        pictures = [metrics.eight_bit(picture) for picture in (noisy(target, sigma), target)]
        true = peak_signal_noise_ratio(pictures[1], pictures[0])
        assert metrics.wrapped_psnr_db(*pictures) >= true - 1e-9
    assert metrics.wrapped_psnr_db(pictures[0], pictures[0]) == math.inf


def test_eight_bits_are_rounded_half_up_after_the_clip():
    values = np.array([[[-0.2, 0, 0.5 / 255, 1.49 / 255, 1, 1.7]]], np.float32)
    assert metrics.eight_bit(values).ravel().tolist() == [0, 0, 1, 1, 255, 255]


def test_gray_is_the_luma_of_bt601():
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert metrics.gray(colors).ravel().tolist() == [76, 150, 29, 255]


def test_color_gains_take_a_cast_off_and_are_the_best_there_are():
    target = 0.8 * structured(60, 70)
    cast = target / np.float32([2, 1, 1.25])
    gains = metrics.color_gains(cast, target)
    assert gains == pytest.approx([2, 1, 1.25], rel=1e-5)
    assert metrics.psnr_db(cast, target) < 20 < 90 < metrics.psnr_db(cast, target, gains)
    rough = noisy(cast, 0.02).clip(0, 0.4)
    best = metrics.psnr_db(rough, target, metrics.color_gains(rough, target))
    for change in ([1.01, 1, 1], [1, 0.99, 1], [1, 1, 1.01]):
        assert best > metrics.psnr_db(rough, target, metrics.color_gains(rough, target) * change)


def test_a_black_picture_has_gains_of_one():
    black = np.zeros((4, 5, 3), np.float32)
    assert metrics.color_gains(black, black + 0.5).tolist() == [1, 1, 1]


def test_equal_pictures_have_infinite_psnr_and_an_ssim_of_one():
    target = structured(40, 40)
    assert metrics.psnr_db(target, target) == math.inf
    for variant in metrics.SSIM_VARIANTS:
        assert metrics.ssim(target, target, variant) == pytest.approx(1, abs=1e-12)


def test_a_picture_smaller_than_the_window_is_refused():
    small = np.zeros((10, 30, 3), np.float32)
    with pytest.raises(UsageError, match="at least 11x11 px; this one is 10x30"):
        metrics.ssim(small, small)


@pytest.mark.parametrize("metric", [metrics.psnr_db, metrics.ssim, metrics.color_gains, metrics.wrapped_psnr_db])
def test_pictures_of_two_sizes_are_refused(metric):
    with pytest.raises(UsageError, match=r"\(20, 20, 3\) .* \(20, 22, 3\)"):
        metric(np.zeros((20, 20, 3), np.float32), np.zeros((20, 22, 3), np.float32))


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
def test_ssim_needs_a_few_megabytes_whatever_the_size(variant):
    output, target = np.random.default_rng(0).random((2, 1500, 2000, 3), dtype=np.float32)
    tracemalloc.start()
    metrics.ssim(output, target, variant)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6 < output.nbytes
