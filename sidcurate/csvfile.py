"""Read a CSV, or another list, that a person made."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from sidcurate.errors import UsageError

_SHOWN = 80  # Characters of a line.
_LARGEST_BYTES = 256 << 20  # A million pairs with long names.


def read_csv(path: Path, columns: Sequence[str], also: str = "") -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV with a header line, each after the number of the line in which it ends.

    Args:
        path: the file; a byte order mark, as spreadsheets write it, is no part of the first name.
        columns: names that must be there.
        also: what else may be there, in words.

    Raises:
        UsageError: the file is no text of a size that a person makes, has no row, or lacks a column.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path} cannot be read as CSV ({error})") from error
    if not rows or not set(columns) <= set(reader.fieldnames or ()):
        found = ",".join(reader.fieldnames or ())[:_SHOWN]
        raise UsageError(
            f"{path} needs the columns {','.join(columns)}{also} in its first line, separated by commas, then at least "
            f"one row; its first line is {found!r}"
        )
    for line, row in rows:
        if empty := [name for name in columns if not (row[name] or "").strip()]:
            raise UsageError(f"line {line} of {path} has no {empty[0]}; give {','.join(columns)} in every line")
    return rows


def read_text(path: Path) -> str:
    """Return the text of a list; a byte order mark is no part of it.

    Raises:
        UsageError: the file cannot be read, is no UTF-8, holds a NUL, or is larger than any list.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
        if len(content) > _LARGEST_BYTES:
            raise UsageError(f"{path} cannot be a list: it has more than {_LARGEST_BYTES >> 20} MB; name another file")
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a list ({error}); save it as UTF-8 text") from error
    if "\0" in text:
        raise UsageError(f"{path} cannot be read as a list (it holds a NUL byte); save it as UTF-8 text")
    return text
