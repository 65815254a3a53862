"""The entries of a store: decoded pixels as `.npy`, and beside each the record that commits it.

A file's name is the hash of what it was made from, which its record repeats, with the hash of the file itself. The
record is written last: pixels without one are what a killed build left, and are made again.
"""

import errno
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from sidcurate.errors import IntegrityError
from sidcurate.schemas import Floats, described
from sidcurate.storage.durable import open_bounded, read_bounded, whole_file, write_whole

DELETE = "delete it, and the next training decodes it anew"
NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]+\.(npy|json)")
_MOST_RECORD_BYTES = 1 << 16


class RenderingRecord(BaseModel):
    """What the rendering of a long frame depended on."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    white_balance: Floats | None = described("Multipliers for R, G, B with G = 1; null: LibRaw chose its own.")
    maximum_adjusted: bool = described("Whether LibRaw took the maximum of the picture itself for white.")


class EntryRecord(BaseModel):
    """What is kept beside the pixels."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    made_from: dict[str, JsonValue] = described("What the pixels are a function of; its hash is the file's name.")
    sha256: str = described("SHA-256 of the file of pixels.")
    size_bytes: int = described("Size of that file.", "bytes")
    rendering: RenderingRecord | None = described("What a rendering depended on; null for packed planes.")
    seal: str = described("SHA-256 of this record with nothing in this place.", default="")


def key(made_from: Mapping[str, Any]) -> str:
    """Return the name of what is made from something, without its endings."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def record_path(pixels: Path) -> Path:
    """Return where the record of a file of pixels stands."""
    return pixels.with_suffix(".json")


def is_complete(pixels: Path) -> bool:
    """Return whether an entry was written to its end."""
    return pixels.is_file() and record_path(pixels).is_file()


def found(store: Path) -> tuple[list[Path], list[Path]]:
    """Return the pixels of each entry of a store, and what stands there of entries that are not complete, sorted."""
    ours = sorted(path for path in store.glob("*.*.*") if _NAME.fullmatch(path.name))
    pixels = [path for path in ours if path.suffix == ".npy" and is_complete(path)]
    whole = {*pixels, *map(record_path, pixels)}
    return pixels, [path for path in ours if path not in whole]


def write(
    pixels: Path, array: UInt16[np.ndarray, "..."], made_from: Mapping[str, Any], rendering: RenderingRecord | None
) -> None:
    """Write an entry: its pixels, then its record.

    Raises:
        MissingResourceError: the disk is full, or refuses.
    """
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    parts = header.getbuffer(), array.reshape(-1).view(np.uint8).data
    with ThreadPoolExecutor(1) as beside:  # It hashes while the disk takes the pixels.
        digest = beside.submit(_sha256, parts)
        with whole_file(pixels) as stream:
            stream.writelines(parts)
    size, made = sum(part.nbytes for part in parts), json.loads(json.dumps(made_from))
    record = EntryRecord(made_from=made, sha256=digest.result(), size_bytes=size, rendering=rendering)
    write_whole(record_path(pixels), _sealed(record))


def read(pixels: Path, shape: Sequence[int] | None = None) -> tuple[UInt16[np.ndarray, "..."], EntryRecord]:
    """Return the pixels of an entry, memory-mapped, with its record; everything is checked but the hash of the pixels.

    Args:
        pixels: file of the pixels.
        shape: that they must have.

    Raises:
        IntegrityError: the record or the pixels are damaged, or are not those of the name.
        OSError: the system lets this process open no more files.
    """
    record = _record(pixels)
    try:
        array = np.load(pixels, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy leaks the errors of its parsers, down to tokenize's
        if isinstance(error, OSError) and error.errno in NO_MORE_FILES:
            raise
        raise _damaged(pixels, str(error) or type(error).__name__) from error
    wanted = array.shape if shape is None else tuple(shape)
    if array.dtype != np.uint16 or array.shape != wanted:
        raise _damaged(pixels, f"it holds {array.dtype} of {array.shape}, not uint16 of {wanted}")
    if pixels.stat().st_size != record.size_bytes:
        raise _damaged(pixels, f"it has {pixels.stat().st_size} bytes, {record.size_bytes} were written")
    return array, record


def check(pixels: Path) -> None:
    """Hash the pixels of an entry, and look at all that `read` looks at.

    Raises:
        IntegrityError: as `read`, or the hash is another one.
    """
    _, record = read(pixels)
    with open_bounded(pixels, record.size_bytes) as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != record.sha256:
            raise _damaged(pixels, "its SHA-256 is not the one in its record")


def _sha256(parts: Sequence[memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _record(pixels: Path) -> EntryRecord:
    path = record_path(pixels)
    content = read_bounded(path, _MOST_RECORD_BYTES)
    try:
        record = EntryRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing" and _is_unsealed(content):
            raise IntegrityError(f"{path} was written by an older version of sidcurate; {DELETE}") from error
        field = ".".join(map(str, first["loc"])) or "content"
        raise _damaged(path, f"{field}: {first['msg']}") from error
    if content != _sealed(record):
        raise _damaged(path, "it is not as it was written")
    if key(record.made_from) != pixels.name.partition(".")[0]:
        raise _damaged(path, "its name is not the hash of what it says that the pixels were made from")
    return record


def _is_unsealed(content: bytes) -> bool:
    """Return whether a record is one of before records said what the pixels were made from, and had a seal."""
    return b'"sha256"' in content and not any(name in content for name in (b'"made_from"', b'"seal"'))


def _sealed(record: EntryRecord) -> bytes:
    content = record.model_copy(update={"seal": ""}).model_dump_json().encode()
    seal = hashlib.sha256(content).hexdigest()
    return record.model_copy(update={"seal": seal}).model_dump_json().encode()


def _damaged(path: Path, fault: str) -> IntegrityError:
    return IntegrityError(f"{path} is damaged ({fault}); {DELETE}")
