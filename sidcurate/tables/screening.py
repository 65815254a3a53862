"""Whole tables held to what their records promise: a column at a time, and row by row only where that raises a doubt.

The model's own constraints say what is doubtful; pydantic alone decides, and finds the words. A constraint that this
module does not know makes every row doubtful: slow, never lax.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import annotated_types as at
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int
from pydantic import AfterValidator, BaseModel, Strict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sidcurate.schemas import Sieve
from sidcurate.tables.columns import Where
from sidcurate.tables.rows import arrow_schema, table_of

_CHUNK = 1 << 12
M = TypeVar("M", bound=BaseModel)


class Breach(NamedTuple):
    """The first value of a table that breaks its schema."""

    row: int
    field: str
    reason: str


def strict(table: pa.Table, model: type[M]) -> tuple[pa.Table, Breach | None]:
    """Return a table in the schema of its model, and what breaks it, where anything does.

    An older table, without columns that may be null, has them as nulls. One of other types is read as its records are.
    """
    table = _with_nulls(table, model)
    if table.schema.equals(arrow_schema(model)):
        return table, _breach(table, model, doubtful(table, model).nonzero()[0])
    breach = _breach(table, model, np.arange(table.num_rows))
    if breach:
        return table, breach
    return table_of(model, TypeAdapter(list[model]).validate_python(table.to_pylist())), None  # type: ignore[valid-type]


def doubtful(table: pa.Table, model: type[BaseModel]) -> Where:
    """Return the rows of a table in the model's schema that the model may refuse; it refuses no other."""
    found = np.zeros(table.num_rows, bool)
    checks = model.__pydantic_decorators__
    if checks.validators or checks.field_validators or checks.root_validators or checks.model_validators:
        return ~found
    for name, field in model.model_fields.items():
        found |= _doubtful(table.column(name).combine_chunks(), field.annotation, field.metadata)
    return found


def _with_nulls(table: pa.Table, model: type[BaseModel]) -> pa.Table:
    """Return a table with nulls in those columns that it lacks and may lack; itself where it differs otherwise."""
    schema = arrow_schema(model)
    lacking = [field for field in schema if field.name not in table.column_names]
    if not lacking or len(table.column_names) + len(lacking) != len(schema):
        return table
    if any(model.model_fields[field.name].get_default() is not None for field in lacking):
        return table
    for field in lacking:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names)


def _breach(table: pa.Table, model: type[BaseModel], numbers: Int[np.ndarray, "rows"]) -> Breach | None:
    """Return the first of some rows that the model refuses."""
    rows = TypeAdapter(list[model])  # type: ignore[valid-type]
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        try:
            rows.validate_python(table.take(pa.array(chunk)).to_pylist())
        except ValidationError as error:
            first = error.errors()[0]
            return Breach(int(chunk[int(first["loc"][0])]), str(first["loc"][-1]), first["msg"])
    return None


def _doubtful(column: pa.Array, annotation: Any, metadata: Sequence[Any]) -> Where:  # noqa: ANN401 - has no type
    """Return the rows whose value may be refused."""
    found = np.zeros(len(column), bool)
    arguments = get_args(annotation)
    if type(None) in arguments:
        (annotation,) = (argument for argument in arguments if argument is not type(None))
    else:
        found |= _true(column.is_null())
    if hasattr(annotation, "__metadata__"):  # Annotated[...]
        metadata = [*metadata, *annotation.__metadata__]
        annotation = get_args(annotation)[0]
    for doubt in (*_of_type(column, annotation), *(_of_constraint(column, one) for one in _flat(metadata))):
        found |= _true(doubt)
    return found


def _flat(metadata: Sequence[Any]) -> list[Any]:
    sieved = any(isinstance(one, Sieve) for one in metadata)
    parts = [part for one in metadata for part in (one.metadata if isinstance(one, FieldInfo) else [one])]
    # A sieve lets through only what its validator accepts.
    return [part for part in parts if not (sieved and isinstance(part, AfterValidator))]


def _of_type(column: pa.Array, annotation: Any) -> Iterator[pa.Array]:  # noqa: ANN401 - an annotation has no type
    """Yield what is doubtful about values of a type, whatever constrains them."""
    if get_origin(annotation) is Literal:
        yield pc.and_not(column.is_valid(), pc.is_in(column, pa.array(get_args(annotation), column.type)))
    elif pa.types.is_list(column.type):
        doubts = np.zeros(len(column.flatten()), bool)
        for doubt in (column.flatten().is_null(), *_of_type(column.flatten(), get_args(annotation)[0])):
            doubts |= _true(doubt)
        yield pc.is_in(pa.array(np.arange(len(column))), pc.list_parent_indices(column).filter(pa.array(doubts)))
    elif annotation is float:
        yield pc.invert(pc.is_finite(column))
    elif annotation is datetime:
        first, last = _calendar()
        yield pc.or_(pc.less(column, first), pc.greater(column, last))
    elif annotation not in (str, int):
        yield column.is_valid()


@cache
def _calendar() -> pa.Array:
    """Return what `datetime` can hold. To make its first value, pyarrow imports pandas: 0.3 s that no worker needs."""
    return pa.array([datetime.min, datetime.max], pa.timestamp("us"))


def _of_constraint(column: pa.Array, constraint: Any) -> pa.Array:  # noqa: ANN401 - constraints share no type
    """Return what is doubtful about values under a constraint."""
    if isinstance(constraint, Strict) and not constraint.strict and pa.types.is_list(column.type):
        return pa.nulls(len(column), pa.bool_())  # A list where a record holds a tuple.
    if isinstance(constraint, Sieve):
        return pc.match_substring_regex(column, constraint.pattern)
    if getattr(constraint, "__dict__", {}).keys() == {"pattern"}:
        return pc.invert(pc.match_substring_regex(column, constraint.pattern))
    of_limit = _OF_LIMIT.get(type(constraint))
    return of_limit(column, *dataclasses.astuple(constraint)) if of_limit else pa.repeat(True, len(column))


_OF_LIMIT: Mapping[type, Callable[[pa.Array, Any], pa.Array]] = {
    at.Ge: pc.less,
    at.Gt: pc.less_equal,
    at.Le: pc.greater,
    at.MinLen: lambda column, length: pc.less(pc.utf8_length(column), length),
    at.MaxLen: lambda column, length: pc.greater(pc.list_value_length(column), length),
}


def _true(doubt: pa.Array) -> Where:
    found: Where = pc.fill_null(doubt, False).to_numpy(zero_copy_only=False)
    return found
