"""What the pixels of a pair say, from the trace of each frame: gain, zero, shift, motion, focus; and of one frame."""

from sidcurate.align.estimates import Estimate
from sidcurate.align.facts import PairFacts, measure_pair

__all__ = ["Estimate", "PairFacts", "measure_pair"]
