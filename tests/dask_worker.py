"""A worker of Dask at which raws of certain names crash, hold up, stop or are refused by what reads them.

The processes that it starts run this file again, so that they have the same names in it.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sidcurate.ingest import reading
from sidcurate.places.place import Place
from sidcurate.places.scan import RawFile
from sidcurate.raws import raw
from sidcurate.schemas import Capture

decode, read_captures = raw.decode, reading.read_captures


def decode_or_not(content: bytes, name: str) -> raw.RawFrame:
    if name.startswith("killer"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("slow"):
        time.sleep(0.2)
    return decode(content, name)


def read_or_not(
    place: Place, files: Sequence[RawFile], *arguments: Any, **named: Any
) -> Iterator[tuple[RawFile, Capture]]:
    if files[0].path.startswith("cursed"):
        raise RuntimeError("out of luck")
    if files[0].path.startswith("stuck"):
        time.sleep(3600)
    return read_captures(place, files, *arguments, **named)


raw.decode = decode_or_not
reading.read_captures = read_or_not
reading.VERSION += int(os.environ.get("OTHER_READER", "0"))

if __name__ == "__main__":
    from distributed.cli.dask_worker import main

    main()
