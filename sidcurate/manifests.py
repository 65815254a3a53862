"""Manifests: the Parquet tables of one device, committed together by their `SHA256SUMS` (see `commits`).

Parquet's page checksums do not cover the footer, so every read verifies the sum of the whole file too.
"""

import hashlib
import json
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from sidcurate.errors import IntegrityError, UsageError
from sidcurate.schemas import RECORDS, SCHEMA_VERSION, SHARDS, Capture, Finding, Pair, Record, Unpaired
from sidcurate.source import FILE as SOURCE
from sidcurate.source import Source, content
from sidcurate.storage import commits
from sidcurate.tables import bounded, screening
from sidcurate.tables.bounded import Packed
from sidcurate.tables.rows import Rows, arrow_schema, table_of

if TYPE_CHECKING:
    import pandas as pd

SUMS = commits.RECORD
SHARD = "shard.json"
"""Stands beside captures that are but a part of a manifest: see `shards`."""
FILES = tuple(f"{model.table}.parquet" for model in RECORDS)
_JUDGED = b"sidcurate.judged"

R = TypeVar("R", bound=Record)
Given: TypeAlias = "Sequence[Record] | pa.Table | Packed"


@dataclass(frozen=True)
class Manifest:
    """All tables of one device, verified. `judged` says what the findings were made from; None before `validate`."""

    directory: Path
    tables: Mapping[type[Record], pa.Table | Packed]
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


class _Judged(BaseModel):
    """What the footer of the findings must have, beside whatever else `validate` says."""

    model_config = ConfigDict(extra="allow", strict=True)

    sums: dict[str, str]


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
        if (parts := shards_folder(directory)).is_dir():
            raise UsageError(f"no manifest of device {device!r} under {root}, but its shards: {_merge(parts)}")
        known = ", ".join(path.name for path in directories(root)) or "none"
        raise UsageError(
            f"no manifest of device {device!r} under {root} (there: {known}); "
            f"run `sidcurate ingest FOLDER --device {shlex.quote(device)}`, or name another folder with --manifests"
        )
    return directory


def shards_folder(directory: Path) -> Path:
    """Return where the shards of a manifest lie: beside it, under a name that no device has."""
    return directory.with_name(f"{directory.name}{SHARDS}")


def _merge(parts: Path) -> str:
    return f"when all are finished, run `sidcurate manifest merge {parts}/*`"


def _silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def load(directory: Path, progress: Callable[[str, int, int], None] = _silent) -> Manifest:
    """Return the verified tables of one manifest folder; they stay packed, and are decoded where they are read.

    Args:
        directory: folder of the manifest.
        progress: called with the stage in words, the count done in it and the count to do.

    Raises:
        UsageError: the folder is a shard, or holds no manifest.
        IntegrityError: a table is torn, changed, missing or of a newer schema.
    """
    return of_commit(directory, commit(directory), progress)


def commit(directory: Path) -> commits.Commit:
    """Return the verified bytes of one manifest folder; errors as `load`."""
    if (directory / SHARD).exists():
        raise UsageError(f"{directory} is a shard, not yet a manifest: {_merge(directory.parent)}")
    if not any((directory / name).exists() for name in (SUMS, *FILES)):
        raise UsageError(f"{directory} holds no manifest; name the folder of one, such as manifests/canon90d")
    return commits.read(directory, FILES)


def of_commit(directory: Path, commit: commits.Commit, progress: Callable[[str, int, int], None] = _silent) -> Manifest:
    """Return the tables of a commit whose bytes are verified.

    Raises:
        IntegrityError: a table is no table of ours, or of a newer schema.
    """
    found = {model: _packed(directory, commit, model) for model in RECORDS}
    return Manifest(
        directory=directory,
        tables={model: strict(table, model, progress) for model, table in found.items()},
        judged=_judged(found[Finding], directory),
        sums=commit.sums,
    )


def frame(directory: Path, model: type[Record]) -> "pd.DataFrame":
    """Return one verified table as a DataFrame, for a notebook; integers that may be unknown stay integers.

    Raises:
        UsageError: as `load`.
        IntegrityError: the table is torn, changed or missing.
    """
    import pandas as pd  # 0.4 s that no verb needs

    packed = _packed(directory, commit(directory), model)
    if packed is None:
        raise IntegrityError(f"{directory} has no table of {model.table}; {commits.START_AGAIN}")
    nullable = {pa.int64(): pd.Int64Dtype()}
    found: pd.DataFrame = bounded.parse(packed.where, packed.content).to_pandas(types_mapper=nullable.get)
    return found


def save(
    directory: Path,
    rows: Mapping[type[Record], Given],
    judged: Mapping[str, Any] | None = None,
    *,
    based_on: Mapping[str, str | None] | None = None,
    source: Source | None = None,
) -> None:
    """Commit new tables together; tables that are not named stay as they are.

    Args:
        directory: folder of the manifest, made if it is missing.
        rows: records by their model, in the order in which they are to stand, or a table of the model's schema, which
            `tables.written` may have packed.
        judged: what the findings were made from; goes into the footer of findings.parquet.
        based_on: what `based_on` returns of the tables that the rows were made from.
        source: what is known of the raws on this machine, where that is new; committed with the tables.

    Raises:
        UsageError: another process has committed others of these tables since.
        IntegrityError: what stands there is damaged; nothing is overwritten.
        MissingResourceError: the disk is full, or refuses; the manifest is what it was, or the new one.
    """
    files = {
        _file_name(model): parquet_bytes(model, given, judged if model is Finding else None)
        for model, given in rows.items()
    }
    beside = {SOURCE: content(source)} if source else None
    commits.replace(directory, FILES, files, based_on, beside)


def based_on(manifest: Manifest | None, *models: type[Record]) -> dict[str, str | None]:
    """Return what must still stand when rows are saved that were made from some tables of a manifest.

    Args:
        manifest: as it was read; None where there was none.
        models: those whose tables were used.
    """
    return {_file_name(model): manifest.sums.get(_file_name(model)) if manifest else None for model in models}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parquet_bytes(model: type[Record], given: Given, judged: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes of the Parquet file of one table, as for `save`."""
    if isinstance(given, Packed):
        return given.content
    metadata = None if judged is None else {_JUDGED: json.dumps(judged, sort_keys=True).encode()}
    table = given if isinstance(given, pa.Table) else table_of(model, given)
    table = table.replace_schema_metadata(metadata)
    return bounded.written(table.schema, [table])


def strict(
    packed: Packed | None, model: type[Record], progress: Callable[[str, int, int], None] = _silent
) -> pa.Table | Packed:
    """Return a table of which every row keeps what its record promises, in the schema of its model.

    Raises:
        IntegrityError: a row does not, or the bytes are no Parquet file of ours.
    """
    if packed is None:
        return arrow_schema(model).empty_table()
    parts = _strict_parts(packed, model, progress)
    as_model = packed.schema.equals(arrow_schema(model))
    if as_model or not packed.num_rows:
        deque(parts, maxlen=0)  # Every part is checked all the same.
        return packed if as_model else arrow_schema(model).empty_table()
    return Packed(packed.where, bounded.written(arrow_schema(model), parts))


def _strict_parts(packed: Packed, model: type[Record], progress: Callable[[str, int, int], None]) -> Iterator[pa.Table]:
    done = 0
    for batch in packed.batches():
        yield _strict_batch(batch, model, packed.where, done)
        done += batch.num_rows
        progress(f"reading {model.table}", done, packed.num_rows)


def _packed(directory: Path, commit: commits.Commit, model: type[Record]) -> Packed | None:
    content = commit.contents.get(_file_name(model))
    return None if content is None else Packed(directory / _file_name(model), content)


def _judged(findings: Packed | None, directory: Path) -> dict[str, Any] | None:
    footer = (findings.schema.metadata or {}).get(_JUDGED) if findings is not None else None
    try:
        return None if footer is None else _Judged.model_validate_json(footer).model_dump()
    except ValidationError as error:
        where = directory / _file_name(Finding)
        raise IntegrityError(f"{where} does not say what it was judged by; {commits.START_AGAIN}") from error


def _strict_batch(batch: pa.Table, model: type[Record], where: Path, before: int) -> pa.Table:
    """Return some rows in the schema of their model, after as many rows of the same table."""
    versions = _versions(batch)
    if batch.num_rows and versions != {SCHEMA_VERSION}:
        raise IntegrityError(
            f"{where} has schema version {versions.pop()}, this sidcurate reads {SCHEMA_VERSION}; "
            "upgrade it (`pip install -U sidcurate`)"
        )
    strict, breach = screening.strict(batch, model)
    if breach:
        raise IntegrityError(
            f"{where} breaks its schema at row {before + breach.row}, field {breach.field}: {breach.reason}; "
            + commits.START_AGAIN
        )
    return strict


def _versions(table: pa.Table) -> set[Any]:
    """Return the schema versions that the rows of a table name; None where they name none."""
    if table.column_names.count("schema_version") != 1:
        return {None}
    column = table.column("schema_version")
    return set(column.unique().to_pylist()) if pa.types.is_integer(column.type) else {str(column.type)}


def _file_name(model: type[Record]) -> str:
    return f"{model.table}.parquet"
