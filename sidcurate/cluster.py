"""Raws read by the workers of a Dask cluster.

No raw kills a worker of the cluster: it is decoded in a process beside it (see `station`). So whatever was lost with a
worker is innocent, and is given out again. A row comes back with its trace; who collects them holds one at a time.
"""

import logging
import queue
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from distributed import Client, Future
from distributed.comm.core import CommClosedError

from sidcurate import __version__, measuring, reading, station
from sidcurate.durable import write_whole
from sidcurate.errors import MissingResourceError, SidcurateError, UsageError
from sidcurate.places import Folder, Place
from sidcurate.scan import RawFile
from sidcurate.schemas import Capture
from sidcurate.station import Read, Station, Task

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:\d+")
_CONNECT_S = 10
_LOOK_EVERY_S = 1.0
_TASKS_A_THREAD = 4
_MOST_LOSSES = 3
_AGAIN = "then ingest again: what was read is kept"


@contextmanager
def joined(scheduler: str, patience_s: float = 60.0) -> Iterator["Cluster"]:
    """Yield the cluster of a scheduler.

    Args:
        scheduler: its address, such as tcp://10.0.0.1:8786.
        patience_s: how long to wait for workers while there are none.

    Raises:
        UsageError: that is no address.
        MissingResourceError: no scheduler answers there.
    """
    if not _ADDRESS.fullmatch(scheduler):
        raise UsageError(f"{scheduler!r} is no address of a scheduler; write it like tcp://10.0.0.1:8786")
    # What it says of lost connections would stand between our own lines; what is lost for good is an error of ours.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=min(_CONNECT_S, patience_s), set_as_default=False)
    except OSError as error:
        raise MissingResourceError(
            f"no scheduler of Dask answers at {scheduler} ({error}); start one with `dask scheduler`, and its workers "
            "with `dask worker`, or mend --scheduler"
        ) from error
    with client:
        cluster = Cluster(client, patience_s)
        try:
            yield cluster
        finally:
            cluster.leave()


class Cluster:
    """Reads raws on the workers of a scheduler."""

    def __init__(self, client: Client, patience_s: float) -> None:
        self._client = client
        self._patience_s = patience_s
        self._looked_at, self._threads = 0.0, 0
        self._stations: list[str] = []

    def read_captures(
        self, place: Place, files: Sequence[RawFile], device: str, manifest: Path | None = None
    ) -> Iterator[tuple[RawFile, Capture]]:
        """Yield each file with its capture, as they come.

        Args:
            place: where the files are; a folder must stand under the same path at every worker.
            files: what to read.
            device: slug of the camera.
            manifest: folder of the manifest, beside which the traces are kept; none are without.

        Raises:
            MissingResourceError: there are no workers, one cannot read what is asked, a trace cannot be written, or the
                scheduler goes away.
        """
        if not files:
            return
        place = Folder(Path(place.name)) if isinstance(place, Folder) else place
        self._check_workers(place)
        name = f"sidcurate-{secrets.token_hex(4)}"
        self._stations.append(name)
        self._client.register_plugin(Station(place, reading.reader()), name=name)
        for task, read in self._results(Task(name, place, file, device, manifest is not None) for file in files):
            if read.trace is not None and manifest is not None:
                write_whole(measuring.trace_path(manifest, read.capture.sha256 or ""), read.trace)
            yield task.file, read.capture

    def leave(self) -> None:
        """Leave nothing at the workers."""
        while self._stations and self._client.status == "running":
            with suppress(OSError, CommClosedError):  # The scheduler goes away, and its workers with it.
                self._client.unregister_worker_plugin(self._stations.pop())

    def _check_workers(self, place: Place) -> None:
        try:
            self._client.run_on_scheduler(reading.reader)
        except Exception as error:  # whatever comes back from there
            raise _without_us("the scheduler", error) from error
        since = time.monotonic()
        while not self._has_workers(since):
            time.sleep(_LOOK_EVERY_S / 10)
        faults = self._client.run(station.fault_here, place, reading.reader(), on_error="return")
        for worker, fault in faults.items():
            if isinstance(fault, Exception):
                raise _without_us(f"the worker {worker}", fault) from fault
            if fault is not None:
                raise MissingResourceError(f"the worker {worker} {fault}; {_AGAIN}")

    def _results(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Read]]:
        """Yield each task with its result; one that was lost is given out again."""
        done: queue.SimpleQueue[Future[Read]] = queue.SimpleQueue()
        running: dict[Future[Read], Task] = {}
        losses: Counter[Task] = Counter()
        try:
            while True:
                for task in islice(tasks, max(0, self._most_at_once() - len(running))):
                    self._give_out(task, running, done)
                if not running:
                    return
                future = self._next(done)
                task = running.pop(future)
                read = self._outcome(future)
                if isinstance(read, Read):
                    yield task, read
                    continue
                losses[task] += 1
                if losses[task] < _MOST_LOSSES:
                    self._give_out(task, running, done)
                else:
                    yield task, Read(reading.unread(task.place, task.file, task.device, read))
        finally:
            if self._client.status == "running":
                with self._talking():
                    self._client.cancel(list(running))

    def _give_out(
        self, task: Task, running: "dict[Future[Read], Task]", done: "queue.SimpleQueue[Future[Read]]"
    ) -> None:
        key = f"{task.station}-{secrets.token_hex(8)}"
        with self._talking():
            future = self._client.submit(station.read, task, key=key, pure=False)
        running[future] = task
        future.add_done_callback(done.put)

    def _next(self, done: "queue.SimpleQueue[Future[Read]]") -> "Future[Read]":
        """Return what is done next; wait no longer than there is somebody to do it."""
        since = time.monotonic()
        while True:
            try:
                return done.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                since = time.monotonic() if self._has_workers(since) else since

    def _outcome(self, future: "Future[Read]") -> Read | str:
        """Return a result, or in words how it was lost."""
        try:
            return future.result(timeout=self._patience_s)
        except SidcurateError:
            raise
        except CancelledError as error:
            raise _went_away() from error
        except Exception as error:  # noqa: BLE001 - of a worker that is lost anything may come back
            return f"the cluster lost it {_MOST_LOSSES} times ({type(error).__name__}: {error})"

    def _most_at_once(self) -> int:
        if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._look()
        return _TASKS_A_THREAD * max(self._threads, 1)

    def _has_workers(self, since: float) -> bool:
        """Return whether there are any.

        Raises:
            MissingResourceError: there have been none for too long.
        """
        self._look()
        if not self._threads and time.monotonic() - since > self._patience_s:
            raise MissingResourceError(
                f"the scheduler has had no workers for {self._patience_s:g} s; start some with `dask worker`, {_AGAIN}"
            )
        return self._threads > 0

    def _look(self) -> None:
        with self._talking():
            self._threads = sum(self._client.nthreads().values())
        self._looked_at = time.monotonic()

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn whatever talk with a scheduler that is not there ends in into an error of ours.

        The client would try to find it again; but it has given up its tasks with the first break of the line.
        """
        if self._client.status != "running":
            raise _went_away()
        try:
            yield
        except Exception as error:
            if self._client.status == "running" and not isinstance(error, OSError | CommClosedError):
                raise
            raise _went_away() from error


def _went_away() -> MissingResourceError:
    return MissingResourceError(f"the scheduler of Dask went away; start it again, {_AGAIN}")


def _without_us(who: str, error: Exception) -> MissingResourceError:
    return MissingResourceError(
        f"{who} cannot run sidcurate ({error!r}): install sidcurate {__version__} there; {_AGAIN}"
    )
