"""Raws -> a manifest: in one go, in shards, on a cluster, from headers or from lists."""
