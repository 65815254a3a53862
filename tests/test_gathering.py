"""Captures that come in any order and from several places stand in one table, sorted, the latest of each path."""

import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sidcurate.ingest import gathering
from sidcurate.ingest.gathering import Gathering
from sidcurate.manifests import parquet_bytes
from sidcurate.schemas import Capture
from sidcurate.tables.bounded import GROUP_ROWS, written
from sidcurate.tables.rows import Rows
from tests.factories import capture


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows be many pieces."""
    monkeypatch.setattr(gathering, "_RECORDS", 3)
    monkeypatch.setattr(gathering, "GROUP_ROWS", 5)
    monkeypatch.setattr(gathering, "_AT_ONCE", 7)


def frames(count: int) -> list[Capture]:
    return [capture(f"{number:05d}.dng") for number in range(count)]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("count", [1, 3, 7, 50])
def test_rows_that_come_in_any_order_stand_in_that_of_their_paths(tmp_path, count):
    rows = frames(count)
    mixed = random.Random(0).sample(rows, count)
    gathered = Gathering(row.path for row in rows)
    gathered.update(mixed)
    assert Rows.of(Capture, gathered.packed(tmp_path)).records() == rows


def test_the_bytes_are_those_of_the_records_in_order(tmp_path):
    rows = frames(GROUP_ROWS + 10)
    gathered = Gathering(row.path for row in rows)
    gathered.update(rows[::-1])
    packed = gathered.packed(tmp_path)
    assert packed.content == parquet_bytes(Capture, rows)
    assert packed.where == tmp_path / "captures.parquet"


@pytest.mark.usefixtures("small_pieces")
def test_the_latest_row_of_a_path_counts(tmp_path):
    old, new = frames(20), [row.model_copy(update={"iso": 6400}) for row in frames(20)]
    gathered = Gathering(row.path for row in old)
    where = np.arange(20) % 2 == 0
    gathered.extend(Rows.of(Capture, old), where)
    assert [row.path in gathered for row in old] == where.tolist()
    gathered.update([*old[1::2], *new[4:6]])
    wanted = [*old[:4], *new[4:6], *old[6:]]
    assert Rows.of(Capture, gathered.packed(tmp_path)).records() == wanted


def test_no_rows_are_the_table_that_no_records_are(tmp_path):
    assert Gathering([]).packed(tmp_path).content == parquet_bytes(Capture, [])


def test_a_table_in_parts_has_the_bytes_of_one_in_one_piece():
    rows = 3 * GROUP_ROWS + 5
    table = pa.table({"path": [f"{number % 977:04d}" for number in range(rows)], "iso": np.arange(rows) % 7})
    parts = [table.slice(0, GROUP_ROWS), table.slice(GROUP_ROWS, 2 * GROUP_ROWS), table.slice(3 * GROUP_ROWS)]
    content = written(table.schema, parts)
    assert content == written(table.schema, [table])
    assert pq.read_table(io.BytesIO(content)).equals(table)
