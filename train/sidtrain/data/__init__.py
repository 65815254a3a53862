"""The pairs of a manifest -> patches: decoded once, cut, normalized and fed."""
