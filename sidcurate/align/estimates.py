"""A measured value and its standard error."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Estimate(NamedTuple):
    """A measured value and its standard error, in the same unit."""

    value: float
    se: float

    def widened(self, error: float) -> "Estimate":
        """Return the same value with another, independent error added to its own."""
        return Estimate(self.value, math.hypot(self.se, error))


def jackknifed_ratio(numerators: Float64[np.ndarray, " n"], denominators: Float64[np.ndarray, " n"]) -> Estimate | None:
    """Return the ratio of two sums over parts of the frame, its error from leaving out one part at a time.

    None where the denominators do not add up to something positive without each part.
    """
    without = denominators.sum() - denominators
    if len(without) < 2 or without.min() <= 0:
        return None
    ratios = (numerators.sum() - numerators) / without
    se = ((len(ratios) - 1) * ratios.var()) ** 0.5
    return Estimate(float(numerators.sum() / denominators.sum()), float(se))
