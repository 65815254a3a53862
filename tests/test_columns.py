"""Columns of facts: what is unknown is never compared, never computed with, and never padded into a value."""

import io
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import capture

from sidcurate.schemas import Capture
from sidcurate.tables import bounded
from sidcurate.tables.rows import Rows, table_of


@pytest.fixture
def rows():
    """Three captures: full, with one level, with nothing."""
    nothing = dict.fromkeys(("iso", "black_level", "white_level", "camera_make", "distinct_codes"))
    one = {"black_level": (500.0,), "white_level": (1023.0,), "iso": 2**53 + 1}
    return Rows.of(Capture, [capture("a"), capture("b", **one), capture("c", **nothing)])


def test_a_comparison_with_an_unknown_is_not_true(rows):
    assert (rows.iso > 0).tolist() == [True, True, False]
    assert (rows.iso <= 10**18).tolist() == [True, True, False]
    assert rows.camera_make.equals("Canon").tolist() == [True, True, False]
    assert rows.camera_make.differs_from(rows.camera_make).tolist() == [False] * 3
    assert rows.camera_make.is_one_of(["Canon", None]).tolist() == [True, True, False]


def test_two_columns_are_compared_where_both_are_known(rows):
    turned = rows.take(np.array([2, 0, 1]))
    assert (rows.iso >= turned.iso).tolist() == [False, True, False]
    assert rows.camera_make.equals(turned.camera_make).tolist() == [False, True, False]
    assert rows.camera_make.differs_from(turned.camera_make).tolist() == [False] * 3
    assert rows.camera_make.joined(turned.camera_make, " and ").tolist() == [None, "Canon and Canon", None]
    assert [rows.iso[row] for row in range(3)] == [1600, 2**53 + 1, None]


def test_what_is_left_out_is_unknown_by_row_or_by_position(rows):
    first = np.array([True, False, True])
    assert rows.iso.only(first).tolist() == [1600, None, None]
    assert rows.black_level.only(first).unknown.tolist() == [False, True, True]
    bright = rows.white_level.only(rows.white_level > 2000)
    assert (bright.known.sum(axis=1).tolist(), bright.largest().tolist()) == ([4, 0, 0], [16383.0, None, None])


def test_what_is_computed_from_an_unknown_is_unknown(rows):
    doubled = 2 * rows.iso - rows.iso + 0
    assert doubled.unknown.tolist() == [False, False, True]
    assert doubled.tolist() == [1600, 2**53 + 1, None]
    assert doubled.or_else(7).tolist() == [1600, 2**53 + 1, 7]


def test_integers_beyond_the_reach_of_floats_stay_themselves(rows):
    other = Rows.of(Capture, [capture(iso=2**53), capture(iso=2**53), capture(iso=2**53)]).iso
    assert rows.iso.differs_from(other).tolist() == [True, True, False]


def test_rows_have_positions_of_their_own(rows):
    black, white = rows.black_level, rows.white_level
    assert (white - black).largest().tolist() == [14335.0, 523.0, None]
    assert (black < white).sum(axis=1).tolist() == [4, 1, 0]
    assert rows.distinct_codes.fitting(black).unknown.tolist() == [False, True, True]
    assert black.differs_from(rows.take(np.array([1, 1, 1])).black_level).tolist() == [True, False, False]


def test_lists_of_different_width_differ_and_compare_where_both_have_a_position(rows):
    narrow = Rows.of(Capture, [capture(black_level=(2048.0,))] * 3).black_level
    assert rows.black_level.differs_from(narrow).tolist() == [True, True, False]
    assert rows.black_level.equals(narrow).any(axis=1).tolist() == [True, False, False]
    assert abs(narrow - rows.black_level).largest().tolist() == [0.0, 1548.0, None]


def test_the_first_of_the_largest_counts():
    (row,) = [Rows.of(Capture, [capture(clipped_by_cfa=(0.1, 0.3, 0.3, 0.2))])]
    assert row.clipped_by_cfa.position_of_largest().tolist() == [1]
    empty = Rows.of(Capture, [capture(clipped_by_cfa=())]).clipped_by_cfa
    assert (empty.largest().tolist(), empty.unknown.tolist()) == ([None], [True])


def test_rows_come_back_as_records_in_the_order_asked_for(rows):
    assert [row.path for row in rows.take(np.array([2, 0])).records()] == ["c", "a"]
    assert [row.path for row in rows.take(rows.iso.unknown)] == ["c"]
    assert [len(batch) for batch in rows.batches(2)] == [2, 1]
    assert rows.places("path", rows.take(np.array([2, 0])).arrow("path")).tolist() == [2, 0]
    assert rows.named("path", {"b", "x"}).tolist() == [False, True, False]


def test_a_word_that_is_no_field_is_an_attribute_error(rows):
    with pytest.raises(AttributeError, match="Capture has no field 'isos'"):
        _ = rows.isos


def packed(rows, monkeypatch):
    """The same rows as a committed file holds them, two a row group."""
    monkeypatch.setattr(bounded, "GROUP_ROWS", 2)
    buffer = io.BytesIO()
    pq.write_table(table_of(Capture, rows.records()), buffer, row_group_size=2)
    return Rows.of(Capture, bounded.Packed(Path("captures.parquet"), buffer.getvalue()))


def test_packed_rows_are_the_same_rows(monkeypatch):
    rows = Rows.of(
        Capture, [capture(name, iso=800 + place, black_level=(1.0,) * place) for place, name in enumerate("edcba")]
    )
    same = packed(rows, monkeypatch)
    assert list(same) == rows.records() == same.records()
    for numbers in (
        slice(1, 4),
        slice(2),
        np.array([4, 0, 3]),
        np.array([True, False, True, True, False]),
        np.array([], int),
    ):
        assert same.take(numbers).records() == rows.take(numbers).records()
    assert [row.path for row in same.sorted_by("device", "path").records()] == list("abcde")
    assert list(same.facts("path", "black_level")) == [(row.path, row.black_level) for row in rows.records()]
    assert same.places("path", pa.array(["b", "x"])).tolist() == [3, -1]


def test_a_view_reads_like_the_record(monkeypatch):
    given = [capture("a", cfa=None), capture("b", black_level=None, captured_at=datetime(2024, 1, 2)), capture("c")]
    for rows in (Rows.of(Capture, given), packed(Rows.of(Capture, given), monkeypatch)):
        views = rows.views(np.array([False, True, True]))
        assert [{name: getattr(view, name) for name in Capture.model_fields} for view in views] == [
            dict(row) for row in given[1:]
        ]
        with pytest.raises(AttributeError, match="Capture has no field 'isos'"):
            _ = views[0].isos


def test_repeated_values_are_compared_not_only_their_hashes():
    collide = 2**61 - 1 + 5
    assert hash(collide) == hash(5)
    iso = pa.array([5, collide, None, None, 7, 7])
    table = table_of(Capture, [capture()] * 6)
    rows = Rows.of(Capture, table.set_column(table.column_names.index("iso"), "iso", iso))
    assert rows.repeated("iso") == {7}
    assert rows.repeated("path") == {capture().path}
