"""What the pixels of a pair say: gain, zero, shift, motion and focus, from the trace that each frame leaves."""

from sidcurate.align.estimates import Estimate
from sidcurate.align.facts import PairFacts, measure_pair

__all__ = ["Estimate", "PairFacts", "measure_pair"]
