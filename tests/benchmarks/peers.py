"""What ingest and the store are compared with; imports no more than that, for workers load it as they start."""

from pathlib import Path

import exifread
import numpy as np
import rawpy
from jaxtyping import UInt16

PERCENTILES = (0, 0.1, 1, 50, 99, 99.9, 100)


def unpack(path: Path) -> int:
    """Decode the pixels, and nothing else."""
    with rawpy.imread(str(path)) as raw:
        raw.unpack()
        return int(raw.raw_image_visible[0, 0])


def naive(path: Path) -> tuple[str, list[list[float]]]:
    """What a script written in an afternoon does for each file."""
    with path.open("rb") as stream:
        tags = exifread.process_file(stream)
    with rawpy.imread(str(path)) as raw:
        mosaic, white = raw.raw_image_visible.copy(), raw.white_level
    return str(tags.get("EXIF ExposureTime")), statistics(mosaic, white)


def prepare(path: Path, kept: Path | None = None) -> None:
    """Render a long frame or read the mosaic of a short one, as ports of SID do; keep it, when told where."""
    with rawpy.imread(str(path)) as raw:
        if path.stem.endswith("_10s"):
            pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16)
        else:
            pixels = raw.raw_image_visible.copy()
    if kept:
        np.save(kept / path.stem, pixels)


def statistics(mosaic: UInt16[np.ndarray, "h w"], white: float) -> list[list[float]]:
    """Return percentiles, mean and clipped share of each channel."""
    found = []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        channel = mosaic[row::2, column::2].astype(np.float32)
        found.append([*np.percentile(channel, PERCENTILES), channel.mean(), (channel >= white).mean()])
    return found
