"""Rows of a table: kept packed or as Arrow, read by column, and made records of only where somebody asks for one."""

import types
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, Union, cast, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, TypeAdapter

from sidcurate.tables.bounded import GROUP_ROWS, Packed, plainly
from sidcurate.tables.columns import Column, Numbers, Where

BATCH = GROUP_ROWS
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


def table_of(model: type[BaseModel], records: Sequence[object]) -> pa.Table:
    """Return records, or what has their facts under the same names, as a table of their model's schema, in order."""
    schema = arrow_schema(model)
    columns = [
        pa.array([getattr(record, name) for record in records], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class _Columns(Protocol):
    """Where rows get a column from."""

    def column(self, name: str) -> "pa.Array | pa.ChunkedArray":
        """Return the column of this name."""


class Rows(Generic[M]):
    """Some rows of one table, in order. A fact of all of them is an attribute: `rows.iso` is a `Column`."""

    def __init__(self, model: type[M], table: pa.Table | Packed, numbers: Numbers | None = None) -> None:
        """Take all rows of a table, or those with the given numbers."""
        self.model = model
        self.numbers = np.arange(table.num_rows) if numbers is None else numbers
        self._table = table
        self._columns: dict[str, Column] = {}

    @classmethod
    def of(cls, model: type[M], rows: "Rows[M] | Packed | pa.Table | Sequence[M]") -> "Rows[M]":
        """Return rows that are given as such, as a table of the model's schema or as records."""
        if isinstance(rows, Rows):
            return rows
        if isinstance(rows, Packed):
            return cls(model, rows)
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
        found = self._taken.column(name)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def facts(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield some facts of each row, as its record has them."""
        for batch in self.batches():
            yield from zip(*(_values(batch.arrow(name)) for name in names), strict=True)

    @cached_property
    def _taken(self) -> _Columns:
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
        # Hashes of eight bytes say which values may be; those alone are compared.
        batches = [np.fromiter(map(hash, _known(batch, name)), np.int64) for batch in self.batches()]
        hashes, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *batches]), return_counts=True)
        suspects = set(hashes[counts > 1].tolist())
        if not suspects:
            return set()
        found = Counter(value for batch in self.batches() for value in _known(batch, name) if hash(value) in suspects)
        return {value for value, count in found.items() if count > 1}

    def sorted_by(self, *names: str) -> "Rows[M]":
        """Return these rows in the order of some facts; rows that share all of them stay in their order."""
        facts = pa.table({name: self.arrow(name) for name in names})
        order = pc.sort_indices(facts, [(name, "ascending") for name in names])
        return self.take(order.to_numpy().astype(np.int64))

    def take(self, numbers: Numbers | Where | slice) -> "Rows[M]":
        """Return some of these rows, by place, by a truth value each, or a part in sequence."""
        return Rows(self.model, self._table, self.numbers[numbers])

    def batches(self, size: int | None = None) -> Iterator["Rows[M]"]:
        """Yield the rows in order, so many at a time; `BATCH` by default."""
        size = size or BATCH
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def table(self) -> pa.Table:
        """Return the rows as a table of their model's schema."""
        return pa.table({name: self.arrow(name) for name in self.model.model_fields})

    def records(self) -> list[M]:
        """Return the rows as records, in order."""
        return TypeAdapter(list[self.model]).validate_python(self.table().to_pylist())  # type: ignore[name-defined]

    def views(self, where: Where | None = None) -> list[M]:
        """Return what reads like the records of the rows, or of some, and looks up only the facts that are asked for.

        The rows must be known to keep what their records promise, as those of a manifest are.
        """
        facts = _Facts(self, np.arange(len(self)) if where is None else where.nonzero()[0])
        return cast("list[M]", [_View(facts, place) for place in range(len(facts.places))])

    def __iter__(self) -> Iterator[M]:
        for batch in self.batches(1 << 10):
            yield from batch.records()


class _Taken:
    """Scattered rows of a table, of which only the columns that are asked for are gathered."""

    def __init__(self, table: pa.Table | Packed, numbers: pa.Array) -> None:
        self._table = table
        self._numbers = numbers
        self._columns: dict[str, pa.Array | pa.ChunkedArray] = {}

    def column(self, name: str) -> pa.Array | pa.ChunkedArray:
        if name not in self._columns:
            self._columns[name] = plainly(self._table.column(name).take(self._numbers))
        return self._columns[name]


class _Facts:
    """The facts of some rows as their records have them, each looked up when it is first asked for."""

    def __init__(self, rows: Rows[Any], places: Numbers) -> None:
        self.model = rows.model
        self.places = places
        self._rows = rows
        self._known: dict[str, list[Any]] = {}

    def of(self, name: str) -> list[Any]:
        known = self._known.get(name)
        if known is None:
            if name not in self.model.model_fields:
                raise AttributeError(f"{self.model.__name__} has no field {name!r}")
            known = self._known[name] = _shared(self._rows.arrow(name).take(pa.array(self.places)))
        return known


class _View:
    """One row that reads like its record."""

    __slots__ = ("_facts", "_place")

    def __init__(self, facts: _Facts, place: int) -> None:
        self._facts = facts
        self._place = place

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a fact of whatever type its field has
        return self._facts.of(name)[self._place]


def _values(column: pa.Array) -> list[Any]:
    """Return a column as records have it."""
    values: list[Any] = column.to_pylist()
    return [None if value is None else tuple(value) for value in values] if pa.types.is_list(column.type) else values


def _shared(column: pa.Array) -> list[Any]:
    """Return a column as records have it, equal values as one object: a million ISO settings are a handful."""
    if pa.types.is_list(column.type):
        return _values(column)
    encoded = column.dictionary_encode()
    values = [*encoded.dictionary.to_pylist(), None]
    return [values[place] for place in encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).tolist()]


def _known(rows: Rows[Any], name: str) -> list[Any]:
    known: list[Any] = rows.arrow(name).drop_null().to_pylist()
    return known


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
