"""Pictures of 16 bits a channel, decoded here from the bytes by what the two formats say."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sidcurate import rgb16
from sidcurate.errors import UsageError


def picture(height: int = 130, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (height, width, 3), dtype=np.uint16)


def decoded_png(content: bytes) -> np.ndarray:
    """Decode a PNG whose rows are all filtered by the pixel on the left; check every checksum."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    kinds = []
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        kind, payload = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", content, at + 8 + size)[0] == zlib.crc32(kind + payload)
        kinds.append(kind)
        if kind == b"IHDR":
            width, height, *rest = struct.unpack(">2I5B", payload)
            assert rest == [16, 2, 0, 0, 0]
        data += payload if kind == b"IDAT" else b""
        at += 12 + size
    assert (kinds[:2], kinds[-1]) == ([b"IHDR", b"sRGB"], b"IEND")
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 6 * width)
    assert np.all(rows[:, 0] == 1)
    pixels = rows[:, 1:].reshape(height, width, 6).cumsum(axis=1, dtype=np.uint8)
    return pixels.view(">u2")


def decoded_tiff(path) -> np.ndarray:
    with Image.open(path) as image:
        tags = dict(image.tag_v2)
    assert tags[258] == (16, 16, 16)
    pixels = np.frombuffer(path.read_bytes(), "<u2", offset=tags[273][0], count=tags[279][0] // 2)
    return pixels.reshape(tags[257], tags[256], 3)


@pytest.mark.parametrize("shape", [(130, 7), (64, 5), (1, 1)])
def test_a_png_holds_the_picture(tmp_path, shape):
    rgb16.write(tmp_path / "a.png", picture(*shape))
    assert np.array_equal(decoded_png((tmp_path / "a.png").read_bytes()), picture(*shape))


@pytest.mark.parametrize("name", ["a.tif", "A.TIFF"])
def test_a_tiff_holds_the_picture(tmp_path, name):
    rgb16.write(tmp_path / name, picture())
    assert np.array_equal(decoded_tiff(tmp_path / name), picture())


def test_a_tiff_states_all_that_a_baseline_file_of_rgb_does(tmp_path):
    rgb16.write(tmp_path / "a.tif", picture())
    with Image.open(tmp_path / "a.tif") as image:
        assert {256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 283, 296} <= set(image.tag_v2)
        assert image.info["dpi"] == (300, 300)


def test_a_view_is_written_as_it_lies(tmp_path):
    turned = picture().swapaxes(0, 1)[::-1]
    for name, decode in (("a.png", lambda path: decoded_png(path.read_bytes())), ("a.tif", decoded_tiff)):
        rgb16.write(tmp_path / name, turned)
        assert np.array_equal(decode(tmp_path / name), turned)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_pillow_sees_the_upper_eight_bits(tmp_path, name):
    smooth = np.linspace(0, 65535, 64 * 48 * 3).reshape(64, 48, 3).astype(np.uint16)
    rgb16.write(tmp_path / name, smooth)
    with Image.open(tmp_path / name) as image:
        assert image.size == (48, 64)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - smooth // 256).max() <= 1


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.dng"])
def test_another_suffix_is_refused_and_nothing_written(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.png, \.tif, \.tiff"):
        rgb16.write(tmp_path / name, picture())
    assert not list(tmp_path.iterdir())
