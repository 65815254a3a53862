"""Tables of strangers: refused by column exactly where, and in the words in which, the records are refused."""

from datetime import datetime

import pyarrow as pa
import pytest
from factories import session
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from sidcurate.schemas import RECORDS, Capture, Finding, Pair, Unpaired
from sidcurate.tables import screening
from sidcurate.tables.rows import arrow_schema, table_of
from sidcurate.tables.screening import doubtful, strict

NOT_PATHS = ("", "/etc/passwd", "../a.dng", "a/../b.dng", "a\0.dng", "a..b.dng", "..", "a/..")
WORDS = (*NOT_PATHS, "Canon 90D", "-x", "PAIR201", "PAIR20", "error", "train", "bayer", "exif", "ok", "\u0661")
NUMBERS = (-(2**62), -1, 0, 1, 8, 9, 32, 33, 2**62)
FLOATS = (-1.0, -0.0, 0.0, 5e-324, 1.0, 1.0000001, 1e308, float("inf"), float("-inf"), float("nan"))
VALUES = {
    pa.string(): WORDS,
    pa.int64(): NUMBERS,
    pa.float64(): FLOATS,
    pa.timestamp("us"): (datetime.min, datetime.max),
    pa.list_(pa.float64()): ((), (1.0,) * 36, (1.0,) * 37, (1.0, None), *((value,) for value in FLOATS)),
    pa.list_(pa.int64()): ((), (1,) * 36, (1,) * 37, (1, None), (-1,)),
    pa.list_(pa.string()): ((), ("a", None), ("a",) * 40),
}


def rows_of(model):
    tables = session()
    if model is Finding:
        fixed = {"device": "cam", "code": "PAIR201", "name": "n", "severity": "error", "subject_kind": "pair"}
        return [Finding(**fixed, subject_id=str(number), paths=("a",), message="m") for number in range(3)]
    unpaired = [Unpaired(device="cam", path=f"{number}.dng", reason="alone") for number in range(3)]
    return {Capture: tables.captures, Pair: tables.pairs, Unpaired: unpaired}[model][:3]


def by_record(table, model):
    """Return where and why the records of a table are refused, None where they are not."""
    try:
        TypeAdapter(list[model]).validate_python(table.to_pylist())
    except ValidationError as error:
        first = error.errors()[0]
        return first["loc"][0], str(first["loc"][-1]), first["msg"]
    return None


@pytest.mark.parametrize("model", RECORDS)
def test_every_field_refuses_what_its_record_refuses(model):
    table = table_of(model, rows_of(model))
    refused = 0
    for place, field in enumerate(arrow_schema(model)):
        for value in (None, *VALUES[field.type]):
            values = table.column(field.name).to_pylist()
            values[1] = value
            planted = table.set_column(place, field, pa.array(values, field.type))
            expected = by_record(planted, model)
            assert strict(planted, model)[1] == expected, (field.name, value)
            refused += expected is not None
    assert refused >= len(arrow_schema(model))


def test_clean_rows_raise_no_doubt_so_that_none_is_made_a_record():
    for model in RECORDS:
        assert not doubtful(table_of(model, rows_of(model)), model).any()


def test_the_first_of_several_breaches_is_told():
    table = table_of(Pair, rows_of(Pair) * 3)
    planted = table.set_column(
        table.column_names.index("short_path"), "short_path", [["a", "b", "c", "d", "../e", "f", "g", "/h", "i"]]
    )
    breach = strict(planted, Pair)[1]
    assert (breach.row, breach.field) == (4, "short_path")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda table: table.append_column("extra", [["x"] * 3]), "extra"),
        (lambda table: table.drop_columns(["status"]), "status"),
        (lambda table: table.set_column(0, "schema_version", [["1"] * 3]), "schema_version"),
        (lambda table: table.set_column(3, "sha256", [[1] * 3]), "sha256"),
    ],
)
def test_other_columns_and_types_are_refused_as_by_the_records(changed, says):
    table = changed(table_of(Capture, rows_of(Capture)))
    breach = strict(table, Capture)[1]
    assert breach == by_record(table, Capture)
    assert breach.field == says


def test_an_older_table_has_nulls_for_what_it_lacks_and_is_still_told_by_column(monkeypatch):
    monkeypatch.setattr(screening, "table_of", None)
    table = table_of(Capture, rows_of(Capture))
    older, breach = strict(table.drop_columns(["noise_dn", "cfa_reason"]), Capture)
    assert breach is None
    assert older.schema.equals(table.schema)
    assert older.drop_columns(["noise_dn"]).equals(table.drop_columns(["noise_dn"]))
    assert older.column("noise_dn").null_count == len(table)


def test_types_and_columns_that_records_can_do_with_come_back_in_the_schema():
    table = table_of(Capture, rows_of(Capture)).drop_columns(["cfa_reason"])
    iso = table.column("iso").cast(pa.int16())
    narrow = table.set_column(table.column_names.index("iso"), "iso", iso)
    told, breach = strict(narrow, Capture)
    assert breach is None
    assert told.equals(table_of(Capture, rows_of(Capture)))


def test_a_constraint_that_is_not_known_makes_every_row_doubtful():
    class Odd(BaseModel):
        model_config = ConfigDict(strict=True)
        number: int

        @field_validator("number")
        @classmethod
        def odd(cls, value: int) -> int:
            if value % 2 == 0:
                raise ValueError("even")
            return value

    table = pa.table({"number": pa.array([1, 3, 4], pa.int64())})
    assert doubtful(table, Odd).all()
    assert strict(table, Odd)[1] == (2, "number", "Value error, even")
