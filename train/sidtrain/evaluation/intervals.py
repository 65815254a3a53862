"""Means over scenes with what is known about them: an interval, the count, and a verdict only where it holds.

The scene is the unit: the shorts of one scene share its target and are no independent samples. Up to 19 scenes the
interval is Student's t, because a bootstrap of so few covers far less than it says; from 20 on it is a percentile
bootstrap, which asks nothing of the distribution.
"""

import math
from collections.abc import Mapping
from statistics import stdev
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import ndtr, stdtrit

from sidcurate.counted import counted
from sidcurate.schemas import described

CONFIDENCE: Final = 0.95
# Below this many scenes a t interval is wider than any effect worth a sentence: the scenes themselves are shown.
MIN_SCENES: Final = 5
BOOTSTRAP_SCENES: Final = 20
_RESAMPLES, _SEED = 10_000, 0

Method = Literal["t", "bootstrap"]


class Estimate(BaseModel):
    """A mean over scenes. Infinite values (equal pictures) are written as the string "Infinity"."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    mean: float = described("Mean over the scenes.")
    low: float | None = described(f"Lower end of the {CONFIDENCE:.0%} interval; null under {MIN_SCENES} scenes.")
    high: float | None = described(f"Upper end of the {CONFIDENCE:.0%} interval; null under {MIN_SCENES} scenes.")
    method: Method | None = described(
        f"Student's t, or a percentile bootstrap from {BOOTSTRAP_SCENES} scenes on; null without an interval.",
        default=None,
    )
    n: int = described("Number of scenes.", "scene", ge=1)
    by_scene: dict[str, float] = described("The value of each scene.")

    def words(self, number: str) -> str:
        """Return the mean, and behind it the interval where there is one, each number in a format such as '.2f'."""
        mean = f"{self.mean:{number}}"
        return mean if self.low is None else f"{mean} [{self.low:{number}}, {self.high:{number}}]"


def estimate(by_scene: Mapping[str, float]) -> Estimate:
    """Return the mean over scenes with its two-sided interval.

    Args:
        by_scene: one value a scene, at least one.

    >>> estimate({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}).low.__round__(3)
    1.037
    """
    ordered = dict(sorted(by_scene.items()))
    values, n = list(ordered.values()), len(ordered)
    mean = sum(values) / n
    if n < MIN_SCENES or not math.isfinite(mean):
        return Estimate(mean=mean, low=None, high=None, n=n, by_scene=ordered)
    low, high = _bootstrap(values) if n >= BOOTSTRAP_SCENES else _student(values)
    method: Method = "bootstrap" if n >= BOOTSTRAP_SCENES else "t"
    return Estimate(mean=mean, low=low, high=high, method=method, n=n, by_scene=ordered)


def _student(values: list[float]) -> tuple[float, float]:
    n, mean = len(values), sum(values) / len(values)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def _bootstrap(values: list[float]) -> tuple[float, float]:
    """Return percentiles of the means of resampled scenes: the same values give the same ends.

    Plain percentiles of 20 scenes cover 92 or 93 %. The tails are those of Hesterberg's expanded percentile interval
    ("What Teachers Should Know About the Bootstrap", 2015), which cover what Student's t does where that holds.
    """
    n = len(values)
    tail = float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + CONFIDENCE) / 2)))
    drawn = np.random.default_rng(_SEED).integers(n, size=(_RESAMPLES, n))
    low, high = np.quantile(np.asarray(values)[drawn].mean(axis=1), (tail, 1 - tail))
    return float(low), float(high)


def paired_difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Estimate:
    """Return the estimate of ours less theirs, scene by scene; two equal pictures differ by 0.

    Args:
        ours: one value a scene.
        theirs: the same scenes.
    """
    return estimate({scene: 0.0 if ours[scene] == theirs[scene] else ours[scene] - theirs[scene] for scene in ours})


def verdict(difference: Estimate, unit: str = "") -> str | None:
    """Return what a paired difference shows, in words; None where there are too few scenes to say.

    >>> verdict(estimate({"a": 3.0, "b": 2.5, "c": 3.5, "d": 3.0, "e": 3.0}), "dB")
    'better by 3.00 dB [2.56, 3.44], n = 5 scenes'
    """
    if difference.low is None or difference.high is None:
        return None
    digits = 2 if unit == "dB" else 3  # As in the tables: what differs from nothing must not look like it.
    low, high, size = difference.low, difference.high, difference.mean
    if low <= 0 <= high:
        word, shown = "no difference shown:", f"{size:+.{digits}f}"
    elif size > 0:
        word, shown = "better by", f"{size:.{digits}f}"
    else:
        word, shown = "worse by", f"{-size:.{digits}f}"
        low, high = -high, -low
    quantity = f"{shown} {unit}".rstrip()
    return f"{word} {quantity} [{low:.{digits}f}, {high:.{digits}f}], n = {counted(difference.n, 'scene')}"
