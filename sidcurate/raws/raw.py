"""Raw file -> visible mosaic and what is declared about the sensor, by LibRaw; and LibRaw's rendering of a mosaic.

LibRaw is native code fed with foreign files: call `read` and `render` in a worker that may die. A decode that succeeds
proves nothing; `levels` measures whether the pixels are whole.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import rawpy
from jaxtyping import UInt16

from sidcurate import memory
from sidcurate.errors import UnreadableRawError
from sidcurate.raws import misnamed
from sidcurate.raws.dng import SensorTags, sensor_tags
from sidcurate.raws.extent import extent_at
from sidcurate.raws.sensor import Sensor, camera_white_balance, color_indices, declared_sensor

LIBRAW: Final = ".".join(map(str, rawpy.libraw_version))

# Codecs that LibRaw, as rawpy ships it, does not have: TIFF compression -> name.
_MISSING_CODECS = {9: "GoPro VC-5", 52546: "JPEG XL"}
# A header may ask for so many pixels even where the file has lost nearly all of them (a second, 0.2 GB: the measures
# tell what is missing), for more only in a file that could hold them, and never for more than any sensor has. No codec
# has left a picture where there are not even so many bytes: a head without its pixels.
_FREE_PIXELS, _PIXELS_A_BYTE, _MOST_PIXELS, _LOST_PIXELS_A_BYTE = 100_000_000, 16, 500_000_000, 64
LARGEST = 0xFFFFFFFF
"""No number of a header is so large: this part of a rational stands for infinity or unknown, and more for damage."""
EMPTY = "the file is empty; copy it again from the card"
_THRESHOLD_OFF, _DEFAULT_THRESHOLD = 1e-5, 0.75  # LibRaw's own constants for `adjust_maximum_thr`.
LEAST_XTRANS_PX = 512  # The tile of LibRaw's X-Trans interpolation: it renders no smaller side.
_ORIENTATIONS = {3: 3, 5: 8, 6: 6}  # LibRaw's flip -> EXIF; its 0 is "as stored" and "not stated" alike.


@dataclass(frozen=True)
class LibrawReadings:
    """What LibRaw reads from the header; None for the zeros and the year 1970 that it gives for "unknown"."""

    exposure_time_s: float | None = None
    iso: float | None = None
    f_number: float | None = None
    focal_length_mm: float | None = None
    captured_at: datetime | None = None
    orientation: int | None = None


@dataclass(frozen=True)
class RawFrame:
    """One decoded raw. The mosaic is the visible area in DN; None for a raw with several values a pixel.

    `missing_fraction` is the share of the bytes of its pixels that the file does not hold; None where nothing tells.
    """

    mosaic: UInt16[np.ndarray, "h w"] | None
    sensor: Sensor
    readings: LibrawReadings
    missing_fraction: float | None


def read(path: Path) -> RawFrame:
    """Return the visible mosaic of a raw file, what is declared about its sensor, and LibRaw's header readings.

    Rows of a DNG that its file does not hold are zero.

    Raises:
        UnreadableRawError: the file cannot be decoded; the message holds LibRaw's own reason.
        MemoryError: this process may not have as much memory as that takes.
    """
    return decode(_content(path), path.name)


def decode(content: bytes, name: str) -> RawFrame:
    """Return what `read` does of the bytes of a file.

    Raises:
        UnreadableRawError: as `read`.
    """
    with _decoded(content, name) as raw:
        tags = sensor_tags(content)
        if tags:
            raw.raw_image[tags.whole_rows :] = 0  # LibRaw leaves there what its memory held: another picture, maybe.
        flat = raw.raw_type == rawpy.RawType.Flat
        mosaic = raw.raw_image_visible.copy() if flat else None  # The view dies with the reader.
        extent = tags.extent if tags else extent_at(lambda start, count: content[start : start + count], len(content))
        return RawFrame(mosaic, declared_sensor(raw, content[:4], tags), _readings(raw), extent.missing_fraction)


@dataclass(frozen=True)
class Rendering:
    """LibRaw's rendering of a mosaic, and what it depended on.

    Attributes:
        image: sRGB of 16 bits, aligned with the mosaic.
        white_balance: multipliers for R, G, B with G = 1; None where the file states none and LibRaw chose its own.
        maximum_adjusted: LibRaw took the maximum of the picture itself for white.
    """

    image: UInt16[np.ndarray, "h w 3"]
    white_balance: tuple[float, ...] | None
    maximum_adjusted: bool


def render(
    path: Path,
    mosaic: UInt16[np.ndarray, "h w"] | None = None,
    *,
    adjust_maximum_thr: float,
    white_balance: Sequence[float] | None = None,
) -> Rendering:
    """Return LibRaw's rendering as SID makes its targets: sRGB of 16 bits, no auto-brightness, aligned with the mosaic.

    Args:
        path: raw file whose levels, matrix and white balance are used.
        mosaic: pixels to render instead of the file's own, of the visible area, in DN.
        adjust_maximum_thr: LibRaw's threshold above which it takes the maximum of the picture itself for white. SID has
            LibRaw's default 0.75; 0.0 makes the scale independent of the picture.
        white_balance: multipliers for R, G, B; the camera's by default.

    Raises:
        UnreadableRawError: the file cannot be decoded, is an X-Trans frame under 512 px a side, or its rendering is not
            aligned with its mosaic.
    """
    content = _content(path)
    return rendered(content, path.name, mosaic, adjust_maximum_thr=adjust_maximum_thr, white_balance=white_balance)


def rendered(
    content: bytes,
    name: str,
    mosaic: UInt16[np.ndarray, "h w"] | None = None,
    *,
    adjust_maximum_thr: float,
    white_balance: Sequence[float] | None = None,
) -> Rendering:
    """Return what `render` does of the bytes of a file.

    Raises:
        UnreadableRawError: as `render`.
    """
    with _decoded(content, name) as raw:
        visible = raw.raw_image_visible
        if mosaic is not None:
            _require_shape(name, "the mosaic to render", mosaic.shape, visible.shape)
            visible[...] = mosaic
        _require_renderable(name, raw)
        used = tuple(white_balance) if white_balance else camera_white_balance(raw)
        adjusted = _maximum_is_adjusted(raw, adjust_maximum_thr)
        red, green, blue = white_balance or (0.0, 0.0, 0.0)
        image = raw.postprocess(
            use_camera_wb=white_balance is None,
            user_wb=[red, green, blue, green] if white_balance else None,
            adjust_maximum_thr=adjust_maximum_thr,
            no_auto_bright=True,
            output_bps=16,
            user_flip=0,  # Otherwise LibRaw turns the picture by the orientation tag, but never the mosaic.
            half_size=False,
        )
        _require_shape(name, "LibRaw's rendering", image.shape[:2], visible.shape[:2])
        return Rendering(image, used, adjusted)


def _require_renderable(name: str, raw: rawpy.RawPy) -> None:
    height, width = raw.raw_image_visible.shape[:2]
    is_xtrans = raw.raw_pattern is not None and raw.raw_pattern.shape == (6, 6)
    if is_xtrans and min(height, width) < LEAST_XTRANS_PX:
        raise UnreadableRawError(
            f"{name}: LibRaw renders X-Trans from {LEAST_XTRANS_PX} px a side on, this frame has "
            f"{width}x{height}; leave it out"
        )


def _maximum_is_adjusted(raw: rawpy.RawPy, threshold: float) -> bool:
    """Return whether LibRaw will take the largest value above black for white: above its threshold and below white.

    LibRaw compares in single precision, and takes a threshold of 0 for "never" and of 1 for its default.
    """
    if raw.raw_type != rawpy.RawType.Flat or threshold < _THRESHOLD_OFF:
        return False
    black, pixels = np.asarray(raw.black_level_per_channel, np.int64), raw.raw_image_visible
    colors = color_indices(raw)
    rows, columns = colors.shape
    # Rows first: along a row the values lie side by side.
    by_column = [pixels[row::rows].max(axis=0) for row in range(rows)]
    largest = max(
        int(by_column[row][column::columns].max()) - int(black[colors[row, column]])
        for row, column in np.ndindex(rows, columns)
    )
    white = raw.white_level - int(black[np.unique(colors)].min())
    share = np.float32(_DEFAULT_THRESHOLD if threshold > 1 - _THRESHOLD_OFF else threshold)
    return bool(np.float32(white) * share < np.float32(largest) < np.float32(white))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableRawError(
            f"{path.name} cannot be read ({error.strerror}); copy it again from the card"
        ) from error


@contextmanager
def _decoded(content: bytes, name: str) -> Iterator[rawpy.RawPy]:
    # LibRaw reads the bytes and opens nothing: by a name it would look for pictures beside the file too.
    try:
        with rawpy.imread(io.BytesIO(content)) as raw:
            tags = sensor_tags(content)
            sides = raw.sizes.raw_width, raw.sizes.raw_height
            if why := (tags and missing_codec(tags)) or why_implausible(*sides, len(content)):
                raise UnreadableRawError(f"{name} cannot be decoded: {why}")
            with memory.cleared():
                raw.unpack()  # Any other call would do it too, but hide its error behind "out of order".
            yield raw
    # Rarely a fault of the file (one in 9,000 damaged ones): the next ingest tries again.
    except (rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawMemPoolOverflowError) as error:
        raise MemoryError(f"{name} cannot be decoded: LibRaw got no more memory") from error
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise UnreadableRawError(f"{name} cannot be decoded: {_reason(content, error)}") from error
    except NotImplementedError as error:  # rawpy's word for a pattern that it does not know.
        raise UnreadableRawError(
            f"{name} cannot be decoded: its color filter array is none that LibRaw knows ({error}); convert it to DNG"
        ) from error


def missing_codec(tags: SensorTags) -> str | None:
    """Return that LibRaw cannot read the pixels of a DNG, where it has no codec for them."""
    codec = _MISSING_CODECS.get(tags.compression)
    return f"LibRaw cannot read {codec}; convert it to a DNG with lossless JPEG compression" if codec else None


def why_implausible(width: int, height: int, size_bytes: int) -> str | None:
    """Return why a file cannot hold the pixels that its header states; None where it can.

    Asked before anything is unpacked for them.
    """
    most = min(_MOST_PIXELS, max(_FREE_PIXELS, _PIXELS_A_BYTE * size_bytes), _LOST_PIXELS_A_BYTE * size_bytes)
    if width * height <= most:
        return None
    return (
        f"its header states {width}x{height} pixels, but the file has {size_bytes} bytes; copy it again from the card"
    )


def _reason(content: bytes, error: Exception) -> str:
    if not content:
        return EMPTY
    if kind := misnamed.kind_of(lambda start, count: content[start : start + count]):
        return misnamed.in_words(kind)
    own = error.args[0] if error.args else type(error).__name__
    words = own.decode(errors="replace") if isinstance(own, bytes) else str(own)
    tags = sensor_tags(content)
    if tags and (why := missing_codec(tags)):
        return why
    early = "the file ends early: " if isinstance(error, rawpy.LibRawIOError) else ""
    return f"{early}LibRaw says {words!r}; copy it again from the card, or convert it to DNG"


def _require_shape(name: str, what: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(shape) != tuple(expected):
        raise UnreadableRawError(
            f"{name}: {what} is {shape[1]}x{shape[0]}, the visible mosaic {expected[1]}x{expected[0]}; "
            "such a raw cannot be aligned, leave it out"
        )


def _readings(raw: rawpy.RawPy) -> LibrawReadings:
    other = raw.other
    return LibrawReadings(
        exposure_time_s=_known(other.shutter_speed),
        iso=_known(other.iso_speed),
        f_number=_known(other.aperture),
        focal_length_mm=_known(other.focal_length),
        captured_at=other.timestamp if other.timestamp and other.timestamp.year > 1970 else None,
        orientation=_ORIENTATIONS.get(raw.sizes.flip),
    )


def _known(value: float) -> float | None:
    return value if 0 < value < LARGEST else None
