import math

import numpy as np
import pytest
from scipy import stats

from sidtrain.evaluation.intervals import Estimate, estimate, paired_difference, verdict


def scenes(values):
    return {f"scene{number}": value for number, value in enumerate(values)}


@pytest.mark.parametrize("n", [5, 6, 19])
def test_up_to_19_scenes_the_interval_is_students_t(n):
    values = np.random.default_rng(n).normal(28, 3, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    result = estimate(scenes(values.tolist()))
    assert (result.mean, result.low, result.high) == pytest.approx((values.mean(), low, high))
    assert (result.n, result.method) == (n, "t")


def test_from_20_scenes_on_it_is_a_bootstrap_over_scenes_the_same_each_time():
    values = np.random.default_rng(3).exponential(3, 20)
    result = estimate(scenes(values.tolist()))
    means = [np.random.default_rng(seed).choice(values, 20).mean() for seed in range(20_000)]
    # Of 20 scenes, Hesterberg's tails for 95 % are 0.016 and not 0.025.
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(means, (0.016, 0.984))), rel=0.02)
    assert result.method == "bootstrap"
    assert estimate(scenes(values.tolist())) == result
    assert result.high - result.mean > result.mean - result.low, "as skewed as the values are"


def test_where_students_t_holds_the_bootstrap_says_the_same():
    values = stats.norm.ppf((np.arange(20) + 0.5) / 20)
    result = estimate(scenes(values.tolist()))
    assert (result.low, result.high) == pytest.approx(stats.t.interval(0.95, 19, scale=stats.sem(values)), rel=0.02)


def test_the_bootstrap_covers_the_truth_as_often_as_it_says():
    samples = np.random.default_rng(7).normal(0, 1, (800, 20))
    results = [estimate(scenes(sample)) for sample in samples.tolist()]
    assert np.mean([result.low <= 0 <= result.high for result in results]) == pytest.approx(0.95, abs=0.02)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    samples = np.random.default_rng(7).normal(0, 1, (2000, 6))
    results = [estimate(scenes(sample)) for sample in samples.tolist()]
    covered = np.mean([result.low <= 0 <= result.high for result in results])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_under_five_scenes_there_are_the_scenes_and_no_interval():
    result = estimate({"b": 2.0, "a": 1.0, "c": 3.0, "d": 4.0})
    assert (result.mean, result.low, result.high, result.method, result.n) == (2.5, None, None, None, 4)
    assert list(result.by_scene.items()) == [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]
    assert verdict(result, "dB") is None


def test_a_difference_is_paired_by_scene():
    hard, easy = np.array([10.0, 15.0, 20.0, 25.0, 30.0]), 3.0
    difference = paired_difference(scenes(hard + easy), scenes(hard))
    assert (difference.low, difference.high) == pytest.approx((3, 3))  # unpaired, it would be wider than 10 dB


@pytest.mark.parametrize(
    ("values", "unit", "words"),
    [
        ([3.0, 2.5, 3.5, 3.0, 3.0], "dB", "better by 3.00 dB [2.56, 3.44], n = 5 scenes"),
        ([-3.0, -2.5, -3.5, -3.0, -3.0], "dB", "worse by 3.00 dB [2.56, 3.44], n = 5 scenes"),
        ([1.0, -1.0, 2.0, -2.0, 0.5], "dB", "no difference shown: +0.10 dB [-1.88, 2.08], n = 5 scenes"),
        ([0.02, 0.03, 0.04, 0.03, 0.03], "dB", "better by 0.03 dB [0.02, 0.04], n = 5 scenes"),
        ([0.01, 0.02, 0.015, 0.015, 0.015], "", "better by 0.015 [0.011, 0.019], n = 5 scenes"),
    ],
)
def test_a_verdict_says_what_the_interval_shows(values, unit, words):
    assert verdict(estimate(scenes(values)), unit) == words


def test_infinite_values_survive_json_and_have_no_interval():
    result = estimate(scenes([math.inf, 30.0, 31.0, 32.0, 33.0]))
    assert (result.mean, result.low) == (math.inf, None)
    assert "Infinity" in result.model_dump_json()
    assert Estimate.model_validate_json(result.model_dump_json()) == result


def test_two_equal_pictures_differ_by_nothing():
    assert paired_difference({"a": math.inf}, {"a": math.inf}).mean == 0
