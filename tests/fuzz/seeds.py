"""The whole files that are damaged: synthetic DNG, CR3 and RAF, and the real raws where they are."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np

from sidcurate import tiff
from sidcurate.synthetic.dng import DngTags, write_dng
from sidcurate.tiff import LONG, SHORT
from tests import heads
from tests.test_raw import bare_dng

SHARED = Path(__file__).resolve().parents[3] / "shared" / "raws"
_LARGEST_REAL = 4 << 20
_COMPRESSIONS = (1, 7, 8, 9, 34892, 52546, 32773, 34713, 65000)
_TAGS = DngTags(
    serial="7",
    lens_model="50mm",
    exposure_time_s=Fraction(1, 10),
    f_number=Fraction(4),
    iso=800,
    focal_length_mm=Fraction(50),
    captured_at=datetime(2026, 3, 1, 21),
    utc_offset_min=60,
)


def synthetic() -> dict[str, bytes]:
    """Return small whole files by a name with their suffix."""
    found = {"head.cr3": heads.cr3(heads.IMAGE, heads.EXIF), "wide.cr3": heads.cr3(heads.IMAGE, heads.EXIF, wide=True)}
    found |= {"head.raf": heads.raf(heads.IMAGE, heads.EXIF), "head.nef": heads.tiff(heads.IMAGE, heads.EXIF)}
    found["head.arw"] = heads.tiff(heads.IMAGE | {heads.MAKE: (heads.ASCII, b"SONY")}, heads.EXIF)
    with tempfile.TemporaryDirectory() as folder:
        found |= dict(_dngs(Path(folder)))
    return found


def _dngs(folder: Path) -> Iterator[tuple[str, bytes]]:
    mosaic = np.random.default_rng(0).integers(500, 4000, (64, 96), dtype=np.uint16)
    path = folder / "any.dng"
    for cfa in ("RGGB", "GBRG", None):
        image = mosaic if cfa else np.stack([mosaic] * 3, axis=-1)
        write_dng(path, image, DngTags(**{**vars(_TAGS), "cfa": cfa}))
        yield f"{cfa or 'linear'}.dng", path.read_bytes()
    area = tiff.numbers(50829, LONG, 2, 4, 62, 94)
    strips = [tiff.numbers(278, LONG, 32), tiff.numbers(279, LONG, 6144, 6144)]
    for compression in _COMPRESSIONS:
        bare_dng(path, mosaic, "RGGB", area, *strips, tiff.numbers(259, SHORT, compression))
        yield f"compression{compression}.dng", path.read_bytes()


def real() -> dict[str, bytes]:
    """Return the real raws by name, of the large ones the beginning; none where they are not."""
    files = sorted(SHARED.rglob("*")) if SHARED.is_dir() else []
    raws = (path for path in files if path.is_file() and path.suffix != ".md")
    return {path.relative_to(SHARED).as_posix(): path.read_bytes()[:_LARGEST_REAL] for path in raws}
