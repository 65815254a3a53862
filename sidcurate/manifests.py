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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sidcurate import screening
from sidcurate.durable import sync_folder, write_whole
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.rows import Rows, arrow_schema, table_of
from sidcurate.schemas import RECORDS, SCHEMA_VERSION, Capture, Finding, Pair, Record, Unpaired

if TYPE_CHECKING:
    import pandas as pd

SUMS = "SHA256SUMS"
_START_AGAIN = "move the folder away and run `sidcurate ingest` again"
_JUDGED = b"sidcurate.judged"

R = TypeVar("R", bound=Record)
Given: TypeAlias = "Sequence[Record] | pa.Table"


@dataclass(frozen=True)
class Manifest:
    """All tables of one device, verified. `judged` says what the findings were made from; None before `validate`."""

    directory: Path
    tables: Mapping[type[Record], pa.Table]
    judged: Mapping[str, Any] | None
    sums: Mapping[str, str]

    @cached_property
    def captures(self) -> Sequence[Capture]:
        """The captures as records. Making these takes a second for 30,000 rows; `rows` reads a table by column."""
        return self.rows(Capture).records()

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """The pairs as records."""
        return self.rows(Pair).records()

    @cached_property
    def unpaired(self) -> Sequence[Unpaired]:
        """The captures in no pair, as records."""
        return self.rows(Unpaired).records()

    @cached_property
    def findings(self) -> Sequence[Finding]:
        """The findings as records."""
        return self.rows(Finding).records()

    def rows(self, model: type[R]) -> Rows[R]:
        """Return the rows of one table, to be read by column."""
        return Rows.of(model, self.tables[model])

    @property
    def device(self) -> str:
        """Slug of the camera: the name of the manifest's folder."""
        return self.directory.name


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
    found = {model: _read(directory / _file_name(model), sums) for model in RECORDS}
    findings = found[Finding]
    footer = None if findings is None else (findings.schema.metadata or {}).get(_JUDGED)
    return Manifest(
        directory=directory,
        tables={model: _strict(table, model, directory) for model, table in found.items()},
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


def save(directory: Path, tables: Mapping[type[Record], Given], judged: Mapping[str, Any] | None = None) -> None:
    """Commit new tables together; tables that are not named stay as they are.

    Args:
        directory: folder of the manifest, made if it is missing.
        tables: records by their model, in the order in which they are to stand, or a table of the model's schema.
        judged: what the findings were made from; goes into the footer of findings.parquet.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _only_writer(directory):
        sums = dict(_committed(directory)) if (directory / SUMS).exists() else {}
        _sweep(directory)
        for model, given in tables.items():
            content = _parquet_bytes(model, given, judged if model is Finding else None)
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


def _parquet_bytes(model: type[Record], given: Given, judged: Mapping[str, Any] | None) -> bytes:
    metadata = None if judged is None else {_JUDGED: json.dumps(judged, sort_keys=True).encode()}
    table = given if isinstance(given, pa.Table) else table_of(model, given)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _read(path: Path, sums: Mapping[str, str]) -> pa.Table | None:
    if path.name not in sums:
        return None
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{path} is not a readable Parquet file ({error}); {_START_AGAIN}") from error
    return table


def _strict(table: pa.Table | None, model: type[Record], directory: Path) -> pa.Table:
    """Return a table of which every row keeps what its record promises."""
    if table is None:
        return arrow_schema(model).empty_table()
    where = directory / _file_name(model)
    versions = _versions(table)
    if table.num_rows and versions != {SCHEMA_VERSION}:
        raise IntegrityError(
            f"{where} has schema version {versions.pop()}, this sidcurate reads {SCHEMA_VERSION}: "
            "upgrade it (`pip install -U sidcurate`)"
        )
    strict, breach = screening.strict(table, model)
    if breach:
        raise IntegrityError(
            f"{where} breaks its schema at row {breach.row}, field {breach.field}: {breach.reason}; {_START_AGAIN}"
        )
    return strict


def _versions(table: pa.Table) -> set[Any]:
    """Return the schema versions that the rows of a table name; None where they name none."""
    if table.column_names.count("schema_version") != 1:
        return {None}
    column = table.column("schema_version")
    return set(column.unique().to_pylist()) if pa.types.is_integer(column.type) else {str(column.type)}


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
