"""What a file is that has the name of a raw and is none, told by how it begins."""

from sidcurate.raws.directories import Read

_JPEG_HEAD, _BYTES = b"\xff\xd8\xff", 512
_HEADS = {
    b"\x89PNG\r\n\x1a\n": "a PNG",
    b"GIF8": "a GIF",
    b"8BPS": "a Photoshop picture",
    b"RIFF": "a WebP picture or an AVI video",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
}
# An ISO-BMFF file names its kind (ISO/IEC 14496-12, 4.3); Canon's raws are `crx `.
_CANON_RAW = b"crx "
_PICTURES = {b"avif": "an AVIF picture", **dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1"), "a HEIC picture")}
# What no text has, and every raw within its first bytes.
_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\n\f\r"))


def kind_of(read: Read) -> str | None:
    """Return what a file is, in words; None for all that may be a raw, and for an empty one."""
    head = read(0, _BYTES)
    if head.startswith(_JPEG_HEAD):
        return "a JPEG" if _is_plain_jpeg(read) else None
    if head[4:8] == b"ftyp":
        return None if head[8:12] == _CANON_RAW else _PICTURES.get(head[8:12], "a video (MP4 or MOV)")
    if head and len(head.translate(None, _CONTROLS)) == len(head):
        return "text"
    return next((kind for magic, kind in _HEADS.items() if head.startswith(magic)), None)


def in_words(kind: str) -> str:
    """Return what such a file is and what to do about it."""
    return f"it is {kind} by its content, no raw; copy the raw of this name from the card, or set the camera to raw"


def _is_plain_jpeg(read: Read) -> bool:
    """Tell a JPEG from the raws of old Kodaks, which have pixels where a second segment of a JPEG would start."""
    size = int.from_bytes(read(4, 2), "big")
    return read(4 + size, 1) == b"\xff"
