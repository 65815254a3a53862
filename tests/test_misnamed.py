"""What only has the name of a raw is told by its content; what may be a raw is never called anything else."""

from pathlib import Path

import pytest

from sidcurate.raws import misnamed
from tests.heads import EXIF, IMAGE, box, cr3, raf, tiff

JPEG = b"\xff\xd8\xff\xe1\0\x08Exif\0\0"


def kind_of(content: bytes) -> str | None:
    return misnamed.kind_of(lambda start, count: content[start : start + count])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (JPEG + b"\xff\xdb", "a JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG"),
        (box(b"ftyp", b"heic\0\0\0\0"), "a HEIC picture"),
        (box(b"ftyp", b"isom\0\0\2\0"), "a video (MP4 or MOV)"),
        (b"PK\x03\x04" + bytes(99), "a ZIP archive"),
        ("<x:xmpmeta> für Nächte".encode(), "text"),
    ],
)
def test_what_is_no_raw_is_named(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind
    assert f"it is {kind} by its content" in misnamed.in_words(kind)


@pytest.mark.parametrize(
    "content",
    [b"", tiff(IMAGE, EXIF), cr3(IMAGE, EXIF), raf(IMAGE, EXIF), b"FOVb\0\0\2\0", JPEG + b"\0\0", bytes(range(256))],
    ids=["empty", "tiff", "cr3", "raf", "x3f", "kodak", "unknown"],
)
def test_what_may_be_a_raw_is_not(content: bytes) -> None:
    assert kind_of(content) is None


@pytest.mark.shared
def test_no_real_raw_is_called_anything_else(shared: Path) -> None:
    named = {path.name: kind_of(path.read_bytes()) for path in (shared / "raws").rglob("*.*") if path.suffix != ".md"}
    assert len(named) > 40
    assert {name: kind for name, kind in named.items() if kind} == {"jpeg_named.CR2": "a JPEG", "text.NEF": "text"}
