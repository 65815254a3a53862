"""A fact of many rows at once: its values, and for which rows it is known.

Comparing with an unknown is never true, and what is computed from an unknown is unknown: null means unknown, never 0.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Int, Shaped

Where: TypeAlias = Bool[np.ndarray, "rows"]
"""For which rows something holds."""
Numbers: TypeAlias = Int[np.ndarray, "rows"]
"""Numbers of rows in their table."""
Operand: TypeAlias = "Column | float | str"


@dataclass(frozen=True, eq=False)
class Column:
    """One fact of many rows: a value a row, or (by CFA position) several.

    Attributes:
        values: shape (rows,) or (rows, positions); what stands where nothing is known has no meaning.
        known: which of them are known, in the same shape. A row has as many positions as it has known ones.
    """

    values: Shaped[np.ndarray, "rows *positions"]
    known: Bool[np.ndarray, "rows *positions"]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Any:  # noqa: ANN401 - a value of whatever the column holds
        """Return the value of one row, of columns that have one, as Python has it; None where it is unknown."""
        return self.values[row : row + 1].tolist()[0] if self.known[row] else None

    @property
    def unknown(self) -> Where:
        """Rows of which nothing is known."""
        return np.logical_not(self.known if self.known.ndim == 1 else self.known.any(axis=1))

    def __gt__(self, other: Operand) -> Bool[np.ndarray, "rows *positions"]:
        return self._compared(np.greater, other)

    def __lt__(self, other: Operand) -> Bool[np.ndarray, "rows *positions"]:
        return self._compared(np.less, other)

    def __ge__(self, other: Operand) -> Bool[np.ndarray, "rows *positions"]:
        return self._compared(np.greater_equal, other)

    def __le__(self, other: Operand) -> Bool[np.ndarray, "rows *positions"]:
        return self._compared(np.less_equal, other)

    def equals(self, other: Operand) -> Bool[np.ndarray, "rows *positions"]:
        """Return where both are known and equal."""
        return self._compared(np.equal, other)

    def __add__(self, other: "Column | float") -> "Column":
        return self._computed(np.add, other)

    def __sub__(self, other: "Column | float") -> "Column":
        return self._computed(np.subtract, other)

    def __mul__(self, other: "Column | float") -> "Column":
        return self._computed(np.multiply, other)

    def __rmul__(self, other: float) -> "Column":
        return self * other

    def __truediv__(self, other: "Column | float") -> "Column":
        return self._computed(np.true_divide, other)

    def __pow__(self, power: int) -> "Column":
        return self._computed(np.power, power)

    def __abs__(self) -> "Column":
        return Column(np.abs(self.values), self.known)

    def differs_from(self, other: "Column") -> Where:
        """Return the rows of which both are known and not the same, at any position or in the count of positions."""
        mine, theirs = _aligned(self, other)
        differing = (mine.known != theirs.known) | (mine.known & _quietly(np.not_equal, mine.values, theirs.values))
        both = ~self.unknown & ~other.unknown
        return _both(both, differing if differing.ndim == 1 else differing.any(axis=1))

    def apart(self, other: "Column") -> "Column":
        """Return how far the larger of two positive numbers lies above the smaller, as a share, as floats have it."""
        larger, smaller = self._computed(np.maximum, other), self._computed(np.minimum, other)
        return larger / smaller - 1

    def or_else(self, value: float | str) -> "Column":
        """Return the column with a value where nothing is known."""
        return Column(np.where(self.known, self.values, value), np.ones_like(self.known))

    def only(self, where: Bool[np.ndarray, "rows *positions"]) -> "Column":
        """Return the column with all else unknown: rows, or positions of rows."""
        return Column(self.values, self.known & (where if where.ndim == self.known.ndim else where[:, None]))

    def joined(self, other: "Column", sign: str) -> "Column":
        """Return two values as one word."""
        words = (f"{one}{sign}{two}" for one, two in zip(self.values, other.values, strict=True))
        return Column(np.fromiter(words, object, len(self)), self.known & other.known)

    def fitting(self, other: "Column") -> "Column":
        """Return the column by the positions of another, unknown in rows that have not as many of them."""
        same = self.known.sum(axis=1) == other.known.sum(axis=1)
        width = other.values.shape[1]
        mine = _widened(self, max(width, self.values.shape[1]))
        return Column(mine.values[:, :width], mine.known[:, :width] & same[:, None])

    def is_one_of(self, values: Iterable[str]) -> Where:
        """Return the rows whose value is among some words."""
        wanted = frozenset(values)
        return _both(self.known, np.fromiter((value in wanted for value in self.values), bool, len(self)))

    def looked_up(self, table: Mapping[str, str]) -> "Column":
        """Return what a table says of each value, unknown where it says nothing."""
        found = np.fromiter((table.get(value) for value in self.values), object, len(self))
        return Column(found, _both(self.known, np.fromiter((value is not None for value in found), bool, len(self))))

    def tolist(self) -> list[Any]:
        """Return the value of each row as Python has it, None where it is unknown."""
        values = self.values.astype(object)
        values[~self.known] = None
        return list(values.tolist())

    def known_values(self) -> list[Any]:
        """Return the values of the rows that have one, as Python has them."""
        values: list[Any] = self.values[self.known].tolist()
        return values

    def largest(self) -> "Column":
        """Return the largest value by position of each row."""
        return self.at(self.position_of_largest())

    def beside(self, other: "Column") -> "Column":
        """Return two columns of one value a row as one column of two positions."""
        return Column(np.stack((self.values, other.values), axis=1), np.stack((self.known, other.known), axis=1))

    def position_of_largest(self) -> "Column":
        """Return at which position each row has its largest value: the first of equals."""
        if not self.values.shape[1]:
            return Column(np.zeros(len(self), np.int64), np.zeros(len(self), bool))
        lowest = -np.inf if self.values.dtype.kind == "f" else np.iinfo(self.values.dtype).min
        return Column(np.where(self.known, self.values, lowest).argmax(axis=1), ~self.unknown)

    def first(self, where: Bool[np.ndarray, "rows positions"]) -> "Column":
        """Return the first position of each row at which something holds, unknown where it does at none."""
        if not where.shape[1]:
            return Column(np.zeros(len(where), np.int64), np.zeros(len(where), bool))
        return Column(where.argmax(axis=1), np.bitwise_or.reduce(where, axis=1))

    def at(self, position: "Column") -> "Column":
        """Return the value of each row at a position of its own; a value a row counts for every position."""
        if self.values.ndim == 1:
            return self
        if not self.values.shape[1]:
            return Column(np.zeros(len(self), self.values.dtype), np.zeros(len(self), bool))
        chosen = np.arange(len(self)), position.values
        return Column(self.values[chosen], self.known[chosen] & position.known)

    def _compared(self, judge: np.ufunc, other: Operand) -> Bool[np.ndarray, "rows *positions"]:
        if isinstance(other, Column):
            mine, theirs = _aligned(self, other)
            return _both(_quietly(judge, mine.values, theirs.values), mine.known & theirs.known)
        return _both(_quietly(judge, self.values, other), self.known)

    def _computed(self, compute: np.ufunc, other: "Column | float") -> "Column":
        if isinstance(other, Column):
            mine, theirs = _aligned(self, other)
            return Column(_quietly(compute, mine.values, theirs.values), mine.known & theirs.known)
        return Column(_quietly(compute, self.values, other), self.known)


def _aligned(one: Column, other: Column) -> tuple[Column, Column]:
    """Return two columns that go together: a value a row counts for every position, a missing position is unknown."""
    shapes = one.values.shape, other.values.shape
    if shapes[0] == shapes[1]:
        return one, other
    width = max(shape[1] for shape in shapes if len(shape) > 1)
    return _widened(one, width), _widened(other, width)


def _widened(column: Column, width: int) -> Column:
    if column.values.ndim == 1:
        return Column(column.values[:, None], column.known[:, None])
    more = ((0, 0), (0, width - column.values.shape[1]))
    return Column(np.pad(column.values, more), np.pad(column.known, more))


def _quietly(compute: Callable[..., Any], *operands: Any) -> Any:  # noqa: ANN401 - a ufunc takes and returns arrays
    """Compute without a word about what unknown rows hold. Objects are compared as Python does."""
    with np.errstate(all="ignore"):
        return np.asarray(compute(*operands))


def _both(one: Bool[np.ndarray, "..."], other: Bool[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    both: Bool[np.ndarray, ...] = np.logical_and(one, other)
    return both
