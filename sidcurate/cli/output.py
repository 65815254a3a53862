"""Write a page that a person asked for into a file."""

from collections.abc import Iterable
from pathlib import Path

from sidcurate.cli.console import say
from sidcurate.errors import UsageError


def write_page(path: Path, pieces: Iterable[str]) -> None:
    """Write a text file piece by piece, with the folders that lead to it.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as stream:
            stream.writelines(pieces)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another place") from error
    say(f"wrote {path}")
