"""Read a CSV that a person made."""

import csv
from collections.abc import Sequence
from pathlib import Path

from sidcurate.errors import UsageError


def read_csv(path: Path, columns: Sequence[str], also: str = "") -> list[dict[str, str]]:
    """Return the rows of a CSV with a header line.

    Args:
        path: the file; a byte order mark, as spreadsheets write it, is no part of the first name.
        columns: names that must be there.
        also: what else may be there, in words.

    Raises:
        UsageError: the file cannot be read, has no row, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error})") from error
    if not rows or not set(columns) <= set(rows[0]):
        raise UsageError(f"{path} needs the columns {','.join(columns)}{also} in its first line, then at least one row")
    for line, row in enumerate(rows, start=2):
        if empty := [name for name in columns if not (row[name] or "").strip()]:
            raise UsageError(f"line {line} of {path} has no {empty[0]}; give {','.join(columns)} in every line")
    return rows
