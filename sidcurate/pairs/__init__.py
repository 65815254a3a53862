"""Captures -> scenes, pairs, and a split of them; and what the pixels of a pair say."""
