"""Curate short/long raw pairs of a camera into manifests that keep a promise."""

__version__ = "0.1.0"
