"""What the pixels of a pair say: gain, zero, shift, motion and focus, from the trace that each frame leaves."""

from sidcurate.align.estimates import Estimate
from sidcurate.align.facts import LEAST_SIGNAL, SAME_SCENE_CORRELATION, PairFacts, measure_pair

__all__ = ["LEAST_SIGNAL", "SAME_SCENE_CORRELATION", "Estimate", "PairFacts", "measure_pair"]
