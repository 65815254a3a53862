"""Write a file that a person asked for: a page, a picture, a schema."""

from collections.abc import Iterable
from pathlib import Path

from sidcurate.cli.console import say
from sidcurate.errors import UsageError


def write_output(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file piece by piece, whole or not at all, with the folders that lead to it.

    Raises:
        UsageError: a raw stands there, or what is no file.
        MissingResourceError: the disk is full, or refuses; what stood there stands as it did.
    """
    from sidcurate.places.scan import is_raw
    from sidcurate.storage.durable import whole_file

    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file; name another place")
    if path.exists() and is_raw(path):
        raise UsageError(f"{path} is a raw, and raws are only read; name another file")
    with whole_file(path) as stream:
        stream.writelines(pieces)
    say(f"wrote {path}")
