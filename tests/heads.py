"""Heads of raw files, built byte by byte: TIFF, CR3 and RAF with the tags given, and as good as no pixels."""

import struct

ASCII, SHORT, LONG, RATIONAL, FLOAT, DOUBLE = 2, 3, 4, 5, 11, 12
_FORMATS = {SHORT: "H", LONG: "I", RATIONAL: "II", FLOAT: "f", DOUBLE: "d"}
WIDTH, HEIGHT, MAKE, MODEL, ORIENTATION, DATE_TIME, EXIF_IFD = 256, 257, 271, 272, 274, 306, 34665
EXPOSURE, F_NUMBER, ISO, SOS, REI = 33434, 33437, 34855, 34865, 34866
ORIGINAL, OFFSET_ORIGINAL, SHUTTER_SPEED, FOCAL = 36867, 36881, 37377, 37386
SUBSEC_ORIGINAL, SERIAL, LENS, UNIQUE_MODEL = 37521, 42033, 42036, 50708


def ifd(entries: dict, start: int) -> bytes:
    """One little-endian IFD that lies at byte `start` of its file: {tag: (type, value)}; `b"..."` is text."""
    data_at = start + 2 + 12 * len(entries) + 4
    rows, data = b"", b""
    for tag, (kind, value) in sorted(entries.items()):
        if kind == ASCII:
            packed, count = value + b"\0", len(value) + 1
        else:
            parts = value if isinstance(value, tuple) else (value,)
            packed, count = struct.pack(f"<{_FORMATS[kind]}", *parts), 1
        if len(packed) > 4:
            place = struct.pack("<I", data_at + len(data))
            data += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        rows += struct.pack("<HHI", tag, kind, count) + place
    return struct.pack("<H", len(entries)) + rows + bytes(4) + data


def tiff(image: dict, exif: dict | None = None) -> bytes:
    """A TIFF header with IFD0 and, below it, an Exif IFD."""
    head = b"II*\0\x08\0\0\0"
    if exif is None:
        return head + ifd(image, 8)
    link = {EXIF_IFD: (LONG, 0)}
    start = 8 + len(ifd(image | link, 8))
    return head + ifd(image | {EXIF_IFD: (LONG, start)}, 8) + ifd(exif, start)


def box(kind: bytes, content: bytes, *, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content
    return struct.pack(">I4s", len(content) + 8, kind) + content


def cr3(image: dict, exif: dict, *, wide: bool = False) -> bytes:
    """A CR3 whose last 64 bytes are its media."""
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    blocks = box(b"CNCV", bytes(30)) + box(b"CMT1", tiff(image)) + box(b"CMT2", tiff(exif))
    other = box(b"uuid", bytes(16) + blocks)
    moov = box(b"moov", box(b"mvhd", bytes(8)) + other + box(b"uuid", canon + blocks), wide=wide)
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"free", bytes(5)) + moov + box(b"mdat", bytes(64))


def raf(image: dict, exif: dict, size: tuple[int, int] = (8, 12)) -> bytes:
    """A RAF that states a height and width; its last 64 bytes are its pixels."""
    app1 = b"Exif\0\0" + tiff(image, exif)
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + b"\xff\xd9"
    sensor = struct.pack(">I4H2H", 2, 0x8200, 0, 0x100, 4, *size)
    pixels_at = 148 + len(jpeg) + len(sensor)
    places = struct.pack(">6I", 148, len(jpeg), 148 + len(jpeg), len(sensor), pixels_at, 64)
    return b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + places.ljust(64, b"\0") + jpeg + sensor + bytes(64)


IMAGE = {MAKE: (ASCII, b"Canon"), MODEL: (ASCII, b"Canon EOS 90D  "), ORIENTATION: (SHORT, 8)}
EXIF = {
    EXPOSURE: (RATIONAL, (1, 30)),
    F_NUMBER: (RATIONAL, (28, 10)),
    ISO: (SHORT, 1600),
    FOCAL: (RATIONAL, (35, 1)),
    ORIGINAL: (ASCII, b"2026:03:01 21:04:05"),
    SUBSEC_ORIGINAL: (ASCII, b"07"),
    OFFSET_ORIGINAL: (ASCII, b"-08:30"),
    SERIAL: (ASCII, b"042"),
    LENS: (ASCII, b"EF 35mm"),
}
