"""Manifests: the Parquet tables of one device, committed together by their `SHA256SUMS`.

`SHA256SUMS` is the commit point. New tables are staged beside the old ones under names that carry their hash, then
`SHA256SUMS` is replaced in one rename, then the staged files take their names. A reader that finds an old table under a
new sum finishes the renames; one that finds neither refuses. Parquet's page checksums do not cover the footer, so every
read verifies the sum of the whole file.
"""

import fcntl
import hashlib
import io
import json
import os
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from sidcurate.durable import sync_folder, write_whole
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.schemas import RECORDS, SCHEMA_VERSION, Capture, Finding, Pair, Record, Unpaired

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    import pandas as pd

SUMS = "SHA256SUMS"
_START_AGAIN = "move the folder away and run `sidcurate ingest` again"
_JUDGED = b"sidcurate.judged"
_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us")}

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Manifest:
    """All tables of one device, verified. `judged` says what the findings were made from; None before `validate`."""

    directory: Path
    captures: Sequence[Capture]
    pairs: Sequence[Pair]
    unpaired: Sequence[Unpaired]
    findings: Sequence[Finding]
    judged: Mapping[str, Any] | None
    sums: Mapping[str, str]

    @property
    def device(self) -> str:
        """Slug of the camera: the name of the manifest's folder."""
        return self.directory.name


def arrow_schema(model: type[Record]) -> pa.Schema:
    """Return the one Arrow schema of a record's table, made from the model's fields."""
    return pa.schema([pa.field(name, _arrow_type(field.annotation)) for name, field in model.model_fields.items()])


def _arrow_type(annotation: Any) -> pa.DataType:  # noqa: ANN401 - an annotation has no narrower type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _arrow_type(next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]))
    if hasattr(annotation, "__metadata__"):  # Annotated[...]
        return _arrow_type(arguments[0])
    if annotation in _ARROW_TYPES:
        return _ARROW_TYPES[annotation]
    return _ARROW_TYPES[type(arguments[0])]  # Literal["a", "b"]


def directories(root: Path) -> list[Path]:
    """Return the manifests under a folder, one a device, sorted by name."""
    return sorted(path.parent for path in root.glob(f"*/{SUMS}"))


def find(root: Path, device: str) -> Path:
    """Return the folder of a device's manifest.

    Raises:
        UsageError: no manifest of that device; the message names those that exist.
    """
    directory = root / device
    if directory not in directories(root):
        known = ", ".join(path.name for path in directories(root)) or "none"
        raise UsageError(
            f"no manifest of device {device!r} under {root} (there: {known}); "
            f"run `sidcurate ingest FOLDER --device {device}`"
        )
    return directory


def load(directory: Path) -> Manifest:
    """Return the verified tables of one manifest folder.

    Raises:
        IntegrityError: a table is torn, changed, missing or of a newer schema.
    """
    sums = _committed(directory)
    tables = {model.table: _read(directory / _file_name(model), sums) for model in RECORDS}
    footer = (tables["findings"].schema.metadata or {}).get(_JUDGED) if tables["findings"] is not None else None
    return Manifest(
        directory=directory,
        captures=_records(tables["captures"], Capture, directory),
        pairs=_records(tables["pairs"], Pair, directory),
        unpaired=_records(tables["unpaired"], Unpaired, directory),
        findings=_records(tables["findings"], Finding, directory),
        judged=json.loads(footer) if footer else None,
        sums=sums,
    )


def frame(directory: Path, model: type[Record]) -> "pd.DataFrame":
    """Return one verified table as a DataFrame, for a notebook; integers that may be unknown stay integers.

    Raises:
        IntegrityError: the table is torn, changed or missing.
    """
    import pandas as pd  # 0.4 s that no verb needs

    table = _read(directory / _file_name(model), _committed(directory))
    if table is None:
        raise IntegrityError(f"{directory} has no table of {model.table}; {_START_AGAIN}")
    nullable = {pa.int64(): pd.Int64Dtype()}
    found: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return found


def save(
    directory: Path, tables: Mapping[type[Record], Iterable[Record]], judged: Mapping[str, Any] | None = None
) -> None:
    """Commit new tables together; tables that are not named stay as they are.

    Args:
        directory: folder of the manifest, made if it is missing.
        tables: records by their model, in the order in which they are to stand.
        judged: what the findings were made from; goes into the footer of findings.parquet.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _only_writer(directory):
        sums = dict(_committed(directory)) if (directory / SUMS).exists() else {}
        _sweep(directory)
        for model, records in tables.items():
            content = _parquet_bytes(model, records, judged if model is Finding else None)
            name = _file_name(model)
            sums[name] = hashlib.sha256(content).hexdigest()
            write_whole(_staged(directory, name, sums[name]), content)
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        write_whole(directory / SUMS, lines.encode())
        _roll_forward(directory, sums)


@contextmanager
def _only_writer(directory: Path) -> Iterator[None]:
    """Wait until no other process commits here; the lock goes with its process, however that ends. Local disks only."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parquet_bytes(model: type[Record], records: Iterable[Record], judged: Mapping[str, Any] | None) -> bytes:
    schema = arrow_schema(model)
    if judged is not None:
        schema = schema.with_metadata({_JUDGED: json.dumps(judged, sort_keys=True).encode()})
    table = pa.Table.from_pylist([record.model_dump() for record in records], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _read(path: Path, sums: Mapping[str, str]) -> pa.Table | None:
    if path.name not in sums:
        return None
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{path} is not a readable Parquet file ({error}); {_START_AGAIN}") from error


def _records(table: pa.Table | None, model: type[R], directory: Path) -> list[R]:
    if table is None:
        return []
    where = directory / _file_name(model)
    versions = set(table.column("schema_version").to_pylist()) if "schema_version" in table.column_names else {None}
    if table.num_rows and versions != {SCHEMA_VERSION}:
        raise IntegrityError(
            f"{where} has schema version {versions.pop()}, this sidcurate reads {SCHEMA_VERSION}: "
            "upgrade it (`pip install -U sidcurate`)"
        )
    try:
        return TypeAdapter(list[model]).validate_python(table.to_pylist())  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        raise IntegrityError(
            f"{where} breaks its schema at row {first['loc'][0]}, field {first['loc'][-1]}: {first['msg']}; "
            + _START_AGAIN
        ) from error


def _committed(directory: Path) -> dict[str, str]:
    """Return the sums of the last commit, after finishing its renames and checking every table against them."""
    path = directory / SUMS
    try:
        rows = [line.split("  ", 1) for line in path.read_text().splitlines()]
        sums = {name: digest for digest, name in rows}
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} cannot be read ({error}); {_START_AGAIN}") from error
    if foreign := set(sums) - {_file_name(model) for model in RECORDS}:
        raise IntegrityError(
            f"{path} names {foreign.pop()!r}, which this version does not know; if a newer sidcurate wrote it, upgrade "
            f"(`pip install -U sidcurate`), else {_START_AGAIN}"
        )
    if not sums:
        raise IntegrityError(f"{path} is empty; {_START_AGAIN}")
    _roll_forward(directory, sums)
    for name, digest in sums.items():
        table = directory / name
        if not table.is_file() or sha256_of(table) != digest:
            raise IntegrityError(
                f"{table} is damaged or was changed by hand: its SHA-256 is not the one in {SUMS}; {_START_AGAIN}"
            )
    return sums


def _roll_forward(directory: Path, sums: Mapping[str, str]) -> None:
    for name, digest in sums.items():
        staged = _staged(directory, name, digest)
        if staged.exists():
            staged.replace(directory / name)
            sync_folder(directory)


def _sweep(directory: Path) -> None:
    """Remove what a writer that died before its commit has staged."""
    for model in RECORDS:
        for staged in directory.glob(f".{_file_name(model)}.*"):
            staged.unlink()


def _file_name(model: type[Record]) -> str:
    return f"{model.table}.parquet"


def _staged(directory: Path, name: str, digest: str) -> Path:
    return directory / f".{name}.{digest}"
