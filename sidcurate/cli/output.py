"""Write a page that a person asked for into a file."""

from pathlib import Path

from sidcurate.cli.console import say
from sidcurate.errors import UsageError


def write_page(path: Path, text: str) -> None:
    """Write a text file, with the folders that lead to it.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another place") from error
    say(f"wrote {path}")
