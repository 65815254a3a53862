"""Rows of a table: kept as Arrow, read by column, and made records of only where somebody asks for one."""

import types
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, TypeAdapter

from sidcurate.columns import Column, Numbers, Where

BATCH = 1 << 15
"""Rows that are looked at together: enough to make a loop's cost vanish, few enough to bound the memory."""
_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us")}

M = TypeVar("M", bound=BaseModel)


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
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


def table_of(model: type[M], records: Sequence[M]) -> pa.Table:
    """Return records as a table of their model's schema, in order."""
    schema = arrow_schema(model)
    columns = [
        pa.array([getattr(record, name) for record in records], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class Rows(Generic[M]):
    """Some rows of one table, in order. A fact of all of them is an attribute: `rows.iso` is a `Column`."""

    def __init__(self, model: type[M], table: pa.Table, numbers: Numbers | None = None) -> None:
        """Take all rows of a table, or those with the given numbers."""
        self.model = model
        self.numbers = np.arange(table.num_rows) if numbers is None else numbers
        self._table = table
        self._columns: dict[str, Column] = {}

    @classmethod
    def of(cls, model: type[M], rows: "pa.Table | Sequence[M]") -> "Rows[M]":
        """Return rows that are given as a table of the model's schema or as records."""
        table = rows if isinstance(rows, pa.Table) else table_of(model, rows)
        return cls(model, table.combine_chunks())

    def __len__(self) -> int:
        return len(self.numbers)

    def __getattr__(self, name: str) -> Column:
        """Return the fact of this name, of all rows."""
        if name not in self.model.model_fields:
            raise AttributeError(f"{self.model.__name__} has no field {name!r}")
        if name not in self._columns:
            self._columns[name] = _column(self.arrow(name))
        return self._columns[name]

    def arrow(self, name: str) -> pa.Array:
        """Return the fact of this name as Arrow has it."""
        return self._taken.column(name).combine_chunks()

    @cached_property
    def _taken(self) -> pa.Table:
        start, count = (int(self.numbers[0]), len(self)) if len(self) else (0, 0)
        if count and int(self.numbers[-1]) - start + 1 == count and bool((np.diff(self.numbers) == 1).all()):
            return self._table.slice(start, count)
        return _Taken(self._table, pa.array(self.numbers))

    def nowhere(self) -> Where:
        """Return a truth value for each row, false everywhere."""
        return np.zeros(len(self), bool)

    def named(self, name: str, values: Collection[str]) -> Where:
        """Return the rows that have one of some values."""
        found: Where = pc.is_in(self.arrow(name), pa.array(sorted(values), pa.string())).to_numpy(zero_copy_only=False)
        return found

    def places(self, name: str, values: pa.Array) -> Numbers:
        """Return at which of these rows each value stands first, -1 where at none."""
        found: Numbers = pc.index_in(values, value_set=self.arrow(name)).fill_null(-1).to_numpy(zero_copy_only=False)
        return found

    def repeated(self, name: str) -> set[str]:
        """Return the values that more than one row has."""
        counts = pc.value_counts(self.arrow(name).drop_null())
        return set(counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist())

    def take(self, numbers: Numbers | Where) -> "Rows[M]":
        """Return some of these rows, by place or by a truth value each."""
        return Rows(self.model, self._table, self.numbers[numbers])

    def batches(self, size: int = BATCH) -> Iterator["Rows[M]"]:
        """Yield the rows in order, so many at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def records(self) -> list[M]:
        """Return the rows as records, in order."""
        rows = self._table.take(pa.array(self.numbers)).to_pylist()
        return TypeAdapter(list[self.model]).validate_python(rows)  # type: ignore[name-defined]

    def __iter__(self) -> Iterator[M]:
        for batch in self.batches(1 << 10):
            yield from batch.records()


class _Taken:
    """Scattered rows of a table, of which only the columns that are asked for are gathered."""

    def __init__(self, table: pa.Table, numbers: pa.Array) -> None:
        self._table = table
        self._numbers = numbers

    def column(self, name: str) -> pa.ChunkedArray:
        return self._table.column(name).take(self._numbers)


def _column(values: pa.Array) -> Column:
    if pa.types.is_list(values.type):
        return _by_position(values)
    known = values.is_valid().to_numpy(zero_copy_only=False)
    if not pa.types.is_string(values.type) and values.null_count:
        values = values.fill_null(pa.scalar(0).cast(values.type))
    return Column(values.to_numpy(zero_copy_only=False), known)


def _by_position(lists: pa.Array) -> Column:
    """Return lists as rows of equal width, unknown beyond the end of each."""
    counts = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    width = int(counts.max(initial=0))
    known = np.arange(width) < counts[:, None]
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    values = np.zeros(known.shape, flat.dtype)
    values[known] = flat
    return Column(values, known)
