"""What runs at a worker of a Dask cluster: processes that decode and may die, so that the worker itself does not.

A run keeps them at each worker for as long as it lasts, at those that join later too.
"""

import multiprocessing
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from distributed import Worker, WorkerPlugin, get_worker

from sidcurate import __version__
from sidcurate.errors import MissingResourceError, SidcurateError, Terminated
from sidcurate.ingest import reading
from sidcurate.isolation import Crew, crew, map_isolated
from sidcurate.pairs import traces
from sidcurate.places.place import Place
from sidcurate.places.scan import RawFile
from sidcurate.schemas import Capture


class WorkerEndsError(Exception):
    """A worker of the cluster is being ended while it reads."""


@dataclass(frozen=True)
class Task:
    """A raw to read at a station."""

    station: str
    place: Place
    file: RawFile
    device: str
    keeps_trace: bool


@dataclass(frozen=True)
class Read:
    """What was read of a raw, with the bytes of its trace's file."""

    capture: Capture
    trace: bytes | None = None


class Station(WorkerPlugin):
    """As many processes as the worker has threads, for raws of one place.

    They end with the thread that starts them, which must not be one that Dask may give up.
    """

    def __init__(self, place: Place, reader: str) -> None:
        self._place, self._reader = place, reader

    def setup(self, worker: Worker) -> None:
        """Start the processes; nobody is kept waiting here."""
        self._crew: Future[Crew] = Future()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, args=(worker.state.nthreads,), name="sidcurate", daemon=True)
        self._keeper.start()

    def teardown(self, worker: Worker) -> None:
        """End the processes as soon as they have read what they are reading; nobody is kept waiting here."""
        self._closing.set()

    def crew(self) -> Crew:
        """Return the processes, once they are there.

        Raises:
            MissingResourceError: this worker cannot read what is asked.
        """
        return self._crew.result()

    def _keep(self, count: int) -> None:
        try:
            _require(self._place, self._reader)
            with crew(count) as workers:
                deque(map_isolated(_start, [None], workers))
                self._crew.set_result(workers)
                self._closing.wait()
        except BaseException as error:
            if self._crew.done():
                raise
            self._crew.set_exception(error)


def _require(place: Place, reader: str) -> None:
    if fault := fault_here(place, reader):
        raise MissingResourceError(f"the worker {fault}")


def fault_here(place: Place, reader: str) -> str | None:
    """Return why this worker cannot read raws of a place as who asks would, in words that follow its name.

    Args:
        place: where the raws are.
        reader: what reads there; see `reading.reader`.
    """
    if reading.reader() != reader:
        return (
            f"reads otherwise (reader {reading.reader()}) than this machine ({reader}): install the same sidcurate "
            f"({__version__} here) and rawpy on both"
        )
    if multiprocessing.current_process().daemon:
        return (
            "may not start the processes that decode: start it with DASK_DISTRIBUTED__WORKER__DAEMON=False in its "
            "environment, or with --no-nanny"
        )
    try:
        return None if place.standing() is not None else f"does not see {place}: mount it there under the same path"
    except SidcurateError as error:
        return f"has no raws to read: {error}"


def read(task: Task) -> Read:
    """Return what a process of the station reads of a raw.

    Raises:
        MissingResourceError: this worker cannot read what is asked.
        WorkerEndsError: it is being ended.
    """
    worker = get_worker()
    station = cast(Station, worker.plugins[task.station])
    try:
        with TemporaryDirectory(dir=worker.local_directory) as folder:
            manifest = Path(folder) if task.keeps_trace else None
            read = reading.read_captures(task.place, [task.file], task.device, manifest, workers=station.crew())
            ((_, capture),) = read
            trace = traces.path(Path(folder), capture.sha256 or "")
            return Read(capture, trace.read_bytes() if trace.is_file() else None)
    except Terminated as error:
        raise WorkerEndsError from error
    except SidcurateError as error:
        raise type(error)(f"{error} (at {worker.address})") from error


def _start(nothing: None) -> None:
    """Do nothing, in a process that so has been started."""
